"""Compare two players on the same games: McNemar's exact test and a paired bootstrap."""

import numpy as np


NUM_RESAMPLES = 10_000


def mcnemar_p_value(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of McNemar's exact test.

    The arguments are the numbers of pairs in which only the first, or only the second, was successful.
    """
    num_pairs = only_first + only_second
    import scipy.stats  # takes a second

    return float(scipy.stats.binomtest(only_first, num_pairs).pvalue) if num_pairs else 1.0


def bootstrap_interval(differences: np.ndarray, seed: int) -> tuple[float, float]:
    """Return the 95% percentile interval of the mean of paired differences, (pairs,), resampling pairs."""
    # A resample is a multinomial draw of how often each distinct value occurs.
    values, counts = np.unique(differences, return_counts=True)
    num_pairs = len(differences)
    draws = np.random.default_rng(seed).multinomial(num_pairs, counts / num_pairs, size=NUM_RESAMPLES)
    low, high = np.quantile(draws @ values / num_pairs, [0.025, 0.975])
    return float(low), float(high)


def compare_pairs(
    first_won: np.ndarray,
    second_won: np.ndarray,
    first_returns: np.ndarray,
    second_returns: np.ndarray,
    seed: int,
) -> dict:
    """Compare the results of two players in the same games, (games,) each; differences are first − second."""
    only_first = int((first_won & ~second_won).sum())
    only_second = int((second_won & ~first_won).sum())
    differences = first_returns - second_returns
    low, high = bootstrap_interval(differences, seed)
    return {
        "only_first_won": only_first,
        "only_second_won": only_second,
        "success_difference": (only_first - only_second) / len(first_won),
        "mcnemar_p_value": mcnemar_p_value(only_first, only_second),
        "return_difference": float(differences.mean()),
        "low": low,
        "high": high,
        "num_games": len(first_won),
    }
