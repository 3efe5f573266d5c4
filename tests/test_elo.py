"""Rating a model: the schedule and its estimate on simulated results, and the command on real games."""

import functools
import json
import math
import random
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import chess
import psutil
import pytest
from matplotlib import image

from data.command_line import InputError
from eval import elo
from eval.elo import (
    Opponent,
    Pairing,
    Tournament,
    format_rating,
    parse_opponents,
    read_rounds,
    remark,
    summarise,
)
from eval.elo_plot import plot_scores
from eval.game_log import GameLog
from eval.games import Resignation, play_game
from eval.openings import Opening
from eval.players import SKILL_RATINGS, ModelPlayer, RandomPlayer, SearchLimit, StockfishPlayer, UciPlayer
from eval.ratings import MatchScore, Rating, expected_score, fit_rating
from eval.tally import Tally, rating_as_json
from models.tokenization_chess import ChessTokenizer
from tests.commands import assert_input_error, run_command, start_command
from tests.test_engines import tiny_model
from tests.test_games import START, Script
from tests.test_play import games_in, points, run_here
from tests.test_uci_engines import assert_end, fake_engine


ELO = "eval.elo"
RATINGS = (1320, 1468, 1608, 1742, 1923, 2204, 2363, 2500)
OPPONENTS = [Opponent(RandomPlayer(), f"skill {level}", rating) for level, rating in enumerate(RATINGS)]
OPENINGS = [Opening(f"opening {number}", chess.STARTING_FEN, ()) for number in range(30)]
Result = Callable[[Pairing], list[float]]


def results_of(truth: float, draw_rate: float = 0.3) -> Result:
    """Return a function that draws the two points of a pairing, by its seed, for a player of a rating."""

    def play(pairing: Pairing) -> list[float]:
        rng = random.Random(pairing.seed)
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


@pytest.mark.parametrize(("truth", "processes"), [(1250, 8), (1700, 1), (2100, 8)])
def test_a_known_rating_is_inside_the_interval(truth, processes):
    ratings = []
    for seed in range(12):
        simulated = tournament(seed=seed)
        assert len(played(simulated, results_of(truth), processes)) == 200
        ratings.append(simulated.rating)
    # At 95% fewer than 10 of 12 are a matter of 1 in 50.
    assert sum(rating.low <= truth <= rating.high for rating in ratings) >= 10
    assert sum(rating.elo for rating in ratings) / 12 == pytest.approx(truth, abs=25)
    assert max(rating.half_width for rating in ratings) < 50


@pytest.mark.parametrize("processes", [1, 8])
def test_most_rounds_go_to_the_nearest_opponents(processes):
    simulated = tournament()
    played(simulated, results_of(1700), processes)
    num_games = {
        opponent.rating: tally.num_games for opponent, tally in zip(OPPONENTS, simulated.tallies, strict=True)
    }
    nearest = sorted(num_games, key=lambda rating: abs(rating - 1700))
    assert sum(num_games[rating] for rating in nearest[:3]) > 0.5 * 400
    assert num_games[2500] < 0.05 * 400 < 0.15 * 400 < num_games[1742]
    # In proportion to e (1 − e), up to what was played before the rating was known.
    told = [expected_score(1700 - rating) * expected_score(rating - 1700) for rating in RATINGS]
    for rating, share in zip(RATINGS, told, strict=True):
        assert num_games[rating] / 400 == pytest.approx(share / sum(told), abs=0.03)


@pytest.mark.parametrize(("scored", "nearest"), [(0.0, 1320), (1.0, 2500)])
def test_after_losses_or_wins_alone_the_opponents_at_that_end_are_met(scored, nearest):
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


def test_an_interval_that_is_open_to_one_side_never_stops_a_tournament():
    assert len(played(tournament(num_rounds=30, half_width=1e6), lose)) == 30


def test_openings_come_again_only_after_all_have_been_played():
    names = [pairing.opening.name for pairing, _ in played(tournament(num_rounds=75), lose)]
    everything = {opening.name for opening in OPENINGS}
    assert set(names[:30]) == set(names[30:60]) == everything
    assert names[:30] == names[30:60] and names[60:] == names[:15]
    assert names != [pairing.opening.name for pairing, _ in played(tournament(num_rounds=75, seed=1), lose)]


def test_no_two_games_draw_lots_alike():
    seeds = [pairing.seed for seed in range(3) for pairing, _ in played(tournament(50, seed=seed), lose)]
    games = [seed + game for seed in seeds for game in range(2)]
    assert len(set(games)) == len(games)


@pytest.mark.parametrize("num_before", [0, 1, 37, 99])
def test_a_tournament_goes_on_as_if_it_had_not_been_interrupted(num_before):
    whole = tournament(num_rounds=100)
    all_rounds = played(whole, results_of(1800))
    resumed = tournament(num_rounds=100)
    before = all_rounds[:num_before]
    resumed.resume([pairing.opponent for pairing, _ in before], [scored for _, scored in before])
    assert played(resumed, results_of(1800)) == all_rounds[num_before:]
    assert resumed.rating == whole.rating
    assert summarise(resumed) == summarise(whole)


def test_nothing_is_left_to_play_of_a_tournament_that_is_over():
    over = tournament(num_rounds=5)
    over.resume([0] * 7, [[0.0, 1.0]] * 7)
    assert list(over.pairings()) == []


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


def test_a_summary_has_the_rating_and_every_opponent_that_was_met():
    simulated = tournament(num_rounds=3)
    simulated.resume([0, 0, 5], [[1.0, 0.5], [0.0, 0.0], [0.0, 0.5]])
    results = summarise(simulated)
    rating = fit_rating([MatchScore(1320, (1, 0, 0, 1, 0)), MatchScore(2204, (0, 1, 0, 0, 0))])
    assert [results[key] for key in ("elo", "low", "high")] == list(rating)
    assert results["num_games"] == 6
    first, second = results["opponents"]
    assert [first[key] for key in ("name", "rating", "num_games", "wins", "draws", "losses")] == [
        *("skill 0", 1320, 4, 1, 1, 2)
    ]
    assert (first["score"], first["pentanomial"]) == (1.5 / 4, [1, 0, 0, 1, 0])
    assert first["expected_score"] == expected_score(rating.elo - 1320)
    assert second["name"] == "skill 5"
    expected = sum(row["expected_score"] * row["num_games"] for row in results["opponents"])
    assert expected == pytest.approx(2.0, abs=1e-6)


@pytest.mark.parametrize(
    ("rating", "text", "numbers"),
    [
        (Rating(1500.4, 1400, 1599.6), "Elo 1500 (1400 to 1600)", (1500.4, 1400, 1599.6)),
        (Rating(-math.inf, -math.inf, 900), "Elo below 900 (95%)", (None, None, 900)),
        (Rating(math.inf, 2700, math.inf), "Elo above 2700 (95%)", (None, 2700, None)),
    ],
)
def test_what_is_infinite_is_a_bound_in_words_and_none_in_json(rating, text, numbers):
    assert format_rating(rating) == text
    assert tuple(rating_as_json(rating).values()) == numbers


@pytest.mark.parametrize(("truth", "side"), [(1000, "weaker"), (1800, None), (2900, "stronger")])
def test_an_extrapolated_rating_is_remarked_upon(truth, side):
    simulated = tournament()
    played(simulated, results_of(truth))
    said = remark(simulated)
    assert (said is None) if side is None else f"No opponent is {side} than the model" in said


@pytest.mark.parametrize(
    "play", [results_of(1700), lose, lambda pairing: [1.0, 1.0]], ids=["mixed", "lost", "won"]
)
def test_a_picture_is_drawn_of_any_result(play, tmp_path):
    simulated = tournament(num_rounds=20)
    played(simulated, play)
    plot_scores(summarise(simulated), tmp_path / "elo.png", "player")
    assert image.imread(tmp_path / "elo.png").shape[2] == 4
    assert [path.name for path in tmp_path.iterdir()] == ["elo.png"]


@pytest.fixture
def model(folder) -> ModelPlayer:
    return ModelPlayer(str(folder), "cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny_model().save_pretrained(folder)
    ChessTokenizer().save_pretrained(folder)
    return folder


def skills(*levels: int) -> list[tuple[StockfishPlayer, float]]:
    return [(StockfishPlayer(skill=level), SKILL_RATINGS[level]) for level in levels]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["stockfish:0-2"], skills(0, 1, 2)),
        (["stockfish:3"], skills(3)),
        (["stockfish:0,2,4-5"], skills(0, 2, 4, 5)),
        (
            ["stockfish:1", "stockfish:0=1000.5", "random=-200"],
            [*skills(1), (StockfishPlayer(skill=0), 1000.5), (RandomPlayer(), -200.0)],
        ),
        (["stockfish:13=2980"], [(StockfishPlayer(skill=13), 2980.0)]),
    ],
)
def test_opponents_and_their_ratings(names, expected, model):
    opponents = parse_opponents(names, SearchLimit(), model)
    assert [(opponent.player, opponent.rating) for opponent in opponents] == expected
    assert len({opponent.name for opponent in opponents}) == len(opponents)


def test_limits_are_for_programs_other_than_stockfish(tmp_path, model):
    program = fake_engine(tmp_path)
    limit = SearchLimit(nodes=7)
    skill, other = parse_opponents(["stockfish:2", f"uci:{program} --fast=yes=2200"], limit, model)
    assert skill == Opponent(StockfishPlayer(skill=2), skill.name, 1608)
    assert skill.name.endswith("skill 2 depth 3")
    assert other == Opponent(UciPlayer(f"{program} --fast=yes", limit), "Fake 1 7 nodes", 2200.0)


def test_lists_of_uci_elo_are_ratings(tmp_path, monkeypatch, model):
    monkeypatch.setenv("STOCKFISH", str(fake_engine(tmp_path, name="Stockfish 16.1")))
    opponents = parse_opponents(["stockfish:1400,1600"], SearchLimit(), model)
    assert [(opponent.player.uci_elo, opponent.rating) for opponent in opponents] == [
        (1400, 1400),
        (1600, 1600),
    ]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["nobody"], "unknown opponent 'nobody'"),
        (["random"], "the rating of random is not known: give it, as in random=1500"),
        (["random=strong"], "unknown opponent 'random=strong'"),
        (["stockfish"], "the rating of stockfish is not known"),
        (["stockfish:13"], "the rating of stockfish:13 is not known"),
        (["stockfish:21=3000"], "no Skill Level 21"),
        (["stockfish:0-3", "stockfish:2"], "opponent stockfish:2 is named twice"),
        (["stockfish:1,1"], "opponent stockfish:1 is named twice"),
        (["random=1", "random=2"], "opponent random is named twice"),
        (["stockfish:1400-1600"], "list every UCI_Elo, as in stockfish:1400,1600"),
        (["stockfish:3-1"], "no Skill Level from 3 to 1; give the lower one first"),
        (["stockfish:1-"], "unknown opponent 'stockfish:1-'"),
        (["uci:/nowhere=1500"], "/nowhere: no such program"),
        (["MODEL=1500"], "is the model that is rated"),
    ],
)
def test_opponents_that_cannot_be_met_are_refused(names, message, model):
    names = [name.replace("MODEL", f"model:{model.model}") for name in names]
    with pytest.raises(InputError, match=message) as refusal:
        parse_opponents(names, SearchLimit(), model)
    assert "\n" not in str(refusal.value)


def lost_game(white: str, black: str, loser_is_white: bool):
    """Play a game of no or one move that a side resigns."""
    moves = [[Resignation()], []] if loser_is_white else [["e2e4"], [Resignation()]]
    return play_game(Script(white, moves[0]), Script(black, moves[1]), START)


def drawn_game(white: str, black: str):
    return play_game(
        Script(white, ["b2b1"]), Script(black, []), Opening("", "7k/8/8/8/8/8/1R6/K7 w - - 99 90", ())
    )


def test_rounds_of_a_log_are_our_points_against_their_opponents(tmp_path):
    log = GameLog(tmp_path / "games.pgn")
    us, first, second = "our model", OPPONENTS[0].name, OPPONENTS[1].name
    log.append([lost_game(us, second, True), lost_game(second, us, True)])
    log.append([lost_game(us, first, False), drawn_game(first, us)])
    log.append([drawn_game(us, first), lost_game(first, us, False)])
    log.append([lost_game(us, first, True)])
    log.close()
    log = GameLog(log.path)
    assert read_rounds(log, us, OPPONENTS) == ([1, 0, 0], [[0.0, 1.0], [1.0, 0.5], [0.5, 0.0]])
    # Half a round is played again.
    assert len(log) == 6


@pytest.mark.parametrize(
    "names", [("our model", "stranger"), ("skill 1", "skill 0"), ("other model", "skill 0")]
)
def test_a_log_of_other_players_is_refused(tmp_path, names):
    log = GameLog(tmp_path / "games.pgn")
    log.append([lost_game(*names, True), lost_game(*names[::-1], True)])
    log.close()
    text = log.path.read_text()
    with pytest.raises(
        InputError, match=f"holds a game of {names[0]} against {names[1]}, who do not meet now"
    ):
        read_rounds(GameLog(log.path), "our model", OPPONENTS)
    assert log.path.read_text() == text


def arguments(folder: Path, output: Path, *more: object, games: int = 8) -> list[object]:
    options = ["--device", "cpu", "--opponents", "stockfish:0-1", "--games", games, "--processes", 2]
    return ["--model", folder, "--output", output, *options, *more]


@pytest.fixture(scope="module")
def rated(folder, tmp_path_factory):
    """Rate the tiny model; return the command's result, its JSON and its folder."""
    output = tmp_path_factory.mktemp("elo") / "rated"
    result = run_command(ELO, *arguments(folder, output, "--json", output / "elo.json"))
    assert result.returncode == 0, result.stderr
    return result, json.loads((output / "elo.json").read_text()), output


def assert_agree(results: dict, games: Sequence[chess.pgn.Game]) -> None:
    """Assert that a rating follows from its games, which are whole rounds of one opening and both colours."""
    name = results["player"]
    assert results["num_games"] == len(games)
    pairs: dict[str, list[float]] = {}
    for number, (first, second) in enumerate(zip(games[::2], games[1::2], strict=True), start=1):
        assert first.headers["Opening"] == second.headers["Opening"]
        assert (first.headers["White"], second.headers["Black"]) == (name, name)
        assert first.headers["Black"] == second.headers["White"]
        assert (first.headers["Round"], second.headers["Round"]) == (f"{number}.1", f"{number}.2")
        pairs.setdefault(first.headers["Black"], []).append(points(first, name) + points(second, name))
    assert {row["name"]: row["pentanomial"] for row in results["opponents"]} == {
        opponent: [totals.count(total) for total in (0, 0.5, 1, 1.5, 2)] for opponent, totals in pairs.items()
    }
    matches = [MatchScore(row["rating"], tuple(row["pentanomial"])) for row in results["opponents"]]
    for value, expected in zip(
        (results[key] for key in ("elo", "low", "high")), fit_rating(matches), strict=True
    ):
        assert (value is None and math.isinf(expected)) or value == pytest.approx(expected)


def test_json_and_games_agree(rated):
    _, results, output = rated
    games = games_in(output / "games.pgn")
    assert len(games) == 8 and results["seed"] == 0
    assert_agree(results, games)
    assert {row["rating"] for row in results["opponents"]} <= {1320, 1468}
    assert len({game.headers["Opening"] for game in games}) == 4


def test_the_table_shows_the_numbers_of_the_json(rated):
    result, results, output = rated
    lines = result.stdout.splitlines()
    for row in results["opponents"]:
        (line,) = (line for line in lines if line.startswith(row["name"]))
        numbers = [
            f"{row['rating']:.0f}",
            *(str(row[key]) for key in ("num_games", "wins", "draws", "losses")),
        ]
        shares = (row["score"], row["expected_score"], row["likelihood_of_superiority"])
        assert line.removeprefix(row["name"]).split() == [*numbers, *(f"{share:.1%}" for share in shares)]
    assert results["player"] in lines
    assert any(line.startswith("Elo ") and "from 8 games" in line for line in lines)
    assert result.stderr == ""
    assert sorted(path.name for path in output.iterdir()) == ["elo.json", "elo.png", "games.pgn"]
    assert image.imread(output / "elo.png").shape[2] == 4


@pytest.fixture
def run(monkeypatch, capfd):
    return functools.partial(run_here, elo.main, monkeypatch, capfd)


def stop(folder: Path, output: Path, with_signal: signal.Signals) -> tuple[str, str, int]:
    """Send a signal in the middle of a long tournament; return what was printed and the status.

    Every process that belonged to it has to end.
    """
    process = start_command(ELO, *arguments(folder, output, games=1000))
    log = output / "games.pgn"
    while not (log.exists() and log.read_text().count("[Event ") >= 4):
        assert process.poll() is None
        time.sleep(0.005)
    family = psutil.Process(process.pid).children(recursive=True)
    # Two workers, each with an engine, and the helper process of multiprocessing.
    assert len(family) >= 4
    process.send_signal(with_signal)
    stdout, stderr = process.communicate(timeout=60)
    assert_end(set(family))
    return stdout, stderr, process.returncode


@pytest.mark.slow
def test_a_killed_tournament_leaves_no_process_and_goes_on(folder, tmp_path, run):
    stop(folder, tmp_path / "elo", signal.SIGKILL)
    log = tmp_path / "elo" / "games.pgn"
    log.write_text(log.read_text()[:-10])
    num_before = len(games_in(log))
    numbers = tmp_path / "elo.json"
    num_games = 2 * (num_before // 2) + 6
    result = run(*arguments(folder, tmp_path / "elo", "--json", numbers, games=num_games))
    assert result.returncode == 0, result.stderr
    assert "continuing after" in result.stdout
    results = json.loads(numbers.read_text())
    assert results["num_games"] == num_games
    assert_agree(results, games_in(log))


@pytest.mark.slow
def test_ctrl_c_leaves_no_process_and_says_how_to_continue(folder, tmp_path, run):
    stdout, stderr, status = stop(folder, tmp_path / "elo", signal.SIGINT)
    log = tmp_path / "elo" / "games.pgn"
    games = games_in(log)
    assert (stdout, status) == ("", 130)
    assert stderr == f"interrupted: {len(games)} games are in {log}; the same command continues\n"
    assert len(games) % 2 == 0
    before = log.read_text()
    numbers = tmp_path / "elo.json"
    num_games = len(games) + 2
    result = run(*arguments(folder, tmp_path / "elo", "--json", numbers, games=num_games))
    assert result.returncode == 0, result.stderr
    assert f"{log}: continuing after {len(games)} games" in result.stdout
    assert log.read_text().startswith(before)
    results = json.loads(numbers.read_text())
    assert results["num_games"] == num_games
    assert_agree(results, games_in(log))


def test_a_tournament_that_is_over_is_told_again(rated, folder, run, tmp_path):
    _, results, output = rated
    numbers = tmp_path / "elo.json"
    before = (output / "games.pgn").read_text()
    result = run(*arguments(folder, output, "--json", numbers))
    assert result.returncode == 0, result.stderr
    assert "continuing after 8 games" in result.stdout
    assert json.loads(numbers.read_text()) == results
    assert (output / "games.pgn").read_text() == before


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--games", 7), ("--games 7", "give an even number")),
        (("--opponents", "nobody"), ("unknown opponent 'nobody'",)),
        (("--opponents", "random"), ("the rating of random is not known",)),
        (("--opponents", "stockfish:21=3000"), ("no Skill Level 21",)),
        (("--opponents", "uci:/nowhere=1500"), ("no such program",)),
        (("--openings", "/nowhere.pgn"), ("no such file",)),
        (("--output", "FILE"), ("is a file, not a folder",)),
        (("--json", "FOLDER"), ("is a folder",)),
        (("--temperature", 0.1), ("games.pgn holds a game of", "choose another --output")),
        (("--opponents", "stockfish:2"), ("games.pgn holds a game of", "choose another --output")),
        (("--model", "/nowhere"), ("no such folder",)),
    ],
)
def test_what_cannot_be_rated_is_refused_and_earlier_games_stay(rated, folder, run, tmp_path, options, parts):
    _, _, output = rated
    (tmp_path / "file").write_text("precious")
    places = {"FILE": tmp_path / "file", "FOLDER": tmp_path}
    before = (output / "games.pgn").read_bytes()
    changed = [places.get(option, option) for option in options]
    assert_input_error(run(*arguments(folder, output, *changed)), *parts)
    assert (output / "games.pgn").read_bytes() == before
    assert [path.read_text() for path in tmp_path.iterdir()] == ["precious"]


def test_a_stockfish_that_is_missing_is_refused(folder, run, tmp_path, monkeypatch):
    monkeypatch.setenv("STOCKFISH", "/nowhere")
    assert_input_error(run(*arguments(folder, tmp_path / "elo")), "STOCKFISH is set to '/nowhere'")
    assert not (tmp_path / "elo").exists()
