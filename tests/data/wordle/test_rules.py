"""The colours of a guess under both rules, and tables of them."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cli.errors import InputError
from data.wordle.feedback_table import feedback_table
from data.wordle.rules import (
    ALL_GREEN,
    NUM_PATTERNS,
    PATTERN_DIGITS,
    RULES,
    codes_of_digits,
    feedback_codes,
    letters_of,
    pattern_code,
    pattern_text,
    words_of,
)
from data.wordle.words import WordLists, load_word_lists
from tests.support.wordle_feedback import feedback


FEEDBACK = Path(__file__).parents[2] / "fixtures" / "wordle" / "feedback.jsonl"


@pytest.fixture(scope="module")
def cases():
    """Read guesses and secrets with their colours, made by another program."""
    return [json.loads(line) for line in FEEDBACK.read_text().splitlines()]


def random_words(num_words, num_letters, seed):
    """Return letters (num_words, 5); with few of them they repeat all the time."""
    return np.random.default_rng(seed).integers(num_letters, size=(num_words, 5), dtype=np.uint8)


@pytest.fixture(scope="module", params=[3, 8, 26])
def pairs(request):
    """Return secrets and guesses of a small, a middling and the whole alphabet: (3000, 5) each."""
    return tuple(random_words(3000, request.param, seed) for seed in range(2))


@pytest.mark.parametrize("rule", RULES)
def test_feedback_agrees_with_another_program(cases, rule):
    assert len(cases) == 1000
    assert [feedback(case["secret"], case["guess"], rule) for case in cases] == [case[rule] for case in cases]
    secrets, guesses = (letters_of([case[key] for case in cases]) for key in ("secret", "guess"))
    codes = feedback_codes(secrets, guesses, rule)
    assert codes.dtype == np.uint8
    assert [pattern_text(code) for code in codes] == [case[rule] for case in cases]


def test_greens_come_first_then_yellows_from_the_left():
    assert feedback("abbey", "kebab") == "bygyy"
    assert feedback("abide", "speed") == "bbyby"
    assert feedback("erase", "speed") == "ybyyb"
    assert feedback("steal", "speed") == "gbgbb"
    assert feedback("crepe", "speed") == "bygyb"
    assert feedback("crane", "eerie") == "bbybg"
    assert feedback("crane", "eerie", rule="simplified") == "yyybg"


@pytest.mark.parametrize("rule", RULES)
def test_many_guesses_get_the_colours_that_each_alone_gets(pairs, rule):
    secrets, guesses = pairs
    alone = [feedback(*words, rule) for words in zip(words_of(secrets), words_of(guesses), strict=True)]
    assert [pattern_text(code) for code in feedback_codes(secrets, guesses, rule)] == alone


@pytest.mark.parametrize("rule", RULES)
def test_secrets_and_guesses_are_broadcast(pairs, rule):
    secrets, guesses = pairs[0][:30], pairs[1][:20]
    table = feedback_codes(secrets, guesses[:, None], rule)
    assert table.shape == (20, 30)
    for i in range(20):
        assert np.array_equal(feedback_codes(secrets, guesses[i], rule), table[i])
    single = feedback_codes(secrets[3], guesses[7], rule)
    assert single.shape == ()
    assert single == table[7, 3]
    assert feedback_codes(secrets[:0], guesses[0], rule).shape == (0,)


@pytest.mark.parametrize("rule", RULES)
def test_a_letter_is_green_exactly_where_the_secret_has_it(pairs, rule):
    secrets, guesses = pairs
    assert np.array_equal(PATTERN_DIGITS[feedback_codes(secrets, guesses, rule)] == 2, secrets == guesses)
    assert (feedback_codes(secrets, secrets, rule) == ALL_GREEN).all()


def test_officially_a_letter_has_colour_as_often_as_both_words_have_it(pairs):
    secrets, guesses = (words_of(letters) for letters in pairs)
    for secret, guess, code in zip(secrets, guesses, feedback_codes(*pairs), strict=True):
        shown = Counter(
            letter for letter, colour in zip(guess, pattern_text(code), strict=True) if colour != "b"
        )
        assert shown == Counter(secret) & Counter(guess)


def test_the_rules_agree_where_a_guess_repeats_no_letter(pairs):
    official, simplified = (feedback_codes(*pairs, rule) for rule in RULES)
    letters = np.sort(pairs[1], axis=1)
    repeats = (letters[:, 1:] == letters[:, :-1]).any(1)
    assert np.array_equal(official[~repeats], simplified[~repeats])
    # The simplified rule only turns black into yellow.
    before, after = PATTERN_DIGITS[official], PATTERN_DIGITS[simplified]
    assert ((before == after) | ((before == 0) & (after == 1))).all()


def test_patterns_are_texts_codes_and_digits():
    assert [pattern_code(pattern_text(code)) for code in range(NUM_PATTERNS)] == list(range(NUM_PATTERNS))
    assert np.array_equal(codes_of_digits(PATTERN_DIGITS), np.arange(NUM_PATTERNS))
    assert pattern_code("ggggg") == ALL_GREEN
    assert pattern_code("gybbb") == 2 + 1 * 3
    assert PATTERN_DIGITS[pattern_code("gybbb")].tolist() == [2, 1, 0, 0, 0]
    with pytest.raises(InputError, match="'gyxbb' is not feedback"):
        pattern_code("gyxbb")


def test_words_are_letters_and_back():
    assert letters_of(["abcde", "vwxyz"]).tolist() == [[0, 1, 2, 3, 4], [21, 22, 23, 24, 25]]
    letters = random_words(100, 26, seed=0)
    assert np.array_equal(letters_of(words_of(letters)), letters)
    assert letters_of([]).shape == (0, 5)
    assert words_of(letters[:0]) == []


@pytest.mark.parametrize("text", ["four", "sixsix", "", "Crane", "cran3", "crâne", "a b c", "crane\n"])
def test_a_text_that_is_not_a_word_is_an_error(text):
    with pytest.raises(InputError, match="is not a word of 5 letters"):
        letters_of(["crane", text])


def test_an_unknown_rule_is_an_error_that_names_the_known_ones():
    words = WordLists(("crane",), ("crane",))
    letters = words.guess_letters
    for function, arguments in (
        (feedback_codes, (letters, letters)),
        (feedback_table, (words,)),
    ):
        with pytest.raises(InputError, match="unknown rule 'hard': choose official or simplified"):
            function(*arguments, "hard")


@pytest.mark.parametrize("rule", RULES)
def test_a_table_holds_the_colours_of_every_guess_for_every_secret(rule):
    guesses = load_word_lists("american_446").guesses
    words = WordLists(guesses[5:300:7], guesses)
    table = feedback_table(words, rule)
    assert table.shape == (446, len(words.answers))
    assert table.flags.c_contiguous
    for i in range(0, 446, 11):
        colours = [feedback(secret, words.guesses[i], rule) for secret in words.answers]
        assert [pattern_text(code) for code in table[i]] == colours
