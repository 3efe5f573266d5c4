"""Read the records of ChessBench's .bag files (google-deepmind/searchless_chess, arXiv 2402.04494).

A record is one board with a move and its win probability, with its own win probability, or with the move that
Stockfish plays; win probabilities are those of the side to move:

    length, FEN, length, move, big-endian float64      lengths are little-endian numbers to base 128
    length, FEN, big-endian float64
    length, FEN, move

They are decoded in batches, without a Python object for each record.
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path

import bagz
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cli.errors import InputError, first_line
from data.chess.rows import PLAYED_MOVES, STATE_VALUES


RECORDS_PER_BATCH = 100_000
ACTION_VALUES = pa.schema([("fen", pa.string()), ("move", pa.string()), ("win_prob", pa.float32())])
UCI_MOVE = re.compile("[a-h][1-8][a-h][1-8][qrbn]?")
SHARDS = re.compile(r"(.*)@(0*[1-9]\d*)([^/]*)")


class UnusualRecord(Exception):
    """A record is damaged, or has a FEN of 128 bytes or more: it cannot be decoded together with others."""


def read_bag(path: str | Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield the records of a .bag file as batches of ACTION_VALUES, STATE_VALUES or PLAYED_MOVES, in order.

    Win probabilities are rounded to float32. Raises InputError if the file is missing or truncated, or a
    record is damaged or of another kind.
    """
    num_records = len(open_bag(path))
    for start in range(0, num_records, RECORDS_PER_BATCH):
        records = _read_range(path, start, min(RECORDS_PER_BATCH, num_records - start))
        try:
            yield _decode_together(records, schema)
        except UnusualRecord:
            rows = [_decode(path, index, record, schema) for index, record in enumerate(records, start)]
            columns = [list(column) for column in zip(*rows, strict=True)]
            yield pa.record_batch(columns, schema=schema)


def schema_of(bag: str | Path) -> pa.Schema:
    """Return the schema of a .bag file by its first record; other records are taken for action values."""
    (record,) = _read_range(bag, 0, 1)
    try:
        _, start = _read_string(record, 0)
    except (ValueError, IndexError):
        return ACTION_VALUES
    rest = record[start:]
    if len(rest) == 8:
        return STATE_VALUES
    return PLAYED_MOVES if UCI_MOVE.fullmatch(rest.decode("latin-1")) else ACTION_VALUES


def _read_range(path: str | Path, start: int, number: int) -> list[bytes]:
    """Return undecoded records. Raises InputError if the file is damaged."""
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
    if Path(path).is_dir():
        raise InputError(f"{path} is a folder: give the files in it, as in {path}/*.bag")
    try:
        bag = bagz.Reader(str(path))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is truncated or not a .bag file ({error}): download it again") from error
    if len(bag) == 0:
        raise InputError(f"{path} holds no records: download it again")
    return bag


def _decode(path: str | Path, index: int, record: bytes, schema: pa.Schema) -> tuple:
    try:
        return decode_record(record, schema)
    except (ValueError, IndexError, struct.error) as error:
        raise InputError(
            f"{path} record {index} is damaged or of another kind ({error}): download the file again"
        ) from error


def decode_record(record: bytes, schema: pa.Schema) -> tuple:
    """Decode a record as a row; raise ValueError, IndexError or struct.error on anything else."""
    fen, start = _read_string(record, 0)
    if schema == STATE_VALUES:
        return fen, _read_win_prob(record[start:])
    if schema == PLAYED_MOVES:
        return fen, _check_move(record[start:].decode("ascii"))
    move, start = _read_string(record, start)
    return fen, _check_move(move), _read_win_prob(record[start:])


def _read_string(record: bytes, start: int) -> tuple[str, int]:
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


def _read_win_prob(data: bytes) -> float:
    (win_prob,) = struct.unpack(">d", data)
    if not 0.0 <= win_prob <= 1.0:
        raise ValueError(f"{win_prob} is not a win probability")
    return win_prob


def _check_move(text: str) -> str:
    if not UCI_MOVE.fullmatch(text):
        raise ValueError(f"{text!r} is not a move")
    return text


def _decode_together(records: list[bytes], schema: pa.Schema) -> pa.RecordBatch:
    """Decode usual records as rows; raise UnusualRecord if there are others among them."""
    ends = np.cumsum([len(record) for record in records])
    starts = np.append(0, ends[:-1])
    text = np.frombuffer(b"".join(records), np.uint8)
    _require((starts < ends).all() and (text[starts] < 128).all())
    fen_ends = starts + 1 + text[starts]
    _require((fen_ends < ends).all())
    columns = [_find_strings(text, starts + 1, fen_ends)]
    if schema == STATE_VALUES:
        _require((fen_ends + 8 == ends).all())
        columns += [_find_win_probs(text, fen_ends)]
    elif schema == PLAYED_MOVES:
        columns += [_find_moves(text, fen_ends, ends)]
    else:
        _require((fen_ends + 1 + text[fen_ends] + 8 == ends).all())
        columns += [_find_moves(text, fen_ends + 1, ends - 8), _find_win_probs(text, ends - 8)]
    return pa.record_batch(columns, schema=schema)


def _require(is_usual: bool | np.bool_) -> None:
    if not is_usual:
        raise UnusualRecord


def _find_strings(text: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> pa.Array:
    # As Arrow strings: the first, everything before the second, the second, and so on.
    bounds = np.stack([starts, ends], axis=1).astype(np.int32)
    buffers = [None, pa.py_buffer(bounds), pa.py_buffer(text)]
    strings = pa.Array.from_buffers(pa.string(), bounds.size - 1, buffers)
    strings = strings.take(pa.array(np.arange(0, bounds.size, 2)))
    _require(pc.all(pc.string_is_ascii(strings)).as_py())
    return strings


def _find_moves(text: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> pa.Array:
    moves = _find_strings(text, starts, ends)
    _require(all(map(UCI_MOVE.fullmatch, pc.unique(moves).to_pylist())))
    return moves


def _find_win_probs(text: np.ndarray, starts: np.ndarray) -> np.ndarray:
    win_probs = np.lib.stride_tricks.sliding_window_view(text, 8)[starts].view(">f8")[:, 0]
    # NaN fails both comparisons.
    _require(((win_probs >= 0) & (win_probs <= 1)).all())
    return win_probs.astype(np.float32)
