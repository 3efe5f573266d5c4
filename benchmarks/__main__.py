"""Measure speed, each figure next to a naive baseline, and print tables.

    python -m benchmarks
    python -m benchmarks training play --config chess_137m.yaml data.train=boards.parquet

docs/benchmarks.md says what each benchmark measures.
"""

import argparse
import dataclasses
import shlex
import sys
import time
from importlib import import_module

from benchmarks.settings import add_options, read_settings
from cli.errors import InputError, command
from cli.files import check_output
from cli.hardware import describe_hardware
from cli.options import add_json_option, add_settings, parse_with_settings, write_json
from configs.chess import ChessConfig


# Modules of this folder, each with a function `measure(settings)` that yields tables.
BENCHMARKS = {
    "training": "training steps of chess, by phase: one pass for all moves and one sequence per move",
    "play": "moves of chess: one pass for all moves and one sequence per move, for one board and for many",
    "data": "boards: from Parquet to batches, tokens, and Stockfish's labels",
    "losses": "value losses, forward and backward, next to cross-entropy on class indices",
    "wordle": "games: many at a time and one by one, in the environment, of players and of a model",
    "robot": "pictures and decisions in the simulator: without shadows, and many episodes at a time",
    "atari": "environments, replay memory, episodes emulated again, and steps of online learning",
    "chessbench": "conversion of ChessBench's files: rate, memory and disk",
    "lichess": "conversion of Lichess's evaluations in one process",
    "runtimes": "moves and starts of a chess engine: with PyTorch, and with onnxruntime without torch",
}
OF_CHESS = ("play", "data")  # those that measure the model or the boards of a configuration of chess


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure speed, each figure next to a naive baseline, and print tables in Markdown.",
        epilog="\n".join(["benchmarks:", *(f"  {name:<12}{what}" for name, what in BENCHMARKS.items())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="a benchmark from the list below (default: all)"
    )
    add_settings(parser, "settings of the training configuration")
    add_options(parser)
    add_json_option(parser)
    arguments = parse_with_settings(parser)
    for name in arguments.names:
        if name not in BENCHMARKS:
            parser.error(f"there is no benchmark {name!r}: choose from {', '.join(BENCHMARKS)}")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    names = arguments.names or list(BENCHMARKS)
    if arguments.json:
        check_output(arguments.json, overwrite=True)
    settings = read_settings(arguments)
    chess_only = [name for name in names if name in OF_CHESS]
    if chess_only and not isinstance(settings.config, ChessConfig):
        raise InputError(
            f"{settings.config_name} is a configuration of {settings.config.task}, and these benchmarks "
            f"measure chess: {', '.join(chess_only)}; name other benchmarks, or a configuration of chess"
        )
    import torch

    results = {
        "command": f"python -m benchmarks {shlex.join(sys.argv[1:])}",
        **describe_hardware(settings.device),
        "threads": torch.get_num_threads(),
        "seed": settings.seed,
        "repeats": settings.repeats,
        "tables": {},
    }
    machine = f"{results['device']}, {results['threads']} threads, torch {results['torch']}"
    print(f"{results['command']}\n\n{machine}; medians of {settings.repeats} rounds, seed {settings.seed}")
    started = time.perf_counter()
    for name in names:
        tables = results["tables"][name] = []
        for table in import_module(f"benchmarks.{name}").measure(settings):
            print(f"\n{table}", flush=True)
            tables.append(dataclasses.asdict(table))
        results["seconds"] = time.perf_counter() - started
        if arguments.json:
            write_json(arguments.json, results)
    print(f"\ntook {results['seconds']:.0f} s")


if __name__ == "__main__":
    command(main)
