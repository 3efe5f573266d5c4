"""The row format of chess data: one Parquet row per board, with every labelled move of it."""

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
ROWS_PER_GROUP = 16_384


class Row(NamedTuple):
    """A board: its FEN, its moves in UCI notation, and the mover's win probability after each of them."""

    fen: str
    moves: list[str]
    win_probs: list[float]


def write_rows(path: str | Path, rows: Iterable[Row]) -> int:
    """Write rows to a Parquet file, whole or not at all, a row group at a time; return their number."""
    num_rows = 0
    with (
        atomic_write(path) as unfinished,
        pq.ParquetWriter(unfinished, SCHEMA, compression="zstd", compression_level=19) as writer,
    ):
        group: list[Row] = []
        for row in rows:
            group.append(row)
            if len(group) == ROWS_PER_GROUP:
                writer.write_table(_table(group))
                num_rows += len(group)
                group = []
        if group:
            writer.write_table(_table(group))
            num_rows += len(group)
    return num_rows


def _table(group: list[Row]) -> pa.Table:
    return pa.table([list(column) for column in zip(*group, strict=True)], schema=SCHEMA)
