"""The schedule of a match."""

import chess

from eval.chess.match import games_of_round, shuffled_openings
from eval.chess.openings import Opening


OPENINGS = [Opening(f"opening {number}", chess.STARTING_FEN, ()) for number in range(5)]


def test_a_round_is_one_opening_with_both_colours_and_its_own_seeds():
    first, second = games_of_round(OPENINGS[0], 3, seed=4, headers={"Event": "Rating"})
    assert first.opening == second.opening == OPENINGS[0]
    assert (first.player_is_white, second.player_is_white) == (True, False)
    assert (first.headers, second.headers["Round"]) == ({"Event": "Rating", "Round": "4.1"}, "4.2")
    seeds = {
        game.seed
        for seed in range(20)
        for number in range(25)
        for game in games_of_round(OPENINGS[0], number, seed)
    }
    assert len(seeds) == 1000


def test_the_seed_decides_the_order_of_openings():
    order = shuffled_openings(OPENINGS, seed=4)
    assert sorted(order) == OPENINGS and order != OPENINGS == sorted(shuffled_openings(OPENINGS, seed=5))
    assert order == shuffled_openings(OPENINGS, seed=4) != shuffled_openings(OPENINGS, seed=5)
