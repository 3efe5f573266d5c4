"""Finished Wordle games as arrays, and as rows of Parquet: one row per game, checked when it is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.parquet import RowFault
from data.wordle.rules import (
    ALL_GREEN,
    COLOURS,
    NUM_LETTERS,
    NUM_TURNS,
    PATTERN_DIGITS,
    feedback_codes,
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
        return np.where(self.is_played & (self.patterns != ALL_GREEN), np.float32(-1), np.float32(0))

    def returns(self) -> np.ndarray:
        """Return the sum of rewards of each game, from −6 to 0: (n,) float32."""
        return self.rewards().sum(axis=1)


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
    # Not safe: numbers that float32 rounds are wrong rewards, which `_check_results` names with their row.
    columns = {field.name: batch.column(field.name).cast(field.type, safe=False) for field in SCHEMA}
    guesses = columns["guesses"]
    lengths = pc.fill_null(pc.list_value_length(guesses), 0).to_numpy().astype(np.int64)
    for row in _first((lengths < 1) | (lengths > NUM_TURNS)):
        raise RowFault(row, f"{lengths[row]} guesses; a game has 1 to {NUM_TURNS}")
    # The guesses of all games are one flat array: guess i is turn `turns[i]` of game `rows[i]`.
    rows = np.repeat(np.arange(len(batch)), lengths)
    ends = np.cumsum(lengths)
    turns = np.arange(len(rows)) - np.repeat(ends - lengths, lengths)
    secrets = words.answer_indices[_find("secret", columns["secret"], words.answers, np.arange(len(batch)))]
    choices = _find("guess", guesses.flatten(), words.guesses, rows)
    letters, secret_letters = words.guess_letters[choices], words.guess_letters[secrets]
    patterns = feedback_codes(secret_letters[rows], letters, rule)
    is_right = patterns == ALL_GREEN
    for i in _first(is_right & (turns != lengths[rows] - 1)):
        raise RowFault(rows[i], "there are guesses after the right one")
    for row in _first(~is_right[ends - 1] & (lengths < NUM_TURNS)):
        raise RowFault(row, f"the game stops after {lengths[row]} wrong guesses: leave out unfinished games")

    for row in _first(columns["policy"].is_null().to_numpy(zero_copy_only=False)):
        raise RowFault(row, "policy is null")
    policies = np.array(columns["policy"].to_pylist(), dtype=str)
    all_guesses = np.zeros((len(batch), NUM_TURNS, NUM_LETTERS), dtype=np.uint8)
    all_guesses[rows, turns] = letters
    all_patterns = np.zeros((len(batch), NUM_TURNS), dtype=np.uint8)
    all_patterns[rows, turns] = patterns
    games = Games(secret_letters, all_guesses, all_patterns, lengths.astype(np.int8), policies)
    _check_results(columns, games, rule)
    return games


def _find(kind: str, column: pa.Array, words: tuple[str, ...], rows: np.ndarray) -> np.ndarray:
    """Return the indices (n,) of a column of words, each in its row (n,), in a list. Raises RowFault."""
    indices = pc.index_in(column, pa.array(words))
    for i in _first(indices.is_null().to_numpy(zero_copy_only=False)):
        problem = f"{kind} {str(column[i].as_py())[:20]!r} is not one of {len(words)}"
        raise RowFault(rows[i], f"{problem} {'secret words' if kind == 'secret' else 'allowed guesses'}")
    return indices.to_numpy().astype(np.int64)


def _check_results(columns: dict[str, pa.Array], games: Games, rule: str) -> None:
    """Raise RowFault unless feedback, rewards and done are those of the games."""
    expected = table_of(games)
    for name in ("feedback", "rewards", "done"):
        true_column = expected.column(name).combine_chunks()
        if not columns[name].equals(true_column):
            pairs = zip(columns[name].to_pylist(), true_column.to_pylist(), strict=True)
            row, found, true = next((i, *pair) for i, pair in enumerate(pairs) if pair[0] != pair[1])
            raise RowFault(row, f"{name} {found} must be {true} by the {rule} rule")


def _first(is_faulty: np.ndarray) -> list[int]:
    """Return the first true index as a list, or an empty list."""
    return np.flatnonzero(is_faulty)[:1].tolist()
