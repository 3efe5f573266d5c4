"""Read rows of chess data (data/chess/rows.py) as arrays, checked: the edge where boards come in.

Row numbers in messages count from 0.
"""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from cli.errors import InputError
from data.chess.legality import ImpossibleBoard, find_legal_actions
from data.chess.rows import SCHEMA
from data.parquet import list_files, open_file, read_batches
from models.tokenization_chess import ACTIONS, FenError, tokenize_fens


ROWS_PER_CHUNK = 8192
# Starting a process takes seconds (it imports torch), in which a running one checks this many boards.
ROWS_PER_PROCESS = 50_000
MADE_BY = "python -m data.chess.annotate and python -m data.chess.chessbench"
_ACTIONS = pa.array(ACTIONS)


class Chunk(NamedTuple):
    """Consecutive boards as arrays; moves and values of all boards in a row."""

    tokens: np.ndarray  # (n, 77) uint8, not oriented
    lengths: np.ndarray  # (n,) int64, moves of each board
    actions: np.ndarray  # (m,) uint16
    win_probs: np.ndarray  # (m,) float32


class _Columns(NamedTuple):
    fens: list[str]
    lengths: np.ndarray
    actions: np.ndarray
    win_probs: np.ndarray


class _RowFault(Exception):
    """A row and what is wrong with it, as arguments, so that it survives the way from another process."""


def read_chunks(
    parquet: str | Path, check_moves: bool = True, processes: int | None = None
) -> Iterator[Chunk]:
    """Yield all boards of a Parquet file, or a folder of *.parquet, in order, with a few chunks in memory.

    Everything is checked; that moves are legal, only with `check_moves`. `processes` work on it, by default
    one per core. Raises InputError with file and row for the first fault found.
    """
    files = [(path, open_file(path, SCHEMA, MADE_BY)) for path in list_files(parquet)]
    num_rows = sum(file.metadata.num_rows for _, file in files)
    if num_rows == 0:
        raise InputError(f"{parquet}: holds no boards")
    if processes is None:
        processes = min(os.cpu_count() or 1, 1 + num_rows // ROWS_PER_PROCESS)
    if processes < 1:
        raise InputError(f"processes is {processes}; it must be at least 1")
    columns = (part for path, file in files for part in _read_columns(path, file))
    # The bar appears only where it takes longer than a few seconds.
    with tqdm(
        total=num_rows, unit=" boards", unit_scale=True, desc=f"checking {parquet}", delay=3
    ) as progress:
        for chunk in _tokenize_in_order(columns, check_moves, processes):
            yield chunk
            progress.update(len(chunk.tokens))


def _read_columns(path: Path, file: pq.ParquetFile) -> Iterator[tuple[str, int, _Columns]]:
    """Yield file name, number of the first row, and columns of consecutive rows."""
    for first_row, batch in read_batches(path, file, SCHEMA.names, ROWS_PER_CHUNK):
        try:
            yield str(path), first_row, _check_columns(batch)
        except _RowFault as fault:
            raise _at_row(str(path), first_row, fault) from None


def _at_row(path: str, first_row: int, fault: _RowFault) -> InputError:
    row, problem = fault.args
    return InputError(f"{path} row {first_row + row}: {problem}")


def _check_columns(batch: pa.RecordBatch) -> _Columns:
    """Check what needs no knowledge of the board, for all rows at once."""
    for name in SCHEMA.names:
        for row in np.flatnonzero(_is_null(batch.column(name)))[:1]:
            raise _RowFault(int(row), f"{name} is null")
    fens, moves, win_probs = (batch.column(name) for name in SCHEMA.names)
    lengths = pc.list_value_length(moves).to_numpy().astype(np.int64)
    num_values = pc.list_value_length(win_probs).to_numpy()
    for row in np.flatnonzero(lengths != num_values)[:1]:
        raise _RowFault(int(row), f"{lengths[row]} moves, but {num_values[row]} win_probs")
    for row in np.flatnonzero(lengths == 0)[:1]:
        raise _RowFault(int(row), "no moves; leave out boards without labelled moves")

    rows = np.repeat(np.arange(len(batch)), lengths)
    moves, win_probs = moves.flatten(), win_probs.flatten()
    for index in np.flatnonzero(_is_null(moves) | _is_null(win_probs))[:1]:
        raise _RowFault(int(rows[index]), "a move or a win probability is null")
    action_ids = pc.index_in(moves.cast(pa.string()), value_set=_ACTIONS)
    for index in np.flatnonzero(_is_null(action_ids))[:1]:
        problem = f"{moves[index].as_py()!r} is not a move in UCI notation such as e2e4 or a7a8q"
        raise _RowFault(int(rows[index]), problem)
    actions, values = action_ids.to_numpy(), win_probs.to_numpy()
    # NaN fails both comparisons.
    for index in np.flatnonzero(~((values >= 0) & (values <= 1)))[:1]:
        problem = f"win probability {values[index]:g} of {ACTIONS[actions[index]]!r} is not between 0 and 1"
        raise _RowFault(int(rows[index]), problem)
    keys = np.sort(rows * len(ACTIONS) + actions)
    for index in np.flatnonzero(keys[1:] == keys[:-1])[:1]:
        row, action = divmod(int(keys[index]), len(ACTIONS))
        raise _RowFault(row, f"{ACTIONS[action]!r} is listed twice")
    return _Columns(fens.to_pylist(), lengths, actions.astype(np.uint16), values.astype(np.float32))


def _is_null(column: pa.Array) -> np.ndarray:
    return column.is_null().to_numpy(zero_copy_only=False)


def _tokenize_in_order(
    parts: Iterable[tuple[str, int, _Columns]], check_moves: bool, processes: int
) -> Iterator[Chunk]:
    if processes == 1:
        for path, first_row, columns in parts:
            try:
                yield _tokenize(columns, check_moves)
            except _RowFault as fault:
                raise _at_row(path, first_row, fault) from None
        return
    # Forking a process that holds threads or a GPU can hang. Workers leave Ctrl-C to this process.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, context, signal.signal, (signal.SIGINT, signal.SIG_IGN))
    waiting: deque = deque()

    def finish_oldest() -> Chunk:
        path, first_row, future = waiting.popleft()
        try:
            return future.result()
        except _RowFault as fault:
            raise _at_row(path, first_row, fault) from None

    try:
        for path, first_row, columns in parts:
            waiting.append((path, first_row, pool.submit(_tokenize, columns, check_moves)))
            # A bound on what is under way bounds the memory.
            if len(waiting) > 2 * processes:
                yield finish_oldest()
        while waiting:
            yield finish_oldest()
    finally:
        pool.shutdown(cancel_futures=True)


def _tokenize(columns: _Columns, check_moves: bool) -> Chunk:
    """Tokenize boards and check what needs their position."""
    try:
        tokens = tokenize_fens(columns.fens)
    except FenError as error:
        raise _RowFault(error.index, str(error)) from None
    if check_moves:
        try:
            legal = find_legal_actions(tokens)
        except ImpossibleBoard as error:
            problem = f"impossible position {columns.fens[error.index]}: {error.reason}"
            raise _RowFault(error.index, problem) from None
        rows = np.repeat(np.arange(len(tokens)), columns.lengths)
        for index in np.flatnonzero(~legal[rows, columns.actions])[:1]:
            row, move = int(rows[index]), ACTIONS[columns.actions[index]]
            raise _RowFault(row, f"{move!r} is not a legal move in {columns.fens[row]}")
    return Chunk(tokens, columns.lengths, columns.actions, columns.win_probs)
