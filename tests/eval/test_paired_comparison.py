"""Comparisons of two agents and rates of clustered trials, against SciPy and against what must hold."""

import numpy as np
import pytest
import scipy.stats

from eval.intervals import clustered_wilson_interval, wilson_interval
from eval.paired_comparison import bootstrap_interval, compare_pairs, mcnemar_p_value


@pytest.mark.parametrize(
    "pairs", [(0, 0), (0, 1), (5, 5), (3, 11), (11, 3), (400, 460), (2000, 2000), (0, 3000)]
)
def test_mcnemar_is_the_exact_binomial_test(pairs):
    expected = scipy.stats.binomtest(pairs[0], sum(pairs)).pvalue if any(pairs) else 1
    assert mcnemar_p_value(*pairs) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_bootstrap_interval_equals_scipys():
    rng = np.random.default_rng(0)
    differences = rng.integers(-6, 7, size=300) * (rng.random(300) < 0.4)
    expected = scipy.stats.bootstrap(
        (differences,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert bootstrap_interval(differences, seed=0) == pytest.approx((expected.low, expected.high), abs=0.02)
    assert bootstrap_interval(differences, seed=0) == bootstrap_interval(differences, seed=0)


def test_agents_that_play_alike_do_not_differ():
    won, returns = np.array([True, False, True]), np.array([-2.0, -6.0, -1.0])
    comparison = compare_pairs(won, won, returns, returns, seed=0)
    assert comparison["mcnemar_p_value"] == 1 and comparison["success_difference"] == 0
    assert comparison["return_difference"] == comparison["low"] == comparison["high"] == 0


def test_comparison_counts_games_that_one_alone_won():
    first, second = np.array([1, 1, 1, 0, 0], dtype=bool), np.array([1, 0, 0, 1, 0], dtype=bool)
    returns = np.array([-1.0, -2.0, -3.0, -6.0, -6.0]), np.array([-2.0, -6.0, -6.0, -3.0, -6.0])
    comparison = compare_pairs(first, second, *returns, seed=0)
    assert (comparison["only_first_won"], comparison["only_second_won"]) == (2, 1)
    assert comparison["success_difference"] == pytest.approx(0.2)
    assert comparison["return_difference"] == pytest.approx(1)
    assert comparison["low"] < 1 < comparison["high"]
    swapped = compare_pairs(second, first, *returns[::-1], seed=0)
    assert swapped["return_difference"] == -comparison["return_difference"]
    assert swapped["mcnemar_p_value"] == comparison["mcnemar_p_value"]


def test_groups_of_one_trial_have_about_wilsons_interval():
    successes = np.arange(400) < 130
    interval = clustered_wilson_interval(successes, np.ones(400))
    assert interval == pytest.approx(wilson_interval(130, 400), abs=1e-3)


def test_trials_that_always_agree_count_once_per_group():
    successes = np.arange(400) < 130
    for size in (2, 5):
        interval = clustered_wilson_interval(size * successes, np.full(400, size))
        assert interval == pytest.approx(wilson_interval(130, 400), abs=1e-3)
    assert clustered_wilson_interval(np.full(50, 3), np.full(50, 3)) == wilson_interval(50, 50)
    assert clustered_wilson_interval(np.zeros(50), np.full(50, 3)) == wilson_interval(0, 50)


def test_clustered_intervals_cover_the_rate_and_plain_ones_do_not():
    rng = np.random.default_rng(0)
    covered = np.zeros(2)
    for _ in range(500):
        trials = rng.integers(1, 6, size=120)
        successes = np.where(rng.random(120) < 0.5, trials, rng.binomial(trials, 0.1))
        for i, (low, high) in enumerate(
            (
                clustered_wilson_interval(successes, trials),
                wilson_interval(successes.sum(), trials.sum()),
            )
        ):
            covered[i] += low <= 0.55 <= high
    clustered, plain = covered / 500
    assert 0.92 < clustered < 0.98 and plain < 0.9
