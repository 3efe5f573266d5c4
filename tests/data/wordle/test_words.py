"""Word lists: the shipped ones, files, and faulty files."""

import re

import numpy as np
import pytest

from cli.errors import InputError
from data.wordle.rules import is_word, letters_of, words_of
from data.wordle.words import FOLDER, SHIPPED, WordLists, load_word_lists, read_words


@pytest.fixture
def write(tmp_path):
    """Write lines to a file; return its path."""

    def write_lines(*lines, name="words.txt"):
        path = tmp_path / name
        path.write_text("".join(line + "\n" for line in lines))
        return path

    return write_lines


def test_the_shipped_lists_are_five_letter_words_with_their_licence():
    small, quick = (read_words(name) for name in SHIPPED)
    assert len(small) == 3568
    assert small == sorted(set(small))
    assert all(is_word(word) for word in small)
    assert quick == small[::8]
    assert "Copyright 2000-2011 by Kevin Atkinson" in (FOLDER / "LICENCE.txt").read_text()


def test_the_default_game_is_american_small_with_its_secrets_as_guesses():
    words = load_word_lists()
    assert words == load_word_lists("american_small", "american_small")
    assert words.answers == words.guesses
    quick = load_word_lists("american_446")
    assert quick.answers == quick.guesses == words.answers[::8]
    assert load_word_lists("american_446", "american_small").guesses == words.guesses


def test_answers_are_found_among_guesses_in_any_order(write):
    guesses = ("crane", "slate", "abide", "zebra")
    words = load_word_lists(write("zebra", "crane", name="answers.txt"), write(*guesses, name="guesses.txt"))
    assert words == WordLists(("zebra", "crane"), guesses)
    assert words.answer_indices.tolist() == [3, 0]
    assert words.answer_indices.dtype == np.int64
    assert words.guess_letters.dtype == np.uint8
    assert words_of(words.guess_letters) == list(guesses)
    assert words.index("abide") == 2
    with pytest.raises(InputError, match="'speed' is not one of the 4 allowed guesses"):
        words.index("speed")


def test_case_blank_lines_and_line_ends_do_not_matter(tmp_path):
    path = tmp_path / "words.txt"
    path.write_bytes(b"\xef\xbb\xbfCRANE\r\nslate\r\n\r\nAbide")
    assert read_words(path) == ["crane", "slate", "abide"]


def test_lists_with_other_words_or_another_order_have_another_digest():
    first, second = ("crane", "slate"), ("slate", "crane")
    games = [
        WordLists(first, first),
        WordLists(second, first),
        WordLists(first, second),
        WordLists(first[:1], first),
    ]
    assert len({words.digest for words in games}) == 4
    assert WordLists(first, first).digest == games[0].digest
    assert re.fullmatch("[0-9a-f]{16}", games[0].digest)


@pytest.mark.parametrize(
    "lines, error",
    [
        (("crane", "four"), "line 2: 'four' is not a word of 5 letters from a to z"),
        (("crane", "", "sixsix"), "line 3: 'sixsix' is not a word"),
        (("crâne",), "line 1: 'crâne' is not a word"),
        (("cr4ne",), "line 1: 'cr4ne' is not a word"),
        (("x" * 10_000,), "line 1: 'xxxxxxxxxxxxxxxxxxxx' is not a word"),
        (("crane", "slate", "Crane"), "line 3: 'crane' is already on line 1"),
        ((), "has no words"),
        (("", " "), "has no words"),
    ],
)
def test_a_bad_list_is_an_error_with_file_and_line(lines, error, write):
    path = write(*lines)
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}.* ?{error}"):
        read_words(path)


def test_a_file_that_is_missing_or_no_text_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"nothing.txt cannot be read .*, or american_small or american_446"):
        read_words(tmp_path / "nothing.txt")
    with pytest.raises(InputError, match="Is a directory"):
        read_words(tmp_path)
    (tmp_path / "binary").write_bytes(b"crane\n\xff\xfe\x00")
    with pytest.raises(InputError, match="binary is not UTF-8 text: save it as UTF-8"):
        read_words(tmp_path / "binary")


def test_secrets_that_may_not_be_guessed_are_an_error(write):
    answers, guesses = write("crane", "slate", "abide", name="a.txt"), write("slate", "zebra", name="g.txt")
    with pytest.raises(InputError, match="2 of the 3 secret words are not allowed guesses, such as 'crane'"):
        load_word_lists(answers, guesses)
    with pytest.raises(InputError, match=r"american_small and .*g\.txt: 3566 of the 3568 secret words"):
        load_word_lists(guesses=guesses)


@pytest.mark.parametrize(
    "answers, guesses, error",
    [
        ((), ("crane",), "the list of secret words is empty"),
        (("crane",), (), "the list of allowed guesses is empty"),
        (("crane", "crane"), ("crane",), "'crane' occurs twice in the list of secret words"),
        (("crane",), ("slate", "crane", "slate"), "'slate' occurs twice in the list of allowed guesses"),
        (("Crane",), ("Crane",), "'Crane' is not a word"),
    ],
)
def test_lists_from_elsewhere_are_checked_likewise(answers, guesses, error):
    with pytest.raises(InputError, match=error):
        WordLists(answers, guesses)


def test_words_are_found_by_their_letters():
    indices = np.random.default_rng(0).integers(446, size=(50, 3))
    words = load_word_lists("american_446")
    unsorted = WordLists(words.answers[::-1], words.answers[100:] + words.answers[:100])
    for lists in (words, unsorted):
        np.testing.assert_array_equal(lists.find(lists.guess_letters[indices]), indices)
    assert words.find(letters_of(["aaaaa", "zzzzz", words.guesses[5]])).tolist() == [-1, -1, 5]


def test_the_unordered_digest_ignores_the_order_of_words():
    lists = [WordLists(("crane",), guesses) for guesses in (("crane", "slate"), ("slate", "crane"))]
    assert lists[0].unordered_digest == lists[1].unordered_digest == lists[0].digest != lists[1].digest
