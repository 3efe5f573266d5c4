"""Action values on disk, in any number, and out again grouped by board: one row for all moves of a board.

The store is a DuckDB database. Every lot of records that it takes in is kept in the order of DuckDB's hash of
the board, so that a range of hashes can be read without the rest; DuckDB sorts it in bounded memory.
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
# The rest is for Python with its packages, and for records on their way in and out.
SHARE_OF_DUCKDB = 0.5
# Records of a lot take about 90 bytes each.
RECORDS_OF_A_LOT_PER_GB = 1_000_000
# What DuckDB needs for each record that it sorts without writing to disk.
BYTES_TO_SORT = 250
# With more ranges than a lot has blocks (of 122,880 records), blocks would be read more than once or twice.
MAX_RANGES = 64
RECORDS_PER_BATCH = 100_000
# What DuckDB raises where disk or memory are full; as batches are read, Arrow passes it on as its own.
NO_SPACE = (
    duckdb.IOException,
    duckdb.OutOfMemoryException,
    duckdb.FatalException,
    duckdb.TransactionException,
    pa.ArrowException,
)


class RecordStore:
    """Records in a DuckDB file, taken in lot by lot and given back as rows of boards.

    Memory stays within about `memory_limit` gigabytes, however many the records are. Raises InputError where
    disk or memory do not suffice.
    """

    def __init__(self, path: Path, memory_limit: float, threads: int) -> None:
        self._path = path
        self._memory_limit = memory_limit
        self._is_interrupted = False
        self._threads = threads

    def __enter__(self) -> Self:
        self._on_interrupt = signal.signal(signal.SIGINT, self._interrupt)
        spill = self._path.with_suffix(".sorting")
        # A killed run may have left it behind.
        shutil.rmtree(spill, ignore_errors=True)
        config = {
            "memory_limit": f"{int(1000 * SHARE_OF_DUCKDB * self._memory_limit)}MB",
            "threads": self._threads,
            "temp_directory": str(spill),
            "autoinstall_known_extensions": False,
        }
        try:
            with self._named_faults():
                self._connection = duckdb.connect(str(self._path), config=config)
                # It would write over the bars of the command.
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
        """Take in batches of fen, move and win_prob: all of them, or none if anything is raised.

        Records are numbered from `first_number`, and of two for the same move the lower number counts, so
        nothing changes when records are added again with their numbers.
        """
        lot: list[pa.RecordBatch] = []
        num_records = 0
        with self._named_faults():
            self._connection.begin()
        try:
            for batch in batches:
                lot.append(batch)
                num_records += len(batch)
                if num_records >= RECORDS_OF_A_LOT_PER_GB * self._memory_limit:
                    self._insert(lot, first_number)
                    first_number += num_records
                    lot, num_records = [], 0
            if lot:
                self._insert(lot, first_number)
            with self._named_faults():
                self._connection.commit()
        except BaseException:
            # After a full disk DuckDB refuses even this, and the file is as it was.
            with contextlib.suppress(duckdb.Error):
                self._connection.rollback()
            raise

    def _insert(self, lot: list[pa.RecordBatch], first_number: int) -> None:
        table = pa.Table.from_batches(lot)
        numbers = pa.array(np.arange(first_number, first_number + len(table)))
        with self._named_faults():
            self._connection.register("lot", table.append_column("number", numbers))
            self._connection.execute("INSERT INTO records SELECT hash(fen) AS hash, * FROM lot ORDER BY hash")
            self._connection.unregister("lot")

    def count(self, part: int = 0, num_parts: int = 1) -> int:
        """Return the number of records in a part, those of moves given twice included."""
        with self._named_faults():
            ((number,),) = self._connection.sql(
                f"SELECT count(*) FROM records WHERE {_in_range(part, num_parts)}"
            ).fetchall()
        return number

    def sorted_records(self, part: int = 0, num_parts: int = 1) -> Iterator[pa.RecordBatch]:
        """Yield the fen, move and win_prob of the records in one of so many parts, for `group_by_board`.

        The order is that of the hashes of their boards; the parts, about equal, follow each other in it.
        """
        fit_at_once = 1e9 * SHARE_OF_DUCKDB * self._memory_limit / BYTES_TO_SORT
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
                # DuckDB looks for signals too, and makes various errors of the KeyboardInterrupt.
                raise KeyboardInterrupt from error
            if not isinstance(error, NO_SPACE):
                raise
            raise InputError(
                f"{self._path}: {first_line(error)}: free space on the disk, or give more --memory-limit, "
                "and call again"
            ) from error


def _in_range(index: int, number: int) -> str:
    """Say in SQL that a hash is in range `index` of so many equal ones."""
    return f"hash BETWEEN {index * HASHES // number} AND {(index + 1) * HASHES // number - 1}"


def group_by_board(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Yield tables of rows from sorted records; of several records for one move the first counts."""
    rest = None
    for batch in batches:
        records = pa.Table.from_batches([batch])
        if rest is not None:
            records = pa.concat_tables([rest, records])
        # The last board may go on in the next batch.
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
    """Tell which values differ from the one before; the first counts as different."""
    return np.append(True, pc.not_equal(column.slice(1), column.slice(0, len(column) - 1)).to_numpy())
