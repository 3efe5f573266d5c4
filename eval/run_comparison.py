"""What commands share that train many runs, the cells of a comparison, and report them over seeds.

A cell is one run of train.py, in a folder of its own under --output: eval.wordle.report has one for every
loss, weight and seed, eval.study one for every variant and seed.
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from configs.schema import Config
from data.batch_order import shard
from data.command_line import InputError
from data.files import written_whole
from eval.intervals import mean_and_standard_error, paired_interval
from eval.options import positive_int, write_json
from training.tasks import make_task


# What every cell sets for itself, and train.py gets besides.
SET_BY_RUNS = ("seed", "output_dir", "resume")
REPORT_FILES = ("results.json", "report.md", "report.png")


class Values(argparse.Action):
    """Several values; of what the option takes, it leaves out the settings that follow them."""

    def __call__(self, parser, namespace, values, option_string=None):
        setattr(namespace, self.dest, [value for value in values if "=" not in value])
        namespace.settings_taken += [value for value in values if "=" in value]


SEVERAL = {"nargs": "+", "metavar": "VALUE", "action": Values}


def add_comparison_options(parser: argparse.ArgumentParser) -> None:
    """Add --output, --processes, --threads and --device, and the settings of all runs."""
    add = parser.add_argument
    parser.set_defaults(settings_taken=[])
    add("--output", required=True, type=Path, metavar="DIR", help="the folder of the runs and of the report")
    add(
        "--processes",
        type=positive_int,
        default=1 if torch.cuda.is_available() else 2,
        metavar="N",
        help="runs trained at a time; their times depend on their neighbours (2, with a GPU 1)",
    )
    add("--threads", type=positive_int, default=1, metavar="N", help="threads of each of them (1)")
    add("--device", default="auto", help="where models are measured: cpu, cuda, ...; auto takes the GPU")
    add("settings", nargs="*", metavar="key=value", help="settings of all runs, such as training.steps=1000")


def parse_comparison(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read a command line on which settings stand anywhere, also behind the values of an option."""
    arguments = parser.parse_intermixed_args()
    arguments.settings += arguments.settings_taken
    return arguments


def read_numbers(option: str, texts: Iterable, kind: type) -> list:
    """Read what an option lists, each once; that the numbers may be settings is not checked here."""
    try:
        numbers = list(dict.fromkeys(kind(text) for text in texts))
    except ValueError as error:
        raise InputError(f"{option}: {error}") from None
    check_lists_something(option, numbers)
    return numbers


def check_lists_something(option: str, values: Sequence) -> None:
    """Raise InputError if an option of several values was given none, only settings."""
    if not values:
        raise InputError(f"{option} lists nothing: leave it out, or give a value")


def check_settings(config: Config, cell: str) -> None:
    """Raise InputError if a cell would fail as soon as it is trained, in one process, by its settings."""
    training = config.training
    try:
        with torch.device("meta"):
            make_task(config)
    except InputError as error:
        raise InputError(f"{cell}: {error}") from None
    try:
        shard(
            np.arange(training.batch_size),
            np.ones(training.batch_size),
            num_processes=1,
            process_index=0,
            num_micro_batches=training.gradient_accumulation_steps,
        )
    except ValueError as error:
        raise InputError(f"training.batch_size: {error}") from None


def mean_over_seeds(values: Iterable[float | None]) -> dict:
    """Return the mean and its standard error, None for a single seed and for what is undefined."""
    mean, error = mean_and_standard_error(np.array(list(values), dtype=np.float64))
    return {"mean": mean, "standard_error": error}


def difference_over_seeds(pairs: Iterable[tuple[float | None, float | None]]) -> dict:
    """Return the mean of first − second over pairs of one seed, and its 95% interval by Student's t.

    Without two pairs there is no interval, only None; pairs in which a number is None are left out.
    """
    defined = [(first, second) for first, second in pairs if first is not None and second is not None]
    if not defined:
        return {"mean": None, "low": None, "high": None}
    mean, low, high = paired_interval(np.array([first - second for first, second in defined]))
    return {"mean": mean, "low": low, "high": high}


def write_report(output: Path, results: dict, report: str, plot: Callable[[dict, Path], None]) -> None:
    """Write REPORT_FILES to a folder, with `plot` for the figure, and print the report."""
    write_json(output / "results.json", results)
    with written_whole(output / "report.md") as unfinished:
        unfinished.write_text(report + "\n", encoding="utf-8")
    plot(results, output / "report.png")
    print(f"\n{report}\n\n{output}: {', '.join(REPORT_FILES)}")


def failed_cells(failures: dict[str, str], num_cells: int) -> InputError:
    """Return what a command ends with when cells failed, by their names with a line each."""
    name, line = next(iter(failures.items()))
    return InputError(f"{len(failures)} of {num_cells} cells failed: {name}: {line}")
