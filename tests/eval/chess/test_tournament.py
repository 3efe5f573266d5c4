"""Tournaments: the schedule and its estimate on simulated results, and resuming from a log."""

import math
import random
from collections import deque
from collections.abc import Callable, Iterator

import chess
import pytest

from cli.errors import InputError
from eval.chess.elo import summarise
from eval.chess.game_log import GameLog
from eval.chess.games import Resignation, play_game
from eval.chess.openings import Opening
from eval.chess.opponents import Opponent
from eval.chess.players import ModelPlayer, RandomPlayer
from eval.chess.ratings import expected_score
from eval.chess.tournament import Pairing, Tournament, read_rounds
from tests.eval.chess.test_games import START, Script


RATINGS = (1320, 1468, 1608, 1742, 1923, 2204, 2363, 2500)
OPPONENTS = [Opponent(RandomPlayer(), f"skill {level}", rating) for level, rating in enumerate(RATINGS)]
OPENINGS = [Opening(f"opening {number}", chess.STARTING_FEN, ()) for number in range(30)]
Result = Callable[[Pairing], list[float]]


def results_of(truth: float, draw_rate: float = 0.3) -> Result:
    """Return a function that draws the two points of a pairing, by its seed, for a player of a rating."""

    def play(pairing: Pairing) -> list[float]:
        rng = random.Random(pairing.games[0].seed)
        expected = expected_score(truth - RATINGS[pairing.opponent])
        draws = 2 * draw_rate * min(expected, 1 - expected)
        luck = [rng.random() for _ in range(2)]
        return [
            1.0 if each < expected - draws / 2 else 0.5 if each < expected + draws / 2 else 0.0
            for each in luck
        ]

    return play


def tournament(num_rounds: int = 200, half_width: float = 0.0, seed: int = 0) -> Tournament:
    return Tournament(OPPONENTS, OPENINGS, num_rounds, half_width, seed)


def rounds(tournament: Tournament, play: Result, processes: int = 1) -> Iterator[tuple[Pairing, list[float]]]:
    """Play a tournament, asking for pairings ahead of the results as `processes` processes do."""
    pairings = tournament.pairings()
    asked: deque[Pairing] = deque()
    while True:
        while len(asked) < processes and (pairing := next(pairings, None)):
            asked.append(pairing)
        if not asked:
            return
        pairing = asked.popleft()
        scored = play(pairing)
        tournament.add_round(pairing.opponent, scored)
        yield pairing, scored


def played(tournament: Tournament, play: Result, processes: int = 1) -> list[tuple[Pairing, list[float]]]:
    return list(rounds(tournament, play, processes))


def lose(pairing: Pairing) -> list[float]:
    return [0.0, 0.0]


@pytest.mark.slow
@pytest.mark.parametrize(("truth", "processes"), [(1700, 1), (2100, 8)])
def test_a_known_rating_is_inside_the_interval(truth, processes):
    ratings = []
    for seed in range(8):
        simulated = tournament(seed=seed)
        assert len(played(simulated, results_of(truth), processes)) == 200
        ratings.append(simulated.rating)
    # At 95%, fewer than 6 of 8 have a probability below 1%.
    assert sum(rating.low <= truth <= rating.high for rating in ratings) >= 6
    assert sum(rating.elo for rating in ratings) / 8 == pytest.approx(truth, abs=25)
    assert max(rating.half_width for rating in ratings) < 50


@pytest.mark.parametrize("processes", [1, 8])
def test_most_rounds_go_to_the_nearest_opponents(processes):
    simulated = tournament()
    played(simulated, results_of(1700), processes)
    num_games = {
        opponent.rating: score.num_games for opponent, score in zip(OPPONENTS, simulated.scores, strict=True)
    }
    nearest = sorted(num_games, key=lambda rating: abs(rating - 1700))
    assert sum(num_games[rating] for rating in nearest[:3]) > 0.5 * 400
    assert num_games[2500] < 0.05 * 400 < 0.15 * 400 < num_games[1742]
    # In proportion to e (1 − e), up to what was played before the rating was known.
    told = [expected_score(1700 - rating) * expected_score(rating - 1700) for rating in RATINGS]
    for rating, information in zip(RATINGS, told, strict=True):
        assert num_games[rating] / 400 == pytest.approx(information / sum(told), abs=0.03)


@pytest.mark.parametrize(("scored", "nearest"), [(0.0, 1320), (1.0, 2500)])
def test_after_only_losses_or_wins_opponents_at_that_end_are_next(scored, nearest):
    simulated = tournament(num_rounds=20)
    met = [RATINGS[pairing.opponent] for pairing, _ in played(simulated, lambda pairing: [scored] * 2)]
    assert max(set(met), key=met.count) == nearest
    assert math.isinf(simulated.rating.elo)


def test_a_tournament_stops_when_the_interval_is_narrow_enough():
    for half_width in (150, 80, 60):
        simulated = tournament(num_rounds=1000, half_width=half_width)
        for _ in rounds(simulated, results_of(1700)):
            last = simulated.rating.half_width
            if last <= half_width:
                break
        assert 10 < simulated.num_played < 1000
        assert list(simulated.pairings()) == []
        assert last > 0.9 * half_width


def openings(tournament: Tournament) -> list[str]:
    """Play a tournament; return the openings of its rounds, each the same for both colours."""
    names = [[game.opening.name for game in pairing.games] for pairing, _ in played(tournament, lose)]
    assert all(first == second for first, second in names)
    return [name for name, _ in names]


def test_openings_come_again_only_after_all_have_been_played():
    names = openings(tournament(num_rounds=75))
    everything = {opening.name for opening in OPENINGS}
    assert set(names[:30]) == set(names[30:60]) == everything
    assert names[:30] == names[30:60] and names[60:] == names[:15]
    assert names != openings(tournament(num_rounds=75, seed=1))


GREEDY = [
    Opponent(ModelPlayer(f"model {number}"), f"model {number}", rating)
    for number, rating in enumerate((1500, 1600))
]


def greedy_tournament(num_rounds: int, *others: Opponent) -> Tournament:
    return Tournament([*GREEDY, *others], OPENINGS, num_rounds, 0.0, 0, is_deterministic=True)


@pytest.mark.parametrize("processes", [1, 8])
@pytest.mark.parametrize(
    ("num_rounds", "others", "num_games"),
    [(60, [], [60, 60]), (100, [Opponent(RandomPlayer(), "random", 1000)], [60, 60, 80])],
)
def test_no_game_is_played_twice_where_both_sides_are_deterministic(processes, num_rounds, others, num_games):
    over = greedy_tournament(num_rounds, *others)
    rounds = played(over, lambda pairing: [1.0, 0.0], processes)
    assert [score.num_games for score in over.scores] == num_games
    for opponent in range(len(GREEDY)):
        names = {pairing.games[0].opening.name for pairing, _ in rounds if pairing.opponent == opponent}
        assert len(names) == 30


@pytest.mark.parametrize("num_before", [1, 29, 55])
def test_no_game_is_played_twice_after_an_interruption(num_before):
    rounds = played(greedy_tournament(60), lambda pairing: [1.0, 0.0])
    resumed = greedy_tournament(60)
    resumed.resume([pairing.opponent for pairing, _ in rounds[:num_before]], [[1.0, 0.0]] * num_before)
    assert played(resumed, lambda pairing: [1.0, 0.0]) == rounds[num_before:]


def test_more_games_than_distinct_ones_are_an_error():
    with pytest.raises(InputError, match=r"--games 122: neither side samples .* only 120 different games"):
        greedy_tournament(61)


@pytest.mark.parametrize("num_before", [0, 1, 37, 99])
def test_a_resumed_tournament_equals_an_uninterrupted_one(num_before):
    whole = tournament(num_rounds=100)
    all_rounds = played(whole, results_of(1800))
    resumed = tournament(num_rounds=100)
    before = all_rounds[:num_before]
    resumed.resume([pairing.opponent for pairing, _ in before], [scored for _, scored in before])
    assert played(resumed, results_of(1800)) == all_rounds[num_before:]
    assert resumed.rating == whole.rating
    assert summarise(resumed) == summarise(whole)


SETTINGS = {"Seed": "3", "Openings": "book.pgn#12345678"}
US = "our model"


def lost_game(white: str, black: str, loser_is_white: bool, **settings: str):
    """Play a game of no or one move that a side resigns."""
    moves = [[Resignation()], []] if loser_is_white else [["e2e4"], [Resignation()]]
    return play_game(Script(white, moves[0]), Script(black, moves[1]), START, SETTINGS | settings)


def drawn_game(white: str, black: str):
    opening = Opening("", "7k/8/8/8/8/8/1R6/K7 w - - 99 90", ())
    return play_game(Script(white, ["b2b1"]), Script(black, []), opening, SETTINGS)


def test_rounds_of_a_log_are_our_points_against_their_opponents(tmp_path):
    log = GameLog(tmp_path / "games.pgn")
    first, second = OPPONENTS[0].name, OPPONENTS[1].name
    log.append([lost_game(US, second, True), lost_game(second, US, True)])
    log.append([lost_game(US, first, False), drawn_game(first, US)])
    log.append([drawn_game(US, first), lost_game(first, US, False)])
    log.append([lost_game(US, first, True)])
    log.close()
    log = GameLog(log.path)
    assert read_rounds(log, US, OPPONENTS, SETTINGS) == ([1, 0, 0], [[0.0, 1.0], [1.0, 0.5], [0.5, 0.0]])
    # Half a round is played again.
    assert len(log) == 6


@pytest.mark.parametrize(
    ("white", "black", "settings", "message"),
    [
        (US, "stranger", {}, "holds games against stranger, who is no opponent now: choose another --output"),
        ("skill 1", "skill 0", {}, "holds games of skill 1, not of our model: choose another --output"),
        (f"{US} temperature 0.1", "skill 0", {}, "of our model temperature 0.1, not of our model:"),
        (US, "skill 0", {"Seed": "4"}, "was played with --seed 4, not 3: give that one, or choose another"),
        (US, "skill 0", {"Openings": "other.pgn#0"}, "--openings other.pgn#0, not book.pgn#12345678: give"),
    ],
)
def test_a_log_of_another_tournament_is_an_error_that_names_the_difference(
    tmp_path, white, black, settings, message
):
    log = GameLog(tmp_path / "games.pgn")
    log.append([lost_game(white, black, True, **settings), lost_game(black, white, True, **settings)])
    log.close()
    text = log.path.read_text()
    with pytest.raises(InputError, match=message) as refusal:
        read_rounds(GameLog(log.path), US, OPPONENTS, SETTINGS)
    assert "\n" not in str(refusal.value)
    assert log.path.read_text() == text


def test_a_log_without_settings_is_an_error(tmp_path):
    log = GameLog(tmp_path / "games.pgn")
    moves = [Script(US, [Resignation()]), Script("skill 0", [])]
    log.append([play_game(*moves, START)])
    log.close()
    with pytest.raises(InputError, match="was played with --seed unknown, not 3"):
        read_rounds(GameLog(log.path), US, OPPONENTS, SETTINGS)
