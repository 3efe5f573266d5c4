"""Convert ChessBench's action values from .bag files to one Parquet row per board.

The files are those of google-deepmind/searchless_chess (arXiv 2402.04494); every record is one (board, move,
win probability), and the records of a board may lie anywhere in any shard.

    python -m data.chess.chessbench action_value-*_data.bag --output boards.parquet
"""

import argparse
import contextlib
import math
import re
import struct
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from tqdm import tqdm

from data.chess.rows import Row, write_rows
from data.command_line import InputError, command
from data.files import check_output


# Records grouped at a time: Python needs about 70 bytes for each, so 0.7 GB.
RECORDS_IN_MEMORY = 10_000_000
# Every bucket is an open file, and systems allow a process no more than 1,024 by default.
MAX_BUCKETS = 512
UCI_MOVE = re.compile("[a-h][1-8][a-h][1-8][qrbn]?")

Record = TypeVar("Record")


class ActionValue(NamedTuple):
    fen: str
    move: str
    win_prob: float


class StateValue(NamedTuple):
    fen: str
    win_prob: float


class BehavioralCloning(NamedTuple):
    fen: str
    move: str


def decode_action_value(record: bytes) -> ActionValue:
    """Decode length, FEN, length, move and a big-endian float64; raise ValueError on anything else."""
    fen, start = _string(record, 0)
    move, start = _string(record, start)
    return ActionValue(fen, _move(move), _win_prob(record, start))


def decode_state_value(record: bytes) -> StateValue:
    """Decode length, FEN and a big-endian float64; raise ValueError on anything else."""
    fen, start = _string(record, 0)
    return StateValue(fen, _win_prob(record, start))


def decode_behavioral_cloning(record: bytes) -> BehavioralCloning:
    """Decode length, FEN and a move that fills the rest; raise ValueError on anything else."""
    fen, start = _string(record, 0)
    return BehavioralCloning(fen, _move(record[start:].decode("ascii")))


def read_records(path: str | Path, decode: Callable[[bytes], Record]) -> Iterator[Record]:
    """Yield the decoded records of a .bag file, or of all shards of a name like `action_value@2148_data.bag`.

    Raises InputError if the file is missing or cut off, if a record is damaged, or if the package bagz is
    missing.
    """
    bag = open_bag(path)
    for index in range(len(bag)):
        try:
            yield decode(bag[index])
        except (ValueError, IndexError, struct.error) as error:
            raise InputError(
                f"{path} record {index} is damaged or of another kind ({error}): fetch the file again"
            ) from error


def open_bag(path: str | Path) -> Sequence[bytes]:
    """Open a .bag as a sequence of undecoded records; raise InputError if that cannot be done."""
    try:
        import bagz
    except ImportError as error:
        raise InputError(".bag files need the package bagz: pip install bagz") from error
    try:
        bag = bagz.Reader(str(path))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is cut off or not a .bag file ({error}): fetch it again") from error
    if len(bag) == 0:
        raise InputError(f"{path} holds no records: fetch it again")
    return bag


def gather_boards(
    paths: Sequence[str | Path], folder: Path, records_in_memory: int = RECORDS_IN_MEMORY
) -> Iterator[Row]:
    """Yield one row per board with all of its moves in the action-value files, in alphabetical order.

    More records than `records_in_memory` are first sorted into files in `folder` by a hash of their board,
    and then grouped one such file at a time; that takes as much space there as the input has. Of a move that
    is given twice the first value counts.
    """
    total = sum(len(open_bag(path)) for path in paths)
    records = tqdm(
        (record for path in paths for record in read_records(path, decode_action_value)),
        desc="reading",
        unit=" records",
        total=total,
        unit_scale=True,
    )
    num_buckets = min(MAX_BUCKETS, math.ceil(total / records_in_memory))
    if num_buckets == 1:
        yield from _group(records)
        return
    buckets = [folder / f"bucket_{number}.tsv" for number in range(num_buckets)]
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(bucket.open("w", encoding="ascii")) for bucket in buckets]
        for fen, move, win_prob in records:
            # Python's own hash of a string differs from run to run.
            files[zlib.crc32(fen.encode()) % num_buckets].write(f"{fen}\t{move}\t{win_prob!r}\n")
    for bucket in tqdm(buckets, desc="grouping", unit=" buckets"):
        with bucket.open(encoding="ascii") as file:
            fields = (line.split("\t") for line in file)
            yield from _group(ActionValue(fen, move, float(win_prob)) for fen, move, win_prob in fields)
        bucket.unlink()


def _group(records: Iterable[ActionValue]) -> Iterator[Row]:
    boards: dict[str, dict[str, float]] = {}
    for fen, move, win_prob in records:
        # There are 1,968 moves, which need not be kept a billion times.
        boards.setdefault(fen, {}).setdefault(sys.intern(move), win_prob)
    for fen, win_probs in boards.items():
        moves = sorted(win_probs)
        yield Row(fen, moves, [win_probs[move] for move in moves])


def _string(record: bytes, start: int) -> tuple[str, int]:
    """Read a string after its length, a little-endian base-128 number; return it and where it ends."""
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
        raise ValueError(f"a string of {length} bytes where {len(record) - start} are left")
    return record[start:end].decode("ascii"), end


def _move(text: str) -> str:
    if not UCI_MOVE.fullmatch(text):
        raise ValueError(f"{text!r} is not a move")
    return text


def _win_prob(record: bytes, start: int) -> float:
    """Read the float64 that the rest of the record is."""
    (win_prob,) = struct.unpack(">d", record[start:])
    if not 0.0 <= win_prob <= 1.0:
        raise ValueError(f"{win_prob} is not a win probability")
    return win_prob


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data.chess.chessbench",
        description="Gather the action values of ChessBench's .bag files into a Parquet file with one row "
        "per board. The package bagz has to be installed.",
    )
    add = parser.add_argument
    add(
        "bags",
        nargs="+",
        metavar="SHARD.bag",
        help="action-value files; name@N_data.bag means all N shards of name. Give all shards that may hold "
        "moves of the same boards at once",
    )
    add("--output", required=True, type=Path, help="the Parquet file to write")
    add(
        "--records-in-memory",
        type=int,
        default=RECORDS_IN_MEMORY,
        help="how many records to group at a time, about 70 bytes each; larger inputs pass through "
        f"temporary files beside the output, as large as the input ({RECORDS_IN_MEMORY})",
    )
    add("--overwrite", action="store_true", help="replace the output if it exists")
    arguments = parser.parse_args()
    if arguments.records_in_memory < 1:
        parser.error(f"--records-in-memory must be at least 1, not {arguments.records_in_memory}")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    output: Path = arguments.output
    check_output(output, arguments.overwrite)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.stem}-", dir=output.parent) as folder:
        num_rows = write_rows(
            output, gather_boards(arguments.bags, Path(folder), arguments.records_in_memory)
        )
    print(f"{output}: {num_rows} boards, {output.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    command(main)
