"""The statistics of studies against numpy and scipy."""

import numpy as np
import pytest
import scipy.stats

from studies.measurements import Measure
from studies.summary import (
    best_by,
    best_for_all,
    differences_at_best,
    gains_of_choosing,
    grid_of,
    long_values,
    summarise,
)


KL = Measure("kl", "KL", ".3f", higher_is_better=False)
AGREEMENT = Measure("agreement", "best move", ".1%")
COST = Measure("parameters", "parameters", ",.0f")
NUMBERS = {
    ("prefix", 0): (2.5, 0.30),
    ("prefix", 1): (2.6, 0.32),
    ("prefix", 2): (2.4, 0.37),
    ("full", 2): (2.2, 0.40),
    ("full", 0): (2.4, 0.36),
    ("full", 1): (2.6, 0.35),
    ("mse", 1): (None, 0.25),
    ("deep", 7): (2.0, 0.45),
}


def rows_of(numbers: dict[tuple[str, int], tuple[float | None, float]], point: str = "") -> list[dict]:
    return [
        {
            "cell": f"{variant}-seed{seed}",
            "variant": variant,
            "point": point,
            "seed": seed,
            "parameters": 1000 + seed,
            "kl": kl,
            "agreement": agreement,
        }
        for (variant, seed), (kl, agreement) in numbers.items()
    ]


def summary(rows: list[dict], **options: object) -> dict[str, dict[tuple[str, str, str], dict]]:
    """Return the tables of `summarise` by variant, point and measure."""
    tables = summarise(rows, (COST,), (KL, AGREEMENT), "prefix", **options)
    return {
        name: {(row["variant"], row["point"], row["measure"]): row for row in tables[name]}
        for name in ("means", "differences", "changes")
    }


def t_interval(numbers: list[float]) -> tuple[float, float]:
    interval = scipy.stats.ttest_1samp(numbers, 0).confidence_interval(0.95)
    return interval.low, interval.high


def test_means_have_standard_errors_over_seeds():
    found = summary(rows_of(NUMBERS))["means"]
    of_prefix = found["prefix", "", "agreement"]
    assert of_prefix["mean"] == pytest.approx(0.33) and of_prefix["num_seeds"] == 3
    assert of_prefix["standard_error"] == pytest.approx(np.std([0.30, 0.32, 0.37], ddof=1) / 3**0.5)
    assert found["prefix", "", "parameters"]["mean"] == 1001
    assert found["deep", "", "kl"]["mean"] == 2.0 and found["deep", "", "kl"]["standard_error"] is None
    assert found["mse", "", "kl"]["mean"] is None
    assert list(dict.fromkeys(variant for variant, _, _ in found)) == ["prefix", "full", "mse", "deep"]


def test_differences_are_paired_by_seed_with_intervals_of_students_t():
    found = summary(rows_of(NUMBERS))["differences"]
    of_full = found["full", "", "agreement"]
    expected = scipy.stats.ttest_rel([0.36, 0.35, 0.40], [0.30, 0.32, 0.37]).confidence_interval(0.95)
    assert (of_full["low"], of_full["high"]) == pytest.approx((expected.low, expected.high))
    assert of_full["mean"] == pytest.approx(0.04)
    alone = found["mse", "", "agreement"]
    assert alone["mean"] == pytest.approx(-0.07) and alone["low"] is None and alone["num_seeds"] == 1
    # Without the reference of the same seed, or without a number, there is no difference.
    assert not any(variant == "deep" for variant, _, _ in found) and ("mse", "", "kl") not in found
    assert not any(measure == "parameters" for _, _, measure in found)


def test_equal_differences_have_an_interval_of_width_0():
    rows = rows_of({(v, s): (s, s + (v == "full") / 2) for v in ("prefix", "full") for s in (0, 1, 2)})
    of_full = summary(rows)["differences"]["full", "", "agreement"]
    assert (of_full["mean"], of_full["low"], of_full["high"]) == (0.5, 0.5, 0.5)


def test_changes_compare_the_differences_of_a_seed_at_two_points():
    noisy = NUMBERS | {("full", 0): (2.4, 0.30), ("full", 1): (2.6, 0.31), ("full", 2): (2.2, 0.38)}
    rows = [*rows_of(NUMBERS, "0"), *rows_of(noisy, "1"), *rows_of(noisy, "3")[:4]]
    found = summary(rows, baseline="0")["changes"]
    seeds = {
        (variant, point): row["num_seeds"]
        for (variant, point, key), row in found.items()
        if key == "agreement"
    }
    assert seeds == {("full", "1"): 3, ("mse", "1"): 1, ("full", "3"): 1}
    change = found["full", "1", "agreement"]
    assert change["mean"] == pytest.approx(-0.04)
    assert (change["low"], change["high"]) == pytest.approx(t_interval([-0.06, -0.04, -0.02]))
    assert summary(rows)["changes"] == {}


def grid_with(changes: dict[tuple[str, str, int], float]):
    """Return the grid of three seeds: 30% if wide, 19% if narrow, except for the `changes`."""
    usual = {"wide": 0.30, "narrow": 0.19}
    rows = [
        row
        for variant in usual
        for point in ("21", "201")
        for seed in (0, 1, 2)
        for row in rows_of(
            {(variant, seed): (None, changes.get((variant, point, seed), usual[variant]))}, point
        )
    ]
    return grid_of(long_values(rows, ["agreement"]), AGREEMENT)


LOWER = Measure("agreement", "error", ".3f", higher_is_better=False)


def test_every_variant_is_compared_at_the_best_point_of_the_other_seeds():
    grid = grid_with({("narrow", "21", seed): 0.36 + 0.02 * seed for seed in (0, 1, 2)})
    assert best_by(grid, "variant", AGREEMENT)["narrow"] == ("narrow", "21")
    differences = differences_at_best(grid, "wide", AGREEMENT).xs("narrow", level="variant")
    assert differences.tolist() == pytest.approx([0.06, 0.08, 0.10])
    # A lucky number does not choose itself: its seed is measured where the others are best.
    lucky = differences_at_best(grid_with({("narrow", "201", 1): 0.90}), "wide", AGREEMENT)
    assert lucky.tolist() == pytest.approx([-0.11] * 3)
    # If lower is better, another point is best; the difference keeps its sign.
    assert best_by(grid, "variant", LOWER)["narrow"] == ("narrow", "201")
    assert differences_at_best(grid, "wide", LOWER).tolist() == pytest.approx([-0.11] * 3)


def test_a_variant_for_each_point_gains_what_the_other_seeds_predict():
    grid = grid_with({("narrow", "21", seed): 0.40 for seed in (0, 1, 2)})
    assert best_for_all(grid, AGREEMENT) == "wide"
    assert gains_of_choosing(grid, AGREEMENT).tolist() == pytest.approx([0.05] * 3)
    # The variant that is best with one seed alone is chosen for the others, where it is worse.
    lucky = gains_of_choosing(grid_with({("narrow", "21", 1): 0.50}), AGREEMENT)
    assert lucky.mean() == pytest.approx(-0.11 / 2 * 2 / 3)
    assert best_for_all(grid, LOWER) == "narrow"


def test_nothing_is_chosen_from_an_incomplete_grid_a_single_point_or_a_single_seed():
    rows = [*rows_of(NUMBERS, "0"), *rows_of(NUMBERS, "1")]
    values = long_values([row for row in rows if row["variant"] in ("prefix", "full")], ["kl"])
    assert grid_of(values, KL) is not None
    assert grid_of(values.iloc[1:], KL) is None
    assert grid_of(values.xs("0", level="point", drop_level=False), KL) is None
    assert grid_of(values.xs(0, level="seed", drop_level=False), KL) is None


def test_a_summary_has_the_choices_that_a_study_asks_for():
    rows = [*rows_of(NUMBERS, "0")[:6], *rows_of(NUMBERS, "1")[:6]]
    tables = summarise(rows, (COST,), (KL, AGREEMENT), "prefix", choose_point=True, choose_variant=True)
    assert [(row["measure"], row["variant"], row["point"]) for row in tables["at_best"]] == [
        ("kl", "full", "0"), ("agreement", "full", "0"),
    ]  # fmt: skip
    at_best = tables["at_best"][1]
    assert at_best["reference_point"] == "0"
    assert (at_best["low"], at_best["high"]) == pytest.approx(t_interval([0.06, 0.03, 0.03]))
    assert [(row["measure"], row["for_all"], row["mean"]) for row in tables["gains_of_choosing"]] == [
        ("kl", "full", 0), ("agreement", "full", 0),
    ]  # fmt: skip
    plain = summarise(rows, (COST,), (KL, AGREEMENT), "prefix")
    assert plain["at_best"] == plain["gains_of_choosing"] == []
