"""The statistics of a study: means over seeds, paired differences, and choices made on other seeds.

Differences are paired by seed; their intervals are 95% intervals by Student's t over seeds. Tables are long:
one row for each variant, point and measure.
"""

from collections.abc import Sequence

import pandas as pd

from studies.measurements import Measure


GROUP = ("variant", "point", "measure")


def summarise(
    rows: Sequence[dict],
    costs: Sequence[Measure],
    measures: Sequence[Measure],
    reference: str,
    *,
    baseline: str | None = None,
    choose_point: bool = False,
    choose_variant: bool = False,
) -> dict[str, list[dict]]:
    """Return the tables of a study from the rows of its cells.

    `means` has costs and measures, `differences` every variant against the reference at the same point, and
    `changes` how much larger these differences are than at the point `baseline`. With `choose_point`,
    `at_best` has the differences with each variant at its own best point, and with `choose_variant`,
    `gains_of_choosing` what a variant for each point gains over one for all.
    """
    values = long_values(rows, [measure.key for measure in (*costs, *measures)])
    measured = values[values.index.isin([measure.key for measure in measures], level="measure")]
    differences = minus(measured, "variant", reference)
    changes = minus(differences, "point", baseline) if baseline is not None else differences.iloc[:0]
    at_best, gains = [], []
    for measure in measures:
        grid = grid_of(measured, measure)
        if grid is None:
            continue
        if choose_point and reference in grid.columns.get_level_values("variant"):
            best = dict(best_by(grid, "variant", measure))
            for row in _records(intervals(differences_at_best(grid, reference, measure), ["variant"])):
                points = {"point": best[row["variant"]][1], "reference_point": best[reference][1]}
                at_best.append({"measure": measure.key, **row, **points})
        if choose_variant:
            gain = pd.concat({measure.key: gains_of_choosing(grid, measure)}, names=["measure"])
            gains += [
                {**row, "for_all": best_for_all(grid, measure)}
                for row in _records(intervals(gain, ["measure"]))
            ]
    return {
        "means": _records(means(values)),
        "differences": _records(intervals(differences)),
        "changes": _records(intervals(changes)),
        "at_best": at_best,
        "gains_of_choosing": gains,
    }


def long_values(rows: Sequence[dict], keys: Sequence[str]) -> pd.Series:
    """Return the numbers of all cells, indexed by variant, point, measure and seed."""
    cells = pd.DataFrame(rows).set_index(["variant", "point", "seed"])[list(keys)].astype(float)
    return cells.rename_axis(columns="measure").stack(future_stack=True)


def means(values: pd.Series, by: Sequence[str] = GROUP) -> pd.DataFrame:
    """Return the mean over seeds, its standard error and the number of seeds."""
    groups = values.groupby(level=list(by), sort=False)
    return groups.agg(mean="mean", standard_error="sem", num_seeds="count")


def intervals(differences: pd.Series, by: Sequence[str] = GROUP) -> pd.DataFrame:
    """Return the mean over seeds with its interval `low` to `high`, NaN for a single seed."""
    table = means(differences, by)
    import scipy.stats  # takes a second

    half_width = scipy.stats.t.ppf(0.975, table["num_seeds"] - 1) * table.pop("standard_error")
    return table.assign(low=table["mean"] - half_width, high=table["mean"] + half_width)


def minus(values: pd.Series, level: str, name: str) -> pd.Series:
    """Subtract from every value the one that has `name` at an index level and is equal at all others.

    Values without a counterpart are dropped.
    """
    if name not in values.index.get_level_values(level):
        return values.iloc[:0]
    others = values.xs(name, level=level)
    rest = values.drop(name, level=level)
    return (rest - others.reindex(rest.index.droplevel(level)).to_numpy()).dropna()


def grid_of(values: pd.Series, measure: Measure) -> pd.DataFrame | None:
    """Return a measure by seed (rows) and by variant and point (columns).

    None if a number is missing, or if there is only one point or seed: then nothing can be chosen.
    """
    grid = values.xs(measure.key, level="measure").unstack("seed", sort=False).T
    num_points = grid.columns.get_level_values("point").nunique()
    return grid if grid.notna().all(axis=None) and num_points > 1 and len(grid) > 1 else None


def best_by(grid: pd.DataFrame, level: str, measure: Measure) -> pd.Series:
    """Return for each variant or each point (`level`) its best column of a grid, by the mean over seeds."""
    sign = 1 if measure.higher_is_better else -1
    return (sign * grid.mean()).groupby(level=level, sort=False).idxmax()


def best_for_all(grid: pd.DataFrame, measure: Measure) -> str:
    """Return the variant with the best mean over all points and seeds."""
    averages = grid.mean().groupby(level="variant", sort=False).mean()
    return averages.idxmax() if measure.higher_is_better else averages.idxmin()


def differences_at_best(grid: pd.DataFrame, reference: str, measure: Measure) -> pd.Series:
    """Return differences to the reference by variant and seed, each variant at its own best point.

    For every seed the other seeds choose the points, because the best of several measured numbers is good
    partly by chance. The choices share seeds, so the intervals are a little too narrow.
    """
    parts = {}
    for seed in grid.index:
        best = best_by(grid.drop(seed), "variant", measure)
        at_best = grid.loc[seed, list(best)].droplevel("point")
        parts[seed] = (at_best - at_best[reference]).drop(reference)
    return pd.concat(parts, names=["seed", "variant"])


def gains_of_choosing(grid: pd.DataFrame, measure: Measure) -> pd.Series:
    """Return by seed the gain of choosing a variant for each point over one variant for all points.

    It is a mean over points, positive if choosing is better. Choices are made on the other seeds.
    """
    sign = 1 if measure.higher_is_better else -1
    gains = {}
    for seed in grid.index:
        others = grid.drop(seed)
        each = grid.loc[seed, list(best_by(others, "point", measure))].mean()
        gains[seed] = sign * (each - grid.loc[seed, best_for_all(others, measure)].mean())
    return pd.Series(gains, name="gain").rename_axis("seed")


def _records(table: pd.DataFrame) -> list[dict]:
    """Return the rows with None for NaN, as JSON has no NaN."""
    table = table.reset_index()
    return table.astype(object).where(table.notna(), None).to_dict("records")
