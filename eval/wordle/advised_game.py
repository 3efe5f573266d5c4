"""A game of Wordle with a model: its advice, its own game, and the words left.

The terminal (eval/wordle/play.py) and the page (eval/wordle/serve.py) show these numbers.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cli.errors import InputError
from data.wordle.games import GameDescription
from data.wordle.players import play_games
from data.wordle.rules import NO_PATTERN, feedback_codes, letters_of, pattern_code, pattern_text, words_of
from eval.wordle.advice import Advice, WordAdvisor
from eval.wordle.model_player import ModelPlayer, word_trie


class ValuedTurn(NamedTuple):
    """A turn of a game: the guess with its value, its colours, and how many words are left after it."""

    advice: Advice
    pattern: str
    num_left: int


class AdvisedGame:
    """The game that a person plays, and a model that knows the same rule and words."""

    def __init__(self, player: ModelPlayer, game: GameDescription):
        self.player, self.words, self.rule = player, game.words, game.rule
        self.answers = game.words.guess_letters[game.words.answer_indices]  # (num_answers, 5)
        value_loss = player.model.value_loss
        # A model with the loss mse predicts no distribution.
        self.support = value_loss.support().numpy() if value_loss.num_outputs > 1 else None
        self._advisor = WordAdvisor(player.model, word_trie(game.words))

    @property
    def has_choice(self) -> bool:
        """Whether the best advice is the guess of the player: it is masked and greedy."""
        return self.player.masked and not self.player.temperature

    def advise(self, guesses: Sequence[str], patterns: Sequence[str], count: int) -> list[Advice]:
        """Return the words that the model prefers after guesses and their colours, best first."""
        return self._advisor.top_words(guesses, patterns, count)

    def colours(self, secret: str, guess: str) -> str:
        """Return the colours of a guess. Raises InputError if it is not allowed."""
        self.words.index(guess)
        return pattern_text(feedback_codes(*letters_of([secret, guess]), self.rule))

    def words_left(self, guesses: Sequence[str], patterns: Sequence[str]) -> list[str]:
        """Return the secret words that fit the colours of all guesses."""
        possible = np.ones(len(self.answers), dtype=bool)
        for word, pattern in zip(guesses, patterns, strict=True):
            codes = feedback_codes(self.answers, letters_of([word]), self.rule)
            possible &= codes == pattern_code(pattern)
        return words_of(self.answers[possible])

    def check_feedback(
        self, word: str, pattern: str, guesses: Sequence[str], patterns: Sequence[str]
    ) -> None:
        """Raise InputError unless a guess and its colours, after earlier ones, fit a secret word."""
        letters_of([word])
        pattern_code(pattern)
        if not self.words_left([word], [pattern]):
            raise InputError(f"{word} {pattern} fits no secret word: check its colours")
        if not self.words_left([*guesses, word], [*patterns, pattern]):
            raise InputError(
                f"{word} {pattern} fits none of the words left: check its colours, or undo earlier guesses"
            )

    def valued_turns(self, guesses: Sequence[str], patterns: Sequence[str]) -> list[ValuedTurn]:
        """Value every guess of a game."""
        turns = []
        for end, (word, pattern) in enumerate(zip(guesses, patterns, strict=True), start=1):
            (advice,) = self._advisor.score(guesses[: end - 1], patterns[: end - 1], [word])
            turns.append(ValuedTurn(advice, pattern, len(self.words_left(guesses[:end], patterns[:end]))))
        return turns

    def own_game(self, secret: str, rng: np.random.Generator) -> list[ValuedTurn | None]:
        """Let the model play; return its turns, None for those lost by a guess that is not allowed."""
        secrets = np.array([self.words.answers.index(secret)])
        games = play_games(self.player, self.words, self.rule, secrets, rng)
        codes = games.patterns[0, : games.num_turns[0]]
        is_allowed = codes != NO_PATTERN
        guesses = words_of(games.guesses[0, : len(codes)][is_allowed])
        turns = iter(self.valued_turns(guesses, [pattern_text(code) for code in codes[is_allowed]]))
        return [next(turns) if allowed else None for allowed in is_allowed]
