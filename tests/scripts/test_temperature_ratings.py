"""The ratings of temperatures: the fit, and that every game is counted."""

import numpy as np
import pytest

from eval.chess.engines import ValueEngine
from eval.chess.openings import DEFAULT_BOOK, read_openings
from eval.chess.ratings import expected_score
from eval.chess.rules import GameEnd
from scripts import temperature_ratings
from scripts.temperature_ratings import TEMPERATURES, fit, play_all


def test_the_fit_returns_the_ratings_that_make_the_expected_points():
    ratings = np.array([1253.0, 1200, 1000, 900, 700, 400])
    pairs = np.array([(a, b) for a in range(6) for b in (a + 1, a + 2) if b < 6])
    points = 2 * expected_score(ratings[pairs[:, 0]] - ratings[pairs[:, 1]])
    np.testing.assert_allclose(fit(pairs, points, 1253), ratings, atol=0.1)


@pytest.mark.slow
def test_every_pair_of_games_is_played(model_folder):
    pairs, points = play_all(ValueEngine(model_folder, device="cpu"), rounds=1, seed=0)
    assert len(pairs) == 9 and pairs.max() == len(TEMPERATURES) - 1
    assert (points >= 0).all() and (points <= 2).all() and points.any()


def test_openings_are_repeated_where_there_are_more_rounds(model_folder, monkeypatch):
    openings, drawn = read_openings(DEFAULT_BOOK)[:1], GameEnd(False, "a draw")
    monkeypatch.setattr(temperature_ratings, "read_openings", lambda book: openings)
    monkeypatch.setattr(temperature_ratings, "game_end", lambda board: drawn)
    pairs, points = play_all(ValueEngine(model_folder, device="cpu"), rounds=3, seed=0)
    assert len(pairs) == 27 and (points == 1).all()
