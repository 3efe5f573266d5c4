"""The running score of a match, and ratings in words and in JSON."""

import math

import pytest

from eval.chess.ratings import MatchScore, Rating
from eval.chess.tally import Tally, format_rating, rating_as_json


def test_a_tally_counts_games_and_pairs():
    tally = Tally(1500)
    assert (tally.score, tally.num_games) == (0.5, 0)
    for pair in ((0.0, 0.0), (0.5, 0.0), (1.0, 0.0), (0.5, 0.5), (1.0, 0.5), (1.0, 1.0), (1.0, 1.0)):
        for scored in pair:
            tally.add_game(scored)
        tally.add_pair(pair)
    assert (tally.wins, tally.draws, tally.losses, tally.num_games) == (6, 4, 4, 14)
    assert tally.score == 8 / 14 and str(tally) == "+6 =4 -4"
    assert tally.match_score() == MatchScore(1500, (1, 1, 2, 1, 2))
    assert tally.match_score().score == pytest.approx(tally.score)


@pytest.mark.parametrize(
    ("rating", "text", "numbers"),
    [
        (Rating(1500.4, 1400, 1599.6), "Elo 1500 (1400 to 1600)", (1500.4, 1400, 1599.6)),
        (Rating(-0.2, -0.4, 0.4), "Elo 0 (0 to 0)", (-0.2, -0.4, 0.4)),
        (Rating(-math.inf, -math.inf, 900), "Elo below 900 (95%)", (None, None, 900)),
        (Rating(math.inf, 2700, math.inf), "Elo above 2700 (95%)", (None, 2700, None)),
    ],
)
def test_what_is_infinite_is_a_bound_in_words_and_none_in_json(rating, text, numbers):
    assert format_rating(rating) == text
    assert tuple(rating_as_json(rating).values()) == numbers
