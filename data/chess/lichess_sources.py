"""Lichess's evaluations as blocks of whole positions: lichess_db_eval.jsonl.zst, and the rows of its dataset.

Sources: database.lichess.org/#evals, one JSON object per position with several evaluations, each with several
variations; `Lichess/chess-position-evaluations` on the hub, one row per variation. Positions are FENs without
move clocks, scores are White's.
"""

import contextlib
import hashlib
import io
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json
from huggingface_hub import HfFileSystem
from tqdm import tqdm

from cli.errors import InputError
from data.hub import HubName, downloading, local_files, pin, read_name, remote_files
from data.parquet import is_parquet, list_files, open_file, read_batches
from data.text_files import TextSource


HUB_NAME = "Lichess/chess-position-evaluations"
FORMAT = f"lichess_db_eval.jsonl.zst of database.lichess.org and the dataset {HUB_NAME}"
MADE_BY = "Lichess"
POSITIONS_PER_BLOCK, ROWS_PER_BLOCK = 4096, 8192
_VARIATION = pa.struct([("cp", pa.float64()), ("mate", pa.float64()), ("line", pa.string())])
_EVALUATION = pa.struct([("pvs", pa.list_(_VARIATION)), ("knodes", pa.float64()), ("depth", pa.float64())])
LINES = pa.schema([("fen", pa.string()), ("evals", pa.list_(_EVALUATION))])
ROWS = pa.schema(
    [("fen", pa.string()), ("line", pa.string())]
    + [(name, pa.float64()) for name in ("depth", "knodes", "cp", "mate")]
)


class Variations(NamedTuple):
    """Consecutive positions with their evaluations and variations; numbers that are missing are NaN."""

    fens: list[str | None]  # of positions
    position_of: np.ndarray  # of every evaluation
    depths: np.ndarray  # of evaluations
    knodes: np.ndarray
    evaluation_of: np.ndarray  # of every variation
    lines: pa.StringArray  # of variations, moves in UCI notation
    cp: np.ndarray  # centipawns
    mate: np.ndarray  # moves to mate, negative if Black mates
    num_broken: int  # lines that are not JSON of this kind


class Block(NamedTuple):
    """Whole positions as they were read, and `end`, from which `blocks` continues after them."""

    end: list[int]
    content: Any


class Source(NamedTuple):
    """A source of evaluations: its identity, its blocks after an `end`, and how to parse them."""

    identity: dict[str, str]
    blocks: Callable[[list[int] | None], Iterator[Block]]
    parse: Callable[[Any], Variations]


def open_source(name: str) -> Source:
    """Open a JSONL file or pipe, also compressed, a Parquet file, a folder of them, or a dataset on the hub.

    A dataset on the hub is read as it is needed, without copying it. Raises InputError if there is none.
    """
    if read_name(name) is not None:
        pinned = pin(name)
        paths = remote_files(pinned, "train")
        return Source({"source": pinned}, lambda end: _row_blocks(read_name(pinned), paths, end), parse_rows)
    if Path(name).is_dir() or is_parquet(name):
        files = [str(path) for path in list_files(local_files(name, "train"))]
        return Source({"source": name}, lambda end: _row_blocks(None, files, end), parse_rows)
    source = TextSource(name)
    first = source.peek()
    if not parse_lines(first).fens:
        source.close()
        raise InputError(f"{source.name} does not begin with a position of {FORMAT}")
    # Not of the whole file: a download that broke off can be completed.
    identity = {"source": name, "sha256 of its first line": hashlib.sha256(first.encode()).hexdigest()}
    return Source(identity, lambda end: _line_blocks(source, end), parse_lines)


def _line_blocks(source: TextSource, end: list[int] | None) -> Iterator[Block]:
    num_lines = end[0] if end else 0
    with contextlib.closing(source):
        lines = islice(source, num_lines, None)
        while block := list(islice(lines, POSITIONS_PER_BLOCK)):
            num_lines += len(block)
            yield Block([num_lines], "".join(block))


def _row_blocks(name: HubName | None, paths: list[str], end: list[int] | None) -> Iterator[Block]:
    """Yield rows of files; the end of a block is the index of a file and a row in it."""
    start = end or [0, 0]
    waiting = ROWS.empty_table()
    with tqdm(
        desc="reading", unit=" files", unit_scale=True, total=len(paths), initial=start[0], delay=2
    ) as progress:
        for index in range(start[0], len(paths)):
            for end_row, num_rows, rows in _read_rows(name, paths[index]):
                progress.update(len(rows) / num_rows)
                if index == start[0]:
                    rows = rows.slice(max(0, len(rows) - max(0, end_row - start[1])))
                waiting = pa.concat_tables([waiting, rows]).combine_chunks()
                # The last position may continue in the next rows or the next file.
                num_waiting = _rows_of_last_position(waiting["fen"])
                if num_waiting < len(waiting):
                    num_whole = len(waiting) - num_waiting
                    yield Block([index, end_row - num_waiting], waiting.slice(0, num_whole))
                    waiting = waiting.slice(num_whole)
    if len(waiting):
        yield Block([len(paths), 0], waiting)


def _read_rows(name: HubName | None, path: str) -> Iterator[tuple[int, int, pa.Table]]:
    """Yield parts of a Parquet file, each with the index of the row after it and the number of all rows."""
    with downloading(name) if name else contextlib.nullcontext():
        file = open_file(Path(path), ROWS, MADE_BY, HfFileSystem().open(path) if name else None)
        for first_row, batch in read_batches(Path(path), file, ROWS.names, ROWS_PER_BLOCK):
            # Not safe: integers above 2**53 are rounded, as those of JSON are.
            rows = pa.table(batch).cast(ROWS, safe=False)
            fens = pc.fill_null(rows["fen"], "")
            yield first_row + len(rows), file.metadata.num_rows, rows.set_column(0, "fen", fens)


def _rows_of_last_position(fens: pa.ChunkedArray) -> int:
    is_last = pc.equal(fens, fens[-1]).to_numpy() if len(fens) else np.ones(0, dtype=bool)
    return len(is_last) if is_last.all() else int(is_last[::-1].argmin())


def parse_lines(text: str) -> Variations:
    """Parse lines of JSON; those that are none, or have no FEN or no variations, are counted as broken."""
    lines = [line for line in text.split("\n") if not line.isspace() and line]
    table = _read_json(text)
    if table is None:
        tables = [_read_json(line) for line in lines]
        table = pa.concat_tables([LINES.empty_table(), *(one for one in tables if one is not None)])
    is_whole = pc.and_(pc.is_valid(table["fen"]), pc.greater(_lengths(table["evals"]), 0))
    table = table.filter(is_whole).combine_chunks()
    evaluations = table["evals"].combine_chunks()
    lengths = _lengths(evaluations).to_numpy()
    evaluations = evaluations.flatten()
    variations = pc.struct_field(evaluations, "pvs")
    evaluation_of = np.repeat(np.arange(len(evaluations)), _lengths(variations).to_numpy())
    variations = variations.flatten()
    position_of = np.repeat(np.arange(len(table)), lengths)
    return Variations(
        table["fen"].to_pylist(),
        position_of,
        _numbers(pc.struct_field(evaluations, "depth")),
        _numbers(pc.struct_field(evaluations, "knodes")),
        evaluation_of,
        pc.struct_field(variations, "line"),
        _numbers(pc.struct_field(variations, "cp")),
        _numbers(pc.struct_field(variations, "mate")),
        len(lines) - len(table),
    )


def parse_rows(rows: pa.Table) -> Variations:
    """Parse rows, one per variation; those of one position, and of one evaluation of it, are consecutive."""
    fens = rows["fen"].combine_chunks()
    depths, knodes, cp, mate = (_numbers(rows[name]) for name in ("depth", "knodes", "cp", "mate"))
    starts_position = np.ones(len(rows), dtype=bool)
    starts_position[1:] = pc.not_equal(fens[1:], fens[:-1]).to_numpy(zero_copy_only=False)
    starts = starts_position.copy()  # an evaluation
    starts[1:] |= (depths[1:] != depths[:-1]) | (knodes[1:] != knodes[:-1])
    return Variations(
        fens.filter(pa.array(starts_position)).to_pylist(),
        (np.cumsum(starts_position) - 1)[starts],
        depths[starts],
        knodes[starts],
        np.cumsum(starts) - 1,
        rows["line"].combine_chunks(),
        cp,
        mate,
        0,
    )


def _read_json(text: str) -> pa.Table | None:
    """Read lines of JSON; None if one of them is not an object of this kind."""
    data = text.encode()
    if not data.strip():
        return LINES.empty_table()
    try:
        return pa.json.read_json(
            io.BytesIO(data),
            pa.json.ReadOptions(use_threads=False, block_size=len(data) + 1),
            pa.json.ParseOptions(explicit_schema=LINES, unexpected_field_behavior="ignore"),
        )
    except pa.ArrowInvalid:
        return None


def _lengths(lists: pa.ListArray | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    return pc.fill_null(pc.list_value_length(lists), 0)


def _numbers(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Return numbers, float64, with NaN for those that are missing."""
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return pc.fill_null(column, np.nan).to_numpy(zero_copy_only=False)
