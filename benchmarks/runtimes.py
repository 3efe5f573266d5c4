"""Chess engines with PyTorch and with onnxruntime: the time of a move, and the start of a process."""

import random
import subprocess
import sys
from collections.abc import Iterator

import chess
import psutil
import pyarrow.parquet as pq
import torch

from benchmarks.settings import SAMPLE, Settings
from benchmarks.timing import Alternative, Table, compare
from cli.options import RUNTIMES, SHIPPED_MODEL, Runtime
from eval.chess.engines import ValueEngine


NUM_BOARDS = 64


def start_engine(model: str, runtime: Runtime, num_threads: int) -> int:
    """Start the engine as a chess program does, until it is ready; return its memory in bytes."""
    line = [sys.executable, "-m", "eval.chess.uci", "--model", model, "--device", "cpu", "--runtime", runtime]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(f"setoption name Threads value {num_threads}\nisready\n")
        process.stdin.flush()
        if process.stdout.readline() != "readyok\n":
            raise RuntimeError(f"{' '.join(line)} is not ready")
        memory = psutil.Process(process.pid).memory_info().rss
        process.kill()
    return memory


def measure(settings: Settings) -> Iterator[Table]:
    """Measure moves and starts, on the CPU, of the model in the repository unless another is named."""
    model, num_threads = str(settings.model or SHIPPED_MODEL), torch.get_num_threads()
    fens = pq.read_table(SAMPLE / "test_boards.parquet", columns=["fen"])["fen"].to_pylist()
    fens = random.Random(settings.seed).sample(fens, 2 if settings.quick else NUM_BOARDS)
    boards = [chess.Board(fen) for fen in fens]
    engines = {runtime: ValueEngine(model, device="cpu", runtime=runtime) for runtime in RUNTIMES}
    for engine in engines.values():
        engine.network.set_threads(num_threads)
    alternatives = {runtime: Alternative(engine.play) for runtime, engine in engines.items()}
    yield compare(
        "one move", "move", alternatives, boards * settings.repeats, warm_up=boards[0], milliseconds=True
    )

    memory: dict[str, int] = {}

    def start(runtime: Runtime) -> None:
        memory[runtime] = start_engine(model, runtime, num_threads)

    alternatives = {runtime: Alternative(lambda _, runtime=runtime: start(runtime)) for runtime in RUNTIMES}
    table = compare(
        "from the start of a process to readyok",
        "start",
        alternatives,
        range(settings.repeats),
        warm_up=None if settings.quick else 0,
        milliseconds=True,
    )
    for runtime, row in table.rows.items():
        row["memory MB"] = memory[runtime] / 1e6
    yield table
