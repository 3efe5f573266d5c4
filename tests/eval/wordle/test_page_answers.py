"""The answers to the page: colours, the model's game and advice, and no secret word before the end."""

import json

import numpy as np
import pytest

from cli.errors import InputError
from data.wordle.games import GameDescription
from data.wordle.players import play_games
from data.wordle.rules import words_of
from eval.wordle.advice import WordAdvisor
from eval.wordle.advised_game import AdvisedGame
from eval.wordle.model_player import ModelPlayer
from eval.wordle.page_answers import NUM_GAMES, NUM_WORDS, PageAnswers, page_data
from tests.eval.wordle.test_advice import TRIE, WORDS
from tests.support.wordle_feedback import feedback
from tests.support.wordle_models import tiny_token_model


NUMBER = 7


def make_answers(value_loss: str = "hl_gauss", rule: str = "official", seed: int = 0) -> PageAnswers:
    player = ModelPlayer(tiny_token_model(value_loss=value_loss))
    return PageAnswers(AdvisedGame(player, GameDescription(WORDS, rule)), seed)


@pytest.fixture(scope="module")
def answers():
    return make_answers()


@pytest.fixture(scope="module")
def secret(answers):
    return answers.secret(NUMBER)


@pytest.fixture(scope="module")
def wrong(secret):
    """Six words that are not the secret."""
    return [word for word in WORDS.guesses if word != secret][:6]


@pytest.mark.parametrize("rule", ["official", "simplified"])
def test_guesses_get_the_colours_of_the_numbered_secret(rule, wrong):
    answers = make_answers(rule=rule)
    expected = [feedback(answers.secret(NUMBER), word, rule) for word in wrong[:3]]
    assert answers.play({"number": NUMBER, "guesses": wrong[:3]})["patterns"] == expected


def test_a_number_and_a_seed_have_one_secret_among_all_words(answers):
    again, other = make_answers(), make_answers(seed=1)
    secrets = [answers.secret(number) for number in range(1, 200)]
    assert secrets[::-1] == [again.secret(number) for number in range(199, 0, -1)]
    assert secrets != [other.secret(number) for number in range(1, 200)]
    assert set(secrets) <= set(WORDS.answers) and len(set(secrets)) > 150


def test_no_answer_has_the_secret_before_the_game_is_over(answers, secret, wrong):
    for turns in range(7):
        answer = answers.play({"number": NUMBER, "guesses": wrong[:turns]})
        assert (secret in json.dumps(answer)) == (turns == 6)
    won = answers.play({"number": NUMBER, "guesses": [wrong[0], secret]})
    assert won["secret"] == secret and won["patterns"][-1] == "ggggg"


def test_the_models_game_shows_its_colours_turn_by_turn_and_its_words_at_the_end(answers, secret, wrong):
    index = np.array([WORDS.answers.index(secret)])
    games = play_games(ModelPlayer(tiny_token_model()), WORDS, "official", index, np.random.default_rng(0))
    words = words_of(games.guesses[0, : games.num_turns[0]])
    colours = [feedback(secret, word) for word in words]
    for turns in range(6):
        answer = answers.play({"number": NUMBER, "guesses": wrong[:turns]})
        assert answer["own"] == colours[:turns]
    answer = answers.play({"number": NUMBER, "guesses": wrong})
    assert [(turn["word"], turn["pattern"]) for turn in answer["own_turns"]] == [
        *zip(words, colours, strict=True)
    ]


def test_guesses_of_a_finished_game_have_the_models_values_and_the_words_left(answers, secret, wrong):
    answer = answers.play({"number": NUMBER, "guesses": wrong})
    advisor = WordAdvisor(tiny_token_model(), TRIE)
    left = set(WORDS.answers)
    for turn, (shown, word) in enumerate(zip(answer["turns"], wrong, strict=True)):
        (advice,) = advisor.score(wrong[:turn], answer["patterns"][:turn], [word])
        assert shown["value"] == pytest.approx(advice.value, abs=1e-4)
        assert shown["probs"] == pytest.approx(advice.probabilities.tolist(), abs=1e-5)
        left = {other for other in left if feedback(other, word) == feedback(secret, word)}
        assert shown["num_left"] == len(left)


def test_advice_is_that_of_the_terminal(answers):
    guesses, patterns = ["clang"], ["byybb"]
    answer = answers.advise({"guesses": guesses, "patterns": patterns})
    expected = WordAdvisor(tiny_token_model(), TRIE).top_words(guesses, patterns, NUM_WORDS)
    fitting = {word for word in WORDS.answers if feedback(word, "clang") == "byybb"}
    assert answer["num_left"] == len(fitting)
    for shown, advice in zip(answer["words"], expected, strict=True):
        assert shown["word"] == advice.word and shown["may_be"] == (advice.word in fitting)
        numbers = (shown["advantage"], shown["value"])
        assert numbers == pytest.approx((advice.advantage, advice.value), abs=1e-4)
        assert shown["probs"] == pytest.approx(advice.probabilities.tolist(), abs=1e-5)


def test_after_the_last_guess_the_words_left_are_named(answers):
    answer = answers.advise({"guesses": ["clang"] * 6, "patterns": ["byybb"] * 6})
    left = [word for word in WORDS.answers if feedback(word, "clang") == "byybb"]
    assert answer == {"num_left": len(left), "left": left}


def test_a_model_of_mse_has_values_without_distributions():
    answers = make_answers("mse")
    (first, *_) = answers.advise({"guesses": [], "patterns": []})["words"]
    assert first.keys() == {"word", "value", "advantage", "may_be"}


def test_the_page_knows_the_range_of_returns_and_the_allowed_guesses():
    game = AdvisedGame(ModelPlayer(tiny_token_model()), GameDescription(WORDS, "official"))
    data = page_data(game)
    assert data["ends"] == pytest.approx((-7, 1)) and data["model"]["bins"] == 11
    assert data["guesses"] == sorted(WORDS.guesses)  # in this order they tell nothing of the secrets


def game(**changes):
    return {"number": NUMBER, "guesses": []} | changes


@pytest.mark.parametrize(
    ("name", "body", "line"),
    [
        ("play", game(guesses=["zzzzz"]), "'zzzzz' is not one of the 446 allowed guesses"),
        ("play", game(guesses=["clang"] * 7), "'guesses' must be a list of at most 6 texts"),
        ("play", game(guesses="clang"), "'guesses' must be a list of at most 6 texts"),
        ("play", game(guesses=[["clang"]]), "'guesses' must be a list of at most 6 texts"),
        ("play", {"number": NUMBER}, "'guesses' must be a list of at most 6 texts"),
        ("play", game(number=0), "they are numbered from 1 to 999,999"),
        ("play", game(number=NUM_GAMES + 1), "they are numbered from 1 to 999,999"),
        ("play", game(number="7"), "they are numbered from 1 to 999,999"),
        ("play", game(number=True), "they are numbered from 1 to 999,999"),
        ("advise", {"guesses": ["clang"], "patterns": []}, "every guess needs its colours"),
        ("advise", {"guesses": ["clan"], "patterns": ["bbbbb"]}, "'clan' is not a word of 5 letters"),
        ("advise", {"guesses": ["clang"], "patterns": ["bbbbx"]}, "'bbbbx' is not feedback"),
        ("advise", {"guesses": ["clang"], "patterns": ["ggggy"]}, "clang ggggy fits no secret word"),
        (
            "advise",
            {"guesses": ["clang", "abler"], "patterns": ["bbbbb", "ggggg"]},
            "abler ggggg fits none of the words left: check its colours, or undo earlier guesses",
        ),
    ],
)
def test_bad_requests_are_refused_with_one_line(answers, name, body, line):
    with pytest.raises(InputError) as caught:
        getattr(answers, name)(body)
    assert line in str(caught.value) and "\n" not in str(caught.value)


def test_guesses_after_the_end_are_refused(answers, secret, wrong):
    with pytest.raises(InputError, match="game 7 was over before the last guess"):
        answers.play(game(guesses=[secret, wrong[0]]))
