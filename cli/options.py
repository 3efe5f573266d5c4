"""Command-line options that several commands share: the model, the device, how moves are chosen, JSON output.

Nothing here imports torch, so that --help is quick and a UCI engine answers at once.
"""

import argparse
import json
import math
import os
import re
import sys
from pathlib import Path
from typing import Literal, get_args

from cli.errors import InputError
from cli.files import atomic_write


DTYPES = ("float32", "bfloat16")
# Which moves the rules value instead of the model, see eval/chess/rules.py.
ExactEnds = Literal["none", "draws", "all"]
EXACT_ENDS: tuple[ExactEnds, ...] = get_args(ExactEnds)
Runtime = Literal["torch", "onnx"]  # the library that runs a model
RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)
SHIPPED_MODEL = Path(__file__).resolve().parent.parent / "checkpoints" / "chess_3m"


def positive_int(text: str) -> int:
    """Parse an integer above zero."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def seed_number(text: str) -> int:
    """Parse a seed, an integer that every random generator accepts."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 2**32 - 1")
    return int(text)


def non_negative_number(text: str) -> float:
    """Parse a number of at least zero, or inf."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not number >= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least zero")
    return number


def positive_number(text: str) -> float:
    """Parse a finite number above zero."""
    number = non_negative_number(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above zero")
    return number


def port_number(text: str) -> int:
    """Parse a port that needs no privileges."""
    if not text.isdecimal() or not 1024 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1024 to 65535")
    return int(text)


def add_seed_option(parser: argparse.ArgumentParser, of: str) -> None:
    """Add --seed, the seed `of` something."""
    parser.add_argument("--seed", type=seed_number, default=0, metavar="N", help=f"seed of {of} (default: 0)")


def add_port_option(parser: argparse.ArgumentParser) -> None:
    """Add --port."""
    parser.add_argument(
        "--port",
        type=port_number,
        default=8000,
        metavar="N",
        help="port of the page, http://127.0.0.1:N (default: 8000)",
    )


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add --model, --device and --dtype."""
    parser.add_argument(
        "--model",
        default=os.path.relpath(SHIPPED_MODEL),
        metavar="DIR",
        help="a trained model: the folder <output_dir>/model of a run, or a model id on the Hugging Face hub "
        "such as user/name (default: checkpoints/chess_3m, the model in this repository)",
    )
    add_hardware_options(parser)


def add_trained_model_option(parser: argparse._ActionsContainer, required: bool = False) -> None:
    """Add --model, without a default."""
    parser.add_argument(
        "--model",
        required=required,
        metavar="DIR",
        help="a trained model: the folder <output_dir>/model of a run, or an id on the hub such as user/name",
    )


def add_device_option(parser: argparse._ActionsContainer) -> None:
    """Add --device."""
    parser.add_argument(
        "--device",
        default="auto",
        help="cpu, cuda, cuda:1, ...; auto takes the GPU if there is one (default: auto)",
    )


def add_hardware_options(parser: argparse._ActionsContainer) -> None:
    """Add --device and --dtype."""
    add_device_option(parser)
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default="float32",
        help="precision of the weights; bfloat16 is faster on a GPU and changes a few choices "
        "(default: float32)",
    )


def add_batch_size_option(parser: argparse.ArgumentParser) -> None:
    """Add --batch-size."""
    parser.add_argument(
        "--batch-size",
        type=positive_int,
        default=64,
        metavar="BOARDS",
        help="boards per forward pass, each with all its legal moves, or for a model of state values "
        "positions after moves; lower it if memory runs out "
        "(default: 64)",
    )


def add_move_options(parser: argparse.ArgumentParser) -> None:
    """Add --temperature, --margin, --exact-ends, --compile and --runtime: how the model chooses its moves."""
    parser.add_argument(
        "--temperature",
        type=non_negative_number,
        default=0.0,
        metavar="T",
        help="sample moves from softmax(win probability / T): 0 plays the best move, 0.02 mixes moves of "
        "similar value, inf plays any move within --margin; a model that predicts moves samples them by "
        "probability^(1 / T), and 1 imitates the players that it was trained on (default: 0)",
    )
    parser.add_argument(
        "--margin",
        type=non_negative_number,
        default=math.inf,
        metavar="P",
        help="with a temperature, never play a move whose win probability is more than P below the best; of "
        "a model that predicts moves, whose log-probability is (default: inf)",
    )
    parser.add_argument(
        "--exact-ends",
        choices=EXACT_ENDS,
        default="all",
        help="moves that the rules value instead of the model: draws (draws by repetition and by fifty "
        "moves, as in ChessBench), all (also checkmate, stalemate and insufficient material), or none "
        "(default: all)",
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="compile the model with torch.compile; slow to start, pays off in long matches",
    )
    add_runtime_option(parser)


def add_runtime_option(parser: argparse.ArgumentParser) -> None:
    """Add --runtime."""
    parser.add_argument(
        "--runtime",
        choices=RUNTIMES,
        default="torch",
        help="onnx runs the model's ONNX file, which `training.publish --onnx` writes, on the CPU without "
        "torch: it is ready at once and faster there (default: torch)",
    )


def add_limit_options(parser: argparse.ArgumentParser, engines: str) -> None:
    """Add --nodes, --depth and --time, which limit the search of other engines."""
    group = parser.add_argument_group(f"search limits of {engines}, per move")
    group.add_argument("--nodes", type=positive_int, metavar="N", help="positions to search")
    group.add_argument("--depth", type=positive_int, metavar="PLIES", help="search depth")
    group.add_argument("--time", type=positive_number, metavar="SECONDS", help="seconds")


def add_skip_bad_games_option(parser: argparse.ArgumentParser) -> None:
    """Add --skip-bad-games."""
    parser.add_argument(
        "--skip-bad-games",
        action="store_true",
        help="leave out faulty games of a PGN file, such as those with illegal moves or of another variant; "
        "warnings name the first few (default: a faulty game is an error)",
    )


def add_settings(parser: argparse.ArgumentParser, help: str) -> None:
    """Add settings of a configuration, each key=value, which `parse_with_settings` reads."""
    parser.add_argument("settings", nargs="*", metavar="key=value", help=help)


def parse_with_settings(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse a command line whose settings may be anywhere, also after an option with several values."""
    line = sys.argv[1:]
    settings = [text for text in line if re.match(r"[a-z_]+(\.[a-z_]+)*=", text)]
    arguments = parser.parse_args([text for text in line if text not in settings])
    arguments.settings += settings
    return arguments


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Add --json."""
    parser.add_argument("--json", metavar="FILE", help="also write the results to this file")


def write_json(path: str | Path, results: dict) -> None:
    """Write results as JSON. NaN is an error: undefined numbers are None."""
    text = json.dumps(results, indent=2, allow_nan=False) + "\n"
    try:
        with atomic_write(path) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}; choose another file") from error
