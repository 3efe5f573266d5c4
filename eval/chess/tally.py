"""The running score of a match, in games and in pairs of games, and how a rating is written."""

import math
from collections.abc import Sequence

from eval.chess.ratings import MatchScore, Rating


class Tally:
    """What one player has scored against one opponent, whose rating is None where it is not known.

    The two games of a pair, one opening with both colours, are not independent of each other: intervals come
    from `pentanomial`, the numbers of pairs that scored 0, ½, 1, 1½ and 2.
    """

    def __init__(self, rating: float | None = None):
        self.rating = rating
        self.wins = self.draws = self.losses = 0
        self.pentanomial = [0] * 5

    def add_game(self, points: float) -> None:
        """Count a game that scored 1, 0.5 or 0."""
        self.wins += points == 1.0
        self.draws += points == 0.5
        self.losses += points == 0.0

    def add_pair(self, points: Sequence[float]) -> None:
        """Count two games of one opening, once both are over."""
        first, second = points
        self.pentanomial[round(2 * (first + second))] += 1

    @property
    def num_games(self) -> int:
        return self.wins + self.draws + self.losses

    @property
    def score(self) -> float:
        """Points per game; 0.5 before the first."""
        return (self.wins + 0.5 * self.draws) / self.num_games if self.num_games else 0.5

    def match_score(self) -> MatchScore:
        return MatchScore(self.rating, tuple(self.pentanomial))

    def __str__(self) -> str:
        return f"+{self.wins} ={self.draws} -{self.losses}"


def rating_as_json(rating: Rating) -> dict[str, float | None]:
    """Return a rating as `elo`, `low` and `high`; None stands for what is infinite."""
    return {key: value if math.isfinite(value) else None for key, value in rating._asdict().items()}


def format_rating(rating: Rating) -> str:
    """Write a rating with its 95% interval; at a score of 0 or 1 there is but a bound."""
    if rating.elo == -math.inf:
        return f"Elo below {rating.high:z.0f} (95%)"
    if rating.elo == math.inf:
        return f"Elo above {rating.low:z.0f} (95%)"
    return f"Elo {rating.elo:z.0f} ({rating.low:z.0f} to {rating.high:z.0f})"
