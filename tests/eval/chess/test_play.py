"""The command eval.chess.play: matches whose numbers agree with their games, and games of a person."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack

import chess.pgn
import psutil
import pytest

from cli.errors import command
from eval.chess import play
from eval.chess.game_log import GameLog
from eval.chess.openings import DEFAULT_BOOK, read_openings
from eval.chess.ratings import difference
from tests.eval.chess.test_uci_engines import answering, assert_end, descendants, fake_engine
from tests.support.commands import assert_input_error, run_command, start_command
from tests.support.fragile_stockfish import crashing_stockfish
from tests.support.programs import needs


pytestmark = needs("stockfish")


PLAY = "eval.chess.play"
# Positions near the fifty-move rule, so that games are short.
ENDINGS = "7k/8/8/3q4/8/8/1R6/K7 w - - 97 90\n8/8/8/4k3/8/2b5/3N4/4K3 b - - 96 120\n"
GAME = '[Event "?"]\n[White "other"]\n[Black "player"]\n[Result "1-0"]\n\n1. e4 1-0\n\n'


@pytest.fixture(scope="module")
def endings(tmp_path_factory):
    path = tmp_path_factory.mktemp("openings") / "endings.fen"
    path.write_text(ENDINGS)
    return path


def run_here(main: Callable[[], None], monkeypatch, capfd, *arguments: object) -> subprocess.CompletedProcess:
    """Run a command in this process, which saves the seconds that imports take, and return its result."""
    monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
    capfd.readouterr()
    status = 0
    try:
        command(main)
    except SystemExit as end:
        status = end.code
    return subprocess.CompletedProcess(sys.argv, status, *capfd.readouterr())


@pytest.fixture
def run(model_folder, monkeypatch, capfd):
    def run(*arguments: object, model: object = model_folder) -> subprocess.CompletedProcess:
        return run_here(play.main, monkeypatch, capfd, "--model", model, "--device", "cpu", *arguments)

    return run


def games_in(path) -> list[chess.pgn.Game]:
    with path.open(encoding="utf-8") as file:
        games = list(iter(lambda: chess.pgn.read_game(file), None))
    assert all(game.errors == [] for game in games)
    return games


def points(game: chess.pgn.Game, player: str) -> float:
    result = game.headers["Result"]
    return 0.5 if result == "1/2-1/2" else float((result == "1-0") == (game.headers["White"] == player))


def assert_agree(results: dict, games: list[chess.pgn.Game]) -> None:
    """Assert that the numbers of a match are those of its games, and that both sides had every opening."""
    scores = [points(game, results["player"]) for game in games]
    assert results["num_games"] == len(games)
    assert (results["wins"], results["draws"], results["losses"]) == tuple(map(scores.count, (1, 0.5, 0)))
    assert results["score"] == pytest.approx(sum(scores) / len(scores))
    pairs = [first + second for first, second in zip(scores[::2], scores[1::2], strict=False)]
    assert results["pentanomial"] == [pairs.count(total) for total in (0, 0.5, 1, 1.5, 2)]
    expected = difference(results["pentanomial"])
    assert results["elo_difference"] == {
        key: None if abs(value) == float("inf") else pytest.approx(value)
        for key, value in expected._asdict().items()
    }
    for first, second in zip(games[::2], games[1::2], strict=False):
        assert first.headers["Opening"] == second.headers["Opening"]
        assert (first.headers["White"], second.headers["White"]) == (results["player"], results["opponent"])
        assert (first.headers["Black"], second.headers["Black"]) == (results["opponent"], results["player"])
        number = first.headers["Round"].partition(".")[0]
        assert (first.headers["Round"], second.headers["Round"]) == (f"{number}.1", f"{number}.2")


@pytest.fixture(scope="module")
def match(model_folder, tmp_path_factory):
    """Play four games against Stockfish; return the command's result, its JSON, and its PGN."""
    output = tmp_path_factory.mktemp("match")
    pgn, numbers = output / "new" / "games.pgn", output / "match.json"
    opponent = ("--opponent", "stockfish:0", "--games", 4)
    result = run_command(PLAY, "--model", model_folder, *opponent, "--pgn", pgn, "--json", numbers)
    assert result.returncode == 0, result.stderr
    return result, json.loads(numbers.read_text()), pgn


@pytest.mark.slow
def test_numbers_of_a_match_are_those_of_its_games(match):
    _, results, pgn = match
    games = games_in(pgn)
    assert len(games) == 4 and results["crashes"] == []
    assert_agree(results, games)
    assert results["opponent"].startswith("Stockfish") and results["opponent"].endswith("skill 0 depth 1")


def test_games_start_with_openings_of_the_book_each_with_both_colours(match):
    _, _, pgn = match
    book = {opening.name: opening for opening in read_openings(DEFAULT_BOOK)}
    games = games_in(pgn)
    assert len({game.headers["Opening"] for game in games}) == 2
    for game in games:
        opening = book[game.headers["Opening"]]
        nodes = list(game.mainline())
        assert [node.move.uci() for node in nodes[: len(opening.moves)]] == list(opening.moves)
        played = nodes[len(opening.moves) :]
        assert all(node.eval() is not None for node in played)
        assert game.end().board().outcome(claim_draw=True).result() == game.headers["Result"]


def test_the_score_is_printed_alone(match):
    result, results, _ = match
    assert result.stderr == ""
    lines = result.stdout.split("\n")
    assert lines[1] == results["player"] and lines[2] == f"  against {results['opponent']}"
    numbers = [results[key] for key in ("num_games", "wins", "draws", "losses")]
    assert lines[5].split() == [*map(str, numbers), f"{results['score']:.1%}"]
    assert lines[7].startswith("Elo difference")


def test_a_sequential_test_stops_a_match(run, tmp_path):
    # Every game is a draw by the fifty-move rule after one move.
    openings, numbers = tmp_path / "draws.fen", tmp_path / "match.json"
    openings.write_text("7k/8/8/8/8/8/1R6/K7 w - - 99 80\n")
    options = ("--opponent", "random", "--openings", openings, "--sprt", "20,100", "--temperature", "inf")
    result = run(*options, "--json", numbers)
    assert result.returncode == 0, result.stderr
    results = json.loads(numbers.read_text())
    assert results["sprt"]["accepted"] == "H0" and results["sprt"]["log_likelihood_ratio"] < -2.94
    assert results["draws"] == results["num_games"] == 2 * sum(results["pentanomial"]) < 100
    assert "SPRT of normalized Elo +20 (H0) and +100 (H1): H0 accepted, +20; " in result.stdout


@pytest.mark.parametrize("kind", ["random", "uci"])
def test_other_opponents(run, model_folder, endings, tmp_path, kind):
    program = fake_engine(tmp_path, answering("bestmove e2e4"))
    opponent, name = {"random": ("random", "random"), "uci": (f"uci:{program}", "Fake 1 0.1 s")}[kind]
    pgn, numbers = tmp_path / "games.pgn", tmp_path / "match.json"
    options = ("--opponent", opponent, "--games", 4, "--openings", endings, "--pgn", pgn, "--json", numbers)
    result = run(*options)
    assert result.returncode == 0, result.stderr
    results = json.loads(numbers.read_text())
    assert results["opponent"] == name and results["player"].startswith(f"{model_folder.parent.name}#")
    games = games_in(pgn)
    assert_agree(results, games)
    assert {game.headers["FEN"] for game in games} == set(ENDINGS.splitlines())


def test_a_model_against_itself_scores_half(run, model_folder, endings, tmp_path):
    numbers = tmp_path / "match.json"
    opponent = ("--opponent", f"model:{model_folder}", "--openings", endings)
    result = run(*opponent, "--games", 2, "--json", numbers)
    assert result.returncode == 0, result.stderr
    results = json.loads(numbers.read_text())
    assert results["player"] == results["opponent"]
    assert results["score"] == 0.5 and results["pentanomial"] == [0, 0, 1, 0, 0]
    assert str(results["elo_difference"]["elo"]) == "0.0"
    assert "Elo difference +0 (95%" in result.stdout


@pytest.mark.parametrize(
    "opponent",
    [("MODEL",), ("stockfish", "--nodes", 50)],
    ids=["model", "nodes"],
)
def test_no_game_is_played_twice_where_both_sides_are_deterministic(
    run, model_folder, endings, tmp_path, opponent
):
    pgn = tmp_path / "games.pgn"
    opponent = [f"model:{model_folder}" if option == "MODEL" else option for option in opponent]
    options = ("--opponent", *opponent, "--openings", endings)
    assert run(*options, "--pgn", pgn).returncode == 0
    games = games_in(pgn)
    assert len(games) == 4
    assert len({game.board().fen() for game in games}) == 2
    result = run(*options, "--games", 6)
    assert_input_error(
        result, "--games 6: neither side samples its moves", "only 4 different games", "--temper"
    )
    assert run(*options, "--games", 6, "--temperature", "inf").returncode == 0


def test_a_cheating_opponent_loses_every_game_and_is_reported(run, endings, tmp_path):
    numbers = tmp_path / "match.json"
    program = fake_engine(tmp_path, answering("bestmove a1h8"))
    result = run("--opponent", f"uci:{program}", "--games", 2, "--openings", endings, "--json", numbers)
    results = json.loads(numbers.read_text())
    assert (results["wins"], len(results["crashes"])) == (2, 2)
    assert all("Fake 1 0.1 s broke the protocol" in crash for crash in results["crashes"])
    assert "round 1: Fake 1 0.1 s broke the protocol" in result.stdout + result.stderr


def test_a_match_continues_after_a_crash_of_stockfish(run, endings, tmp_path, monkeypatch):
    monkeypatch.setenv("STOCKFISH", str(crashing_stockfish(tmp_path, "go depth", times=1)))
    numbers, pgn = tmp_path / "match.json", tmp_path / "games.pgn"
    opponent = ("--opponent", "stockfish:3", "--games", 4, "--openings", endings)
    before = descendants()
    assert run(*opponent, "--json", numbers, "--pgn", pgn).returncode == 0
    results = json.loads(numbers.read_text())
    assert len(results["crashes"]) == 1 and results["num_games"] == 4 and results["wins"] >= 1
    abandoned = [game.headers["Termination"] == "abandoned" for game in games_in(pgn)]
    assert abandoned == [True, False, False, False]
    assert_end(descendants() - before)


def test_seed_decides_openings_and_sampled_moves(run, endings, tmp_path):
    def games(seed: int, name: str) -> str:
        pgn = tmp_path / name
        options = ("--opponent", "random", "--games", 4, "--temperature", "inf", "--openings", endings)
        assert run(*options, "--seed", seed, "--pgn", pgn).returncode == 0
        return pgn.read_text()

    first = games(1, "first.pgn")
    assert games(1, "again.pgn") == first
    assert games(2, "other.pgn") != first


@pytest.fixture
def says(monkeypatch, tmp_path_factory):
    """Type lines at the terminal; after the last the terminal is closed."""
    path = tmp_path_factory.mktemp("terminal") / "stdin"
    with ExitStack() as files:

        def say(*lines: str) -> None:
            path.write_text("".join(f"{line}\n" for line in lines))
            monkeypatch.setattr(sys, "stdin", files.enter_context(path.open()))

        yield say


def test_a_person_plays_at_the_terminal(run, says, model_folder, tmp_path):
    pgn, numbers = tmp_path / "games.pgn", tmp_path / "match.json"
    says("e4", "hint", "nonsense", "Nc3", "resign")
    result = run("--opponent", "human", "--color", "white", "--pgn", pgn, "--json", numbers)
    assert (result.returncode, result.stderr) == (0, "")
    (game,) = games_in(pgn)
    moves = [move.uci() for move in game.mainline_moves()]
    assert (moves[0], moves[2], len(moves)) == ("e2e4", "b1c3", 4)
    assert (game.headers["White"], game.headers["Result"]) == ("human", "0-1")
    results = json.loads(numbers.read_text())
    assert (results["player"], results["losses"]) == ("human", 1)
    assert results["opponent"] == game.headers["Black"]
    assert "nonsense: not a legal move" in result.stdout
    assert f"You play {model_folder.parent.name}. Type" in result.stdout
    assert "0-1: human resigned" in result.stdout and "♔" in result.stdout


@pytest.mark.parametrize(
    ("colour", "whites"),
    [("both", ["human", "model"]), ("white", ["human"] * 2), ("black", ["model"] * 2)],
)
def test_a_persons_colours(run, says, tmp_path, colour, whites):
    says("resign", "resign")
    pgn = tmp_path / "games.pgn"
    result = run("--opponent", "human", "--games", 2, "--color", colour, "--pgn", pgn)
    assert result.returncode == 0, result.stderr
    games = games_in(pgn)
    assert [game.headers["White"] == "human" for game in games] == [white == "human" for white in whites]
    assert all(points(game, "human") == 0 for game in games)


@pytest.mark.parametrize("last", [("quit",), ()], ids=["quit", "closed terminal"])
def test_a_game_that_is_left_is_kept_without_a_result(run, says, tmp_path, last):
    pgn, numbers = tmp_path / "games.pgn", tmp_path / "match.json"
    says("resign", "", "e4", *last)
    options = ("--games", 3, "--color", "white", "--pgn", pgn, "--json", numbers)
    result = run("--opponent", "human", *options)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"The game was left; it is in {pgn} with the result *\n" in result.stdout
    finished, left = games_in(pgn)
    assert (finished.headers["Result"], left.headers["Result"]) == ("0-1", "*")
    assert left.headers["Termination"] == "unterminated"
    assert next(iter(left.mainline_moves())).uci() == "e2e4"
    assert json.loads(numbers.read_text())["num_games"] == 1
    log = GameLog(pgn)
    assert len(log) == 2
    log.close()


def test_without_a_finished_game_there_are_no_results(run, says, tmp_path):
    numbers = tmp_path / "match.json"
    says("quit")
    result = run("--opponent", "human", "--json", numbers)
    assert (result.returncode, result.stderr) == (0, "")
    assert "The game was left; no --pgn was given\nNo game was finished" in result.stdout
    assert not numbers.exists()


def test_ctrl_c_keeps_the_finished_games(model_folder, tmp_path):
    pgn = tmp_path / "games.pgn"
    arguments = ("--opponent", "stockfish:0", "--games", 10_000, "--pgn", pgn)
    process = start_command(PLAY, "--model", model_folder, *arguments)
    while not (pgn.exists() and pgn.read_text().count("[Event ") >= 3):
        assert process.poll() is None
        time.sleep(0.005)
    engines = set(psutil.Process(process.pid).children(recursive=True))
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert_end(engines)
    games = games_in(pgn)
    assert len(games) >= 3 and process.returncode == 130
    assert (stdout, stderr) == ("", f"interrupted: {len(games)} finished games are in {pgn}\n")
    assert pgn.read_text().endswith(f"{games[-1].headers['Result']}\n\n")
