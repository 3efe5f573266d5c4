"""The schedule of a match."""

import chess
import pytest

from cli.errors import InputError
from eval.chess.openings import Opening
from eval.chess.schedule import check_games_differ, games_of_round, scheduled_games, shuffled_openings


OPENINGS = [Opening(f"opening {number}", chess.STARTING_FEN, ()) for number in range(5)]


def test_every_opening_is_played_with_both_colours_before_one_comes_again():
    games = list(scheduled_games(OPENINGS, 23, seed=4))
    order = shuffled_openings(OPENINGS, seed=4)
    assert len(games) == 23 and set(order) == set(OPENINGS) and order != OPENINGS
    assert [game.opening for game in games] == [order[number // 2 % 5] for number in range(23)]
    assert [game.player_is_white for game in games] == [number % 2 == 0 for number in range(23)]
    assert [game.headers["Round"] for game in games[:3]] == ["1.1", "1.2", "2.1"]


def test_a_match_and_a_tournament_draw_the_same_lots_in_a_round():
    games = list(scheduled_games(OPENINGS, 8, seed=4))
    assert tuple(games[6:]) == games_of_round(games[6].opening, 3, seed=4)


def test_no_two_games_of_any_seed_share_their_lots():
    seeds = [game.seed for seed in range(20) for game in scheduled_games(OPENINGS, 50, seed)]
    assert len(set(seeds)) == 1000


def test_more_games_than_differ_are_refused_with_the_remedy():
    check_games_differ(10, 10)
    with pytest.raises(InputError, match=r"--games 12: .* only 10 different games; .* --temperature"):
        check_games_differ(12, 10)
