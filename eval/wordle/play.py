"""Wordle in the terminal: watch a model play, play with its advice, or get advice for a game elsewhere.

python -m eval.wordle --model runs/wordle_tiny/model --play
"""

import shutil
import textwrap
from collections.abc import Callable

import numpy as np

from cli.errors import InputError
from data.wordle.games import GameDescription
from data.wordle.rules import ALL_GREEN, NUM_TURNS, pattern_code
from eval.wordle.advice import Advice
from eval.wordle.advised_game import AdvisedGame
from eval.wordle.drawing import draw_axis, draw_distribution, draw_guess, guess_width
from eval.wordle.model_player import ModelPlayer


CHOICES = """\
  watch [WORD]   the model plays, with this secret or a random one
  play [WORD]    you play, with the model's advice
  advise         you play elsewhere, and enter every guess with its colours
  list [START]   the allowed guesses, or those that start with these letters
  quit"""
OTHER_ANSWERS = "help, more, list, undo, menu or quit"
GUESS_AND_COLOURS = "a word and its colours (g green, y yellow, b grey), such as crane bbgyb"
FEW, MANY = 5, 20  # numbers of words of advice
# None of these has five letters, as a guess has.
HELP = f"""\
  more           {MANY} words of advice
  list [START]   the allowed guesses, or those that start with these letters
  undo           take the last guess back
  menu           end this game
  quit"""


class Menu(Exception):
    """The person returns to the choice of games."""


def play_in_terminal(player: ModelPlayer, game: GameDescription, seed: int) -> None:
    """Play games with a person until they quit or the input ends. `seed` samples the secrets."""
    try:
        WordleTerminal(player, game, seed).run()
    except EOFError:
        print()
    except KeyboardInterrupt:
        print()
        raise KeyboardInterrupt("the game was ended") from None


class WordleTerminal:
    """Games of a person with a model. `run` raises EOFError when the input ends."""

    def __init__(self, player: ModelPlayer, game: GameDescription, seed: int):
        self.game = AdvisedGame(player, game)
        self.words, self.rule, self.support = game.words, game.rule, self.game.support
        self.rng = np.random.default_rng(seed)

    def run(self) -> None:
        print(f"Wordle with {len(self.words.answers):,} secret words, {self.rule} rule.")
        print("Values are the returns that the model expects: -1 for every wrong guess, 0 for the right one.")
        print("Advice is ranked by advantage: how far a word's letters are valued below the best allowed.")
        print("The greedy choice has 0. The value of a word that was rarely guessed may be far too high.")
        print(f"Enter\n{CHOICES}")
        while True:
            try:
                match _ask("\nwatch, play, advise or quit? ").split():
                    case []:
                        continue
                    case ["watch", *secret] if len(secret) < 2:
                        self.watch(self._secret(*secret))
                    case ["play", *secret] if len(secret) < 2:
                        self.play(self._secret(*secret))
                    case ["advise"]:
                        self.advise()
                    case ["list", *start] if len(start) < 2:
                        self._print_allowed(*start)
                    case ["quit" | "exit"]:
                        return
                    case _:
                        print(f"Enter\n{CHOICES}")
            except InputError as error:
                print(error)
            except Menu:
                continue

    def watch(self, secret: str) -> None:
        """Show a game of the model, with its value of every guess."""
        turns = self.game.own_game(secret, self.rng)
        print(f"\n   {'':{guess_width()}}{self._value_heading()}")
        for number, turn in enumerate(turns, start=1):
            if turn is None:
                print(f"{number}  not an allowed guess: the turn is lost")
                continue
            line = f"{number}  {draw_guess(turn.advice.word, turn.pattern)}{self._draw_value(turn.advice)}"
            left = "" if pattern_code(turn.pattern) == ALL_GREEN else f"  {_words_left(turn.num_left)}"
            print(f"{line}{left}")
        won = turns[-1] is not None and turns[-1].advice.word == secret
        print(f"found in {len(turns)}" if won else f"not found: the word was {secret}")

    def play(self, secret: str) -> None:
        """Let the person find a secret, with advice before every guess."""

        def read(answer: str, guesses: list[str], patterns: list[str]) -> tuple[str, str]:
            return answer, self.game.colours(secret, answer)

        print(f"Enter a word, {OTHER_ANSWERS}.")
        guesses, _ = self._ask_for_guesses(read)
        if guesses[-1] != secret:
            print(f"not found: the word was {secret}")

    def advise(self) -> None:
        """Advise a person who plays elsewhere and enters the colours of every guess."""
        print(f"Colours by the {self.rule} rule. Enter {GUESS_AND_COLOURS}; or {OTHER_ANSWERS}.")
        guesses, patterns = self._ask_for_guesses(self._read_feedback)
        if pattern_code(patterns[-1]) == ALL_GREEN:
            return
        words = self.game.words_left(guesses, patterns)
        if len(words) == 1:
            print(f"not found: the only word left is {words[0]}")
        else:
            print(f"not found: the words left are {', '.join(words[:MANY])}{', …' if words[MANY:] else ''}")

    def _ask_for_guesses(
        self, read: Callable[[str, list[str], list[str]], tuple[str, str]]
    ) -> tuple[list[str], list[str]]:
        """Ask until the word is found or all turns are used; return the guesses and their colours.

        `read` returns a guess and its colours for an answer after earlier ones, or raises InputError.
        """
        guesses: list[str] = []
        patterns: list[str] = []
        while len(guesses) < NUM_TURNS:
            self._print_advice(guesses, patterns, FEW)
            num_guesses = len(guesses)
            while len(guesses) == num_guesses:
                answer = _ask(f"{num_guesses + 1}> ")
                match answer.split():
                    case []:
                        continue
                    case ["help" | "?"]:
                        print(HELP)
                    case ["more"]:
                        self._print_advice(guesses, patterns, MANY)
                    case ["list", *start] if len(start) < 2:
                        self._print_allowed(*start)
                    case ["undo"]:
                        if not guesses:
                            print("there is nothing to undo")
                        del guesses[-1:], patterns[-1:]
                    case ["menu"]:
                        raise Menu
                    case ["quit" | "exit"]:
                        raise EOFError
                    case _:
                        try:
                            word, pattern = read(answer, guesses, patterns)
                        except InputError as error:
                            print(error)
                            continue
                        guesses.append(word)
                        patterns.append(pattern)
            print()
            for turn, (word, pattern) in enumerate(zip(guesses, patterns, strict=True)):
                print(f"{turn + 1}  {draw_guess(word, pattern)}")
            if patterns and pattern_code(patterns[-1]) == ALL_GREEN:
                print(f"found in {len(guesses)}")
                break
        return guesses, patterns

    def _read_feedback(self, answer: str, guesses: list[str], patterns: list[str]) -> tuple[str, str]:
        """Read a word and its colours. Raises InputError for other answers, and if no secret word fits."""
        match answer.split():
            case [word, pattern]:
                self.game.check_feedback(word, pattern, guesses, patterns)
                return word, pattern
            case _:
                raise InputError(f"enter {GUESS_AND_COLOURS}")

    def _secret(self, word: str | None = None) -> str:
        """Return the secret word that the person names, or sample one."""
        if word is None:
            return str(self.rng.choice(self.words.answers))
        if word not in self.words.answers:
            raise InputError(f"{word[:20]!r} is not one of the {len(self.words.answers):,} secret words")
        return word

    def _print_advice(self, guesses: list[str], patterns: list[str], count: int) -> None:
        words_left = set(self.game.words_left(guesses, patterns))
        has_choice = self.game.has_choice
        choice_mark = "> the model's choice, " if has_choice else ""
        print(f"\n{_words_left(len(words_left))}; {choice_mark}* for words that are among them")
        print(f"{'':9}  advantage{self._value_heading()}")
        for rank, advice in enumerate(self.game.advise(guesses, patterns, count)):
            marks = f"{'>' if has_choice and not rank else ' '} {'*' if advice.word in words_left else ' '}"
            print(f"{marks} {advice.word}{advice.advantage:z11.2f}{self._draw_value(advice)}")

    def _print_allowed(self, start: str = "") -> None:
        """Print the allowed guesses that start with these letters."""
        words = [word for word in self.words.guesses if word.startswith(start)]
        print(f"{len(words):,} allowed guess{'' if len(words) == 1 else 'es'}{start and f' with {start}'}")
        if words:
            print(textwrap.fill(" ".join(words), shutil.get_terminal_size().columns))

    def _value_heading(self) -> str:
        return "   value" + ("" if self.support is None else f"  {draw_axis(self.support)}")

    def _draw_value(self, advice: Advice) -> str:
        value = f"{advice.value:+8.2f}"
        if self.support is None:
            return value
        return f"{value}  {draw_distribution(advice.probabilities, self.support)}"


def _words_left(number: int) -> str:
    return f"{number:,} word{'' if number == 1 else 's'} left"


def _ask(prompt: str) -> str:
    return input(prompt).strip().lower()
