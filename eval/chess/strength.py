"""The playing strength of checkpoints/chess_3m by temperature: the options UCI_LimitStrength and UCI_Elo.

Measured by scripts/temperature_ratings.py, see docs/chess.md. Imports neither torch nor numpy.
"""

from itertools import pairwise


# Temperature and Elo, the strongest first. Elo of the best move (0) is that of eval.chess.elo.
MEASURED = ((0.0, 1253), (0.02, 1019), (0.05, 717), (0.1, 391), (0.2, 171))
MIN_ELO, MAX_ELO = MEASURED[-1][1], MEASURED[0][1]


def temperature_of(elo: int) -> float:
    """Return the temperature at which the model has a rating from MIN_ELO to MAX_ELO, interpolated."""
    for (low, stronger), (high, weaker) in pairwise(MEASURED):
        if elo >= weaker:
            return high - (high - low) * (elo - weaker) / (stronger - weaker)
    raise ValueError(f"{elo} is not a rating from {MIN_ELO} to {MAX_ELO}")
