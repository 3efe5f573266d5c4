"""What the commands of studies share: options, what they say of their cells, and the files of the report."""

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from cli.errors import InputError
from cli.files import atomic_write, check_output
from cli.hardware import describe_hardware
from cli.options import positive_int, seed_number, write_json
from studies.report_plot import plot_report
from studies.report_tables import format_report
from studies.train_runs import Run


REPORT_FILES = ("results.json", "report.md", "report.png")


class Values(argparse.Action):
    """Several values; of what the option takes, it leaves out the settings that follow them."""

    def __call__(self, parser, namespace, values, option_string=None):
        setattr(namespace, self.dest, [value for value in values if "=" not in value])
        namespace.settings += [value for value in values if "=" in value]


SEVERAL = {"nargs": "+", "metavar": "VALUE", "action": Values}


def add_study_options(parser: argparse.ArgumentParser, on_device: str) -> None:
    """Add --output, --seeds, --quick, --processes, --threads and --device, where `on_device` is done."""
    parser.set_defaults(settings=[])
    add = parser.add_argument
    add("--output", required=True, type=Path, metavar="DIR", help="the folder of the runs and of the report")
    add("--seeds", help="seeds of weights and data order, instead of the study's", **SEVERAL)
    add("--quick", action="store_true", help="with the study's quick settings, which try it out in seconds")
    add(
        "--processes",
        type=positive_int,
        default=1 if torch.cuda.is_available() else 2,
        metavar="N",
        help="runs trained at a time; their times depend on their neighbours (2, with a GPU 1)",
    )
    add("--threads", type=positive_int, default=1, metavar="N", help="threads of each of them (1)")
    add("--device", default="auto", help=f"where {on_device}: cpu, cuda, ...; auto takes the GPU")


def read_seeds(texts: Iterable[str]) -> list[int]:
    """Read what --seeds lists, each once."""
    try:
        seeds = list(dict.fromkeys(map(seed_number, texts)))
    except argparse.ArgumentTypeError as error:
        raise InputError(f"--seeds: {error}") from None
    check_lists_something("--seeds", seeds)
    return seeds


def choose(
    option: str, names: Sequence[str] | None, known: Mapping, usual: Iterable[str] | None = None
) -> list:
    """Return what has these names, if None the `usual` ones, which are all unless given.

    Raises InputError for a name that the study has not.
    """
    if names is None:
        return list(known.values()) if usual is None else [known[name] for name in usual]
    check_lists_something(option, names)
    for name in names:
        if name not in known:
            there_are = ", ".join(filter(None, known)) or "none in this study"
            raise InputError(f"{option}: there is no {name!r}: give some of {there_are}")
    return [owner for name, owner in known.items() if name in names]


def check_lists_something(option: str, values: Sequence) -> None:
    """Raise InputError if an option of several values was given none, only settings."""
    if not values:
        raise InputError(f"{option} lists nothing: leave it out, or give a value")


def check_report(output: Path) -> None:
    """Raise InputError if the report could not be written to a folder."""
    for name in REPORT_FILES:
        check_output(output / name, overwrite=True)


@contextmanager
def announced_cells(names: Sequence[str], is_trained: Callable[[str], bool], output: Path) -> Iterator[None]:
    """Print how many cells there are, and trained already; if training is interrupted, end with that."""
    num_trained = sum(map(is_trained, names))
    print(f"{len(names)} cells, {num_trained} of them trained already; they write to {output}/*/train.log")
    sys.stdout.flush()
    try:
        yield
    except KeyboardInterrupt:
        num_trained = sum(map(is_trained, names))
        raise KeyboardInterrupt(
            f"{num_trained} of {len(names)} cells are trained; the same command goes on"
        ) from None


def describe_work(module: str, device: torch.device, started: float) -> dict:
    """Return what made a report: the command, the hardware, and the seconds since `time.perf_counter()` was
    `started`.
    """
    return {
        "command": shlex.join(["python", "-m", module, *sys.argv[1:]]),
        "hardware": describe_hardware(device),
        "seconds": time.perf_counter() - started,
    }


def describe_training(runs: Iterable[Run], processes: int, threads: int) -> dict:
    """Return how many runs were trained at a time, and with how many threads: every number that occurs.

    Runs of earlier versions do not say: the numbers given are taken for theirs.
    """
    # A run that train.py was called for directly has none.
    sessions = [session for run in runs for session in run.sessions()] or [{}]
    given = {"processes": processes, "threads": threads}
    return {key: sorted({session.get(key, own) for session in sessions}) for key, own in given.items()}


def write_report(output: Path, results: dict) -> None:
    """Write REPORT_FILES to a folder, and print the report."""
    report = format_report(results)
    write_json(output / "results.json", results)
    with atomic_write(output / "report.md") as unfinished:
        unfinished.write_text(report + "\n", encoding="utf-8")
    plot_report(results, output / "report.png")
    print(f"\n{report}\n\n{output}: {', '.join(REPORT_FILES)}")


def failed_cells(failures: Mapping[str, str], num_cells: int) -> InputError:
    """Return what a command ends with when cells failed, by their names with a line each."""
    name, line = next(iter(failures.items()))
    return InputError(f"{len(failures)} of {num_cells} cells failed: {name}: {line}")
