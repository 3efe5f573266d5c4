"""Store any number of action values on disk, and read them grouped by board: one row per board.

The store is a DuckDB database. Every group of records is inserted in the order of DuckDB's hash of the board,
so that a range of hashes can be read without the rest. DuckDB sorts it in bounded memory.
"""

import contextlib
import shutil
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Self

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cli.errors import InputError, first_line
from data.chess.rows import SCHEMA


HASHES = 2**64
# The rest is for Python with its packages, and for records that are inserted and read.
DUCKDB_FRACTION = 0.5
# Records take about 90 bytes each before they are inserted.
RECORDS_PER_INSERT_AND_GB = 1_000_000
# Memory that DuckDB needs per record to sort without writing to disk.
BYTES_TO_SORT = 250
# Also of files. With more than one insert has blocks (of 122,880 records), blocks would be read repeatedly.
MAX_RANGES = 64
RECORDS_PER_BATCH = 100_000
# Raised by DuckDB when disk or memory are full; while batches are read Arrow converts them.
NO_SPACE = (
    duckdb.IOException,
    duckdb.OutOfMemoryException,
    duckdb.FatalException,
    duckdb.TransactionException,
    pa.ArrowException,
)


class NoSpaceError(InputError):
    """Disk or memory are full. Records and files that are complete are kept."""


class RecordStore:
    """Records in a DuckDB file.

    Memory stays within about `memory_limit` gigabytes for any number of records. Raises NoSpaceError if disk
    or memory are full.
    """

    def __init__(self, path: Path, memory_limit: float, threads: int) -> None:
        self._path = path
        self._memory_limit = memory_limit
        self._is_interrupted = False
        self._threads = threads

    def __enter__(self) -> Self:
        self._on_interrupt = signal.signal(signal.SIGINT, self._interrupt)
        spill = self._path.with_suffix(".sorting")
        # Left behind by a killed run.
        shutil.rmtree(spill, ignore_errors=True)
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{int(1000 * DUCKDB_FRACTION * self._memory_limit)}MB",
            "threads": self._threads,
            "temp_directory": str(spill),
            "autoinstall_known_extensions": False,
        }
        try:
            with self._named_faults():
                self._connection = duckdb.connect(str(self._path), config=config)
                # It would overwrite the progress bars of the command.
                self._connection.execute("SET enable_progress_bar = false")
                self._connection.execute(
                    "CREATE TABLE IF NOT EXISTS records "
                    "(hash UBIGINT, fen VARCHAR, move VARCHAR, win_prob FLOAT, number BIGINT)"
                )
        except BaseException:
            signal.signal(signal.SIGINT, self._on_interrupt)
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        signal.signal(signal.SIGINT, self._on_interrupt)
        self._connection.close()

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._is_interrupted = True
        raise KeyboardInterrupt

    def add(self, batches: Iterable[pa.RecordBatch], first_number: int) -> None:
        """Insert batches of fen, move and win_prob: all of them, or none if an error is raised.

        Records are numbered from `first_number`; of two records of one move the lower number counts, so
        adding records again with the same numbers changes nothing.
        """
        waiting: list[pa.RecordBatch] = []
        num_waiting = 0
        with self._named_faults():
            self._connection.begin()
        try:
            for batch in batches:
                waiting.append(batch)
                num_waiting += len(batch)
                if num_waiting >= RECORDS_PER_INSERT_AND_GB * self._memory_limit:
                    self._insert(waiting, first_number)
                    first_number += num_waiting
                    waiting, num_waiting = [], 0
            if waiting:
                self._insert(waiting, first_number)
            with self._named_faults():
                self._connection.commit()
        except BaseException:
            # After a full disk DuckDB fails here too, and the file is unchanged.
            with contextlib.suppress(duckdb.Error):
                self._connection.rollback()
            raise

    def _insert(self, batches: list[pa.RecordBatch], first_number: int) -> None:
        table = pa.Table.from_batches(batches)
        numbers = pa.array(np.arange(first_number, first_number + len(table)))
        with self._named_faults():
            self._connection.register("batch", table.append_column("number", numbers))
            self._connection.execute(
                "INSERT INTO records SELECT hash(fen) AS hash, * FROM batch ORDER BY hash"
            )
            self._connection.unregister("batch")

    def count(self, part: int = 0, num_parts: int = 1) -> int:
        """Return the number of records in a part, including repeated moves."""
        with self._named_faults():
            ((number,),) = self._connection.sql(
                f"SELECT count(*) FROM records WHERE {_in_range(part, num_parts)}"
            ).fetchall()
        return number

    def sorted_records(self, part: int = 0, num_parts: int = 1) -> Iterator[pa.RecordBatch]:
        """Yield fen, move and win_prob of the records in part `part` of `num_parts`, for `group_by_board`.

        They are sorted by the hash of the board; the parts are about equal, consecutive ranges of hashes.
        """
        fit_at_once = 1e9 * DUCKDB_FRACTION * self._memory_limit / BYTES_TO_SORT
        num_ranges = min(MAX_RANGES, 1 + int(self.count() / fit_at_once))
        per_part = -(-num_ranges // num_parts)
        for index in range(part * per_part, (part + 1) * per_part):
            with self._named_faults():
                yield from self._connection.sql(
                    f"SELECT fen, move, win_prob FROM records WHERE {_in_range(index, num_parts * per_part)} "
                    "ORDER BY hash, fen, move, number"
                ).to_arrow_reader(RECORDS_PER_BATCH)

    @contextlib.contextmanager
    def _named_faults(self) -> Iterator[None]:
        try:
            yield
        except (duckdb.Error, pa.ArrowException, RuntimeError) as error:
            if self._is_interrupted:
                # DuckDB also checks for signals, and converts the KeyboardInterrupt to various errors.
                raise KeyboardInterrupt from error
            if not isinstance(error, NO_SPACE):
                raise
            raise NoSpaceError(
                f"{self._path}: {first_line(error)}: free space on the disk, or raise --memory-limit, "
                "and run again"
            ) from error


def _in_range(index: int, number: int) -> str:
    """Return the SQL condition that a hash is in range `index` of `number` equal ranges."""
    return f"hash BETWEEN {index * HASHES // number} AND {(index + 1) * HASHES // number - 1}"


def group_by_board(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Yield tables of rows from sorted records; of several records of one move the first counts."""
    rest = None
    for batch in batches:
        records = pa.Table.from_batches([batch])
        if rest is not None:
            records = pa.concat_tables([rest, records])
        # The last board may continue in the next batch.
        last = np.flatnonzero(_differs_from_last(records["fen"]))[-1]
        if last:
            yield _rows(records.slice(0, last))
        rest = records.slice(last)
    if rest is not None:
        yield _rows(rest)


def _rows(records: pa.Table) -> pa.Table:
    is_board = _differs_from_last(records["fen"])
    is_counted = is_board | _differs_from_last(records["move"])
    counted = records.filter(pa.array(is_counted)).combine_chunks()
    offsets = pa.array(np.append(np.flatnonzero(is_board[is_counted]), len(counted)), pa.int32())
    fens = records["fen"].filter(pa.array(is_board))
    lists = [
        pa.ListArray.from_arrays(offsets, counted[name].combine_chunks()) for name in ("move", "win_prob")
    ]
    return pa.table([fens, *lists], schema=SCHEMA)


def _differs_from_last(column: pa.ChunkedArray) -> np.ndarray:
    """Return which values differ from the previous one; the first counts as different."""
    return np.append(True, pc.not_equal(column.slice(1), column.slice(0, len(column) - 1)).to_numpy())
