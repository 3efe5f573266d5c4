"""Elo ratings and their intervals from pairs of games: one opening, played once with each colour.

The model is e = 1 / (1 + 10^(−d / 400)), the expected score of a game at a rating difference d (Elo, The
Rating of Chessplayers, 1978), with draws as half wins; maximum likelihood equates total and expected score.

The two games of a pair are correlated, so the unit of the interval is the pair. It needs the numbers of pairs
that scored 0, ½, 1, 1½ and 2, the pentanomial counts of fishtest. The mean score x of a pair would have
variance e (1 − e) / 2 if its games were independent and decisive. Draws, and openings that favour one side,
reduce it by the dispersion

    φ = (Σ (x − ê)² + ¼) / (Σ ê (1 − ê) / 2 + ⅛)        over pairs, ê at the estimate

where ¼ and ⅛ are one more pair, 2–0 or 0–2 against an equal opponent. Without it, 50 pairs that all end 1–1
would leave no uncertainty, and few pairs too little, because the residuals are from their own fit. The 95%
interval contains the ratings that a quasi-score test does not reject,

    (Σ (x − e))² ≤ z² φ Σ e (1 − e) / 2                 e at the rating tested, z = 1.96

for one opponent Wilson's interval of 2n / φ games. It is valid where e nears 0 or 1, unlike ê ± an error.

Opponents' ratings count as exact; the errors of these ratings are not in the interval.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import scipy.optimize

from eval.intervals import Z_95


PAIR_SCORES = np.arange(5) / 4  # points per game of a pair that scored 0, ½, 1, 1½ or 2


@dataclass
class MatchScore:
    """The score against one opponent: its rating (Elo), counts of pairs by score, and counts of games."""

    rating: float = 0.0
    pentanomial: list[int] = field(default_factory=lambda: [0] * 5)
    games: dict[float, int] = field(default_factory=lambda: {1.0: 0, 0.5: 0, 0.0: 0})  # by points

    def add_game(self, points: float) -> None:
        """Count a game of 1, 0.5 or 0 points."""
        self.games[points] += 1

    def add_pair(self, points: Sequence[float]) -> None:
        """Count both games of a pair."""
        for scored in points:
            self.add_game(scored)
        self.pentanomial[round(2 * sum(points))] += 1

    @property
    def num_games(self) -> int:
        return sum(self.games.values())

    @property
    def score(self) -> float:
        """Points per game; 0.5 before the first."""
        points = sum(points * count for points, count in self.games.items())
        return points / self.num_games if self.num_games else 0.5

    def as_json(self) -> dict:
        return {
            "num_games": self.num_games,
            "wins": self.games[1.0],
            "draws": self.games[0.5],
            "losses": self.games[0.0],
            "score": self.score,
            "pentanomial": list(self.pentanomial),
        }

    def __str__(self) -> str:
        return f"+{self.games[1.0]} ={self.games[0.5]} -{self.games[0.0]}"


class Rating(NamedTuple):
    """A rating or a difference of ratings with its 95% interval, in Elo; ends may be infinite."""

    elo: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2

    def as_json(self) -> dict[str, float | None]:
        """Return `elo`, `low` and `high`; infinite numbers are None."""
        return {key: value if math.isfinite(value) else None for key, value in self._asdict().items()}

    def __str__(self) -> str:
        if self.elo == -math.inf:
            return f"Elo below {self.high:z.0f} (95%)"
        if self.elo == math.inf:
            return f"Elo above {self.low:z.0f} (95%)"
        return f"Elo {self.elo:z.0f} ({self.low:z.0f} to {self.high:z.0f})"


def expected_score(difference: float | np.ndarray) -> float | np.ndarray:
    """Return 1 / (1 + 10^(−difference / 400)), the expected score per game, with ratings this far apart."""
    return 1 / (1 + 10 ** (-difference / 400))


def fit_rating(matches: Sequence[MatchScore]) -> Rating:
    """Return the maximum-likelihood rating of a player against opponents of known ratings.

    The likelihood is ∏ e^s (1 − e)^(1 − s) over games of score s. Scores of 0 and 1 have an infinite estimate
    and one finite bound. Raises ValueError if there is no pair.
    """
    matches = [match for match in matches if any(match.pentanomial)]
    if not matches:
        raise ValueError("a rating needs at least one pair of games")
    opponents = np.array([match.rating for match in matches], dtype=np.float64)  # (matches,)
    counts = np.array([match.pentanomial for match in matches], dtype=np.float64)  # (matches, 5)
    num_pairs = counts.sum(axis=1)
    total = float((counts @ PAIR_SCORES).sum())
    bracket = float(opponents.min()) - 10_000, float(opponents.max()) + 10_000

    def surplus(rating: float) -> float:
        return total - float(num_pairs @ expected_score(rating - opponents))

    if total in (0, num_pairs.sum()):
        elo = math.inf if total else -math.inf
    else:
        elo = scipy.optimize.brentq(surplus, *bracket)
    dispersion = _dispersion(counts, expected_score(elo - opponents))

    def bound(side: int) -> float:
        """Return the upper bound for side 1, the lower for −1."""
        if elo == side * math.inf:
            return elo

        def score_test(rating: float) -> float:
            scores = expected_score(rating - opponents)
            return surplus(rating) + side * Z_95 * math.sqrt(dispersion * _decisive(num_pairs, scores))

        # A player that lost all pairs 0–2 has the exact upper bound ∏ (1 − e) = 0.025. A draw or two must not
        # lower it by reducing the dispersion: they say little about rare wins.
        def shutout_test(rating: float) -> float:
            negative_logs = np.logaddexp(0, side * (rating - opponents) * math.log(10) / 400)
            return -side * (float(num_pairs @ negative_logs) + math.log(0.025))

        shutout_bound = scipy.optimize.brentq(shutout_test, *bracket)
        if math.isinf(elo):
            return shutout_bound
        return side * max(side * scipy.optimize.brentq(score_test, *bracket), side * shutout_bound)

    return Rating(elo, bound(-1), bound(1))


def difference(pentanomial: Sequence[int]) -> Rating:
    """Return the rating difference of a player and its opponent from the counts of pairs of one match."""
    return fit_rating([MatchScore(0.0, list(pentanomial))])


def _decisive(num_pairs: np.ndarray, scores: float | np.ndarray) -> float:
    """Return Σ e (1 − e) / 2, the variance of the total of pairs' mean scores if games were decisive."""
    return float((num_pairs * scores * (1 - scores)).sum()) / 2


def _dispersion(counts: np.ndarray, scores: np.ndarray) -> float:
    """Return φ for counts of pairs (matches, 5) and expected scores (matches,)."""
    squares = float((counts * np.square(PAIR_SCORES - scores[:, None])).sum())
    return (squares + 1 / 4) / (_decisive(counts.sum(axis=1), scores) + 1 / 8)
