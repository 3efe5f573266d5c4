"""What a choice among variants or points gains, without counting the luck of whoever chooses.

The best of many cells is good partly by chance. So every seed in turn is measured with what the other seeds
choose. These folds share seeds, so that their intervals are a little too narrow; two seeds tell nothing.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np

from eval.intervals import paired_interval
from studies.measurements import Measure, lower_is_better


def gains_of_choosing(rows: Sequence[dict], measures: Sequence[Measure]) -> dict[str, dict]:
    """Return, by the key of each measure, what it gains to choose a variant for every point.

    `for_all` is the variant with the best mean over all points, `best` that of each point. `gain` compares
    both, higher meaning better, as a mean over points; its mean and 95% interval by Student's t over seeds,
    None with a single one. A measure without a number for every variant and point of every seed is left out,
    and all are with a single point.
    """
    found = {}
    for measure in measures:
        names, grid = _grid(rows, measure)
        if grid is None:
            continue
        variants, points = names
        gains = []
        for held_out, others in _folds(grid):
            each, common = others.argmax(axis=0), others.mean(axis=1).argmax()
            gains.append((held_out[each, np.arange(len(points))] - held_out[common]).mean())
        mean = grid.mean(axis=0)
        found[measure.key] = {
            "for_all": variants[mean.mean(axis=1).argmax()],
            "best": dict(zip(points, (variants[place] for place in mean.argmax(axis=0)), strict=True)),
            "gain": _interval(gains),
        }
    return found


def differences_at_best(rows: Sequence[dict], reference: str, measures: Sequence[Measure]) -> dict[str, dict]:
    """Return, by the key of each measure, differences of variants to the reference, each at its best point.

    `best` is the point of each variant with the best mean, `differences` by variant those of the measure,
    their mean and 95% interval by Student's t over seeds, None with a single one. A measure without a number
    for every variant and point of every seed is left out, and all are with a single point.
    """
    found = {}
    for measure in measures:
        names, grid = _grid(rows, measure)
        if grid is None or reference not in names[0]:
            continue
        variants, points = names
        place = variants.index(reference)
        differences: dict[str, list[float]] = {name: [] for name in variants if name != reference}
        for held_out, others in _folds(grid):
            own = held_out[np.arange(len(variants)), others.argmax(axis=1)]
            for name, number in zip(variants, _sign(measure) * (own - own[place]), strict=True):
                if name != reference:
                    differences[name].append(number)
        best = grid.mean(axis=0).argmax(axis=1)
        found[measure.key] = {
            "best": dict(zip(variants, (points[point] for point in best), strict=True)),
            "differences": {name: _interval(numbers) for name, numbers in differences.items()},
        }
    return found


def _grid(rows: Sequence[dict], measure: Measure) -> tuple[tuple[list[str], list[str]], np.ndarray | None]:
    """Return variants, points, and (seeds, variants, points) of numbers of which higher is better.

    Those are None where some are missing, and where there is nothing to choose: at a single point.
    """
    variants, points, seeds = (
        list(dict.fromkeys(row[key] for row in rows)) for key in ("variant", "point", "seed")
    )
    by_cell = {(row["seed"], row["variant"], row["point"]): row[measure.key] for row in rows}
    numbers = [by_cell.get(cell) for cell in product(seeds, variants, points)]
    if None in numbers or len(points) < 2:
        return (variants, points), None
    grid = np.reshape(np.array(numbers, dtype=np.float64), (len(seeds), len(variants), len(points)))
    return (variants, points), _sign(measure) * grid


def _sign(measure: Measure) -> int:
    return -1 if lower_is_better(measure.title) else 1


def _folds(grid: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return for every seed its numbers and the means of the others; nothing for a single seed."""
    if len(grid) < 2:
        return []
    return [(grid[number], np.delete(grid, number, axis=0).mean(axis=0)) for number in range(len(grid))]


def _interval(numbers: Sequence[float]) -> dict | None:
    if not numbers:
        return None
    return dict(zip(("mean", "low", "high"), paired_interval(np.array(numbers)), strict=True))
