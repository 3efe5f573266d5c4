"""Elo ratings and their intervals from game pairs: one opening, played once with either colour.

The model is e = 1 / (1 + 10^(−d / 400)), the expected score of one game at a rating difference d (Elo, The
Rating of Chessplayers, 1978), with draws as half wins; maximum likelihood equates total and expected score.

The two games of a pair depend on each other, so the interval takes pairs as its unit and needs how many got
0, ½, 1, 1½ and 2, the pentanomial counts of fishtest. The mean score x of a pair would have the variance
e (1 − e) / 2 if its games were independent and decisive. Draws, and openings that favour one side, shrink it
by the dispersion

    φ = (Σ (x − ê)² + ¼) / (Σ ê (1 − ê) / 2 + ⅛)        over pairs, ê at the estimate

where ¼ and ⅛ are one pair more, 2–0 or 0–2 against an equal. It stands for what the pairs cannot show: else
50 pairs that all end 1–1 would leave no uncertainty, and few pairs too little, as the residuals are about
their own fit. The 95% interval is what a quasi-score test does not reject,

    (Σ (x − e))² ≤ z² φ Σ e (1 − e) / 2                 e at the rating tested, z = 1.96

for one opponent Wilson's interval of 2n / φ games. It stays sane where e nears 0 or 1, unlike ê ± an error.

Opponents' ratings count as exact: the errors of the anchors come on top.
"""

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from eval.intervals import Z_95


PAIR_SCORES = np.arange(5) / 4  # of a pair that scored 0, ½, 1, 1½ or 2, per game


class MatchScore(NamedTuple):
    """Result against one opponent: its rating (Elo), None if unknown, and the counts of pairs by score."""

    rating: float | None
    pentanomial: tuple[int, int, int, int, int]

    @property
    def num_games(self) -> int:
        return 2 * sum(self.pentanomial)

    @property
    def score(self) -> float | None:
        """Mean score per game, in [0, 1]; None without games."""
        if not self.num_games:
            return None
        return float(np.dot(self.pentanomial, PAIR_SCORES)) / sum(self.pentanomial)


class Rating(NamedTuple):
    """A rating or a difference of ratings with its 95% interval, in Elo; ends may be infinite."""

    elo: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


def expected_score(difference: float | np.ndarray) -> float | np.ndarray:
    """Return 1 / (1 + 10^(−difference / 400)), the expected score per game of a player so much stronger."""
    return 1 / (1 + 10 ** (-difference / 400))


def elo_difference(score: float) -> float:
    """Return 400 log10(score / (1 − score)), the inverse of `expected_score`; infinite at 0 and 1."""
    if score in (0, 1):
        return math.inf if score else -math.inf
    return 400 * math.log10(score / (1 - score))


def fit_rating(matches: Sequence[MatchScore]) -> Rating:
    """Return the maximum-likelihood rating of a player against opponents of known ratings.

    The likelihood is ∏ e^s (1 − e)^(1 − s) over games of score s. Scores of 0 and 1 have an infinite estimate
    and one finite bound. Opponents of unknown rating are left out; ValueError if that leaves no pair.
    """
    known = [match for match in matches if match.rating is not None and match.num_games]
    if not known:
        raise ValueError("a rating needs at least one pair of games against an opponent of known rating")
    opponents = np.array([match.rating for match in known], dtype=np.float64)  # (matches,)
    counts = np.array([match.pentanomial for match in known], dtype=np.float64)  # (matches, 5)
    num_pairs = counts.sum(axis=1)
    total = float((counts @ PAIR_SCORES).sum())
    bracket = float(opponents.min()) - 10_000, float(opponents.max()) + 10_000

    def surplus(rating: float) -> float:
        return total - float(num_pairs @ expected_score(rating - opponents))

    if total in (0, num_pairs.sum()):
        elo = math.inf if total else -math.inf
    else:
        elo = _zero(surplus, *bracket)
    dispersion = _dispersion(counts, expected_score(elo - opponents))

    def bound(side: int) -> float:
        """Return the upper bound for side 1, the lower for −1."""
        if elo == side * math.inf:
            return elo

        def score_test(rating: float) -> float:
            scores = expected_score(rating - opponents)
            return surplus(rating) + side * Z_95 * math.sqrt(dispersion * _decisive(num_pairs, scores))

        # Whoever lost all pairs, each as a whole, has the exact upper bound ∏ (1 − e) = 0.025. A draw or two
        # should not lower it by making pairs look less dispersed: they say little about rare wins.
        def shutout_test(rating: float) -> float:
            negative_logs = np.logaddexp(0, side * (rating - opponents) * math.log(10) / 400)
            return -side * (float(num_pairs @ negative_logs) + math.log(0.025))

        shutout_bound = _zero(shutout_test, *bracket)
        if math.isinf(elo):
            return shutout_bound
        return side * max(side * _zero(score_test, *bracket), side * shutout_bound)

    return Rating(elo, bound(-1), bound(1))


def difference(pentanomial: Sequence[int]) -> Rating:
    """Return how much stronger than its opponent a player is, from the counts of pairs of one match."""
    return fit_rating([MatchScore(0.0, tuple(pentanomial))])


def likelihood_of_superiority(pentanomial: Sequence[int]) -> float:
    """Return Φ((score − ½) / standard error); 0.5 without games.

    The error is √(φ / 8n), that of equals with the dispersion of these n pairs. Above 0.975 the score test
    of `difference` excludes 0.
    """
    counts = np.array([pentanomial], dtype=np.float64)  # (1, 5)
    num_pairs = counts.sum(axis=1)
    if not num_pairs.any():
        return 0.5
    score = counts @ PAIR_SCORES / num_pairs
    standard_error = math.sqrt(_dispersion(counts, score) * _decisive(num_pairs, 0.5)) / num_pairs.item()
    return NormalDist().cdf((score.item() - 0.5) / standard_error)


def _decisive(num_pairs: np.ndarray, scores: float | np.ndarray) -> float:
    """Return Σ e (1 − e) / 2, the variance of the total of pairs' mean scores if games were decisive."""
    return float((num_pairs * scores * (1 - scores)).sum()) / 2


def _dispersion(counts: np.ndarray, scores: np.ndarray) -> float:
    """Return φ for counts of pairs (matches, 5) and expected scores (matches,)."""
    squares = float((counts * np.square(PAIR_SCORES - scores[:, None])).sum())
    return (squares + 1 / 4) / (_decisive(counts.sum(axis=1), scores) + 1 / 8)


def _zero(function: Callable[[float], float], low: float, high: float) -> float:
    """Return where a function that falls from positive at `low` to negative at `high` is 0, by bisection."""
    for _ in range(50):
        middle = (low + high) / 2
        value = function(middle)
        if value == 0:
            # Equals differ by 0 and not by what bisection leaves.
            return middle
        if value > 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2
