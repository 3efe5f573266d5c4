"""Options that the commands of studies share."""

import argparse
from pathlib import Path

import torch

from cli.options import add_device_option, positive_int, seed_number


SEVERAL = {"nargs": "+", "metavar": "VALUE"}


def add_study_options(parser: argparse.ArgumentParser) -> None:
    """Add --output, --seeds, --variants, --quick, --processes, --threads and --device."""
    add = parser.add_argument
    add("--output", required=True, type=Path, metavar="DIR", help="folder of the runs and of the report")
    add(
        "--seeds", type=seed_number, help="seeds of weights and data order, instead of the study's", **SEVERAL
    )
    add("--variants", help="train and report only these variants", **SEVERAL)
    add("--quick", action="store_true", help="use the study's quick settings, to try it in seconds")
    add(
        "--processes",
        type=positive_int,
        default=1 if torch.cuda.is_available() else 2,
        metavar="N",
        help="runs that train at a time; they share the machine, which affects their times "
        "(default: 2, with a GPU 1)",
    )
    add("--threads", type=positive_int, default=1, metavar="N", help="threads of each run (default: 1)")
    add_device_option(parser)
