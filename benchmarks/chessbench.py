"""Time the conversion of ChessBench's files, with its memory and disk, beside plain Python.

The files are made for the purpose: boards of random play with random values, their records shuffled.

    python -m benchmarks.chessbench --records 4000000
"""

import argparse
import contextlib
import functools
import multiprocessing
import os
import random
import resource
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import bagz
import chess
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from cli.errors import InputError, command
from data.chess.bag_records import decode_action_value, read_records
from data.chess.chessbench import COMPRESSION, LEAST_MEMORY, convert
from data.chess.rows import SCHEMA


CHESSBENCH_RECORDS = 15_300_000_000
MAX_PLIES = 120
SECONDS_BETWEEN_LOOKS = 0.05


class Measured(NamedTuple):
    """What a conversion took: seconds, those of all cores together, most bytes of memory, most bytes on disk.

    What was on disk includes the output.
    """

    seconds: float
    cpu_seconds: float
    memory: int
    disk: int


def make_shards(folder: Path, num_records: int, num_shards: int, seed: int) -> tuple[list[Path], int]:
    """Write all legal moves of boards of random play, shuffled, to shards; return those and how many."""
    rng = random.Random(seed)
    records: list[bytes] = []
    board = chess.Board()
    with tqdm(desc="making", unit=" records", unit_scale=True, total=num_records) as progress:
        while len(records) < num_records:
            moves = [move.uci().encode() for move in board.legal_moves]
            if not moves or board.ply() == MAX_PLIES:
                board = chess.Board()
                continue
            fen = board.fen().encode()
            for move in moves:
                win_prob = struct.pack(">d", rng.random())
                records.append(b"%c%b%c%b%b" % (len(fen), fen, len(move), move, win_prob))
            progress.update(len(moves))
            board.push_uci(rng.choice(moves).decode())
    rng.shuffle(records)
    shards = []
    for number in range(num_shards):
        shard = folder / f"action_value-{number:05d}-of-{num_shards:05d}_data.bag"
        writer = bagz.Writer(str(shard))
        for record in records[number::num_shards]:
            writer.write(record)
        writer.close()
        shards.append(shard)
    return shards, len(records)


def convert_in_plain_python(bags: Sequence[Path], output: Path) -> None:
    """Decode record after record and keep all boards in a dictionary."""
    boards: dict[str, dict[str, float]] = {}
    for bag in bags:
        records = read_records(bag, decode_action_value)
        for fen, move, win_prob in tqdm(records, desc=bag.name, unit=" records", unit_scale=True):
            boards.setdefault(fen, {}).setdefault(sys.intern(move), win_prob)
    moves = [sorted(win_probs) for win_probs in boards.values()]
    win_probs = [
        [known[move] for move in listed] for listed, known in zip(moves, boards.values(), strict=True)
    ]
    table = pa.table([list(boards), moves, win_probs], schema=SCHEMA)
    pq.write_table(table, output, compression="zstd", compression_level=COMPRESSION)


def measure(
    convert: Callable[[Sequence[Path], Path], object], bags: Sequence[Path], folder: Path
) -> Measured:
    """Convert bags to a file in an empty folder, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    connection, far_end = context.Pipe(duplex=False)
    process = context.Process(target=_convert, args=(far_end, convert, bags, folder / "boards.parquet"))
    process.start()
    far_end.close()
    disk = 0
    while not connection.poll(SECONDS_BETWEEN_LOOKS):
        disk = max(disk, _size(folder))
    try:
        seconds, cpu_seconds, memory = connection.recv()
    except EOFError as error:
        raise InputError(f"{folder}: the conversion failed, its own message is above") from error
    finally:
        process.join()
    return Measured(seconds, cpu_seconds, memory, disk)


def _convert(
    connection: Connection,
    convert: Callable[[Sequence[Path], Path], object],
    bags: Sequence[Path],
    output: Path,
) -> None:
    started = time.perf_counter()
    convert(bags, output)
    seconds = time.perf_counter() - started
    # macOS counts bytes, Linux kilobytes.
    unit = 1 if sys.platform == "darwin" else 1024
    used = resource.getrusage(resource.RUSAGE_SELF)
    connection.send((seconds, used.ru_utime + used.ru_stime, unit * used.ru_maxrss))


def _size(folder: Path) -> int:
    """Return the bytes in a folder, of which files may vanish meanwhile."""
    size = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            size += path.stat().st_size
    return size


def format_table(num_records: int, num_bytes: int, measured: dict[str, Measured]) -> str:
    """Lay out the figures, and what all of ChessBench would take at the same rate."""
    columns = ("records/s", "CPU µs/record", "memory", "disk", "hours for all", "disk for all")
    lines = [f"{'':<16}" + "".join(f"{column:>15}" for column in columns)]
    scale = CHESSBENCH_RECORDS / num_records
    for name, figures in measured.items():
        cells = (
            f"{num_records / figures.seconds:,.0f}",
            f"{1e6 * figures.cpu_seconds / num_records:.2f}",
            f"{figures.memory / 1e9:.2f} GB",
            f"{figures.disk / 1e9:.2f} GB",
            f"{figures.seconds * scale / 3600:.1f}",
            f"{figures.disk * scale / 1e12:.2f} TB",
        )
        lines.append(f"{name:<16}" + "".join(f"{cell:>15}" for cell in cells))
    lines.append(
        f"{num_records:,} records, {num_bytes / 1e9:.2f} GB; all of ChessBench: {CHESSBENCH_RECORDS:,}, "
        f"{scale:,.0f} times as many"
    )
    return "\n".join(lines)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chessbench",
        description="Make .bag files like ChessBench's, convert them as python -m data.chess.chessbench "
        "does, and in plain Python with all boards in memory; print how fast that was, and how much memory "
        "and disk it took.",
    )
    add = parser.add_argument
    add("--records", type=int, default=4_000_000, help="how many records to make (4000000)")
    add("--shards", type=int, default=32, help="files to spread them over (32)")
    add("--memory-limit", type=float, default=LEAST_MEMORY, help=f"gigabytes, as there ({LEAST_MEMORY:g})")
    add("--threads", type=int, default=os.cpu_count(), help="threads, as there (one per core)")
    add("--folder", type=Path, help="where to make a temporary folder for all files (the system's place)")
    add("--skip-plain-python", action="store_true", help="for more records than memory has room for")
    add("--seed", type=int, default=0, help="decides the boards and their order (0)")
    arguments = parser.parse_args()
    for name in ("records", "shards", "threads"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name} must be at least 1, not {getattr(arguments, name)}")
    if arguments.shards > arguments.records:
        parser.error("--shards must not be more than --records")
    if not arguments.memory_limit >= LEAST_MEMORY:
        parser.error(f"--memory-limit must be at least {LEAST_MEMORY:g}, not {arguments.memory_limit:g}")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    ways: dict[str, Callable[[Sequence[Path], Path], object]] = {
        f"within {arguments.memory_limit:g} GB": functools.partial(
            convert, memory_limit=arguments.memory_limit, threads=arguments.threads
        )
    }
    if not arguments.skip_plain_python:
        ways["plain Python"] = convert_in_plain_python
    if arguments.folder is not None and not arguments.folder.is_dir():
        raise InputError(f"{arguments.folder}: no such folder")
    with tempfile.TemporaryDirectory(prefix="chessbench-", dir=arguments.folder) as name:
        folder = Path(name)
        # The system counts this process's memory as the children's, so it must not hold the records itself.
        make = functools.partial(make_shards, num_records=arguments.records, num_shards=arguments.shards)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, context) as pool:
            bags, num_records = pool.submit(make, folder, seed=arguments.seed).result()
        measured = {}
        for number, (way, function) in enumerate(ways.items()):
            output = folder / str(number)
            output.mkdir()
            measured[way] = measure(function, bags, output)
        print(format_table(num_records, sum(bag.stat().st_size for bag in bags), measured))


if __name__ == "__main__":
    command(main)
