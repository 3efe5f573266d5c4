"""Scores of random play and of people, and scores relative to them.

scores.csv is the table of Dopamine, labs/atari_100k/normalization_utils.py (Apache-2.0). 55 of the paper's 60
games have both scores: Air Raid, Carnival, Elevator Action, Journey Escape and Pooyan have none.
"""

import csv
import math
from functools import lru_cache
from pathlib import Path

from cli.errors import InputError


SCORES = Path(__file__).parent / "scores.csv"
COLUMNS = ("game", "random", "human")


@lru_cache
def read_scores(path: Path = SCORES) -> dict[str, tuple[float, float]]:
    """Return the scores of random play and of people by game, without underscores; those that have both."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        scores = {
            row["game"].replace("_", ""): (float(row["random"]), float(row["human"]))
            for row in rows
            if row["random"] and row["human"]
        }
    except (OSError, csv.Error, KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: is no table with columns {', '.join(COLUMNS)} ({error})") from None
    for game, (random, human) in scores.items():
        if not math.isfinite(random - human) or random == human:
            raise InputError(f"{path}: the scores of {game} must be two different numbers")
    return scores


def normalised(game: str, score: float, path: Path = SCORES) -> float | None:
    """Return (score − random) / (human − random), or None for a game that is not in the table."""
    reference = read_scores(path).get(game.replace("_", ""))
    if reference is None:
        return None
    random, human = reference
    return (score - random) / (human - random)
