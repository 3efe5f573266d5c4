"""Options that evaluation commands share: which model, on which device, and where the results go."""

import argparse
import json
from pathlib import Path

import torch

from data.files import written_whole


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def positive_int(text: str) -> int:
    """Read an option's value that must be a whole number above zero."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add --model, --device, --dtype and --batch-size."""
    parser.add_argument(
        "--model",
        required=True,
        metavar="DIR",
        help="a trained model: the folder <output_dir>/model of a run, or an id on the hub such as user/name",
    )
    parser.add_argument(
        "--device",
        default="auto",
        help="cpu, cuda, cuda:1, ...; auto (the default) takes the GPU if there is one",
    )
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default="float32",
        help="precision of the weights; bfloat16 is faster on a GPU and changes a few moves (float32)",
    )
    parser.add_argument(
        "--batch-size",
        type=positive_int,
        default=64,
        metavar="BOARDS",
        help="boards, each with all its moves, per forward pass; lower it if memory runs out (64)",
    )


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Add --json."""
    parser.add_argument("--json", metavar="FILE", help="also write the numbers to this file")


def write_json(path: str | Path, results: dict) -> None:
    """Write results as JSON, whole or not at all. A NaN is an error: undefined numbers are None."""
    with written_whole(path) as unfinished:
        unfinished.write_text(json.dumps(results, indent=2, allow_nan=False) + "\n", encoding="utf-8")
