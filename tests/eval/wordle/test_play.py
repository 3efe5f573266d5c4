"""Wordle in the terminal: commands, output, and the end of games."""

import io
import re
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch

from data.wordle.game_rows import Games
from data.wordle.games import GameDescription
from data.wordle.players import play_games
from data.wordle.rules import NO_PATTERN, words_of
from data.wordle.words import WordLists
from eval.wordle.advice import WordAdvisor
from eval.wordle.drawing import COLUMNS, draw_axis, draw_distribution, draw_guess, guess_width
from eval.wordle.model_player import ModelPlayer
from eval.wordle.play import HELP, play_in_terminal
from models.tokenization_wordle import END_OF_ACTION
from tests.eval.wordle.test_advice import TRIE, WORDS
from tests.support.wordle_feedback import feedback
from tests.support.wordle_models import tiny_token_model


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def make_player(value_loss: str = "hl_gauss", **settings) -> ModelPlayer:
    return ModelPlayer(tiny_token_model(value_loss=value_loss), **settings)


def played(player: ModelPlayer, secrets: tuple[str, ...], words: WordLists = WORDS, rule="official") -> Games:
    indices = np.array([words.answers.index(secret) for secret in secrets])
    return play_games(player, words, rule, indices, np.random.default_rng(0))


def advisor() -> WordAdvisor:
    return WordAdvisor(tiny_token_model(), TRIE)


def listed(shown: str) -> list[str]:
    """Return the lines of advice: two marks, a word, its advantage, value and distribution."""
    return [line for line in shown.splitlines() if re.match(r"[> ] [* ] [a-z]{5} +(-|0\.)[\d.]+ +[-+]", line)]


@pytest.fixture
def play(monkeypatch, capsys) -> Callable[..., str]:
    """Enter lines in the terminal, after which it is closed; return the output."""

    def run(
        *lines: str,
        player: ModelPlayer | None = None,
        words: WordLists = WORDS,
        rule: str = "official",
        seed: int = 0,
    ) -> str:
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        play_in_terminal(player or make_player(), GameDescription(words, rule), seed)
        return capsys.readouterr().out

    return run


def rows(shown: str) -> list[tuple[str, str]]:
    """Return the guesses and colours in the output."""
    found = []
    for line in shown.splitlines():
        match line.split():
            case [turn, word, pattern, *_] if turn in "123456" and set(pattern) <= set("gyb"):
                found.append((word, pattern))
    return found


@pytest.mark.parametrize("rule", ["official", "simplified"])
@pytest.mark.parametrize("is_won", [True, False], ids=["won", "lost"])
def test_a_watched_game_is_the_one_that_the_model_plays(play, rule, is_won):
    every_game = played(make_player(), WORDS.answers, rule=rule)
    secret = WORDS.answers[np.flatnonzero(every_game.won == is_won)[0]]
    shown = play(f"watch {secret}", rule=rule)
    games = played(make_player(), (secret,), rule=rule)
    assert games.won[0] == is_won
    words = words_of(games.guesses[0, : games.num_turns[0]])
    assert rows(shown) == [(word, feedback(secret, word, rule)) for word in words]
    assert (f"\nfound in {len(words)}\n" in shown) == is_won
    assert (f"\nnot found: the word was {secret}\n" in shown) == (not is_won)


def test_watched_guesses_have_their_values_and_the_words_left(play):
    lines = [line for line in play("watch abler").splitlines() if line[:1].isdigit()]
    first = lines[0].split()
    (advice,) = advisor().score([], [], [first[1]])
    assert float(first[3]) == pytest.approx(advice.value, abs=0.005)
    num_left = sum(feedback(word, first[1]) == first[2] for word in WORDS.answers)
    assert lines[0].endswith(f"  {num_left} word{'s' if num_left > 1 else ''} left")


def test_the_seed_draws_the_secrets(play):
    secrets = [play("watch", "watch", seed=seed) for seed in (1, 1, 2)]
    assert secrets[0] == secrets[1] != secrets[2]


def test_an_invalid_guess_is_shown_as_a_lost_turn(play):
    shown = play("watch abler", player=make_player(masked=False))
    assert shown.count("not an allowed guess: the turn is lost") == 6
    assert "not found: the word was abler" in shown


def test_refused_turns_count_among_those_that_a_word_took(play):
    model = tiny_token_model(value_loss="mse")
    with torch.no_grad():
        # Of two tokens, the letter is likelier: about a third of the draws are the only word.
        model.head.weight.zero_()
        model.head.bias.fill_(-100)
        model.head.bias[0], model.head.bias[END_OF_ACTION] = 0, -0.5
    words = WordLists(("aaaaa",), ("aaaaa",))

    def drawing(seed: int) -> ModelPlayer:
        return ModelPlayer(model, masked=False, temperature=0.5, seed=seed)

    for seed in range(100):
        games = played(drawing(seed), ("aaaaa",), words)
        num_turns = games.num_turns[0]
        if games.won[0] and num_turns > 2:
            break
    assert (games.patterns[0, : num_turns - 1] == NO_PATTERN).all()
    shown = play("watch aaaaa", player=drawing(seed), words=words)
    assert shown.count("the turn is lost") == num_turns - 1
    assert f"\n{num_turns}  aaaaa ggggg" in shown and f"\nfound in {num_turns}\n" in shown


def test_a_person_who_plays_sees_colours_and_advice_before_every_guess(play):
    shown = play("play ABLER", "Clang", "zzzzz", "abler")
    assert rows(shown) == [("clang", "byybb"), ("clang", "byybb"), ("abler", "ggggg")]
    assert "1> \n1  clang byybb" in shown and shown.rstrip().endswith("watch, play, advise or quit?")
    assert "'zzzzz' is not one of the 446 allowed guesses" in shown
    assert "446 words left; " in shown and shown.count(" words left; ") == 2
    assert "found in 2" in shown and "not found" not in shown


def test_advice_is_the_words_of_the_highest_advantage_and_marks_those_that_may_be_the_secret(play):
    shown = play("play abler", "clang", "more")
    top = advisor().top_words(["clang"], ["byybb"], 20)
    support = tiny_token_model().value_loss.support().numpy()
    lines = listed(shown)
    assert len(lines) == 5 + 5 + 20
    for line, advice in zip(lines[5:], [*top[:5], *top], strict=True):
        assert line[4:9] == advice.word
        assert float(line[9:20]) == pytest.approx(advice.advantage, abs=0.005)
        assert float(line[20:28]) == pytest.approx(advice.value, abs=0.005)
        assert (line[2] == "*") == (feedback(advice.word, "clang") == "byybb")
        assert line[30:] == draw_distribution(advice.probabilities, support)
    assert "advantage   value  -7" in shown and "-0.00 " not in shown


@pytest.mark.parametrize("value_loss", ["hl_gauss", "mse"])
def test_the_models_choice_is_the_word_that_the_model_plays_next(play, value_loss):
    games = played(make_player(value_loss), ("abler",))
    guesses = words_of(games.guesses[0, :3])
    shown = play("play abler", *guesses[:2], player=make_player(value_loss))
    lines = listed(shown)
    assert [line[4:9] for line in lines[::5]] == guesses
    assert [line[0] for line in lines] == [">", " ", " ", " ", " "] * 3
    assert shown.count(" left; > the model's choice, * for words") == 3


@pytest.mark.parametrize("settings", [{"masked": False}, {"temperature": 1.0}], ids=["no mask", "drawn"])
def test_a_model_without_a_mask_or_with_a_temperature_has_no_choice_among_the_words(play, settings):
    shown = play("play abler", player=make_player(**settings))
    assert listed(shown) == [line.replace(">", " ") for line in listed(play("play abler"))]
    assert "446 words left; * for words" in shown and ">" not in "".join(listed(shown))


def test_a_model_of_mse_has_values_and_no_distributions(play):
    shown = play("play abler", "clang", "menu", "watch abler", player=make_player("mse"))
    assert len(listed(shown)) == 10 and all(len(line) == 28 for line in listed(shown))
    assert not set("▁▂▃▄▅▆▇█") & set(shown)


@pytest.mark.parametrize("game", [("play abler",), ("advise",)], ids=["play", "advise"])
def test_help_explains_every_answer_in_a_game(play, game):
    shown = play(*game, "help", "quit")
    assert f"1> {HELP}\n1> " in shown
    assert {line.split()[0] for line in HELP.splitlines()} == {"more", "list", "undo", "menu", "quit"}


@pytest.mark.parametrize("lines", [("list cl",), ("play abler", "list cl", "quit")], ids=["menu", "game"])
def test_the_allowed_guesses_are_listed_also_by_their_first_letters(play, lines):
    words = [word for word in WORDS.guesses if word.startswith("cl")]
    shown = play(*lines)
    assert f"{len(words)} allowed guesses with cl\n{' '.join(words)}\n" in shown
    every = play("list")
    assert "446 allowed guesses\n" in every
    assert all(re.search(rf"\b{word}\b", every) for word in WORDS.guesses)
    assert "0 allowed guesses with qx\n" in play("list qx")


def test_no_word_can_be_taken_for_a_command():
    assert all(len(line.split()[0]) != 5 for line in HELP.splitlines())


def test_six_wrong_guesses_end_the_game(play):
    shown = play("play abler", *["clang"] * 6, "quit")
    assert "not found: the word was abler" in shown and "7>" not in shown


def test_undo_takes_a_guess_back(play):
    shown = play("play abler", "undo", "clang", "undo", "abler")
    assert "1> there is nothing to undo" in shown and "found in 1" in shown


def test_feedback_from_elsewhere_is_advised_on_until_the_word_is_found(play):
    guesses = [("clang", feedback("abler", "clang")), ("abler", "ggggg")]
    shown = play("advise", *(f"{word} {pattern}" for word, pattern in guesses), "quit")
    assert rows(shown) == [guesses[0], *guesses]
    left = sum(feedback(word, "clang") == guesses[0][1] for word in WORDS.answers)
    assert f"\n{left} words left; " in shown and "found in 2" in shown


def test_a_guess_from_elsewhere_need_not_be_in_the_list(play):
    shown = play("advise", f"qqqqe {feedback('abler', 'qqqqe')}")
    assert rows(shown) == [("qqqqe", "bbbby")]


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("clang", "enter a word and its colours (g green, y yellow, b grey), such as crane bbgyb"),
        ("clang byybb more", "enter a word and its colours"),
        ("clan byybb", "'clan' is not a word of 5 letters from a to z"),
        ("clang bygbx", "'bygbx' is not feedback: give 5 of the letters g, y and b"),
        ("clang ggggy", "clang ggggy fits no secret word: check its colours"),
        (
            "abler ggggg",
            "abler ggggg fits none of the words left: check its colours, or undo earlier guesses",
        ),
    ],
)
def test_impossible_feedback_is_asked_again_with_one_line(play, said, answer):
    shown = play("advise", "clang bbbbb", said, "menu", "quit")
    assert f"2> {answer}" in shown and "Traceback" not in shown
    assert shown.count("2> ") == 2 and len(rows(shown)) == 1


def test_after_six_guesses_elsewhere_the_words_left_are_named(play):
    told = [f"clang {feedback('abler', 'clang')}"] * 6
    shown = play("advise", *told)
    left = [word for word in WORDS.answers if feedback(word, "clang") == feedback("abler", "clang")]
    assert f"not found: the words left are {', '.join(left)}\n" in shown and 1 < len(left) < 20
    assert "7>" not in shown


def test_after_six_guesses_elsewhere_the_only_word_left_is_named(play):
    told = f"below {feedback('abler', 'below')}"
    shown = play("advise", *[told] * 6)
    assert "\n1 word left; " in shown and "7>" not in shown
    assert "\nnot found: the only word left is abler\n" in shown


def test_a_word_that_is_found_with_the_sixth_guess_is_not_called_lost(play):
    told = [f"clang {feedback('abler', 'clang')}"] * 5
    shown = play("advise", *told, "abler ggggg")
    assert "found in 6" in shown and "not found" not in shown


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("watch zzzzz", "'zzzzz' is not one of the 446 secret words"),
        ("dance", "Enter\n  watch [WORD]"),
        ("", ""),
    ],
)
def test_unknown_commands_are_asked_again(play, said, answer):
    shown = play(said, "quit")
    assert answer in shown and shown.count("advise or quit?") == 2


@pytest.mark.parametrize("lines", [[], ["play"], ["advise", "clang bbbbb"], ["play", "quit"], ["quit"]])
def test_the_end_of_the_input_and_quit_end_it_without_an_error(play, lines):
    assert "Error" not in play(*lines)


def test_ctrl_c_ends_it_with_a_line(play, monkeypatch):
    def interrupted(prompt: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", interrupted)
    with pytest.raises(KeyboardInterrupt, match="the game was ended"):
        play()


def test_tiles_are_coloured_on_a_terminal_that_shows_colours(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert draw_guess("crane", "gybbb") == "crane gybbb" and guess_width() == 11
    monkeypatch.setattr(sys, "stdout", Terminal())
    green, yellow, grey = "\033[1;30;42m", "\033[1;30;43m", "\033[1;97;100m"
    tiles = f"{green} C \033[0m{yellow} R \033[0m{grey} A \033[0m{grey} N \033[0m{grey} E \033[0m"
    assert draw_guess("crane", "gybbb") == tiles and guess_width() == 15
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as other:
            other.setenv(name, value)
            assert draw_guess("crane", "gybbb") == "crane gybbb"


@pytest.mark.parametrize(("encoding", "blocks"), [("utf-8", " ▁▂▃▄▅▆▇█"), ("ascii", " .:-=+*#@")])
def test_distributions_are_drawn_over_their_whole_range(monkeypatch, encoding, blocks):
    screen = Terminal()
    monkeypatch.setattr(Terminal, "encoding", encoding)
    monkeypatch.setattr(sys, "stdout", screen)
    support = np.linspace(-7, 1, 97)[:-1] + 1 / 24  # 96 bins, four to a column
    probs = np.zeros(96)
    probs[:4], probs[-4:] = 0.2, 0.05
    assert draw_distribution(probs, support) == blocks[8] + blocks[0] * (COLUMNS - 2) + blocks[2]
    assert draw_axis(support) == "-7" + " " * (COLUMNS - 3) + "1"
    # Bins that are shared by two columns are spread over both.
    assert draw_distribution(np.full(10, 0.1), np.linspace(-6, 0, 10)) == blocks[8] * COLUMNS
