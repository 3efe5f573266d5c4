"""Finished Wordle games as arrays, and as rows of Parquet: one row per game, checked when it is read.

Row numbers in messages count from 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.wordle.rules import (
    ALL_GREEN,
    COLOURS,
    NUM_LETTERS,
    NUM_TURNS,
    PATTERN_DIGITS,
    codes_of_digits,
    feedback_codes,
    pattern_text,
    words_of,
)
from data.wordle.words import WordLists


SCHEMA = pa.schema(
    [
        pa.field("secret", pa.string(), nullable=False),
        pa.field("guesses", pa.list_(pa.string()), nullable=False),
        pa.field("feedback", pa.list_(pa.string()), nullable=False),
        pa.field("rewards", pa.list_(pa.float32()), nullable=False),
        pa.field("done", pa.bool_(), nullable=False),
        pa.field("policy", pa.string(), nullable=False),
    ]
)
_FIRST_LETTER = np.uint8(ord("a"))
_COLOUR_BYTES = np.frombuffer(COLOURS.encode(), dtype=np.uint8)
_NO_COLOUR = 255
_DIGIT_OF_BYTE = np.full(256, _NO_COLOUR, dtype=np.uint8)
_DIGIT_OF_BYTE[_COLOUR_BYTES] = range(len(COLOURS))


@dataclass(frozen=True)
class Games:
    """Finished games of scripted players and models. `is_played` masks the turns; arrays are zero elsewhere.

    A guess that was not an allowed word has the pattern rules.NO_PATTERN and the letters rules.EMPTY_LETTER.
    """

    secrets: np.ndarray  # (n, 5) uint8 letters from 0 to 25
    guesses: np.ndarray  # (n, 6, 5) uint8 letters
    patterns: np.ndarray  # (n, 6) uint8 pattern codes
    num_turns: np.ndarray  # (n,) int8, from 1 to 6
    policies: np.ndarray  # (n,) str, names of players

    def __len__(self) -> int:
        return len(self.secrets)

    def __getitem__(self, index: slice | np.ndarray) -> Self:
        return type(self)(*(array[index] for array in vars(self).values()))

    @classmethod
    def concatenate(cls, parts: Sequence["Games"]) -> Self:
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        return cls(*(np.concatenate(column) for column in columns))

    @property
    def is_played(self) -> np.ndarray:
        """The turns that took place: (n, 6) bool."""
        return np.arange(NUM_TURNS) < self.num_turns[:, None]

    @property
    def won(self) -> np.ndarray:
        """The games that found the secret: (n,) bool."""
        return (self.patterns == ALL_GREEN).any(axis=1)

    def rewards(self) -> np.ndarray:
        """Return −1 for every wrong guess, 0 for the right one and after the end: (n, 6) float32."""
        return -(self.is_played & (self.patterns != ALL_GREEN)).astype(np.float32)

    def returns(self) -> np.ndarray:
        """Return the sum of rewards of each game, from −6 to 0: (n,) float32."""
        return self.rewards().sum(axis=1)


class RowFault(Exception):
    """The index of a faulty row, and the fault."""

    def __init__(self, row: int, problem: str):
        super().__init__(row, problem)
        self.row, self.problem = row, problem


def table_of(games: Games) -> pa.Table:
    """Return games, all of whose guesses were allowed words, as rows."""
    is_played = games.is_played
    patterns = games.patterns[is_played]
    offsets = pa.array(np.concatenate([[0], np.cumsum(games.num_turns)]), pa.int32())
    columns = [
        _strings(games.secrets + _FIRST_LETTER),
        pa.ListArray.from_arrays(offsets, _strings(games.guesses[is_played] + _FIRST_LETTER)),
        pa.ListArray.from_arrays(offsets, _strings(_COLOUR_BYTES[PATTERN_DIGITS[patterns]])),
        pa.ListArray.from_arrays(offsets, pa.array(games.rewards()[is_played])),
        pa.array(np.ones(len(games), dtype=bool)),
        pa.array(games.policies, pa.string()),
    ]
    return pa.table(columns, schema=SCHEMA)


def _strings(characters: np.ndarray) -> pa.Array:
    """Return ASCII characters (n, 5) as a column of n strings."""
    offsets = np.arange(0, characters.size + 1, NUM_LETTERS, dtype=np.int32)
    buffers = pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(characters))
    return pa.StringArray.from_buffers(len(characters), *buffers)


def games_of(batch: pa.RecordBatch, words: WordLists, rule: str) -> Games:
    """Return rows as games. Raises RowFault for a row that is not a finished game of this rule and words."""
    for name in SCHEMA.names:
        for row in _first(_is_null(batch.column(name))):
            raise RowFault(row, f"{name} is null")
    secret, guesses, feedback, rewards, done, policy = (batch.column(name) for name in SCHEMA.names)
    lengths = pc.list_value_length(guesses).to_numpy().astype(np.int64)
    for row in _first((lengths < 1) | (lengths > NUM_TURNS)):
        raise RowFault(row, f"{lengths[row]} guesses; a game has 1 to {NUM_TURNS}")
    for name, column in (("feedback", feedback), ("rewards", rewards)):
        num_values = pc.list_value_length(column).to_numpy()
        for row in _first(num_values != lengths):
            raise RowFault(row, f"{lengths[row]} guesses, but {num_values[row]} {name}")

    # From here on the guesses of all games are one flat array: guess i is turn `turns[i]` of game `rows[i]`.
    rows = np.repeat(np.arange(len(batch)), lengths)
    ends = np.cumsum(lengths)
    turns = np.arange(len(rows)) - np.repeat(ends - lengths, lengths)
    secrets, indices = _read_words("secret", secret, np.arange(len(batch)), words)
    for row in _first(~np.isin(indices, words.answer_indices)):
        raise RowFault(row, f"secret {secret[row].as_py()!r} is not one of {len(words.answers)} secret words")
    letters, indices = _read_words("guess", guesses.flatten(), rows, words)
    for i in _first(indices < 0):
        (word,) = words_of(letters[i, None])
        raise RowFault(int(rows[i]), f"guess {word!r} is not one of {len(words.guesses)} allowed guesses")
    patterns = _read_feedback(feedback.flatten(), rows)
    true_patterns = feedback_codes(secrets[rows], letters, rule)
    for i in _first(patterns != true_patterns):
        guess, answer = words_of(np.stack([letters[i], secrets[rows[i]]]))
        found, expected = pattern_text(patterns[i]), pattern_text(true_patterns[i])
        problem = f"feedback {found!r} to the guess {guess!r} contradicts the secret {answer!r}"
        raise RowFault(int(rows[i]), f"{problem}: the {rule} rule gives {expected!r}")
    is_right = patterns == ALL_GREEN
    for i in _first(is_right & (turns != lengths[rows] - 1)):
        raise RowFault(int(rows[i]), "there are guesses after the right one")
    for row in _first(~is_right[ends - 1] & (lengths < NUM_TURNS)):
        raise RowFault(row, f"the game stops after {lengths[row]} wrong guesses: leave out unfinished games")
    for row in _first(~done.to_numpy(zero_copy_only=False)):
        raise RowFault(row, "done is false, but the game is finished")
    values = rewards.flatten().to_numpy(zero_copy_only=False)
    expected = np.where(is_right, 0, -1)
    # A null is NaN here, which equals nothing.
    for i in _first(~(values == expected)):
        problem = f"reward {values[i]:g} of guess {turns[i] + 1} must be {expected[i]}"
        raise RowFault(int(rows[i]), f"{problem}: −1 for a wrong guess, 0 for the right one")

    all_guesses = np.zeros((len(batch), NUM_TURNS, NUM_LETTERS), dtype=np.uint8)
    all_guesses[rows, turns] = letters
    all_patterns = np.zeros((len(batch), NUM_TURNS), dtype=np.uint8)
    all_patterns[rows, turns] = patterns
    encoded = policy.dictionary_encode()
    policies = np.array(encoded.dictionary.to_pylist(), dtype=str)[encoded.indices.to_numpy()]
    return Games(secrets, all_guesses, all_patterns, lengths.astype(np.int8), policies)


def _read_words(
    kind: str, column: pa.Array, rows: np.ndarray, words: WordLists
) -> tuple[np.ndarray, np.ndarray]:
    """Return a column of words as letters (n, 5), and as indices among the allowed guesses (n,), or -1."""
    letters = _read_characters(kind, column, rows) - _FIRST_LETTER
    for i in _first((letters >= 26).any(axis=1)):
        raise RowFault(int(rows[i]), f"{kind} {column[i].as_py()!r} must be lower-case letters a to z")
    return letters, words.find(letters)


def _read_feedback(column: pa.Array, rows: np.ndarray) -> np.ndarray:
    """Return a column of colours as codes (n,)."""
    digits = _DIGIT_OF_BYTE[_read_characters("feedback", column, rows)]
    for i in _first((digits == _NO_COLOUR).any(axis=1)):
        raise RowFault(int(rows[i]), f"feedback {column[i].as_py()!r} has a letter that is not g, y or b")
    return codes_of_digits(digits)


def _read_characters(kind: str, column: pa.Array, rows: np.ndarray) -> np.ndarray:
    """Return a column of strings of five characters as bytes (n, 5)."""
    for i in _first(_is_null(column)):
        raise RowFault(int(rows[i]), f"a {kind} is null")
    for i in _first(pc.binary_length(column).to_numpy() != NUM_LETTERS):
        raise RowFault(int(rows[i]), f"{kind} {column[i].as_py()[:20]!r} does not have {NUM_LETTERS} letters")
    column = column.cast(pa.string())
    _, offsets, content = column.buffers()
    if len(column) == 0:
        return np.zeros((0, NUM_LETTERS), dtype=np.uint8)
    start = np.frombuffer(offsets, dtype=np.int32)[column.offset]
    characters = np.frombuffer(content, dtype=np.uint8)[start : start + NUM_LETTERS * len(column)]
    return characters.reshape(-1, NUM_LETTERS)


def _first(is_faulty: np.ndarray) -> list[int]:
    """Return the first true index as a list, or an empty list."""
    return np.flatnonzero(is_faulty)[:1].tolist()


def _is_null(column: pa.Array) -> np.ndarray:
    return column.is_null().to_numpy(zero_copy_only=False)
