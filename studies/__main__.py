"""Study what a choice does: train variants of one configuration with several seeds, and measure them all.

    python -m studies one_pass --output runs/one_pass
    python -m studies one_pass --output runs/tried_out --quick --seeds 0

The study is a file of studies/, which says what is asked and which settings every variant changes;
studies/definition.py says how to write one. Some studies compare the variants at several points, such as
sizes of the model. Every cell is a run of train.py in <output>/<variant>-<point>-seed<seed>; settings given
as key=value are passed on to all of them. Some variants are trained for the time that another took, after all
others.

Called again, it keeps what is trained and measured and goes on with what is not. It leaves results.json, the
tables as report.md, and report.png.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from cli.errors import InputError, command
from configs.schema import Config
from eval.loading import choose_device
from studies.cells import Cell, Cells, Place
from studies.chess import StudiedChess
from studies.commands import (
    SEVERAL,
    add_study_options,
    announced_cells,
    check_report,
    choose,
    describe_training,
    describe_work,
    failed_cells,
    read_seeds,
    write_report,
)
from studies.definition import STUDY_FOLDER, read_study
from studies.measurements import StudiedTask
from studies.summary import measure_cell, summarise
from studies.train_runs import train_runs
from studies.wordle import StudiedWordle


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m studies",
        description="Train variants of one configuration with several seeds, measure them all, and report "
        "means over seeds, paired differences to the reference and a figure. Called again, it keeps what is "
        "trained and goes on with what is not.",
    )
    known = ", ".join(sorted(path.stem for path in STUDY_FOLDER.glob("*.yaml")))
    add = parser.add_argument
    add("name", metavar="NAME", help=f"a study of studies/ ({known}), or the path of a YAML file")
    add_study_options(parser, "models are measured")
    add("--variants", help="train and report only these", **SEVERAL)
    add("--points", help="train and report only at these", **SEVERAL)
    add(
        "--puzzles",
        type=Path,
        metavar="FILE",
        help="chess: measure puzzles too, a CSV as for eval.chess.puzzles",
    )
    add(
        "--games",
        type=Path,
        metavar="FILE",
        help="wordle: held-out games for the next guess (the players of the training data play some)",
    )
    add("more_settings", nargs="*", metavar="key=value", help="settings of all runs, such as data.train=FILE")
    # Settings stand anywhere, also behind the values of an option; of two for one key the later counts.
    arguments = parser.parse_intermixed_args()
    places = {text: place for place, text in enumerate(sys.argv)}
    arguments.settings = sorted(
        arguments.settings + arguments.more_settings, key=lambda setting: places.get(setting, 0)
    )
    return arguments


def main() -> None:
    arguments = parse_arguments()
    started = time.perf_counter()
    output = arguments.output
    check_report(output)
    device = choose_device(arguments.device)
    study = read_study(arguments.name)
    seeds = read_seeds(arguments.seeds) if arguments.seeds is not None else study.seeds
    variants = choose("--variants", arguments.variants, study.variants)
    points = choose("--points", arguments.points, study.points, study.usual_points)
    cells = Cells(study, output, arguments.quick, arguments.settings)
    config = cells.shared_config()
    # Those with a seed side by side, so that a report of part of them has pairs.
    places = [Place(variant, point, seed) for seed in seeds for point in points for variant in variants]
    plain = [cells.make(place) for place in places if not place.variant.same_time_as]
    timed = [place for place in places if place.variant.same_time_as]
    for place in timed:
        cells.check_timed(place, variants)
    task = studied_task(config, study.measurements, arguments, device)
    for cell in plain:
        task.seen(cell.config)

    names = [place.name for place in places]
    for name in filter(cells.is_trained, names):
        task.check_model(output / name / "model")
    limits = arguments.processes, arguments.threads
    with announced_cells(names, cells.is_trained, output):
        failures = train_runs([cell.run for cell in plain], *limits)
        followers, untimed = make_timed(cells, timed, task)
        failures |= untimed | train_runs([cell.run for cell in followers], *limits)
        by_name = {cell.run.name: cell for cell in (*plain, *followers) if cell.run.is_finished}
        trained = [by_name[name] for name in names if name in by_name]
        rows, unmeasured = measure_cells(trained, task)
    failures |= unmeasured
    failures = {name: failures[name] for name in names if name in failures}
    if rows:
        measures = [measure for measurement in task.measurements for measure in measurement.measures]
        levels = [level for measurement in task.measurements for level in measurement.levels]
        results = {
            "study": {"name": arguments.name, **asdict(study)},
            **summarise(
                rows,
                study.reference,
                measures,
                choose_variant=study.figure == "heat_map",
                choose_point=study.tuned,
                baseline=study.baseline,
            ),
            "failed": failures,
            "levels": [level._asdict() for level in levels],
            "measured_on": [measurement.description for measurement in task.measurements],
            "curves": [curve._asdict() for curve in task.curves],
            "units": [task.example_unit, task.value_unit],
            "settings": arguments.settings,
            "quick": arguments.quick,
            **describe_training([cell.run for cell in trained], *limits),
            **describe_work("studies", device, started),
        }
        write_report(output, results)
    if failures:
        raise failed_cells(failures, len(names))


def studied_task(
    config: Config, names: Sequence[str] | None, arguments: argparse.Namespace, device: torch.device
) -> StudiedTask:
    """Return what is measured of the task that `config` trains; raise InputError for options of another."""
    foreign = {"chess": "games", "wordle": "puzzles"}[config.task]
    if getattr(arguments, foreign) is not None:
        raise InputError(f"--{foreign} is not for {config.task}, which this study trains: leave it out")
    if config.task == "wordle":
        return StudiedWordle(config, names, arguments.games, device)
    return StudiedChess(config, names, arguments.puzzles, device)


def make_timed(cells: Cells, timed: Sequence[Place], task: StudiedTask) -> tuple[list[Cell], dict[str, str]]:
    """Return the cells that are trained for the time of others, and why some cannot be, by their names."""
    made, failures = [], {}
    for place in timed:
        try:
            made.append(cells.make_timed(place, task))
        except InputError as error:
            failures[place.name] = str(error)
            print(f"{place.name} failed: {error}")
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
