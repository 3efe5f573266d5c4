"""The rules of Wordle: the colours that a guess gets, one at a time or a hundred million at a time.

Official: greens first, then yellows from left to right as long as the secret has that letter left. The papers
on offline reinforcement learning of language agents (ILQL, arXiv 2206.11871; LMRL-Gym, arXiv 2311.18232)
simplify: every letter that occurs anywhere in the secret is yellow. The two differ only where a guess repeats
a letter.

A pattern of five colours is a string such as `gybbb`, or the number Σ dᵢ · 3ⁱ with the digits b = 0, y = 1
and g = 2, where i = 0 is the first letter.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from string import ascii_lowercase

import numpy as np

from cli.errors import InputError


NUM_LETTERS = 5
NUM_TURNS = 6
RULES = ("official", "simplified")
COLOURS = "byg"
EMPTY_LETTER = 26
NUM_PATTERNS = len(COLOURS) ** NUM_LETTERS
ALL_GREEN = NUM_PATTERNS - 1

# The first letter's digit is the least significant one, so it changes fastest.
_TEXTS = tuple("".join(reversed(colours)) for colours in itertools.product(COLOURS, repeat=NUM_LETTERS))
_CODES = {text: code for code, text in enumerate(_TEXTS)}
PATTERN_DIGITS = np.array([[COLOURS.index(colour) for colour in text] for text in _TEXTS], dtype=np.uint8)


def check_rule(rule: str) -> None:
    """Raise InputError unless `rule` is one of RULES."""
    if rule not in RULES:
        raise InputError(f"there is no rule {rule!r}: choose {' or '.join(RULES)}")


def is_word(text: str) -> bool:
    """Tell whether `text` is five of the letters a to z, in lower case."""
    return len(text) == NUM_LETTERS and text.isascii() and text.isalpha() and text.islower()


def no_word(text: str) -> str:
    """Return what an error says of a text that should be a word."""
    return f"{text[:20]!r} is not a word of {NUM_LETTERS} letters from a to z"


def feedback(secret: str, guess: str, rule: str = "official") -> str:
    """Return the colours of `guess`: five characters of g, y and b. Raises InputError for what is no word."""
    check_rule(rule)
    for word in (secret, guess):
        if not is_word(word):
            raise InputError(no_word(word))
    left = Counter(secret)
    colours = ["b"] * NUM_LETTERS
    for i in range(NUM_LETTERS):
        if guess[i] == secret[i]:
            colours[i] = "g"
            left[guess[i]] -= 1
    for i in range(NUM_LETTERS):
        is_yellow = left[guess[i]] > 0 if rule == "official" else guess[i] in secret
        if colours[i] == "b" and is_yellow:
            colours[i] = "y"
            left[guess[i]] -= 1
    return "".join(colours)


def feedback_codes(secrets: np.ndarray, guesses: np.ndarray, rule: str = "official") -> np.ndarray:
    """Return the pattern codes of many guesses: secrets (..., 5) and guesses (..., 5) give (...) uint8.

    They are broadcast. Letters are numbers from 0 to 25. It takes some ten times the memory of its result.
    """
    check_rule(rule)
    secret_letters = [np.ascontiguousarray(secrets[..., i]) for i in range(NUM_LETTERS)]
    guess_letters = [np.ascontiguousarray(guesses[..., i]) for i in range(NUM_LETTERS)]
    shape = np.broadcast_shapes(secrets.shape[:-1], guesses.shape[:-1])
    # Single words, too, have become arrays of one letter each.
    codes = np.zeros(shape or 1, dtype=np.uint8)
    green = [guess_letters[i] == secret_letters[i] for i in range(NUM_LETTERS)]
    for i in range(NUM_LETTERS):
        if rule == "official":
            # What the secret has of the letter, less its greens and the yellows further left.
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
    """Return the code of five colours; raise InputError if they are none."""
    if text not in _CODES:
        raise InputError(f"{text[:20]!r} is not feedback: it takes {NUM_LETTERS} of the letters g, y and b")
    return _CODES[text]


def letters_of(words: Sequence[str]) -> np.ndarray:
    """Return words as letters from 0 to 25: (len(words), 5) uint8. Raises InputError for what is no word."""
    for word in words:
        if not is_word(word):
            raise InputError(no_word(word))
    codes = np.frombuffer("".join(words).encode("ascii"), dtype=np.uint8) - ord("a")
    return codes.reshape(-1, NUM_LETTERS)


def words_of(letters: np.ndarray) -> list[str]:
    """Return the words that `letters` (n, 5), numbers from 0 to 25, spell."""
    codes = np.ascontiguousarray(letters, dtype=np.uint8) + np.uint8(ord("a"))
    return codes.view(f"S{NUM_LETTERS}").reshape(-1).astype(str).tolist()


def word_numbers(letters: np.ndarray) -> np.ndarray:
    """Return a number for every word (..., 5), letters from 0 to 25, that no other word has: (...) int64."""
    return letters @ 26 ** np.arange(NUM_LETTERS)


class Hints:
    """What was revealed in many games at once, which hard mode has the next guess use.

    Green letters stay in their places, and every letter comes up at least as often as a guess showed it green
    or yellow; letters known to be absent are allowed. Guesses are places in guess_letters (num_guesses, 5).
    """

    def __init__(self, guess_letters: np.ndarray, rule: str, num_games: int) -> None:
        check_rule(rule)
        self._letters, self._rule = guess_letters, rule
        is_letter = guess_letters[:, :, None] == np.arange(EMPTY_LETTER, dtype=np.uint8)
        self._letter_counts = is_letter.sum(1, dtype=np.uint8)  # (num_guesses, 26)
        # A column at a time is what `action_mask` reads.
        self._letter_columns = np.ascontiguousarray(guess_letters.T)
        self._count_columns = np.ascontiguousarray(self._letter_counts.T)
        self._greens = np.full((num_games, NUM_LETTERS), EMPTY_LETTER, dtype=np.uint8)
        self._counts = np.zeros((num_games, EMPTY_LETTER), dtype=np.uint8)

    def forget(self, games: np.ndarray) -> None:
        """Start new games in the places where `games` (num_games,) is true."""
        self._greens[games] = EMPTY_LETTER
        self._counts[games] = 0

    def learn(self, letters: np.ndarray, colours: np.ndarray) -> None:
        """Take in the last guess of every game, letters and colours as digits: both (num_games, 5) uint8."""
        is_green = colours == COLOURS.index("g")
        self._greens[is_green] = letters[is_green]
        is_revealed = is_green | (colours == COLOURS.index("y"))
        is_same_letter = letters[:, :, None] == letters[:, None, :]  # (num_games, 5, 5)
        counts = (is_same_letter & is_revealed[:, None, :]).sum(2, dtype=np.uint8)  # (num_games, 5)
        if self._rule == "simplified":
            # There a second yellow does not say that the secret has the letter twice.
            counts = np.minimum(counts, 1)
        games = np.arange(len(counts))
        for i in range(NUM_LETTERS):
            known = self._counts[games, letters[:, i]]
            self._counts[games, letters[:, i]] = np.maximum(known, counts[:, i])

    def allow(self, guesses: np.ndarray) -> np.ndarray:
        """Tell which of the guesses, one for every game, use the hints: (num_games,) bool."""
        stays = (self._greens == EMPTY_LETTER) | (self._greens == self._letters[guesses])
        return stays.all(1) & (self._letter_counts[guesses] >= self._counts).all(1)

    def action_mask(self, game: int) -> np.ndarray:
        """Tell which guesses use the hints of a game: (num_guesses,) int8 of 0 and 1."""
        greens, counts = self._greens[game], self._counts[game]
        mask = np.ones(len(self._letters), dtype=bool)
        for i in np.flatnonzero(greens != EMPTY_LETTER):
            mask &= self._letter_columns[i] == greens[i]
        for letter in np.flatnonzero(counts):
            mask &= self._count_columns[letter] >= counts[letter]
        return mask.view(np.int8)

    def objection(self, game: int, guess: int) -> str | None:
        """Say what a guess lacks; None if it uses the hints."""
        (word,) = words_of(self._letters[guess, None])
        greens, counts = self._greens[game], self._counts[game]
        for i in np.flatnonzero((greens != EMPTY_LETTER) & (greens != self._letters[guess])):
            return f"hard mode forbids {word!r}: letter {i + 1} is known to be {ascii_lowercase[greens[i]]!r}"
        for letter in np.flatnonzero(self._letter_counts[guess] < counts):
            times = f" {counts[letter]} times" if counts[letter] > 1 else ""
            return f"hard mode forbids {word!r}: it must contain {ascii_lowercase[letter]!r}{times}"
        return None
