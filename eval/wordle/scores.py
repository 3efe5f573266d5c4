"""LMRL-Gym's score of a mean return: 0 for the worst, 50 for the data, 100 for a good player.

Source: Abdulhai et al., "LMRL Gym" (arXiv 2311.18232). The score is linear from −6 to the mean return of the
data, whose policy is LMRL_BEHAVIOR, and linear from there to that of the good player and beyond. The mean
returns are the paper's for its own word list, and measured for others.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from data.wordle.players import LMRL_BEHAVIOR, make_player, play_games
from data.wordle.rules import NUM_TURNS
from data.wordle.words import WordLists


GOOD_PLAYER = "greedy"
LMRL_RULE = "simplified"
LMRL_DIGEST = "5b92e533ff1fbe60"  # of LMRL-Gym's 431 words, sorted
# At least so many games, in whole rounds of the list. The seed is fixed, so that the scale is too.
NUM_MEASURED = 20_000
MEASURED_SEED = 0


class Scale(NamedTuple):
    """The mean returns that score 50 and 100, and their source."""

    behavior_return: float
    best_return: float
    source: str


@lru_cache(maxsize=4)
def lmrl_scale(words: WordLists, rule: str) -> Scale:
    """Return LMRL-Gym's scale; for another game, the mean returns of the same players."""
    if (rule, words.unordered_digest) == (LMRL_RULE, LMRL_DIGEST):
        return Scale(-4.12, -1.94, "LMRL-Gym's")
    num_answers = len(words.answers)
    secrets = np.arange(-(-NUM_MEASURED // num_answers) * num_answers) % num_answers
    returns = []
    for player in map(make_player, (LMRL_BEHAVIOR, GOOD_PLAYER)):
        games = play_games(player, words, rule, secrets, np.random.default_rng(MEASURED_SEED))
        returns.append(float(games.returns().mean(dtype=np.float64)))
    return Scale(*returns, f"{LMRL_BEHAVIOR} and {GOOD_PLAYER} on this list, {len(secrets):,} games each")


def score(mean_return: float, behavior_return: float, best_return: float) -> float | None:
    """Return the score; None on a list so small that the data is as good as the good player."""
    if not -NUM_TURNS < behavior_return < best_return:
        return None
    if mean_return <= behavior_return:
        return 50 * (mean_return + NUM_TURNS) / (behavior_return + NUM_TURNS)
    return 50 + 50 * (mean_return - behavior_return) / (best_return - behavior_return)
