"""The report of a study: results.json, the tables as report.md, and report.png."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from cli.errors import InputError
from cli.files import atomic_write, check_output
from cli.hardware import describe_hardware
from cli.options import write_json
from studies.figures import draw_report
from studies.measurements import Level, Measure
from studies.summary import summarise


if TYPE_CHECKING:
    import torch


REPORT_FILES = ("results.json", "report.md", "report.png")
CHOSEN = "chosen on the other seeds"
UNDEFINED = "–"
CURVES = "The figure shows evaluations by train.py during training, the tables the measurements named above."


def check_report(output: Path) -> None:
    """Raise InputError if the report cannot be written to a folder."""
    for name in REPORT_FILES:
        check_output(output / name, overwrite=True)


def check_failures(failures: Mapping[str, str], num_cells: int) -> None:
    """Raise InputError if cells failed, given by name with the last line that they printed."""
    if failures:
        name, line = next(iter(failures.items()))
        raise InputError(f"{len(failures)} of {num_cells} cells failed: {name}: {line}")


def training_costs(example_unit: str, value_unit: str) -> tuple[Measure, ...]:
    """Return the costs of training a cell, in the units of its domain, which may be one unit."""
    seen = {"examples_seen": example_unit}
    if value_unit != example_unit:
        seen["values_seen"] = value_unit
    return (
        Measure("parameters", "parameters", ",.0f"),
        *(Measure(key, unit, ",.0f") for key, unit in seen.items()),
        Measure("training_seconds", "training seconds", ",.1f"),
    )


def write_report(
    output: Path,
    module: str,
    started: float,
    device: torch.device,
    *,
    title: str,
    rows: Sequence[dict],
    measures: Sequence[Measure],
    measured_on: Sequence[str],
    reference: str,
    costs: Sequence[Measure] = (),
    levels: Sequence[Level] = (),
    variants_title: str = "variant",
    points_title: str | None = None,
    figure: str = "lines",
    baseline: str | None = None,
    tuned: bool = False,
    curves: Sequence[dict] = (),
    failed: Mapping[str, str] | None = None,
    **facts: object,
) -> None:
    """Write REPORT_FILES from the rows of all cells, and print the report.

    Rows have `cell`, `variant`, `point`, `seed`, and the keys of `measures` and `costs`. `figure` is `curves`
    (of training), `lines` (over points) or `heat_map`. `started` is the value of `time.perf_counter()` at the
    start of the command `module`; `facts` are added to results.json.
    """
    tables = summarise(
        rows,
        costs,
        measures,
        reference,
        baseline=baseline,
        choose_point=tuned,
        choose_variant=figure == "heat_map",
    )
    results = {
        "title": title,
        "command": shlex.join(["python", "-m", module, *sys.argv[1:]]),
        "reference": reference,
        "baseline": baseline,
        "variants_title": variants_title,
        "points_title": points_title,
        "figure": figure,
        "measured_on": list(measured_on),
        "measures": [{**asdict(measure), "label": measure.label} for measure in measures],
        "costs": [{**asdict(cost), "label": cost.title} for cost in costs],
        "levels": [asdict(level) for level in levels],
        **facts,
        "cells": list(rows),
        **tables,
        "curves": list(curves),
        "failed": dict(failed or {}),
        "hardware": describe_hardware(device),
        "seconds": time.perf_counter() - started,
    }
    write_json(output / "results.json", results)
    report = format_report(results)
    with atomic_write(output / "report.md") as unfinished:
        unfinished.write_text(report + "\n", encoding="utf-8")
    draw_report(results, output / "report.png")
    print(f"\n{report}\n\n{output}: {', '.join(REPORT_FILES)}")


def format_report(results: dict) -> str:
    """Lay out the results as Markdown."""
    reference, points, hardware = results["reference"], results["points_title"], results["hardware"]
    parts = [
        f"# {results['title']}",
        f"Measured on {' and '.join(results['measured_on'])}; means over seeds ± standard errors.",
        _table(results, "means", "measures", _format_mean, results["levels"]),
    ]
    for rows, text in (
        (
            "differences",
            f"Differences to {reference}, paired by seed, with 95% intervals (Student's t over seeds):",
        ),
        ("changes", f"Changes of these differences from {points} {results['baseline']}:"),
        ("at_best", f"Differences to {reference}, each variant at its best {points}, {CHOSEN}:"),
    ):
        if results[rows]:
            parts += [text, _table(results, rows, "measures", _format_difference)]
    for row in results["gains_of_choosing"]:
        (measure,) = (m for m in results["measures"] if m["key"] == row["measure"])
        parts.append(
            f"{measure['label']}: {row['for_all']} is best for all. To choose by {points} gains "
            f"{_format_difference(row, measure['format'])}, {CHOSEN}."
        )
    if results["costs"]:
        total = sum(cell["training_seconds"] for cell in results["cells"])
        parts.append(f"Training, {total / 3600:.2f} hours of steps in all:")
        parts.append(_table(results, "means", "costs", lambda row, spec: f"{row['mean']:{spec}}"))
    parts += [f"{name} failed: {line}" for name, line in results["failed"].items()]
    parts += [
        "![Results](report.png)",
        *([CURVES] if results["figure"] == "curves" else []),
        f"    {results['command']}",
        f"{hardware['device']}, {hardware['cores']} cores, torch {hardware['torch']}",
    ]
    return "\n\n".join(parts)


def _table(
    results: dict, rows: str, columns: str, write: Callable[[dict, str], str], levels: Sequence[dict] = ()
) -> str:
    """Lay out results[rows]: a line for each variant and point, a column for each of results[columns]."""
    measures = {measure["key"]: measure for measure in results[columns]}
    lines: dict[tuple[str, str], dict[str, object]] = {}
    for row in results[rows]:
        point = row["point"]
        if "reference_point" in row:
            point += f" ({results['reference']}: {row['reference_point']})"
        line = lines.setdefault((row["variant"], point), {"seeds": 0})
        if row["measure"] in measures:
            measure = measures[row["measure"]]
            line[measure["label"]] = write(row, measure["format"])
            line["seeds"] = max(row["num_seeds"], line["seeds"])
    for level in levels:
        measure = measures[level["key"]]
        line = lines.setdefault((level["title"], ""), {})
        line[measure["label"]] = f"{level['value']:{measure['format']}}"
    table = pd.DataFrame(
        lines.values(), columns=[*(m["label"] for m in results[columns]), "seeds"], dtype=object
    )
    if results["points_title"]:
        table.insert(0, results["points_title"], [point for _, point in lines])
    table.insert(0, results["variants_title"], [variant for variant, _ in lines])
    alignment = ["left"] + ["right"] * (table.shape[1] - 1)
    return (
        table.fillna(UNDEFINED)
        .astype(str)
        .to_markdown(index=False, disable_numparse=True, colalign=alignment)
    )


def _format_mean(measure: dict, spec: str) -> str:
    """Write a `mean` with its `standard_error`, if there is one; a dash where the mean is None."""
    mean, error = measure["mean"], measure["standard_error"]
    if mean is None:
        return UNDEFINED
    return f"{mean:z{spec}}" + ("" if error is None else f" ± {error:{spec}}")


def _format_difference(measure: dict, spec: str) -> str:
    """Write a `mean` with its sign and the interval `low` to `high`, if there is one; a dash for None."""
    mean, low, high = measure["mean"], measure["low"], measure["high"]
    if mean is None:
        return UNDEFINED
    spec = f"+z{spec}"
    return f"{mean:{spec}}" if low is None else f"{mean:{spec}} ({low:{spec}} to {high:{spec}})"
