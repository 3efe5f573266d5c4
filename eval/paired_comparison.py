"""Compare two agents on the same games: McNemar's exact test, and a paired bootstrap."""

import numpy as np


NUM_RESAMPLES = 10_000


def mcnemar_p_value(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of McNemar's exact test.

    The arguments count the pairs in which only the first, and only the second, was successful. Were both as
    good, each such pair would be a fair coin.
    """
    num_pairs = only_first + only_second
    # C(n, k) one after the other, in whole numbers, which do not overflow.
    term = tail = 1
    for k in range(min(only_first, only_second)):
        term = term * (num_pairs - k) // (k + 1)
        tail += term
    return min(1.0, 2 * tail / 2**num_pairs)


def bootstrap_interval(differences: np.ndarray, seed: int) -> tuple[float, float]:
    """Return the 95% percentile interval of the mean of paired differences, (pairs,), resampling pairs."""
    # Drawing pairs with replacement draws how often each different value comes up.
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
    """Compare what two agents did in the same games, all (games,); differences are first − second."""
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
