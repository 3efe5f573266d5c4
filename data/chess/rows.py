"""The row formats of chess data: boards with action values, boards with a state value, and played moves."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import pyarrow as pa

from data.parquet import write_tables


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
PLAYED_MOVES = pa.schema(
    [pa.field("fen", pa.string(), nullable=False), pa.field("move", pa.string(), nullable=False)]
)
ROWS_PER_GROUP = 16_384
COMPRESSION = 19
# For conversions of many rows, where level 19 would take longer than everything else.
FAST_COMPRESSION = 3
MADE_BY = "python -m data.chess.annotate and python -m data.chess.chessbench"  # for error messages
# A model's prediction for a state: the values of actions, the value of the state, or the move played.
Target = Literal["action_value", "state_value", "move"]


class Row(NamedTuple):
    """A board: its FEN, its moves in UCI notation, and the mover's win probability after each move."""

    fen: str
    moves: list[str]
    win_probs: list[float]


class PlayedMove(NamedTuple):
    """A board as its FEN, and the move played there in UCI notation."""

    fen: str
    move: str


def boards_file(part: int, num_files: int) -> str:
    """Return the name of file `part` of a folder of `num_files` files of boards."""
    return f"boards-{part:05d}-of-{num_files:05d}.parquet"


def write_rows(path: str | Path, rows: Iterable[tuple], schema: pa.Schema = SCHEMA) -> int:
    """Write rows of a schema to a Parquet file, atomically, one row group at a time; return their number."""
    return write_tables(path, _tables(iter(rows), schema), schema, ROWS_PER_GROUP, COMPRESSION)


def _tables(rows: Iterator[tuple], schema: pa.Schema) -> Iterator[pa.Table]:
    while group := list(itertools.islice(rows, ROWS_PER_GROUP)):
        columns = [list(column) for column in zip(*group, strict=True)]
        yield pa.table(columns, schema=schema)
