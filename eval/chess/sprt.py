"""Sequential probability ratio test between two normalized Elo differences, from pairs of games.

Source: Van den Bergh, "Comments on Normalized Elo" (cantate.be/Fishtest/normalized_elo_practical.pdf), the
test of fishtest and fastchess. The normalized difference of a match is

    nelo = (800 / ln 10) (μ − ½) / (√2 σ)

with the mean μ and the standard deviation σ of a pair's score per game. The log-likelihood ratio compares
the most likely distributions of the five scores with nelo = elo1 and with nelo = elo0. Every score counts
MIN_COUNT times at least, so that a match of losses alone, or of draws alone, has a ratio and ends.

Of matches at elo0 at most 5% end with H1, of matches at elo1 at most 5% with H0, approximately.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from eval.chess.ratings import PAIR_SCORES


ERROR_RATE = 0.05  # of both kinds
BOUND = math.log((1 - ERROR_RATE) / ERROR_RATE)
MAX_ELO = 100  # for larger differences the likelihood has several maxima
MIN_COUNT = 1e-3
_ITERATIONS = 100
_BISECTIONS = 60
_TOLERANCE = 1e-7


class Sprt(NamedTuple):
    """A test of H0, a normalized Elo difference of `elo0`, against H1, one of `elo1`."""

    elo0: float
    elo1: float

    def log_likelihood_ratio(self, pentanomial: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the log-likelihood ratio of H1 to H0, (…), of counts of pairs by score (…, 5)."""
        counts = np.maximum(np.asarray(pentanomial, dtype=np.float64), MIN_COUNT)
        observed = counts / counts.sum(axis=-1, keepdims=True)
        first, second = (np.log(most_likely(observed, elo)) for elo in self)
        return (counts * (second - first)).sum(axis=-1)

    def decide(self, pentanomial: Sequence[int]) -> Literal["H0", "H1"] | None:
        """Return the hypothesis that the counts accept, or None if the match has to continue."""
        if not any(pentanomial):
            return None
        ratio = self.log_likelihood_ratio(pentanomial)
        return "H1" if ratio >= BOUND else "H0" if ratio <= -BOUND else None

    def as_json(self, pentanomial: Sequence[int]) -> dict:
        ratio = float(self.log_likelihood_ratio(pentanomial)) if any(pentanomial) else 0.0
        return {**self._asdict(), "log_likelihood_ratio": ratio, "accepted": self.decide(pentanomial)}

    def describe(self, pentanomial: Sequence[int]) -> str:
        found = self.as_json(pentanomial)
        elo = {"H0": self.elo0, "H1": self.elo1}
        accepted = found["accepted"]
        decision = f"{accepted} accepted, {elo[accepted]:+g}" if accepted else "undecided"
        return (
            f"SPRT of normalized Elo {self.elo0:+g} (H0) and {self.elo1:+g} (H1): {decision}; log-likelihood "
            f"ratio {found['log_likelihood_ratio']:.2f} of ±{BOUND:.2f} after {sum(pentanomial)} pairs"
        )


def most_likely(observed: np.ndarray, elo: float) -> np.ndarray:
    """Return the most likely distributions of pair scores with a normalized Elo, (…, 5), given frequencies.

    Section 4.1 of the source: the constraint μ − ½ = t σ is linearised at the distribution found so far,
    until it changes no more.
    """
    t = math.sqrt(2) * elo * math.log(10) / 800
    probs = np.full_like(observed, 1 / len(PAIR_SCORES))
    for _ in range(_ITERATIONS):
        mean = (probs @ PAIR_SCORES)[..., None]
        deviations = PAIR_SCORES - mean
        sigma = np.sqrt((probs * deviations**2).sum(axis=-1, keepdims=True))
        gradient = PAIR_SCORES - 0.5 - t * sigma / 2 * (1 + (deviations / sigma) ** 2)
        before, probs = probs, _tilt(observed, gradient)
        if np.abs(probs - before).max() < _TOLERANCE:
            break
    return probs


def _tilt(observed: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Return observed / (1 + θ gradient), with the θ at which the mean of the gradient is 0."""
    low, high = -1 / gradient.max(axis=-1, keepdims=True), -1 / gradient.min(axis=-1, keepdims=True)
    for _ in range(_BISECTIONS):
        theta = (low + high) / 2
        surplus = (observed * gradient / (1 + theta * gradient)).sum(axis=-1, keepdims=True)
        low, high = np.where(surplus > 0, theta, low), np.where(surplus > 0, high, theta)
    return observed / (1 + (low + high) / 2 * gradient)
