"""Test suites: which moves are right, points by theme, and which lines are refused."""

import json

import chess
import pytest

from cli.errors import InputError
from eval.chess import suite
from eval.chess.suite import evaluate_suite, format_table, read_suite
from tests.eval.chess.test_play import run_here
from tests.eval.chess.test_puzzles import ScriptedEngine


START = "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq -"
ROOKS = "6k1/5ppp/8/8/8/8/8/RR4K1 w - -"
SUITE = f"""{START} bm e4 d4; id "Opening.001";
{START} am f3 g4; id "Opening.002";
{ROOKS} bm Ra8#; am Rb8#; id "Mates.01"; c0 "a comment";
{ROOKS} bm Rb8+; id "Mates.02"; c0 "Rb8=10, Ra8=7"; c8 "10 7 2"; c9 "b1b8 a1a8 a1a2";
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "suite.epd"
    path.write_text(SUITE)
    return path


def answers(opening: str, rooks: str) -> ScriptedEngine:
    boards = {START: opening, ROOKS: rooks}
    return ScriptedEngine({f"{fen} 0 1": chess.Move.from_uci(move) for fen, move in boards.items()})


@pytest.mark.parametrize(
    ("opening", "rooks", "right", "points"),
    [
        ("d2d4", "a1a8", [2, 1], 0.7),
        ("f2f3", "b1b8", [0, 1], 1.0),
        ("a2a3", "a1a2", [1, 0], 0.2),
        ("g1f3", "g1f1", [1, 0], 0.0),
    ],
)
def test_right_moves_and_points_are_counted_by_theme(file, opening, rooks, right, points):
    results = evaluate_suite(answers(opening, rooks), read_suite(file))
    themes = results["by_theme"]
    assert [themes[theme]["accuracy"] * 2 for theme in ("Opening", "Mates")] == right
    assert results["accuracy"] == sum(right) / 4 and results["num_positions"] == 4
    assert results["low"] < results["accuracy"] < results["high"] or results["accuracy"] in (0, 1)
    assert results["points"] == themes["Mates"]["points"] == pytest.approx(points)
    assert "points" not in themes["Opening"] and f"{points:.1%}" in format_table(results)


def test_points_have_an_interval(tmp_path):
    path = tmp_path / "suite.epd"
    line = SUITE.splitlines()[3]
    path.write_text(f"{line}\n{line.replace('10 7 2', '0 10 2')}\n")
    results = evaluate_suite(answers("a2a3", "a1a8"), read_suite(path))
    assert results["points"] == pytest.approx(0.85)
    assert results["points_half_width"] == pytest.approx(1.96 * 0.15, abs=1e-3)


def test_the_command_writes_what_it_prints(file, model_folder, tmp_path, monkeypatch, capfd):
    numbers = tmp_path / "suite.json"
    arguments = ("--model", model_folder, "--device", "cpu", "--epd", file, "--json", numbers)
    result = run_here(suite.main, monkeypatch, capfd, *arguments)
    assert result.returncode == 0, result.stderr
    found = json.loads(numbers.read_text())
    assert found["num_positions"] == 4 and set(found["by_theme"]) == {"Opening", "Mates"}
    assert result.stdout.startswith(f"{model_folder.parent.name} on 4 positions of {file}\n")
    assert f"{found['accuracy']:.1%}" in result.stdout


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"{START} bm Ke2;", "line 1, operation bm: 'Ke2' is not legal"),
        (f'{START} id "x";', "line 1 has no move to find: give operations bm, am"),
        (f'{START} c8 "10 1"; c9 "e2e4";', "line 1: c8 has 2 numbers of points, but c9 1 moves"),
        (f'{START} c8 "10"; c9 "e2e5";', "line 1, operation c9: 'e2e5' is not legal"),
        ("\n", "holds no positions"),
    ],
)
def test_faulty_suites_are_refused(tmp_path, line, message):
    path = tmp_path / "suite.epd"
    path.write_text(line)
    with pytest.raises(InputError) as refused:
        read_suite(path)
    assert message in str(refused.value)
