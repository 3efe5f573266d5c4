"""The colours of a guess under both rules, tables of them, and what hard mode makes of them."""

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
    Hints,
    feedback,
    feedback_codes,
    letters_of,
    pattern_code,
    pattern_text,
    words_of,
)
from data.wordle.words import WordLists, load_word_lists


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
    assert np.array_equal(PATTERN_DIGITS @ 3 ** np.arange(5), np.arange(NUM_PATTERNS))
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
def test_what_is_no_word_is_refused(text):
    with pytest.raises(InputError, match="is not a word of 5 letters"):
        letters_of(["crane", text])
    for pair in (("crane", text), (text, "crane")):
        with pytest.raises(InputError, match="is not a word of 5 letters"):
            feedback(*pair)


def test_an_unknown_rule_is_refused_and_the_known_ones_are_named():
    words = WordLists(("crane",), ("crane",))
    letters = words.guess_letters
    for function, arguments in (
        (feedback, ("crane", "crane")),
        (feedback_codes, (letters, letters)),
        (feedback_table, (words,)),
    ):
        with pytest.raises(InputError, match="no rule 'hard': choose official or simplified"):
            function(*arguments, "hard")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Have tables kept in an empty folder of the test's own, and none in memory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    feedback_table.cache_clear()
    yield tmp_path / "stop-regressing" / "wordle"
    feedback_table.cache_clear()


@pytest.mark.parametrize("rule", RULES)
def test_a_table_holds_the_colours_of_every_guess_for_every_secret(cache, rule):
    guesses = load_word_lists("american_446").guesses
    words = WordLists(guesses[5:300:7], guesses)
    table = feedback_table(words, rule)
    assert table.shape == (446, len(words.answers))
    assert table.flags.c_contiguous
    for i in range(0, 446, 11):
        colours = [feedback(secret, words.guesses[i], rule) for secret in words.answers]
        assert [pattern_text(code) for code in table[i]] == colours
    assert not cache.exists()


def test_a_large_table_is_kept_on_disk_for_the_next_time(cache):
    words = load_word_lists()
    tables = {rule: feedback_table(words, rule) for rule in RULES}
    assert sorted(path.name for path in cache.iterdir()) == [f"{words.digest}-{rule}.npy" for rule in RULES]
    (cache / f"{words.digest}-official.npy").write_bytes(
        (cache / f"{words.digest}-simplified.npy").read_bytes()
    )
    feedback_table.cache_clear()
    assert np.array_equal(feedback_table(words, "official"), tables["simplified"])


@pytest.mark.parametrize("damage", ["empty", "no array", "a block of zeros", "cut off"])
def test_a_damaged_table_is_computed_anew(cache, damage):
    words = load_word_lists()
    table = feedback_table(words)
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    content = {
        "empty": b"",
        "no array": b"no array",
        "a block of zeros": whole[:8192] + bytes(4096) + whole[12288:],
        "cut off": whole[:-1],
    }
    path.write_bytes(content[damage])
    feedback_table.cache_clear()
    assert np.array_equal(feedback_table(words), table)
    assert path.read_bytes() == whole


def test_a_cache_that_cannot_be_written_is_no_error(cache, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    words = load_word_lists()
    assert feedback_table(words)[0, 0] == ALL_GREEN


@pytest.mark.parametrize(
    "rule, secret, earlier, guess, message",
    [
        ("official", "crane", ["slate"], "abide", "letter 3 is known to be 'a'"),
        ("official", "crane", ["slate"], "brand", "letter 5 is known to be 'e'"),
        ("official", "crane", ["slate"], "crane", None),
        ("official", "crane", ["nurse"], "slate", "it must contain 'n'"),
        # Letters that the secret lacks may come again, and yellow ones in the same place.
        ("official", "crane", ["slate"], "glaze", None),
        ("official", "crane", ["nurse"], "nerve", None),
        ("official", "creed", ["eerie"], "abide", "it must contain 'e' 2 times"),
        ("official", "creed", ["eerie", "speed"], "breed", None),
        ("official", "creed", ["eerie", "speed"], "bleed", "it must contain 'r'"),
        # Three yellows by the simplified rule may be one letter.
        ("simplified", "crane", ["eerie"], "crane", None),
        ("simplified", "crane", ["eerie"], "brand", "letter 5 is known to be 'e'"),
        ("simplified", "abide", ["eerie"], "aisle", None),
    ],
)
def test_hard_mode_wants_green_letters_in_place_and_yellow_ones_somewhere(
    rule, secret, earlier, guess, message
):
    hints = Hints(letters_of([guess]), rule, num_games=1)
    for word in earlier:
        hints.learn(letters_of([word]), PATTERN_DIGITS[[pattern_code(feedback(secret, word, rule))]])
    assert hints.action_mask(0).tolist() == hints.allow(np.array([0])).tolist() == [message is None]
    assert hints.objection(0, 0) == (message and f"hard mode forbids '{guess}': {message}")
    hints.forget(np.array([True]))
    assert hints.allow(np.array([0])).all()


@pytest.mark.parametrize("rule", RULES)
def test_hard_mode_always_allows_the_secret_and_guesses_that_would_get_the_same_colours(rule):
    letters = np.unique(random_words(400, 4, seed=5), axis=0)
    words = tuple(words_of(letters))
    rng = np.random.default_rng(0)
    num_games = len(words)
    hints = Hints(letters, rule, num_games)
    places = np.arange(num_games)
    consistent = np.ones((num_games, num_games), dtype=bool)
    for _ in range(6):
        guesses = rng.integers(num_games, size=num_games)
        codes = feedback_codes(letters, letters[guesses], rule)
        consistent &= feedback_codes(letters, letters[guesses][:, None], rule) == codes[:, None]
        hints.learn(letters[guesses], PATTERN_DIGITS[codes])
        assert hints.allow(places).all()
        masks = np.array([hints.action_mask(game) for game in places])
        assert (masks[consistent] == 1).all()
        guesses = rng.integers(num_games, size=num_games)
        assert np.array_equal(masks[places, guesses] == 1, hints.allow(guesses))
    assert not masks.all()
