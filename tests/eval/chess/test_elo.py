"""Rating a model: the summary of a tournament, and the command on real games."""

import functools
import json
import math
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import chess
import psutil
import pytest
import torch
from matplotlib import image
from matplotlib.figure import Figure

from eval.chess import elo
from eval.chess.elo import extrapolation_warning, summarise
from eval.chess.ratings import MatchScore, expected_score, fit_rating
from tests.eval.chess.test_engines import tiny_model
from tests.eval.chess.test_play import games_in, points, run_here
from tests.eval.chess.test_tournament import played, results_of, tournament
from tests.eval.chess.test_uci_engines import assert_end
from tests.support.commands import assert_input_error, run_command, start_command
from tests.support.programs import needs


pytestmark = needs("stockfish")


ELO = "eval.chess.elo"


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


@pytest.mark.parametrize(("truth", "side"), [(1000, "weaker"), (1800, None), (2900, "stronger")])
def test_an_extrapolated_rating_has_a_warning(truth, side):
    simulated = tournament()
    played(simulated, results_of(truth))
    said = extrapolation_warning(simulated)
    assert (said is None) if side is None else f"No opponent is {side} than the model" in said


def arguments(
    model_folder: Path, output: Path, *more: object, games: int = 8, processes: int = 1
) -> list[object]:
    options = ["--device", "cpu", "--opponents", "stockfish:0-1", "--games", games, "--processes", processes]
    return ["--model", model_folder, "--output", output, *options, *more]


@pytest.fixture(scope="module")
def rated(model_folder, tmp_path_factory):
    """Rate the tiny model; return the command's result, its JSON and its folder."""
    output = tmp_path_factory.mktemp("elo") / "rated"
    result = run_command(ELO, *arguments(model_folder, output, "--json", output / "elo.json"))
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


@pytest.mark.slow
def test_json_and_games_agree(rated):
    _, results, output = rated
    games = games_in(output / "games.pgn")
    assert len(games) == 8 and results["seed"] == 0
    assert_agree(results, games)
    assert {row["rating"] for row in results["opponents"]} <= {1320, 1468}
    assert len({game.headers["Opening"] for game in games}) == 4


@pytest.mark.slow
def test_the_table_shows_the_numbers_of_the_json(rated):
    result, results, output = rated
    lines = result.stdout.splitlines()
    for row in results["opponents"]:
        (line,) = (line for line in lines if line.startswith(row["name"]))
        numbers = [
            f"{row['rating']:.0f}",
            *(str(row[key]) for key in ("num_games", "wins", "draws", "losses")),
        ]
        fractions = (row["score"], row["expected_score"])
        assert line.removeprefix(row["name"]).split() == [
            *numbers,
            *(f"{fraction:.1%}" for fraction in fractions),
        ]
    assert results["player"] in lines
    assert any(line.startswith("Elo ") and "from 8 games" in line for line in lines)
    assert result.stderr == ""
    assert sorted(path.name for path in output.iterdir()) == ["elo.json", "elo.png", "games.pgn"]
    assert image.imread(output / "elo.png").shape[2] == 4


@pytest.fixture
def run(monkeypatch, capfd):
    return functools.partial(run_here, elo.main, monkeypatch, capfd)


def stop(model_folder: Path, output: Path, with_signal: signal.Signals) -> tuple[str, str, int]:
    """Send a signal in the middle of a long tournament; return what was printed and the status.

    Every process that belonged to it has to end.
    """
    process = start_command(ELO, *arguments(model_folder, output, games=1000, processes=2))
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
@pytest.mark.parametrize("with_signal", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_tournament_leaves_no_process_and_resumes(model_folder, tmp_path, run, with_signal):
    stdout, stderr, status = stop(model_folder, tmp_path / "elo", with_signal)
    log = tmp_path / "elo" / "games.pgn"
    num_before = len(games_in(log)) // 2 * 2
    if with_signal == signal.SIGINT:
        assert (stdout, status) == ("", 130)
        assert stderr == f"interrupted: {num_before} games are in {log}; the same command continues\n"
    numbers = tmp_path / "elo.json"
    result = run(*arguments(model_folder, tmp_path / "elo", "--json", numbers, games=num_before + 4))
    assert result.returncode == 0, result.stderr
    assert f"{log}: continuing after {num_before} games" in result.stdout
    results = json.loads(numbers.read_text())
    assert results["num_games"] == num_before + 4
    assert_agree(results, games_in(log))


@pytest.mark.slow
def test_a_finished_tournament_is_reported_again(rated, model_folder, run, tmp_path, monkeypatch):
    _, results, output = rated
    numbers = tmp_path / "elo.json"
    before = (output / "games.pgn").read_text()
    titles, savefig = [], Figure.savefig
    monkeypatch.setattr(
        Figure,
        "savefig",
        lambda figure, *options, **others: (
            titles.append(figure.axes[0].get_title()),
            savefig(figure, *options, **others),
        ),
    )
    result = run(*arguments(model_folder, output, "--json", numbers))
    assert result.returncode == 0, result.stderr
    assert f"{output}/games.pgn has 8 games already: no more games are played" in result.stdout
    assert json.loads(numbers.read_text()) == results
    result = run(*arguments(model_folder, output, games=4))
    assert "has 8 games already" in result.stdout and " from 8 games" in result.stdout
    assert (output / "games.pgn").read_text() == before
    assert titles == [f"{model_folder.parent.name}, 8 games"] * 2


@pytest.mark.slow
def test_another_path_to_a_model_is_the_same_player(rated, model_folder, run, monkeypatch):
    _, _, output = rated
    monkeypatch.chdir(model_folder)
    result = run(*arguments("../model/", output))
    assert "has 8 games already" in result.stdout, result.stderr


@pytest.mark.slow
def test_a_changed_model_of_the_same_name_is_another_player(rated, model_folder, run, tmp_path):
    _, results, output = rated
    changed = tmp_path / model_folder.parent.name / "model"
    shutil.copytree(model_folder, changed)
    model = tiny_model()
    torch.nn.init.constant_(model.head.bias, 1e-3)
    model.save_pretrained(changed)
    assert_input_error(run(*arguments(changed, output)), f"games of {results['player']}, not of run")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--games", 7), ("--games 7", "give an even number")),
        (("--seed", 1), ("games.pgn was played with --seed 0, not 1: give that one, or choose another",)),
        (("--openings", "BOOK"), ("games.pgn was played with --openings openings.pgn#", ", not book.fen#")),
        (("--output", "FILE"), ("is a file, not a folder",)),
        (("--json", "FOLDER"), ("is a folder",)),
        (("--temperature", 0.1), ("games.pgn holds games of", " temperature 0.1 margin inf: choose")),
        (("--opponents", "stockfish:2"), ("games.pgn holds games against", "choose another --output")),
        (("--model", "/nowhere"), ("no such folder",)),
    ],
)
def test_bad_input_is_an_error_and_leaves_earlier_games_unchanged(
    rated, model_folder, run, tmp_path, options, parts
):
    _, _, output = rated
    book = tmp_path / "book.fen"
    book.write_text(chess.STARTING_FEN)
    paths = {"FILE": book, "BOOK": book, "FOLDER": tmp_path}
    before = (output / "games.pgn").read_bytes()
    changed = [paths.get(option, option) for option in options]
    assert_input_error(run(*arguments(model_folder, output, *changed)), *parts)
    assert (output / "games.pgn").read_bytes() == before
    assert [path.read_text() for path in tmp_path.iterdir()] == [chess.STARTING_FEN]
