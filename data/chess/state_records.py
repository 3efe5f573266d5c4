"""Convert ChessBench's state values and moves of behavioural cloning: one Parquet row per record.

A record is one board and its label (google-deepmind/searchless_chess, arXiv 2402.04494):

    length, FEN, big-endian float64        the win probability of the side to move
    length, FEN, move                      the move that Stockfish plays, to the end of the record
"""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from cli.errors import InputError
from cli.files import atomic_write
from data.chess.bag_records import (
    UCI_MOVE,
    ascii_strings,
    list_shards,
    open_bag,
    read_range,
    read_records,
    read_string,
)
from data.chess.rows import PLAYED_MOVES, ROWS_PER_GROUP, STATE_VALUES
from data.resumable_job import ResumableJob


# Level 19 would take longer than everything else.
COMPRESSION = 3


def schema_of(bag: str | Path) -> pa.Schema | None:
    """Return the schema of the rows of a .bag file by its first record; None if it holds action values."""
    (record,) = read_range(bag, 0, 1)
    try:
        _, start = read_string(record, 0)
    except (ValueError, IndexError):
        return None
    rest = record[start:]
    if len(rest) == 8:
        return STATE_VALUES
    return PLAYED_MOVES if UCI_MOVE.fullmatch(rest.decode("latin-1")) else None


def convert_states(
    bags: Sequence[str | Path], output: Path, schema: pa.Schema, num_files: int | None = None
) -> int:
    """Write the records of `bags` as rows of `schema`, in order, and return their number.

    With `num_files` the output is a folder of that many Parquet files, each with the records of some shards.
    An interrupted conversion to a folder keeps complete files. Raises InputError for files that are missing,
    damaged or of another kind, and if there are fewer shards than files.
    """
    shards = [shard for bag in bags for shard in list_shards(bag)]
    if num_files is not None and num_files > len(shards):
        raise InputError(f"--files {num_files}: there are {len(shards)} shards, and no file can hold less")
    lengths = [len(open_bag(shard)) for shard in tqdm(shards, desc="opening", unit=" files", delay=3)]
    progress = tqdm(desc="converting", unit=" records", unit_scale=True, total=sum(lengths))
    if num_files is None:
        with progress:
            _write(shards, output, schema, progress)
        return sum(lengths)
    counts = [f"{shard} {length}" for shard, length in zip(shards, lengths, strict=True)]
    with ResumableJob(output, {"input": counts, "files": num_files}) as job, progress:
        folder = job.folder / "files"
        folder.mkdir(exist_ok=True)
        for part in range(num_files):
            path = folder / f"boards-{part:05d}-of-{num_files:05d}.parquet"
            if path.exists():
                progress.update(pq.read_metadata(path).num_rows)
                continue
            first, last = (part * len(shards) // num_files, (part + 1) * len(shards) // num_files)
            _write(shards[first:last], path, schema, progress)
        folder.rename(output)
    return sum(lengths)


def _write(shards: Sequence[str], path: Path, schema: pa.Schema, progress: tqdm) -> None:
    with (
        atomic_write(path) as unfinished,
        pq.ParquetWriter(unfinished, schema, compression="zstd", compression_level=COMPRESSION) as writer,
    ):
        for shard in shards:
            for batch in _read(shard, schema):
                writer.write_batch(batch, ROWS_PER_GROUP)
                progress.update(len(batch))


def _read(shard: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for start, records in read_records(shard):
        batch = _decode_usual(records, schema)
        if batch is None:
            rows = [_decode(shard, index, record, schema) for index, record in enumerate(records, start)]
            columns = [list(column) for column in zip(*rows, strict=True)]
            batch = pa.record_batch(columns, schema=schema)
        yield batch


def _decode(shard: str, index: int, record: bytes, schema: pa.Schema) -> tuple[str, float | str]:
    try:
        fen, start = read_string(record, 0)
        if schema == STATE_VALUES:
            (label,) = struct.unpack(">d", record[start:])
            is_valid = 0.0 <= label <= 1.0
        else:
            label = record[start:].decode("ascii")
            is_valid = UCI_MOVE.fullmatch(label)
        if not is_valid:
            raise ValueError(f"{label!r} is not a {'win probability' if schema == STATE_VALUES else 'move'}")
        return fen, label
    except (ValueError, IndexError, struct.error) as error:
        raise InputError(
            f"{shard} record {index} is damaged or of another kind ({error}): download the file again"
        ) from error


def _decode_usual(records: list[bytes], schema: pa.Schema) -> pa.RecordBatch | None:
    """Decode records together; return None if one is damaged, or has a FEN of 128 bytes or more."""
    ends = np.cumsum([len(record) for record in records])
    starts = np.append(0, ends[:-1])
    text = np.frombuffer(b"".join(records), np.uint8)
    if (ends == starts).any() or (text[starts] >= 128).any():
        return None
    fen_ends = starts + 1 + text[starts]
    if (fen_ends >= ends).any():
        return None
    # As Arrow strings: FEN, label, the length of the next FEN, and so on.
    bounds = np.stack([starts + 1, fen_ends, ends], axis=1).astype(np.int32)
    strings = pa.Array.from_buffers(
        pa.binary(), bounds.size - 1, [None, pa.py_buffer(bounds), pa.py_buffer(text)]
    )
    fens, labels = (strings.take(pa.array(np.arange(first, bounds.size - 1, 3))) for first in (0, 1))
    if schema == STATE_VALUES:
        if (ends - fen_ends != 8).any():
            return None
        values = np.lib.stride_tricks.sliding_window_view(text, 8)[fen_ends].view(">f8")[:, 0]
        # NaN fails both comparisons.
        if not ((values >= 0) & (values <= 1)).all():
            return None
        labels = pa.array(values.astype(np.float32))
    else:
        moves = labels.dictionary_encode()
        if not all(UCI_MOVE.fullmatch(move.decode("latin-1")) for move in moves.dictionary.to_pylist()):
            return None
        labels = moves.cast(pa.binary()).cast(pa.string())
    fens = ascii_strings(fens)
    return None if fens is None else pa.record_batch([fens, labels], schema=schema)
