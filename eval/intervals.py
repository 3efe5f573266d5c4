"""Uncertainty of evaluation results: Wilson intervals for rates, standard errors for means."""

import math

import numpy as np


Z_95 = 1.959964  # two-sided 95% quantile of the normal distribution


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95% Wilson score interval of a success rate, good at 0 and at all successes too."""
    if trials < 1:
        raise ValueError("an interval needs at least one trial")
    rate = successes / trials
    centre = rate + Z_95**2 / (2 * trials)
    half_width = Z_95 * math.sqrt(rate * (1 - rate) / trials + Z_95**2 / (4 * trials**2))
    scale = 1 + Z_95**2 / trials
    return max(0.0, (centre - half_width) / scale), min(1.0, (centre + half_width) / scale)


def mean_and_standard_error(
    totals: np.ndarray, counts: np.ndarray | None = None
) -> tuple[float | None, float | None]:
    """Return the mean Σ totals / Σ counts over independent groups, (groups,) each, and its standard error.

    Without `counts` every group is one observation. With them the error is that of a ratio estimator, which
    does not mistake the correlated action values of one board for independent ones. NaN totals are left out.
    None stands for what is undefined: the mean of nothing, the error of one group.
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
