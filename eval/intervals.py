"""Uncertainty of evaluation results: Wilson intervals for rates, standard errors for means."""

import math

import numpy as np


Z_95 = 1.959964  # two-sided 95% quantile of the normal distribution


def wilson_interval(successes: float, trials: float) -> tuple[float, float]:
    """Return the 95% Wilson score interval of a success rate, good at 0 and at all successes too."""
    if not trials > 0:
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


def clustered_wilson_interval(successes: np.ndarray, trials: np.ndarray) -> tuple[float, float]:
    """Return the 95% interval of the rate Σ successes / Σ trials over independent groups, (groups,) each.

    The trials of one group may depend on each other. It is the Wilson interval of as many independent trials
    as give the standard error of that ratio, but of no more than there are; where the error is 0 or
    undefined, of one trial per group.
    """
    rate, error = mean_and_standard_error(successes, trials)
    if rate is None:
        raise ValueError("an interval needs at least one trial")
    num_trials = min(rate * (1 - rate) / error**2, np.sum(trials)) if error else len(trials)
    return wilson_interval(rate * num_trials, num_trials)


def paired_interval(differences: np.ndarray) -> tuple[float, float | None, float | None]:
    """Return the mean of paired differences (pairs,), and its 95% interval by Student's t.

    Of a single pair there is no interval, only None.
    """
    mean, error = mean_and_standard_error(differences)
    if error is None:
        return mean, None, None
    half_width = t_quantile(len(differences) - 1) * error
    return mean, mean - half_width, mean + half_width


def t_quantile(degrees_of_freedom: int) -> float:
    """Return the two-sided 95% quantile of Student's t distribution."""
    # Of T = √ν · tan θ the density in θ is proportional to cos^(ν − 1) θ.
    angles = np.linspace(0, math.pi / 2, 100_001)
    density = np.cos(angles) ** (degrees_of_freedom - 1)
    shares = np.append(0, np.cumsum(density[1:] + density[:-1]))
    return math.sqrt(degrees_of_freedom) * math.tan(np.interp(0.95, shares / shares[-1], angles))
