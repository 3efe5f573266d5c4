"""The sequential test: its ratio against closed forms, matches that must end, and its rates of error."""

import math

import numpy as np
import pytest

from eval.chess.opponents import Opponent
from eval.chess.players import RandomPlayer
from eval.chess.ratings import PAIR_SCORES
from eval.chess.sprt import BOUND, Sprt, most_likely
from eval.chess.tournament import Tournament


def normalized_elo(probs: np.ndarray) -> float:
    mean = probs @ PAIR_SCORES
    return 800 / math.log(10) * (mean - 0.5) / math.sqrt(2 * (probs @ (PAIR_SCORES - mean) ** 2))


@pytest.mark.parametrize("elo", [-100.0, -10.0, 0.0, 5.0, 60.0])
def test_the_most_likely_distribution_has_the_elo_and_no_neighbour_is_likelier(elo):
    observed = np.array([0.05, 0.2, 0.45, 0.2, 0.1])
    probs = most_likely(observed, elo)
    assert probs.sum() == pytest.approx(1) and normalized_elo(probs) == pytest.approx(elo, abs=1e-3)
    # Distributions along a gradient of likelihood under the constraints are less likely.
    likelihood = observed @ np.log(probs)
    rng = np.random.default_rng(0)
    for _ in range(200):
        near = probs * np.exp(rng.normal(0, 0.02, 5))
        near /= near.sum()
        if abs(normalized_elo(near) - elo) < 0.05:
            assert observed @ np.log(near) < likelihood + 1e-4


def test_a_two_point_distribution_has_the_ratio_of_its_closed_form():
    # With wins and losses alone q, the fraction of wins, has (q − ½) / √(q (1 − q)) = √2 elo ln 10 / 800.
    counts = [40, 0, 0, 0, 60]
    t = math.sqrt(2) * 50 * math.log(10) / 800
    q = 0.5 + t / math.sqrt(4 * (1 + t**2))
    expected = 60 * math.log(q / 0.5) + 40 * math.log((1 - q) / 0.5)
    assert Sprt(0, 50).log_likelihood_ratio(counts) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(("score", "accepted"), [(0, "H0"), (0.5, "H0"), (1, "H0"), (1.5, "H1"), (2, "H1")])
def test_matches_of_one_result_end(score, accepted):
    counts = np.zeros((2001, 5))
    counts[:, round(2 * score)] = np.arange(2001)
    sprt = Sprt(0, 20)
    assert abs(sprt.log_likelihood_ratio(counts[1:])).max() > BOUND
    assert sprt.decide(list(counts[2000])) == accepted and sprt.decide(list(counts[0])) is None
    # The tests of swapped sides are mirror images.
    mirrored = Sprt(-20, 0).log_likelihood_ratio(counts[1000, ::-1])
    assert mirrored == pytest.approx(-sprt.log_likelihood_ratio(counts[1000]), abs=1e-4)


def error_rate(elo: float, sprt: Sprt, num_matches: int, seed: int) -> tuple[float, float]:
    """Simulate matches of a true normalized Elo; return the rate of errors, and the mean number of pairs."""
    probs = most_likely(np.array([0.1, 0.2, 0.4, 0.2, 0.1]), elo)
    rng = np.random.default_rng(seed)
    counts, running = np.zeros((num_matches, 5)), np.ones(num_matches, bool)
    accepted, num_pairs = np.zeros(num_matches), np.zeros(num_matches)
    while running.any():
        counts[running] += rng.multinomial(1, probs, running.sum())
        num_pairs[running] += 1
        ratio = sprt.log_likelihood_ratio(counts[running])
        accepted[running] = np.where(ratio >= BOUND, sprt.elo1, np.where(ratio <= -BOUND, sprt.elo0, np.nan))
        running[running] = np.isnan(accepted[running])
    return float((accepted != elo).mean()), float(num_pairs.mean())


@pytest.mark.slow
@pytest.mark.parametrize("is_better", [False, True])
def test_decisions_are_wrong_in_about_five_percent_of_matches(is_better):
    sprt = Sprt(0, 90)
    rate, _ = error_rate(sprt[is_better], sprt, num_matches=200, seed=0)
    # Three standard errors of 200 matches; large steps of the ratio make fewer errors.
    assert 0.005 < rate < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)


def test_a_tournament_ends_when_the_test_does():
    tournament = Tournament(
        [Opponent(RandomPlayer(), "random", 0.0)],
        [],
        num_rounds=1000,
        half_width=0.0,
        seed=0,
        sprt=Sprt(0, 50),
    )
    while not tournament.is_over:
        tournament.add_round(0, [0.0, 0.0])
    assert 5 < tournament.num_played < 100
    assert tournament.sprt.as_json(tournament.scores[0].pentanomial)["accepted"] == "H0"
    assert "log-likelihood ratio -3.11 of ±2.94" in tournament.progress()
