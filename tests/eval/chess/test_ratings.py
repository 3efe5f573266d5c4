"""Ratings against other libraries and closed forms; their intervals against simulated tournaments."""

import math

import choix
import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from eval.chess.ratings import (
    MatchScore,
    Rating,
    difference,
    expected_score,
    fit_rating,
)
from eval.intervals import wilson_interval


OPPONENTS = [1608.0, 1923.0, 2204.0, 2500.0]


def elo_difference(score: float) -> float:
    """Return the inverse of `expected_score`."""
    return 400 * math.log10(score / (1 - score))


def simulate(
    truth: float, num_pairs: int, draw_rate: float, opening_sd: float, tournaments: int
) -> np.ndarray:
    """Play a player of rating `truth` against OPPONENTS, (tournaments, opponents, pairs, 2) game scores.

    One side of each opening is better by N(0, opening_sd) Elo, which leaves a pair's expected score as it is.
    Equals draw `draw_rate` of their games.
    """
    rng = np.random.default_rng(0)
    mean = expected_score(truth - np.array(OPPONENTS))[:, None]
    openings = rng.normal(0, opening_sd, (tournaments, len(OPPONENTS), num_pairs))
    shift = 4 * mean * (1 - mean) * np.clip(expected_score(openings) - 0.5, -0.25, 0.25)
    expected = np.stack([mean + shift, mean - shift], axis=-1)
    draws = np.minimum(4 * draw_rate * expected * (1 - expected), 2 * np.minimum(expected, 1 - expected))
    wins = expected - draws / 2
    luck = rng.random(expected.shape)
    return np.where(luck < wins, 1.0, np.where(luck < wins + draws, 0.5, 0.0))


def fit(games: np.ndarray) -> Rating:
    """Rate the player of one tournament, (opponents, pairs, 2) game scores."""
    doubled = np.rint(2 * games.sum(axis=-1)).astype(int)
    counts = [tuple(np.bincount(match, minlength=5).tolist()) for match in doubled]
    return fit_rating([MatchScore(*match) for match in zip(OPPONENTS, counts, strict=True)])


@pytest.fixture(scope="module")
def tournaments() -> np.ndarray:
    return simulate(2050, num_pairs=25, draw_rate=0.3, opening_sd=100, tournaments=2500)


@pytest.fixture(scope="module")
def ratings(tournaments) -> np.ndarray:
    return np.array([fit(games) for games in tournaments])


@pytest.fixture
def matches() -> list[MatchScore]:
    counts = [(0, 1, 3, 6, 15), (3, 5, 9, 5, 3), (8, 9, 6, 2, 0), (30, 4, 2, 0, 1)]
    return [MatchScore(*match) for match in zip(OPPONENTS, counts, strict=True)]


def test_expected_score_and_its_inverse():
    assert expected_score(0) == 0.5
    assert expected_score(400) == pytest.approx(10 / 11)
    assert expected_score(-400) == pytest.approx(1 / 11)
    for elo in range(-1000, 1001, 50):
        assert elo_difference(expected_score(elo)) == pytest.approx(elo)


def test_a_match_score_counts_games_and_pairs():
    score = MatchScore(1500)
    assert (score.score, score.num_games) == (0.5, 0)
    for pair in ((0.0, 0.0), (0.5, 0.0), (1.0, 0.0), (0.5, 0.5), (1.0, 0.5), (1.0, 1.0), (1.0, 1.0)):
        score.add_pair(pair)
    assert (score.num_games, score.score, str(score)) == (14, 8 / 14, "+6 =4 -4")
    assert score.as_json()["pentanomial"] == [1, 1, 2, 1, 2]
    assert [score.as_json()[key] for key in ("wins", "draws", "losses")] == [6, 4, 4]


@pytest.mark.parametrize(
    ("rating", "text", "numbers"),
    [
        (Rating(1500.4, 1400, 1599.6), "Elo 1500 (1400 to 1600)", (1500.4, 1400, 1599.6)),
        (Rating(-0.2, -0.4, 0.4), "Elo 0 (0 to 0)", (-0.2, -0.4, 0.4)),
        (Rating(-math.inf, -math.inf, 900), "Elo below 900 (95%)", (None, None, 900)),
        (Rating(math.inf, 2700, math.inf), "Elo above 2700 (95%)", (None, 2700, None)),
    ],
)
def test_an_infinite_rating_is_a_bound_in_text_and_none_in_json(rating, text, numbers):
    assert str(rating) == text
    assert tuple(rating.as_json().values()) == numbers


def points(match: MatchScore) -> float:
    return float(np.dot(match.pentanomial, np.arange(5) / 2))


def num_games(match: MatchScore) -> int:
    return 2 * sum(match.pentanomial)


def test_rating_against_one_opponent_has_a_closed_form():
    match = MatchScore(2000, (1, 2, 3, 4, 5))
    assert fit_rating([match]).elo == pytest.approx(2000 + elo_difference(points(match) / 30))
    assert difference(match.pentanomial).elo == pytest.approx(elo_difference(points(match) / 30))


def test_rating_equals_choix_with_opponents_pinned_by_many_games(matches):
    ratings = np.array(OPPONENTS)
    wins = np.zeros((5, 5))
    wins[1:, 1:] = 1e7 * expected_score(ratings[:, None] - ratings) * (1 - np.eye(4))
    for index, match in enumerate(matches, start=1):
        wins[0, index] = points(match)
        wins[index, 0] = num_games(match) - points(match)
    elos = choix.ilsr_pairwise_dense(wins) * 400 / math.log(10)
    assert fit_rating(matches).elo == pytest.approx(elos[0] - elos[1:].mean() + ratings.mean(), abs=0.01)


def test_rating_maximizes_the_likelihood(matches):
    def loss(rating: float) -> float:
        expected = [expected_score(rating - match.rating) for match in matches]
        return -sum(
            points(match) * math.log(e) + (num_games(match) - points(match)) * math.log(1 - e)
            for match, e in zip(matches, expected, strict=True)
        )

    best = scipy.optimize.minimize_scalar(loss, bracket=(1600, 2500), tol=1e-10)
    assert fit_rating(matches).elo == pytest.approx(best.x, abs=0.01)


def test_interval_of_pairs_that_are_2_0_or_0_2_is_wilsons():
    low, high = wilson_interval(successes=26, trials=40)
    rating = difference((14, 0, 0, 0, 26))
    assert rating[1:] == pytest.approx((elo_difference(low), elo_difference(high)))


@pytest.mark.parametrize(
    "pentanomial, half_width",
    [((6, 11, 16, 11, 6), 57), ((24, 42, 68, 42, 24), 28), ((61, 105, 168, 105, 61), 18)],
)
def test_half_width_of_independent_games_with_30_percent_draws(pentanomial, half_width):
    assert difference(pentanomial).half_width == pytest.approx(half_width, rel=0.025)


@pytest.mark.slow
def test_coverage_is_95_percent(ratings):
    _, low, high = ratings.T
    covered = (low <= 2050) & (high >= 2050)
    # The standard error over 2,500 tournaments is 0.44%.
    assert 0.94 < covered.mean() < 0.96
    assert (low > 2050).mean() < 0.035
    assert (high < 2050).mean() < 0.035


@pytest.mark.slow
def test_games_torn_from_their_pairs_would_give_a_wider_interval(tournaments, ratings):
    half_width = (ratings[:, 2] - ratings[:, 1]) / 2
    torn = tournaments.copy()
    torn[..., 1] = np.roll(torn[..., 1], 1, axis=2)
    torn_half_width = np.array([fit(games).half_width for games in torn[:500]])
    assert 1.03 < torn_half_width.mean() / half_width[:500].mean() < 1.1


@pytest.mark.parametrize("pentanomial", [(2, 5, 6, 5, 2), (0, 0, 10, 0, 0), (9, 1, 0, 0, 0), (3, 0, 0, 0, 7)])
def test_more_pairs_make_the_interval_narrower(pentanomial):
    ratings = [difference(tuple(count * n for count in pentanomial)) for n in (1, 2, 4, 8)]
    half_widths = [rating.half_width for rating in ratings]
    assert half_widths == sorted(set(half_widths), reverse=True)
    assert half_widths[2] < 0.62 * half_widths[0]


def test_mirrored_results_have_the_mirrored_rating(matches):
    mirrored = fit_rating([MatchScore(-match.rating, match.pentanomial[::-1]) for match in matches])
    elo, low, high = fit_rating(matches)
    assert mirrored == pytest.approx((-elo, -high, -low))


@pytest.mark.parametrize("num_pairs", [1, 2, 10, 100])
def test_score_of_0_or_1_has_one_honest_bound(num_pairs):
    lost, won = difference((num_pairs, 0, 0, 0, 0)), difference((0, 0, 0, 0, num_pairs))
    assert lost[:2] == (-math.inf, -math.inf)
    assert (won.elo, won.high) == (math.inf, math.inf)
    assert won.low == pytest.approx(-lost.high)
    # All pairs are lost with probability (1 − e)^n if each is lost or won as a whole.
    assert (1 - expected_score(lost.high)) ** num_pairs == pytest.approx(0.025)


def test_losing_every_pair_to_several_opponents_is_bounded_exactly():
    rating = fit_rating([MatchScore(elo, (2, 0, 0, 0, 0)) for elo in OPPONENTS])
    chances = [(1 - expected_score(rating.high - elo)) ** 2 for elo in OPPONENTS]
    assert math.prod(chances) == pytest.approx(0.025)


def test_one_draw_in_100_games_is_nearly_as_uncertain_as_none():
    none, one = difference((50, 0, 0, 0, 0)), difference((49, 1, 0, 0, 0))
    assert one.elo == pytest.approx(elo_difference(0.005))
    assert one.low < one.elo - 200
    assert none.high <= one.high < none.high + 50


def test_pairs_that_all_end_1_1_leave_uncertainty():
    few, many = difference((0, 0, 5, 0, 0)), difference((0, 0, 50, 0, 0))
    assert few.elo == pytest.approx(0, abs=1e-6)
    assert few.half_width > 100
    # Of 50 pairs all are 1–1 in 2.5% of matches even if 7.1% of pairs are ½–1½: 1.8% of points, 12 Elo.
    assert 12 < many.half_width < 20


@pytest.mark.parametrize("matches", [[], [MatchScore(2000)]])
def test_rating_without_pairs_is_refused(matches):
    with pytest.raises(ValueError, match="at least one pair"):
        fit_rating(matches)
