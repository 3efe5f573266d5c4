"""Options that evaluation commands share: which model, on which device, and where the results go.

Nothing here imports torch, so that --help is quick and a UCI engine answers at once.
"""

import argparse
import json
import math
import os
from pathlib import Path
from typing import Literal

from cli.errors import InputError
from cli.files import atomic_write


DTYPES = ("float32", "bfloat16")
# Moves valued by the rules and not by the model: eval/chess/game_ends.py explains them.
ExactEnds = Literal["none", "draws", "all"]
EXACT_ENDS: tuple[ExactEnds, ...] = ("none", "draws", "all")
SHIPPED_MODEL = Path(__file__).resolve().parent.parent / "checkpoints" / "chess_3m"


def positive_int(text: str) -> int:
    """Read an option's value that must be a whole number above zero."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def non_negative_int(text: str) -> int:
    """Read an option's value that must be a whole number of at least zero."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least zero")
    return int(text)


def seed_number(text: str) -> int:
    """Read a seed, a whole number that every generator takes."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 2**32 - 1")
    return int(text)


def non_negative_number(text: str) -> float:
    """Read an option's value that must be a number of at least zero; inf is one."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not number >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least zero")
    return number


def positive_number(text: str) -> float:
    """Read an option's value that must be a finite number above zero."""
    number = non_negative_number(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above zero")
    return number


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add --model, --device and --dtype."""
    parser.add_argument(
        "--model",
        default=os.path.relpath(SHIPPED_MODEL),
        metavar="DIR",
        help="a trained model: the folder <output_dir>/model of a run, or an id on the hub such as user/name "
        "(the model that comes with this repository, checkpoints/chess_3m)",
    )
    add_device_options(parser)


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """Add --device and --dtype."""
    parser.add_argument(
        "--device",
        default="auto",
        help="cpu, cuda, cuda:1, ...; auto (the default) takes the GPU if there is one",
    )
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default="float32",
        help="precision of the weights; bfloat16 is faster on a GPU and changes a few choices (float32)",
    )


def add_batch_size_option(parser: argparse.ArgumentParser) -> None:
    """Add --batch-size."""
    parser.add_argument(
        "--batch-size",
        type=positive_int,
        default=64,
        metavar="BOARDS",
        help="boards, each with all its moves, per forward pass; lower it if memory runs out (64)",
    )


def add_move_options(parser: argparse.ArgumentParser) -> None:
    """Add --temperature, --margin and --exact-ends: how the model chooses its moves."""
    parser.add_argument(
        "--temperature",
        type=non_negative_number,
        default=0.0,
        metavar="T",
        help="draw moves from softmax(win probability / T), so that 0.02 mixes moves about as good as the "
        "best; 0 (the default) plays the best, inf any within --margin",
    )
    parser.add_argument(
        "--margin",
        type=non_negative_number,
        default=math.inf,
        metavar="P",
        help="with a temperature, never draw a move whose win probability is lower than the best by more "
        "than P (inf)",
    )
    parser.add_argument(
        "--exact-ends",
        choices=EXACT_ENDS,
        default="all",
        help="moves valued by the rules and not by the model: draws (by repetition and fifty moves, as in "
        "ChessBench), all (the default; also checkmate, stalemate and dead positions), or none",
    )
    parser.add_argument(
        "--compile", action="store_true", help="compile the model first (torch.compile); pays in long matches"
    )


def add_limit_options(parser: argparse.ArgumentParser, whose: str) -> None:
    """Add --nodes, --depth and --time, which limit how long an opponent thinks about a move."""
    group = parser.add_argument_group(f"limits of {whose}, per move")
    group.add_argument("--nodes", type=positive_int, metavar="N", help="positions searched")
    group.add_argument("--depth", type=positive_int, metavar="PLIES", help="depth of the search")
    group.add_argument("--time", type=positive_number, metavar="SECONDS", help="time")


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Add --json."""
    parser.add_argument("--json", metavar="FILE", help="also write the numbers to this file")


def write_json(path: str | Path, results: dict) -> None:
    """Write results as JSON, whole or not at all. A NaN is an error: undefined numbers are None."""
    text = json.dumps(results, indent=2, allow_nan=False) + "\n"
    try:
        with atomic_write(path) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}; choose another place") from error
