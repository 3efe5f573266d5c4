"""The playing strength of checkpoints/chess_3m by temperature: the options UCI_LimitStrength and UCI_Elo.

Measured by scripts/temperature_ratings.py, see docs/chess.md. Imports neither torch nor numpy.
"""

from itertools import pairwise
from pathlib import Path

from cli.options import SHIPPED_MODEL


# Temperature and Elo, the strongest first. eval.chess.elo measured that of the best move (0).
MEASURED = ((0.0, 1253), (0.02, 1019), (0.05, 717), (0.1, 391), (0.2, 171))
# Of models that predict moves: the most probable move, and moves as often as they are predicted.
POLICY_TEMPERATURES = (0.0, 0.5, 1.0)
MIN_ELO, MAX_ELO = MEASURED[-1][1], MEASURED[0][1]


def temperature_of(elo: int) -> float:
    """Return the temperature at which the model has a rating from MIN_ELO to MAX_ELO, interpolated."""
    for (low, stronger), (high, weaker) in pairwise(MEASURED):
        if elo >= weaker:
            return high - (high - low) * (elo - weaker) / (stronger - weaker)
    raise ValueError(f"{elo} is not a rating from {MIN_ELO} to {MAX_ELO}")


def has_ratings(model: str | Path) -> bool:
    """Return whether the ratings are those of a model: whether it is checkpoints/chess_3m."""
    return Path(model).resolve() == SHIPPED_MODEL


def levels(model: str | Path, is_policy: bool) -> list[tuple[float, int | None]]:
    """Return the temperatures to choose from when playing a model, each with its Elo, None if unknown."""
    if is_policy:
        return [(temperature, None) for temperature in POLICY_TEMPERATURES]
    return [(temperature, elo if has_ratings(model) else None) for temperature, elo in MEASURED]
