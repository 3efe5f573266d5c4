"""Read the records of ChessBench's .bag files (google-deepmind/searchless_chess, arXiv 2402.04494).

A record of action values is one (board, move, win probability):

    length, FEN, length, move, big-endian float64      lengths are little-endian numbers to base 128

They are decoded in batches, without a Python object for each record.
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import bagz
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cli.errors import InputError, first_line


RECORDS_PER_BATCH = 100_000
ACTION_VALUES = pa.schema([("fen", pa.string()), ("move", pa.string()), ("win_prob", pa.float32())])
UCI_MOVE = re.compile("[a-h][1-8][a-h][1-8][qrbn]?")
SHARDS = re.compile(r"(.*)@(\d+)([^/]*)")


class ActionValue(NamedTuple):
    fen: str
    move: str
    win_prob: float


def decode_action_value(record: bytes) -> ActionValue:
    """Decode length, FEN, length, move and a big-endian float64; raise ValueError on anything else."""
    fen, start = read_string(record, 0)
    move, start = read_string(record, start)
    if not UCI_MOVE.fullmatch(move):
        raise ValueError(f"{move!r} is not a move")
    (win_prob,) = struct.unpack(">d", record[start:])
    if not 0.0 <= win_prob <= 1.0:
        raise ValueError(f"{win_prob} is not a win probability")
    return ActionValue(fen, move, win_prob)


def read_action_values(path: str | Path) -> Iterator[pa.RecordBatch]:
    """Yield the action values of a .bag file as batches of ACTION_VALUES, in order.

    Win probabilities are rounded to float32. Raises InputError if the file is missing or truncated, or a
    record is damaged.
    """
    for start, records in read_records(path):
        batch = _decode_usual(records)
        if batch is None:
            values = [_decode(path, index, record) for index, record in enumerate(records, start=start)]
            columns = [list(column) for column in zip(*values, strict=True)]
            batch = pa.record_batch(columns, schema=ACTION_VALUES)
        yield batch


def read_records(path: str | Path) -> Iterator[tuple[int, list[bytes]]]:
    """Yield batches of undecoded records, each with the number of its first; raise InputError as above."""
    num_records = len(open_bag(path))
    for start in range(0, num_records, RECORDS_PER_BATCH):
        yield start, read_range(path, start, min(RECORDS_PER_BATCH, num_records - start))


def read_range(path: str | Path, start: int, number: int) -> list[bytes]:
    """Return undecoded records; raise InputError as above."""
    # The file is opened for every range, because an open file keeps the records it has read in memory.
    bag = open_bag(path)
    try:
        return bag.read_range(start, number)
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is damaged ({first_line(error)}): download it again") from None


def list_shards(name: str | Path) -> list[str]:
    """Return the files of a name like `action_value@2148_data.bag`, or the name itself."""
    if match := SHARDS.fullmatch(str(name)):
        start, number, end = match.groups()
        return [f"{start}-{shard:05d}-of-{int(number):05d}{end}" for shard in range(int(number))]
    return [str(name)]


def open_bag(path: str | Path) -> bagz.Reader:
    """Open a .bag as a sequence of undecoded records; raise InputError if that cannot be done."""
    try:
        bag = bagz.Reader(str(path))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is truncated or not a .bag file ({error}): download it again") from error
    if len(bag) == 0:
        raise InputError(f"{path} holds no records: download it again")
    return bag


def _decode(path: str | Path, index: int, record: bytes) -> ActionValue:
    try:
        return decode_action_value(record)
    except (ValueError, IndexError, struct.error) as error:
        raise InputError(
            f"{path} record {index} is damaged or of another kind ({error}): download the file again"
        ) from error


def _decode_usual(records: list[bytes]) -> pa.RecordBatch | None:
    """Decode records together; return None if one is damaged, or has a FEN of 128 bytes or more."""
    ends = np.cumsum([len(record) for record in records])
    starts = np.append(0, ends[:-1])
    text = np.frombuffer(b"".join(records), np.uint8)
    if (ends == starts).any():
        return None
    # A first byte of 128 or more is only part of a length; then the check of the move fails.
    fen_ends = starts + 1 + text[starts]
    if (fen_ends >= ends).any():
        return None
    if (fen_ends + 1 + text[fen_ends] + 8 != ends).any():
        return None

    # As Arrow strings: FEN, length of the move, move, everything before the next FEN, and so on.
    bounds = np.stack([starts + 1, fen_ends, fen_ends + 1, ends - 8], axis=1).astype(np.int32)
    buffers = [None, pa.py_buffer(bounds), pa.py_buffer(text)]
    strings = pa.Array.from_buffers(pa.binary(), bounds.size - 1, buffers)
    fens = strings.take(pa.array(np.arange(0, bounds.size, 4)))
    moves = strings.take(pa.array(np.arange(2, bounds.size, 4))).dictionary_encode()
    is_move = [UCI_MOVE.fullmatch(move.decode("latin-1")) for move in moves.dictionary.to_pylist()]
    win_probs = np.lib.stride_tricks.sliding_window_view(text, 8)[ends - 8].view(">f8")[:, 0]
    # NaN fails both comparisons.
    if not all(is_move) or not ((win_probs >= 0) & (win_probs <= 1)).all():
        return None
    fens = ascii_strings(fens)
    if fens is None:
        return None
    columns = [fens, moves.cast(pa.string()), win_probs.astype(np.float32)]
    return pa.record_batch(columns, schema=ACTION_VALUES)


def read_string(record: bytes, start: int) -> tuple[str, int]:
    """Read a string after its length, a little-endian base-128 number; return it and its end."""
    length = shift = 0
    while True:
        byte = record[start]
        start += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    end = start + length
    if end > len(record):
        raise ValueError(f"a string of {length} bytes, but {len(record) - start} bytes are left")
    return record[start:end].decode("ascii"), end


def ascii_strings(binary: pa.Array) -> pa.Array | None:
    """Return binary values as strings, or None if they are not ASCII."""
    try:
        strings = binary.cast(pa.string())
    except pa.ArrowInvalid:
        return None
    return strings if pc.all(pc.string_is_ascii(strings)).as_py() else None
