"""Rate, memory and disk of converting ChessBench's files, compared with plain Python."""

import functools
import os
import random
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from threading import Event

import bagz
import chess
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from benchmarks.settings import Settings
from benchmarks.timing import Table
from data.chess.chessbench import LEAST_MEMORY, convert
from data.chess.rows import FAST_COMPRESSION, SCHEMA


NUM_RECORDS, NUM_SHARDS = 4_000_000, 32
CHESSBENCH_RECORDS = 15_300_000_000
MAX_PLIES = 120
SECONDS_BETWEEN_SAMPLES = 0.05

Convert = Callable[[Sequence[Path], Path], object]


def make_shards(folder: Path, num_records: int, num_shards: int, seed: int) -> tuple[list[Path], int]:
    """Write all legal moves of boards of random play, shuffled and with random values, to .bag files.

    Return the files and the number of records.
    """
    rng = random.Random(seed)
    records: list[bytes] = []
    board = chess.Board()
    with tqdm(desc="making", unit=" records", unit_scale=True, total=num_records, disable=None) as progress:
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
    shards = [folder / f"action_value-{i:05d}-of-{num_shards:05d}_data.bag" for i in range(num_shards)]
    for i, shard in enumerate(shards):
        writer = bagz.Writer(str(shard))
        for record in records[i::num_shards]:
            writer.write(record)
        writer.close()
    return shards, len(records)


def convert_in_plain_python(bags: Sequence[Path], output: Path) -> None:
    """Decode one record after the other and keep all boards in a dictionary."""
    boards: dict[str, dict[str, float]] = {}
    for bag in bags:
        for record in tqdm(bagz.Reader(str(bag)), desc=bag.name, unit=" records", disable=None, leave=False):
            fen_end = 1 + record[0]
            move_end = fen_end + 1 + record[fen_end]
            move = sys.intern(record[fen_end + 1 : move_end].decode())
            (win_prob,) = struct.unpack(">d", record[move_end:])
            boards.setdefault(record[1:fen_end].decode(), {}).setdefault(move, win_prob)
    moves = [sorted(win_probs) for win_probs in boards.values()]
    win_probs = [
        [known[move] for move in listed] for listed, known in zip(moves, boards.values(), strict=True)
    ]
    table = pa.table([list(boards), moves, win_probs], schema=SCHEMA)
    pq.write_table(table, output, compression="zstd", compression_level=FAST_COMPRESSION)


def run_conversion(convert: Convert, bags: Sequence[Path], output: Path) -> dict[str, float]:
    """Convert; return the seconds, the CPU seconds, and the peak bytes of added memory and of the folder."""
    process, finished = psutil.Process(), Event()
    memory_before = process.memory_info().rss
    peak = {"memory": 0, "disk": 0}

    def sample() -> None:
        is_last = False
        while not is_last:
            is_last = finished.wait(SECONDS_BETWEEN_SAMPLES)
            peak["memory"] = max(peak["memory"], process.memory_info().rss - memory_before)
            peak["disk"] = max(peak["disk"], folder_size(output.parent))

    started, cpu_started = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(sample)
        try:
            convert(bags, output)
        finally:
            finished.set()
    return peak | {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu_started,
    }


def folder_size(folder: Path) -> int:
    """Return the bytes in a folder, whose files may vanish at any time."""
    size = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            size += path.stat().st_size
    return size


def measure(settings: Settings) -> Iterator[Table]:
    """Measure conversions of made-up files, each once: they take most of a minute."""
    num_records, num_shards = (2000, 3) if settings.quick else (NUM_RECORDS, NUM_SHARDS)
    conversions: dict[str, Convert] = {
        f"data.chess.chessbench, within {LEAST_MEMORY:g} GB": functools.partial(
            convert, memory_limit=LEAST_MEMORY, threads=os.cpu_count()
        ),
        "plain Python": convert_in_plain_python,
    }
    with tempfile.TemporaryDirectory(prefix="chessbench-") as name:
        folder = Path(name)
        bags, num_records = make_shards(folder, num_records, num_shards, settings.seed)
        num_bytes = folder_size(folder)
        scale = CHESSBENCH_RECORDS / num_records
        rows = {}
        for i, (way, conversion) in enumerate(conversions.items()):
            output = folder / str(i) / "boards.parquet"
            output.parent.mkdir()
            # A new process has no freed memory that it could use again.
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                taken = pool.submit(run_conversion, conversion, bags, output).result()
            rows[way] = {
                "records/s": num_records / taken["seconds"],
                "CPU µs/record": 1e6 * taken["cpu_seconds"] / num_records,
                "memory GB": taken["memory"] / 1e9,
                "disk GB": taken["disk"] / 1e9,
                "hours for ChessBench": taken["seconds"] * scale / 3600,
                "disk TB for ChessBench": taken["disk"] * scale / 1e12,
            }
    yield Table(
        "conversion",
        rows,
        [
            f"{num_records:,} records of random play, {num_bytes / 1e9:.2g} GB; ChessBench has "
            f"{CHESSBENCH_RECORDS:,}. Memory: what the conversion adds to its process. Disk: output included."
        ],
    )
