"""The numbers of a study: a row for every cell, means over seeds, differences to the reference, curves."""

from collections.abc import Iterable, Sequence

import numpy as np

from configs.schema import Config, load_run_config
from data.hub import pin
from eval.intervals import mean_and_standard_error, paired_interval
from studies.cells import Cell
from studies.choices import differences_at_best, gains_of_choosing
from studies.measurements import Measure, StudiedTask, measure_once
from training.model_card import model_weights
from training.run_log import read_metrics


def measure_cell(cell: Cell, task: StudiedTask) -> dict:
    """Return the row of a finished cell: what its training took, all measures, and its curve.

    The curve is empty if evaluations during training were on other data than `cell.config` says now.
    """
    place, run, seen = cell.place, cell.run, task.seen(cell.config)
    seconds = cell.training_seconds(task)
    keys = [curve.key for curve in task.curves]
    is_comparable = evaluated_on(load_run_config(run.folder)) == evaluated_on(cell.config)
    logged = read_metrics(run.folder / "metrics.jsonl") if is_comparable else []
    return {
        "cell": run.name,
        "variant": place.variant.name,
        "point": place.point.name,
        "seed": place.seed,
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
            for row in logged
            if row["kind"] == "eval"
        ],
    }


def evaluated_on(config: Config) -> tuple:
    """Return what says on which data a run is evaluated; a task reads only its own."""
    validation = config.data.validation
    return (validation and pin(validation), config.evaluation.boards, config.evaluation.games)


def summarise(
    rows: Sequence[dict],
    reference: str,
    measures: Sequence[Measure],
    *,
    choose_variant: bool = False,
    choose_point: bool = False,
    baseline: str | None = None,
) -> dict:
    """Return the rows, their means over seeds, and the paired differences of every variant to `reference`.

    `groups` has for each variant and point the mean of `measures` with its standard error, None for a single
    seed; `differences` the mean difference over the seeds that both have, with its 95% interval by Student's
    t. `changes` has, for the points that are not `baseline`, by how much these differences are larger than
    those there, over the seeds that have all four. `choices` are the `gains_of_choosing`, if `choose_variant`
    for each point, and `at_best` the `differences_at_best`, if `choose_point` for each variant; else they are
    empty.
    """
    keys = [measure.key for measure in measures]
    by_place: dict[tuple[str, str], dict[int, dict]] = {}
    for row in rows:
        by_place.setdefault((row["variant"], row["point"]), {})[row["seed"]] = row
    groups, differences, changes = [], [], []
    for (variant, point), by_seed in by_place.items():
        own = list(by_seed.values())
        group = {"variant": variant, "point": point}
        groups.append(
            {
                **group,
                "num_seeds": len(own),
                **{
                    key: float(np.mean([row[key] for row in own]))
                    for key in ("num_steps", "parameters", "examples_seen", "values_seen", "training_seconds")
                },
                **{key: mean_over_seeds(row[key] for row in own) for key in keys},
                "curve": mean_curve([row["curve"] for row in own]),
            }
        )
        others = by_place.get((reference, point), {})
        pairs = [(by_seed[seed], others[seed]) for seed in sorted(by_seed.keys() & others.keys())]
        if variant != reference and pairs:
            means = {
                key: difference_over_seeds((row[key], other[key]) for row, other in pairs) for key in keys
            }
            differences.append({**group, "num_seeds": len(pairs), **means})
        first, first_others = (by_place.get((name, baseline), {}) for name in (variant, reference))
        seeds = sorted(by_seed.keys() & others.keys() & first.keys() & first_others.keys())
        if variant != reference and point != baseline and seeds:
            means = {
                key: difference_over_seeds(
                    (
                        difference(by_seed[seed][key], others[seed][key]),
                        difference(first[seed][key], first_others[seed][key]),
                    )
                    for seed in seeds
                )
                for key in keys
            }
            changes.append({**group, "num_seeds": len(seeds), **means})
    cells = [{key: value for key, value in row.items() if key != "curve"} for row in rows]
    return {
        "measures": [measure._asdict() for measure in measures],
        "cells": cells,
        "groups": groups,
        "differences": differences,
        "changes": changes,
        "choices": gains_of_choosing(rows, measures) if choose_variant else {},
        "at_best": differences_at_best(rows, reference, measures) if choose_point else {},
    }


def mean_over_seeds(values: Iterable[float | None]) -> dict:
    """Return the mean and its standard error, None for a single seed and for what is undefined."""
    mean, error = mean_and_standard_error(np.array(list(values), dtype=np.float64))
    return {"mean": mean, "standard_error": error}


def difference_over_seeds(pairs: Iterable[tuple[float | None, float | None]]) -> dict:
    """Return the mean of first − second over pairs of one seed, and its 95% interval by Student's t.

    Without two pairs there is no interval, only None; pairs in which a number is None are left out.
    """
    found = [difference(first, second) for first, second in pairs]
    defined = [number for number in found if number is not None]
    if not defined:
        return {"mean": None, "low": None, "high": None}
    mean, low, high = paired_interval(np.array(defined))
    return {"mean": mean, "low": low, "high": high}


def difference(first: float | None, second: float | None) -> float | None:
    """Return first − second, None if one of them is."""
    return None if first is None or second is None else first - second


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
