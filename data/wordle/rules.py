"""The rules of Wordle: the colours that a guess gets, for one guess or for many at once.

Official rule: greens first, then yellows from left to right, as long as the secret has that letter left.
Simplified rule, of the papers on offline reinforcement learning of language agents (ILQL, arXiv 2206.11871;
LMRL-Gym, arXiv 2311.18232): every letter that occurs anywhere in the secret is yellow. The rules differ only
where a guess repeats a letter.

A pattern of five colours is a string such as `gybbb`, or its code Σ dᵢ · 3ⁱ with the digits b = 0, y = 1 and
g = 2, where i = 0 is the first letter.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from cli.errors import InputError


NUM_LETTERS = 5
NUM_TURNS = 6
RULES = ("official", "simplified")
COLOURS = "byg"
EMPTY_LETTER = 26
NUM_PATTERNS = len(COLOURS) ** NUM_LETTERS
ALL_GREEN = NUM_PATTERNS - 1
NO_PATTERN = 255  # the code of a guess that was not an allowed word, and so got no colours

# The digit of the first letter is the least significant one.
_TEXTS = tuple("".join(reversed(colours)) for colours in itertools.product(COLOURS, repeat=NUM_LETTERS))
_CODES = {text: code for code, text in enumerate(_TEXTS)}
PATTERN_DIGITS = np.array([[COLOURS.index(colour) for colour in text] for text in _TEXTS], dtype=np.uint8)


def check_rule(rule: str) -> None:
    """Raise InputError unless `rule` is one of RULES."""
    if rule not in RULES:
        raise InputError(f"unknown rule {rule!r}: choose {' or '.join(RULES)}")


def is_word(text: str) -> bool:
    """Return whether `text` is five lower-case letters from a to z."""
    return len(text) == NUM_LETTERS and text.isascii() and text.isalpha() and text.islower()


def not_a_word(text: str) -> str:
    """Return the error message for a text that should be a word."""
    return f"{text[:20]!r} is not a word of {NUM_LETTERS} letters from a to z"


def feedback_codes(secrets: np.ndarray, guesses: np.ndarray, rule: str = "official") -> np.ndarray:
    """Return the pattern codes of many guesses: secrets (..., 5) and guesses (..., 5) to (...) uint8.

    Secrets and guesses are broadcast. Letters are numbers from 0 to 25. Temporary arrays take about ten times
    the memory of the result.
    """
    check_rule(rule)
    secret_letters = [np.ascontiguousarray(secrets[..., i]) for i in range(NUM_LETTERS)]
    guess_letters = [np.ascontiguousarray(guesses[..., i]) for i in range(NUM_LETTERS)]
    shape = np.broadcast_shapes(secrets.shape[:-1], guesses.shape[:-1])
    # At least one dimension, because the loop below adds in place.
    codes = np.zeros(shape or 1, dtype=np.uint8)
    green = [guess_letters[i] == secret_letters[i] for i in range(NUM_LETTERS)]
    for i in range(NUM_LETTERS):
        if rule == "official":
            # Occurrences of the letter in the secret, minus its greens and the yellows further left.
            num_left = np.zeros(codes.shape, dtype=np.int8)
            for j in range(NUM_LETTERS):
                if j != i:
                    num_left += (guess_letters[i] == secret_letters[j]) & ~green[j]
            for j in range(i):
                repeated = guess_letters[i] == guess_letters[j]
                if repeated.any():
                    num_left -= repeated & ~green[j]
            is_yellow = num_left > 0
        else:
            is_yellow = np.zeros(codes.shape, dtype=bool)
            for j in range(NUM_LETTERS):
                is_yellow |= guess_letters[i] == secret_letters[j]
        digits = np.maximum(is_yellow.view(np.uint8), green[i].view(np.uint8) * np.uint8(2))
        codes += digits * np.uint8(3**i)
    return codes.reshape(shape)


def pattern_text(code: int) -> str:
    """Return the five colours of a pattern code."""
    return _TEXTS[code]


def pattern_code(text: str) -> int:
    """Return the code of five colours. Raises InputError unless they are five of g, y and b."""
    if text not in _CODES:
        raise InputError(f"{text[:20]!r} is not feedback: give {NUM_LETTERS} of the letters g, y and b")
    return _CODES[text]


def codes_of_digits(digits: np.ndarray) -> np.ndarray:
    """Return the pattern codes of colours as digits (..., 5): (...) uint8."""
    return (digits @ 3 ** np.arange(NUM_LETTERS)).astype(np.uint8)


def letters_of(words: Sequence[str]) -> np.ndarray:
    """Return words as letters from 0 to 25: (len(words), 5) uint8. Raises InputError unless all are words."""
    for word in words:
        if not is_word(word):
            raise InputError(not_a_word(word))
    codes = np.frombuffer("".join(words).encode("ascii"), dtype=np.uint8) - ord("a")
    return codes.reshape(-1, NUM_LETTERS)


def words_of(letters: np.ndarray) -> list[str]:
    """Return letters (n, 5), numbers from 0 to 25, as words."""
    codes = np.ascontiguousarray(letters, dtype=np.uint8) + np.uint8(ord("a"))
    return codes.view(f"S{NUM_LETTERS}").reshape(-1).astype(str).tolist()
