"""Options that the commands of studies share."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from cli.options import positive_int, seed_number


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
        help="runs that train at a time; they share the machine, which affects their times (2, with a GPU 1)",
    )
    add("--threads", type=positive_int, default=1, metavar="N", help="threads of each run (1)")
    add("--device", default="auto", help="cpu, cuda, ...; auto (the default) takes the GPU if there is one")


def split_settings(line: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split a command line into key=value settings, which may follow any option, and everything else."""
    settings = [text for text in line if re.match(r"[a-z_]+(\.[a-z_]+)*=", text)]
    return settings, [text for text in line if text not in settings]
