"""Boards with one label each, a state value or the move played: checked rows, arrays, training examples.

Sources are rows of state values or of played moves (data/chess/rows.py), or of action values: the value of a
state is then that of its best move, and the move played is the best, of equal ones the first.
"""

import functools
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from cli.errors import InputError
from data.chess.checked_rows import (
    Chunk,
    check_not_null,
    check_positions,
    find_actions,
    find_no_win_probs,
    read_checked,
    read_chunks,
)
from data.chess.preparation import FORMAT, VERSION
from data.chess.rows import PLAYED_MOVES, SCHEMA, STATE_VALUES, Target
from data.parquet import RowFault, list_files, open_file
from data.prepared_folder import load_array, read_meta
from data.training_set import some_of
from models.chess_tokens import (
    black_to_move,
    can_castle,
    flip_actions,
    flip_tokens,
    orient_actions,
    orient_tokens,
)


SCHEMAS = {"state_value": STATE_VALUES, "move": PLAYED_MOVES}
STATES_MADE_BY = {
    "state_value": "python -m data.chess.chessbench and "
    "python -m data.chess.lichess_evaluations --state-values FOLDER",
    "move": "python -m data.chess.played_moves and python -m data.chess.chessbench",
}


class StateChunk(NamedTuple):
    """Consecutive boards as arrays."""

    tokens: np.ndarray  # (n, 77) uint8, not oriented
    labels: np.ndarray  # (n,): win probabilities, float32, or actions, uint16


def read_states(
    parquet: str | Path, target: Target, check_moves: bool = True, processes: int | None = None
) -> Iterator[StateChunk]:
    """Yield all boards of a Parquet file, or a folder of *.parquet, in order, with their labels.

    The arguments and errors are those of `read_chunks`.
    """
    if set(SCHEMA.names) <= set(open_file(list_files(parquet)[0]).schema_arrow.names):
        for chunk in read_chunks(parquet, check_moves, processes):
            yield StateChunk(chunk.tokens, best_labels(chunk, target))
    else:
        check = functools.partial(_check, target, check_moves)
        yield from read_checked(parquet, SCHEMAS[target], STATES_MADE_BY[target], check, processes)


def best_labels(chunk: Chunk, target: Target) -> np.ndarray:
    """Return the value of every board's best move, (n,) float32, or this move, (n,) uint16."""
    starts = np.cumsum(chunk.lengths) - chunk.lengths
    best = np.maximum.reduceat(chunk.win_probs, starts)
    if target == "state_value":
        return best
    is_best = np.flatnonzero(chunk.win_probs == np.repeat(best, chunk.lengths))
    return chunk.actions[is_best[np.searchsorted(is_best, starts)]]


def _check(target: Target, check_moves: bool, batch: pa.RecordBatch) -> StateChunk:
    check_not_null(batch)
    fens, labels = (batch.column(name) for name in SCHEMAS[target].names)
    if target == "move":
        lengths = np.ones(len(batch), dtype=np.int64)
        labels = actions = find_actions(labels, np.arange(len(batch)))
    else:
        lengths, actions = np.zeros(len(batch), dtype=np.int64), np.zeros(0, dtype=np.uint16)
        labels = labels.to_numpy()
        for row in find_no_win_probs(labels)[:1]:
            raise RowFault(row, f"win_prob {labels[row]} is not between 0 and 1")
        labels = labels.astype(np.float32)
    tokens, _, _ = check_positions(fens.to_pylist(), lengths, actions, check_moves)
    return StateChunk(tokens, labels)


class StateExamples:
    """Boards with their labels: tokens (n, 77) uint8, not oriented, and labels (n,) as in StateChunk.

    With `mirror` every board comes twice: unchanged, and mirrored left to right. Boards with castling rights
    cannot be mirrored; they appear twice, unchanged.
    """

    def __init__(self, tokens: np.ndarray, labels: np.ndarray, orient: bool, mirror: bool = False):
        self.tokens, self.labels, self.orient, self.mirror = tokens, labels, orient, mirror

    @classmethod
    def load(cls, folder: Path, target: Target, orient: bool, mirror: bool = False) -> "StateExamples":
        """Memory-map the arrays that `data.chess.preparation.prepare` wrote to `folder` for a target."""
        meta = read_meta(folder, FORMAT)
        if meta.get("version") != VERSION or meta.get("target") != target:
            raise InputError(f"{folder}: holds no prepared boards; run python -m data.chess.preparation")
        tokens, labels = (load_array(folder / f"{name}.npy") for name in ("tokens", "labels"))
        return cls(tokens, labels, orient, mirror)

    @property
    def num_boards(self) -> int:
        return len(self.tokens)

    def __len__(self) -> int:
        return self.num_boards * (2 if self.mirror else 1)

    def num_values(self, indices: np.ndarray) -> np.ndarray:
        return np.ones(len(indices), dtype=np.int64)

    def batch(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Return input_ids (batch, 77) int64, and labels (batch,): float32 values or int64 actions."""
        indices = np.asarray(indices)
        rows = indices % self.num_boards
        tokens, labels = self.tokens[rows], self.labels[rows]
        is_move = labels.dtype == np.uint16
        if self.orient:
            labels = orient_actions(labels, black_to_move(tokens)) if is_move else labels
            tokens = orient_tokens(tokens)
        labels = labels.astype(np.int64) if is_move else labels
        flipped = np.flatnonzero((indices >= self.num_boards) & ~can_castle(tokens))
        tokens[flipped] = flip_tokens(tokens[flipped])
        if is_move:
            labels[flipped] = flip_actions(labels[flipped])
        return {"input_ids": tokens.astype(np.int64), "labels": labels}

    def fingerprint(self) -> dict[str, int]:
        some = some_of(self.num_boards)
        return {
            "num_boards": self.num_boards,
            "tokens": zlib.crc32(self.tokens[some].tobytes()),
            "labels": zlib.crc32(self.labels[some].tobytes()),
        }
