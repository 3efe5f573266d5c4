"""Study what a choice does: train variants of one configuration with several seeds, and measure them all.

    python -m eval.study one_pass --output runs/one_pass
    python -m eval.study one_pass --output runs/tried_out --quick --seeds 0

The study is a file of configs/studies/, which says what is asked and which settings every variant changes;
eval/studies/definition.py says how to write one. Every cell is a run of train.py in
<output>/<variant>-seed<seed>; settings given as key=value are passed on to all of them. Some variants are
trained for the time that another took, after all others.

Called again, it keeps what is trained and measured and goes on with what is not. It leaves results.json, the
tables as report.md, and report.png.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from configs.schema import Config
from data.command_line import InputError, command
from data.files import check_output
from eval.hardware import describe_hardware
from eval.loading import choose_device
from eval.run_comparison import (
    REPORT_FILES,
    SEVERAL,
    add_comparison_options,
    check_lists_something,
    failed_cells,
    parse_comparison,
    read_numbers,
    write_report,
)
from eval.studies.cells import Cell, Cells
from eval.studies.chess import StudiedChess
from eval.studies.definition import STUDY_FOLDER, Study, Variant, read_study
from eval.studies.measurements import StudiedTask
from eval.studies.report_plot import plot_report
from eval.studies.report_tables import format_report
from eval.studies.summary import measure_cell, summarise
from eval.train_runs import train_runs


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m eval.study",
        description="Train variants of one configuration with several seeds, measure them all, and report "
        "means over seeds, paired differences to the reference and curves. Called again, it keeps what is "
        "trained and goes on with what is not.",
    )
    known = ", ".join(sorted(path.stem for path in STUDY_FOLDER.glob("*.yaml")))
    add = parser.add_argument
    add("name", metavar="NAME", help=f"a study of configs/studies/ ({known}), or the path of a YAML file")
    add("--seeds", help="seeds of weights and data order, instead of the study's", **SEVERAL)
    add("--variants", help="train and report only these", **SEVERAL)
    add("--quick", action="store_true", help="with the study's quick settings, which try it out in seconds")
    add("--puzzles", type=Path, metavar="FILE", help="chess: measure puzzles too, a CSV as for eval.puzzles")
    add_comparison_options(parser)
    return parse_comparison(parser)


def main() -> None:
    arguments = parse_arguments()
    started = time.perf_counter()
    output = arguments.output
    for name in REPORT_FILES:
        check_output(output / name, overwrite=True)
    device = choose_device(arguments.device)
    study = read_study(arguments.name)
    seeds = study.seeds if arguments.seeds is None else read_numbers("--seeds", arguments.seeds, int)
    variants = choose_variants(study, arguments.variants)
    cells = Cells(study, output, arguments.quick, arguments.settings)
    config = cells.shared_config()
    # Those with a seed side by side, so that a report of part of them has pairs.
    plain = [cells.make(variant, seed) for seed in seeds for variant in variants if not variant.same_time_as]
    timed = [(variant, seed) for seed in seeds for variant in variants if variant.same_time_as]
    for variant, seed in timed:
        cells.check_timed(variant, seed, variants)
    task = studied_task(config, arguments.puzzles, device)
    for cell in plain:
        task.seen(cell.config)

    names = [cells.name(variant, seed) for seed in seeds for variant in variants]
    num_trained = sum((output / name / "model").is_dir() for name in names)
    print(f"{len(names)} cells, {num_trained} of them trained already; they write to {output}/*/train.log")
    sys.stdout.flush()
    try:
        processes, threads = arguments.processes, arguments.threads
        failures = train_runs([cell.run for cell in plain], processes, threads)
        followers, untimed = make_timed(cells, timed, task)
        failures |= untimed | train_runs([cell.run for cell in followers], processes, threads)
        by_name = {cell.run.name: cell for cell in (*plain, *followers) if cell.run.is_finished}
        trained = [by_name[name] for name in names if name in by_name]
        rows, unmeasured = measure_cells(trained, task)
    except KeyboardInterrupt:
        num_trained = sum((output / name / "model").is_dir() for name in names)
        raise KeyboardInterrupt(
            f"{num_trained} of {len(names)} cells are trained; the same command goes on"
        ) from None
    failures |= unmeasured
    failures = {name: failures[name] for name in names if name in failures}
    if rows:
        sessions = [session for cell in trained for session in cell.run.sessions()]
        measures = [measure for measurement in task.measurements for measure in measurement.measures]
        results = {
            "study": {"name": arguments.name, **asdict(study)},
            **summarise(rows, study.reference, [measure.key for measure in measures]),
            "failed": failures,
            "measures": [measure._asdict() for measure in measures],
            "measured_on": [measurement.description for measurement in task.measurements],
            "curves": [curve._asdict() for curve in task.curves],
            "units": [task.example_unit, task.value_unit],
            "command": shlex.join(["python", "-m", "eval.study", *sys.argv[1:]]),
            "settings": arguments.settings,
            "quick": arguments.quick,
            "hardware": describe_hardware(device),
            # Runs of earlier versions do not say.
            "processes": sorted({session.get("processes", processes) for session in sessions}),
            "threads": sorted({session.get("threads", threads) for session in sessions}),
            "seconds": time.perf_counter() - started,
        }
        write_report(output, results, format_report(results), plot_report)
    if failures:
        raise failed_cells(failures, len(names))


def choose_variants(study: Study, names: Sequence[str] | None) -> list[Variant]:
    """Return the variants of these names, all if None; raise InputError for one that the study has not."""
    if names is None:
        return list(study.variants.values())
    check_lists_something("--variants", names)
    for name in names:
        if name not in study.variants:
            raise InputError(f"--variants: there is no {name!r}: give some of {', '.join(study.variants)}")
    return [variant for name, variant in study.variants.items() if name in names]


def studied_task(config: Config, puzzles: Path | None, device: torch.device) -> StudiedTask:
    """Return what is measured of the task that `config` trains; raise InputError if that is not known."""
    if config.task != "chess":
        raise InputError(f"config: studies measure chess, not {config.task}: give a configuration of chess")
    return StudiedChess(config, puzzles, device)


def make_timed(
    cells: Cells, timed: Sequence[tuple[Variant, int]], task: StudiedTask
) -> tuple[list[Cell], dict[str, str]]:
    """Return the cells that are trained for the time of others, and why some cannot be, by their names."""
    made, failures = [], {}
    for variant, seed in timed:
        try:
            made.append(cells.make_timed(variant, seed, task))
        except InputError as error:
            failures[cells.name(variant, seed)] = str(error)
            print(f"{cells.name(variant, seed)} failed: {error}")
    return made, failures


def measure_cells(cells: Sequence[Cell], task: StudiedTask) -> tuple[list[dict], dict[str, str]]:
    """Return a row of results for every cell, and what is wrong with the models that cannot be measured."""
    rows, failures = [], {}
    measures = [measure for measurement in task.measurements for measure in measurement.measures]
    for number, cell in enumerate(cells, start=1):
        try:
            row = measure_cell(cell, task)
        except InputError as error:
            failures[cell.run.name] = str(error)
            print(f"{cell.run.name} failed: {error}")
            continue
        rows.append(row)
        numbers = [
            f"{measure.title} {row[measure.key]:{measure.spec}}"
            for measure in measures
            if row[measure.key] is not None
        ]
        print(f"{number}/{len(cells)}  {cell.run.name}: {', '.join(numbers)}", flush=True)
    return rows, failures


if __name__ == "__main__":
    command(main)
