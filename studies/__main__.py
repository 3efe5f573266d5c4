"""Compare variants of one configuration: train them with several seeds and measure all models.

    python -m studies one_pass --output runs/one_pass
    python -m studies one_pass --output runs/quick_look --quick --seeds 0

A study is a YAML file in studies/; studies/definition.py documents its fields. Some studies compare the
variants at several points, such as sizes of the model. Every cell is a run of train.py in
<output>/<variant>-<point>-seed<seed>; settings given as key=value apply to all cells.

The same command, called again, keeps finished cells and continues the others. It writes results.json, the
tables as report.md, and report.png to the output folder.
"""

import argparse
import time
from pathlib import Path

from cli.errors import InputError, command
from cli.options import add_settings, parse_with_settings
from studies.cells import make_cells, measure_cell, read_curve
from studies.definition import STUDY_FOLDER, check_names, read_study
from studies.domains import FILE_OPTIONS, find_domain
from studies.options import SEVERAL, add_study_options, processes_on
from studies.report import check_failures, check_report, training_costs, write_report
from studies.runs import train_runs


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m studies",
        description="Train variants of one configuration with several seeds, measure all models, and report "
        "means, paired differences to the reference and a figure. The same command, called again, keeps "
        "finished cells and continues the others.",
    )
    known = ", ".join(sorted(path.stem for path in STUDY_FOLDER.glob("*.yaml")))
    add = parser.add_argument
    add("name", metavar="NAME", help=f"a study in studies/ ({known}), or the path of a YAML file")
    add_settings(parser, "settings of all runs, such as data.train=FILE")
    add_study_options(parser)
    add("--points", help="train and report only at these points", **SEVERAL)
    for task, options in FILE_OPTIONS.items():
        for name, text in options.items():
            add(f"--{name}", type=Path, metavar="FILE", help=f"{task}: {text}")
    return parse_with_settings(parser)


def main() -> None:
    arguments = parse_arguments()
    started = time.perf_counter()
    output = arguments.output
    check_report(output)
    study = read_study(arguments.name)
    variants = list(dict.fromkeys(arguments.variants or study.variants))
    points = list(dict.fromkeys(arguments.points or study.usual_points))
    check_names("--variants", variants, study.variants)
    check_names("--points", filter(None, points), study.points)
    cells = make_cells(
        study,
        output,
        variants,
        points,
        list(dict.fromkeys(arguments.seeds or study.seeds)),
        quick=arguments.quick,
        settings=arguments.settings,
    )
    config = cells[0].config
    files = {name: getattr(arguments, name) for options in FILE_OPTIONS.values() for name in options}
    files = {name: path for name, path in files.items() if path is not None}
    for name in files.keys() - FILE_OPTIONS[config.task].keys():
        raise InputError(
            f"--{name} is not an option of {config.task}, the domain of this study: leave it out"
        )
    from eval.loading import choose_device

    device = choose_device(arguments.device)
    processes = processes_on(device, arguments.processes)
    domain = find_domain(config.task)(config, device, **files)
    measurements = domain.measurements(study.measurements)
    for cell in cells:
        domain.seen(cell.config)  # prepares the data once, before several processes read it

    failed = train_runs([cell.run for cell in cells], processes, arguments.threads)
    measures = [measure for measurement in measurements for measure in measurement.measures]
    rows, curves = [], []
    for number, cell in enumerate(cells, start=1):
        if not cell.run.is_finished:
            continue
        try:
            row = measure_cell(cell, domain, measurements)
        except InputError as error:
            failed[cell.run.name] = str(error)
            print(f"{cell.run.name} failed: {error}")
            continue
        rows.append(row)
        curves += read_curve(cell, row)
        numbers = [
            f"{measure.title} {row[measure.key]:{measure.format}}"
            for measure in measures
            if row[measure.key] is not None
        ]
        print(f"{number}/{len(cells)}  {cell.run.name}: {', '.join(numbers)}", flush=True)
    if rows:
        across = study.across
        write_report(
            output,
            "studies",
            started,
            device,
            title=study.title,
            rows=rows,
            measures=measures,
            measured_on=[measurement.description for measurement in measurements],
            reference=study.reference,
            costs=training_costs(domain.example_unit, domain.value_unit),
            levels=[level for measurement in measurements for level in measurement.levels],
            variants_title=study.variants_title,
            points_title=across.title if across else None,
            figure=across.figure if across else "curves",
            baseline=across.baseline if across else None,
            tuned=across.tuned if across else False,
            curves=curves,
            failed=failed,
            study=arguments.name,
            settings=arguments.settings,
            quick=arguments.quick,
            processes=processes,
            threads=arguments.threads,
        )
    check_failures(failed, len(cells))


if __name__ == "__main__":
    command(main)
