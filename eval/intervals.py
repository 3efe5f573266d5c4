"""Uncertainty of evaluation results: Wilson intervals for rates, standard errors for means."""

import math

import numpy as np


Z_95 = 1.959964  # two-sided 95% quantile of the normal distribution


def wilson_interval(successes: float, trials: float) -> tuple[float, float]:
    """Return the 95% Wilson score interval of a success rate; valid also at rates of 0 and 1."""
    if not trials > 0:
        raise ValueError("an interval needs at least one trial")
    # scipy's binomtest has this interval too, but for whole numbers of trials only.
    rate = successes / trials
    centre = rate + Z_95**2 / (2 * trials)
    half_width = Z_95 * math.sqrt(rate * (1 - rate) / trials + Z_95**2 / (4 * trials**2))
    scale = 1 + Z_95**2 / trials
    return max(0.0, (centre - half_width) / scale), min(1.0, (centre + half_width) / scale)


def mean_and_standard_error(
    totals: np.ndarray, counts: np.ndarray | None = None
) -> tuple[float | None, float | None]:
    """Return the mean Σ totals / Σ counts over independent groups, (groups,) each, and its standard error.

    Without `counts` every group is one observation. With `counts` the error is that of a ratio estimator: the
    action values of one board are correlated. NaN totals are left out. The mean of nothing and the error of
    one group are None.
    """
    totals = np.asarray(totals, dtype=np.float64)
    counts = np.ones_like(totals) if counts is None else np.asarray(counts, dtype=np.float64)
    defined = ~np.isnan(totals)
    totals, counts = totals[defined], counts[defined]
    if not len(totals):
        return None, None
    mean = totals.sum() / counts.sum()
    if len(totals) == 1:
        return float(mean), None
    residuals = totals - mean * counts
    variance = len(totals) / (len(totals) - 1) * np.square(residuals).sum() / counts.sum() ** 2
    return float(mean), float(np.sqrt(variance))


def clustered_wilson_interval(successes: np.ndarray, trials: np.ndarray) -> tuple[float, float]:
    """Return the 95% interval of the rate Σ successes / Σ trials over independent groups, (groups,) each.

    Trials of one group may be correlated. The result is the Wilson interval of the number of independent
    trials that have the same standard error, at most Σ trials; one trial per group where the error is 0 or
    undefined.
    """
    rate, error = mean_and_standard_error(successes, trials)
    if rate is None:
        raise ValueError("an interval needs at least one trial")
    num_trials = min(rate * (1 - rate) / error**2, np.sum(trials)) if error else len(trials)
    return wilson_interval(rate * num_trials, num_trials)
