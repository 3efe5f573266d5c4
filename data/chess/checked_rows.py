"""Read rows of chess data (data/chess/rows.py) as arrays, and check them where they enter the program.

Row numbers in messages count from 0.
"""

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from cli.errors import InputError
from data.chess.legality import ImpossibleBoard, find_legal_actions
from data.chess.rows import MADE_BY, SCHEMA
from data.parquet import RowFault, list_files, open_file, read_batches
from data.worker_pool import map_in_order
from models.chess_tokens import ACTIONS, FenError, tokenize_fens


ROWS_PER_CHUNK = 8192
# Starting a process takes seconds, in which a running one checks about this many boards.
ROWS_PER_PROCESS = 50_000
_ACTIONS = pa.array(ACTIONS)


class Chunk(NamedTuple):
    """Consecutive boards as arrays, with the moves and values of all boards concatenated."""

    tokens: np.ndarray  # (n, 77) uint8, not oriented
    lengths: np.ndarray  # (n,) int64, moves of each board
    actions: np.ndarray  # (m,) uint16
    win_probs: np.ndarray  # (m,) float32
    # Legal moves without a label; none if moves were not checked.
    unlabelled_lengths: np.ndarray  # (n,) int64
    unlabelled: np.ndarray  # (u,) uint16


def read_chunks(
    parquet: str | Path, check_moves: bool = True, processes: int | None = None
) -> Iterator[Chunk]:
    """Yield all boards of a Parquet file, or of a folder of them, in order, with a few chunks in memory.

    Everything is checked; the legality of moves, only with `check_moves`. By default there is one process per
    core for large files. Raises InputError with file and row for the first fault.
    """
    return read_checked(parquet, SCHEMA, MADE_BY, functools.partial(_check, check_moves), processes)


def read_checked(
    parquet: str | Path,
    schema: pa.Schema,
    made_by: str,
    check: Callable[[pa.RecordBatch], Any],
    processes: int | None,
) -> Iterator[Any]:
    """Yield `check` of every batch of rows. Raises InputError with file and row for a RowFault."""
    files = [(path, open_file(path, schema, made_by)) for path in list_files(parquet)]
    num_rows = sum(file.metadata.num_rows for _, file in files)
    if num_rows == 0:
        raise InputError(f"{parquet}: holds no boards")
    processes = processes or min(os.cpu_count() or 1, 1 + num_rows // ROWS_PER_PROCESS)
    batches = (
        (str(path), first_row, batch)
        for path, file in files
        for first_row, batch in read_batches(path, file, schema.names, ROWS_PER_CHUNK)
    )
    # The bar appears only if checking takes longer than a few seconds.
    with tqdm(
        total=num_rows, unit=" boards", unit_scale=True, desc=f"checking {parquet}", delay=3
    ) as progress:
        for chunk in map_in_order(functools.partial(_name_fault, check), batches, processes):
            yield chunk
            progress.update(len(chunk.tokens))


def _name_fault(check: Callable[[pa.RecordBatch], Any], part: tuple[str, int, pa.RecordBatch]) -> Any:
    """Return `check` of a batch of rows, given with its file and the number of its first row."""
    path, first_row, batch = part
    try:
        return check(batch)
    except RowFault as fault:
        raise InputError(f"{path} row {first_row + fault.row}: {fault.problem}") from None


def _check(check_moves: bool, batch: pa.RecordBatch) -> Chunk:
    fens, lengths, actions, win_probs = _check_columns(batch)
    tokens, unlabelled_lengths, unlabelled = check_positions(fens, lengths, actions, check_moves)
    return Chunk(tokens, lengths, actions, win_probs, unlabelled_lengths, unlabelled)


def _check_columns(batch: pa.RecordBatch) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Check everything that does not depend on the positions; return FENs, lengths, actions and values."""
    check_not_null(batch)
    fens, moves, win_probs = (batch.column(name) for name in SCHEMA.names)
    lengths = pc.list_value_length(moves).to_numpy().astype(np.int64)
    num_values = pc.list_value_length(win_probs).to_numpy()
    for row in np.flatnonzero(lengths != num_values)[:1]:
        raise RowFault(row, f"{lengths[row]} moves, but {num_values[row]} win_probs")
    for row in np.flatnonzero(lengths == 0)[:1]:
        raise RowFault(row, "the board has no moves; leave such boards out")

    rows = np.repeat(np.arange(len(batch)), lengths)
    moves, win_probs = moves.flatten(), win_probs.flatten()
    for index in np.flatnonzero(_is_null(moves) | _is_null(win_probs))[:1]:
        raise RowFault(rows[index], "a move or a win probability is null")
    actions = find_actions(moves, rows)
    values = win_probs.to_numpy()
    for index in find_no_win_probs(values)[:1]:
        problem = f"win probability {values[index]} of {ACTIONS[actions[index]]!r} is not between 0 and 1"
        raise RowFault(rows[index], problem)
    keys = np.sort(rows * len(ACTIONS) + actions)
    for index in np.flatnonzero(keys[1:] == keys[:-1])[:1]:
        row, action = divmod(int(keys[index]), len(ACTIONS))
        raise RowFault(row, f"{ACTIONS[action]!r} is listed twice")
    return fens.to_pylist(), lengths, actions, values.astype(np.float32)


def check_not_null(batch: pa.RecordBatch) -> None:
    """Raise RowFault for the first null of a batch."""
    for name in batch.schema.names:
        for row in np.flatnonzero(_is_null(batch.column(name)))[:1]:
            raise RowFault(row, f"{name} is null")


def find_actions(moves: pa.Array, rows: np.ndarray) -> np.ndarray:
    """Return the actions of moves (m,) in UCI, (m,) uint16; raise RowFault, with `rows` (m,), for others."""
    action_ids = pc.index_in(moves.cast(pa.string()), value_set=_ACTIONS)
    for index in np.flatnonzero(_is_null(action_ids))[:1]:
        problem = f"{moves[index].as_py()!r} is not a move in UCI notation such as e2e4 or a7a8q"
        raise RowFault(rows[index], problem)
    return action_ids.to_numpy().astype(np.uint16)


def find_no_win_probs(values: np.ndarray) -> np.ndarray:
    """Return the indices of the values that are not between 0 and 1."""
    # NaN fails both comparisons.
    return np.flatnonzero(~((values >= 0) & (values <= 1)))


def _is_null(column: pa.Array) -> np.ndarray:
    return column.is_null().to_numpy(zero_copy_only=False)


def check_positions(
    fens: list[str], lengths: np.ndarray, actions: np.ndarray, check_moves: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokenize boards, and with `check_moves` check that they are possible and the moves legal.

    Return tokens (n, 77), and the numbers and actions of the legal moves that are not among `actions`.
    """
    try:
        tokens = tokenize_fens(fens)
    except FenError as error:
        raise RowFault(error.index, str(error)) from None
    if not check_moves:
        return tokens, np.zeros(len(tokens), dtype=np.int64), np.zeros(0, dtype=np.uint16)
    try:
        legal = find_legal_actions(tokens)
    except ImpossibleBoard as error:
        problem = f"impossible position {fens[error.index]}: {error.reason}"
        raise RowFault(error.index, problem) from None
    rows = np.repeat(np.arange(len(tokens)), lengths)
    for index in np.flatnonzero(~legal[rows, actions])[:1]:
        row, move = int(rows[index]), ACTIONS[actions[index]]
        raise RowFault(row, f"{move!r} is not a legal move in {fens[row]}")
    legal[rows, actions] = False
    return tokens, legal.sum(axis=1), np.nonzero(legal)[1].astype(np.uint16)
