"""The numbers of a study: a row for every cell, means over seeds, differences to the reference, curves."""

from collections.abc import Sequence

import numpy as np

from eval.model_card import model_weights
from eval.run_comparison import difference_over_seeds, mean_over_seeds
from eval.run_log import read_metrics
from eval.studies.cells import Cell
from eval.studies.measurements import StudiedTask, measure_once


def measure_cell(cell: Cell, task: StudiedTask) -> dict:
    """Return the row of a finished cell: what its training took, all measures, and its curve."""
    run, seen, seconds = cell.run, task.seen(cell.config), cell.training_seconds(task)
    keys = [curve.key for curve in task.curves]
    return {
        "cell": run.name,
        "variant": cell.variant.name,
        "seed": cell.seed,
        "num_steps": run.num_steps,
        "parameters": sum(model_weights(run.folder / "model").values()),
        "examples_seen": seen.examples,
        "values_seen": seen.values,
        "training_seconds": seconds,
        "seconds_with_evaluations": run.seconds(),
        **measure_once(run.folder, task.measurements),
        "curve": [
            {
                "step": row["step"],
                "examples_seen": seen.examples * row["step"] / run.num_steps,
                "training_seconds": seconds * row["step"] / run.num_steps,
                **{key: row[key] for key in keys if key in row},
            }
            for row in read_metrics(run.folder / "metrics.jsonl")
            if row["kind"] == "eval"
        ],
    }


def summarise(rows: Sequence[dict], reference: str, measures: Sequence[str]) -> dict:
    """Return the rows, their means over seeds, and the paired differences of every variant to `reference`.

    `variants` has for each the mean of `measures` with its standard error, None for a single seed, and
    `differences` the mean difference over the seeds that both have, with its 95% interval by Student's t.
    """
    by_variant: dict[str, dict[int, dict]] = {}
    for row in rows:
        by_variant.setdefault(row["variant"], {})[row["seed"]] = row
    variants, differences = [], []
    for name, of_variant in by_variant.items():
        own = list(of_variant.values())
        variants.append(
            {
                "variant": name,
                "num_seeds": len(own),
                **{
                    key: float(np.mean([row[key] for row in own]))
                    for key in ("num_steps", "parameters", "examples_seen", "values_seen", "training_seconds")
                },
                **{key: mean_over_seeds(row[key] for row in own) for key in measures},
                "curve": mean_curve([row["curve"] for row in own]),
            }
        )
        others = by_variant.get(reference, {})
        pairs = [(of_variant[seed], others[seed]) for seed in sorted(of_variant.keys() & others.keys())]
        if name != reference and pairs:
            means = {
                key: difference_over_seeds((row[key], other[key]) for row, other in pairs) for key in measures
            }
            differences.append({"variant": name, "num_seeds": len(pairs), **means})
    cells = [{key: value for key, value in row.items() if key != "curve"} for row in rows]
    return {"cells": cells, "variants": variants, "differences": differences}


def mean_curve(curves: Sequence[Sequence[dict]]) -> list[dict]:
    """Return the mean of the points that all curves have: at the same steps, and at their ends.

    The ends may be at different steps, where seeds were trained for the same time.
    """
    if not all(curves):
        return []
    ends = [curve[-1] for curve in curves]
    before = [{point["step"]: point for point in curve[:-1]} for curve in curves]
    steps = sorted(set.intersection(*(set(points) for points in before)))
    together = [[points[step] for points in before] for step in steps] + [ends]
    return [
        {
            key: float(np.mean([point[key] for point in points]))
            for key in points[0]
            if all(key in point for point in points)
        }
        for points in together
    ]
