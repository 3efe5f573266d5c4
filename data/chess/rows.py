"""The row formats of chess data: boards with action values, and boards with a state value."""

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from cli.files import atomic_write


SCHEMA = pa.schema(
    [
        pa.field("fen", pa.string(), nullable=False),
        pa.field("moves", pa.list_(pa.string()), nullable=False),
        pa.field("win_probs", pa.list_(pa.float32()), nullable=False),
    ]
)
STATE_VALUES = pa.schema(
    [pa.field("fen", pa.string(), nullable=False), pa.field("win_prob", pa.float32(), nullable=False)]
)
ROWS_PER_GROUP = 16_384
MADE_BY = "python -m data.chess.annotate and python -m data.chess.chessbench"  # for error messages


class Row(NamedTuple):
    """A board: its FEN, its moves in UCI notation, and the mover's win probability after each move."""

    fen: str
    moves: list[str]
    win_probs: list[float]


def write_rows(path: str | Path, rows: Iterable[Row]) -> int:
    """Write rows to a Parquet file, atomically, one row group at a time; return their number."""
    num_rows = 0
    rows = iter(rows)
    with (
        atomic_write(path) as unfinished,
        pq.ParquetWriter(unfinished, SCHEMA, compression="zstd", compression_level=19) as writer,
    ):
        while group := list(itertools.islice(rows, ROWS_PER_GROUP)):
            columns = [list(column) for column in zip(*group, strict=True)]
            writer.write_table(pa.table(columns, schema=SCHEMA))
            num_rows += len(group)
    return num_rows
