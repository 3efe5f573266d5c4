"""A real match runner plays whole games with the UCI engine: xboard, which speaks UCI through polyglot."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import chess.pgn
import pytest

from tests.support.commands import REPOSITORY
from tests.support.programs import PATH, find_program, needs


pytestmark = [pytest.mark.slow, needs("stockfish", "xboard", "polyglot", "xvfb", "xauth")]


def play_match(folder: Path, first: str, second: str, options: str) -> list[chess.pgn.Game]:
    """Have two engines play two games, each White once, and return them."""
    games, log = folder / "games.pgn", folder / "xboard.log"
    # %fcp and %fd stand for the engine and its folder; xboard uses the line for the second engine too.
    adapter = f'{find_program("polyglot")} -noini -ec "%fcp" -ed "%fd"'
    command = [find_program("xvfb"), "-a", find_program("xboard"), "-adapterCommand", adapter]
    command += ["-fcp", first, "-fUCI", "-fd", str(REPOSITORY)]
    command += ["-scp", second, "-sUCI", "-sd", str(REPOSITORY)]
    command += ["-matchGames", "2", "-saveGameFile", str(games), *options.split()]
    # Without these it waits for a mouse click, and looks for a program that plays sounds.
    command += ["-noGUI", "-xexit", "-xpopup", "-soundProgram", "true"]
    environment = os.environ | {"HOME": str(folder), "PATH": PATH, "OMP_NUM_THREADS": "1"}
    with log.open("w") as output:
        # In a session of its own, so that all of it can be ended.
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        process.wait(timeout=150)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail(f"the match hangs, as it does when an engine dies: {log.read_text()}")
    assert games.exists(), log.read_text()
    with games.open() as file:
        played = list(iter(lambda: chess.pgn.read_game(file), None))
    assert len(played) == 2, log.read_text()
    return played


def assert_ended_by_the_rules(game: chess.pgn.Game) -> None:
    """Assert that a game ended by mate or a draw, not by time, an illegal move or a crash."""
    assert not game.errors, game.errors
    outcome = game.end().board().outcome(claim_draw=True)
    assert outcome is not None, f"the game was cut short: {game}"
    assert outcome.result() == game.headers["Result"], game


def engine_command(model_folder: Path) -> str:
    return shlex.join(
        [sys.executable, "-m", "eval.chess.uci", "--model", str(model_folder), "--device", "cpu"]
    )


def test_a_match_against_stockfish_is_played_to_the_end(tmp_path, model_folder):
    options = "-timeControl 0:20 -timeIncrement 0.1 -searchDepth 4"
    games = play_match(tmp_path, engine_command(model_folder), find_program("stockfish"), options)
    for game in games:
        assert_ended_by_the_rules(game)
    assert games[0].headers["White"].startswith("Stop Regressing")
    assert games[1].headers["White"] == games[0].headers["Black"]
