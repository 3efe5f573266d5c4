"""Options that the commands of studies share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cli.options import add_device_option, positive_int, seed_number


if TYPE_CHECKING:
    import torch


SEVERAL = {"nargs": "+", "metavar": "VALUE"}


def add_study_options(parser: argparse.ArgumentParser) -> None:
    """Add --output, --seeds, --variants, --quick, --processes, --threads and --device."""
    add = parser.add_argument
    add("--output", required=True, type=Path, metavar="DIR", help="folder of the runs and of the report")
    add(
        "--seeds", type=seed_number, help="seeds of weights and data order, instead of the study's", **SEVERAL
    )
    add("--variants", help="train and report only these variants", **SEVERAL)
    add("--quick", action="store_true", help="train small models for a few steps, to try it in seconds")
    add(
        "--processes",
        type=positive_int,
        metavar="N",
        help="runs that train at a time; they share the machine, which affects their times "
        "(default: 2, with a GPU 1)",
    )
    add("--threads", type=positive_int, default=1, metavar="N", help="threads of each run (default: 1)")
    add_device_option(parser)


def processes_on(device: torch.device, given: int | None) -> int:
    """Return the number of runs that train at a time: --processes, or its default."""
    return given or (1 if device.type == "cuda" else 2)
