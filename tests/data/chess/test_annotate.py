import gzip
import json
import os
import random
import shutil
import signal
import time

import chess
import pyarrow.parquet as pq
import pytest

from data.chess.positions import position_key
from tests.data.test_text_files import pipe
from tests.support.commands import assert_input_error, run_command, start_command
from tests.support.fragile_stockfish import crashing_stockfish, hanging_stockfish
from tests.support.programs import needs


pytestmark = needs("stockfish")


ANNOTATE = "data.chess.annotate"


@pytest.fixture(scope="module")
def fens(tmp_path_factory):
    """Write a list of 40 positions of random play."""
    rng = random.Random(0)
    board = chess.Board()
    fens = []
    while len(fens) < 40:
        if board.is_game_over():
            board = chess.Board()
        board.push(rng.choice(list(board.legal_moves)))
        if any(board.legal_moves):
            fens.append(board.fen())
    path = tmp_path_factory.mktemp("positions") / "fens.txt"
    path.write_text("\n".join(fens))
    return path


@pytest.fixture(scope="module")
def expected(fens, tmp_path_factory):
    """Label the list with one process, without interruption."""
    output = tmp_path_factory.mktemp("expected") / "boards.parquet"
    result = annotate(fens, output, processes=1)
    assert result.returncode == 0, result.stderr
    return rows(output)


def arguments(positions, output, *more, processes=2):
    settings = ["--nodes-per-move", 100, "--processes", processes]
    return ["--positions", positions, "--output", output, *settings, *more]


def annotate(*args, processes=2, **environment):
    return run_command(ANNOTATE, *arguments(*args, processes=processes), **environment)


def rows(path):
    return pq.read_table(path).to_pylist()


def stop_in_the_middle(output, *args, with_signal, log="labels", fatal=None, times=1):
    """Run the command with an engine that hangs in the middle, and send a signal after three results.

    Return the log, the stderr of the command, and its status.
    """
    engine = hanging_stockfish(output.parent, fatal, times)
    process = start_command(ANNOTATE, *arguments(*args), STOCKFISH=str(engine))
    log = output.parent / f"{output.name}.partial" / f"{log}.jsonl"
    while not (log.exists() and log.read_bytes().count(b"\n") >= 3):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(with_signal)
    return log, process.communicate()[1], process.returncode


def test_every_board_has_a_row_with_all_its_legal_moves(fens, expected):
    assert [row["fen"] for row in expected] == fens.read_text().split("\n")
    for row in expected:
        assert row["moves"] == sorted(move.uci() for move in chess.Board(row["fen"]).legal_moves)
        assert len(row["win_probs"]) == len(row["moves"])
        assert all(0 <= win_prob <= 1 for win_prob in row["win_probs"])


def test_two_processes_give_the_same_rows_as_one(fens, expected, tmp_path):
    result = annotate(fens, tmp_path / "boards.parquet", processes=2)
    assert result.returncode == 0, result.stderr
    assert rows(tmp_path / "boards.parquet") == expected
    assert "labelling: 100%" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["boards.parquet"]


@pytest.mark.slow
def test_a_killed_run_continues_with_the_same_arguments_and_gives_the_same_rows(fens, expected, tmp_path):
    output = tmp_path / "boards.parquet"
    log, _, _ = stop_in_the_middle(
        output, fens, output, with_signal=signal.SIGKILL, fatal=expected[10]["fen"]
    )
    assert not output.exists()
    assert 3 <= log.read_bytes().count(b"\n") <= 10
    recorded = json.loads((log.parent / "arguments.json").read_text())
    assert recorded["engine"].startswith("Stockfish")
    assert "processes" not in recorded

    other = annotate(fens, output, "--nodes-per-move", 200)
    assert_input_error(other, str(log.parent), "nodes_per_move was 100, now 200")
    # A truncated last line is done again.
    log.write_bytes(log.read_bytes()[:-10])
    result = annotate(fens, output)
    assert result.returncode == 0, result.stderr
    assert rows(output) == expected
    assert not log.parent.exists()


def test_ctrl_c_keeps_the_finished_part_and_says_how_to_continue(fens, expected, tmp_path):
    output = tmp_path / "boards.parquet"
    log, stderr, status = stop_in_the_middle(
        output, fens, output, with_signal=signal.SIGINT, fatal=expected[10]["fen"]
    )
    assert status == 130
    message = f"interrupted: {log.parent} keeps the finished part; the same command continues"
    assert stderr.splitlines()[-1] == message
    assert "Traceback" not in stderr
    assert annotate(fens, output).returncode == 0
    assert rows(output) == expected


@pytest.mark.slow
def test_selfplay_killed_while_playing_gives_the_same_rows(tmp_path):
    uninterrupted, killed = tmp_path / "uninterrupted.parquet", tmp_path / "killed.parquet"
    selfplay = ("--boards", 40, "--seed", 7)
    assert annotate("selfplay", uninterrupted, *selfplay, processes=1).returncode == 0
    stop_in_the_middle(
        killed,
        "selfplay",
        killed,
        *selfplay,
        with_signal=signal.SIGKILL,
        log="games",
        fatal="ucinewgame",
        times=5,
    )
    assert annotate("selfplay", killed, *selfplay).returncode == 0
    assert rows(uninterrupted) == rows(killed)
    assert len(rows(uninterrupted)) == 40


def test_an_existing_output_is_replaced_only_on_request(fens, tmp_path):
    output = tmp_path / "boards.parquet"
    output.write_text("precious")
    assert_input_error(annotate(fens, output, "--boards", 2), "boards.parquet exists", "--overwrite")
    assert output.read_text() == "precious"
    assert annotate(fens, output, "--boards", 2, "--overwrite").returncode == 0
    assert len(rows(output)) == 2


@pytest.mark.parametrize("excluded", ["sets/test.parquet", "sets"])
def test_boards_of_another_file_or_folder_are_left_out(excluded, fens, expected, tmp_path):
    test_set, rest = tmp_path / "sets/test.parquet", tmp_path / "train.parquet"
    assert annotate(fens, test_set, "--boards", 5, "--seed", 1).returncode == 0
    result = annotate(fens, rest, "--exclude", tmp_path / excluded)
    assert result.returncode == 0, result.stderr
    assert "positions left out, repeated or excluded: 5 of 40" in result.stdout
    left_out = {position_key(row["fen"]) for row in rows(test_set)}
    assert rows(rest) == [row for row in expected if position_key(row["fen"]) not in left_out]


def test_a_position_that_always_crashes_the_engine_is_skipped_with_a_warning(fens, expected, tmp_path):
    output = tmp_path / "boards.parquet"
    engine = crashing_stockfish(tmp_path, expected[3]["fen"], times=1000)
    result = annotate(fens, output, STOCKFISH=str(engine))
    assert result.returncode == 0, result.stderr
    assert rows(output) == expected[:3] + expected[4:]
    assert f"warning: skipped {expected[3]['fen']}" in result.stderr
    assert "warning: 1 positions have no row" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize("source", ["file", "selfplay"])
def test_an_engine_that_crashes_on_everything_is_an_error_whose_remedy_works(source, fens, tmp_path):
    output = tmp_path / "boards.parquet"
    engine = crashing_stockfish(tmp_path, "go nodes", times=1000)
    line = ["selfplay" if source == "selfplay" else fens, output, "--boards", 2]
    result = annotate(*line, STOCKFISH=str(engine))
    assert result.returncode == 2
    message = f"error: the engine crashed on every position: delete {output}.partial, and install another"
    assert message in result.stderr.splitlines()[-1]
    shutil.rmtree(tmp_path / "boards.parquet.partial")
    assert annotate(*line).returncode == 0
    assert len(rows(output)) == 2


def test_a_missing_stockfish_is_an_error(fens, tmp_path):
    result = annotate(fens, tmp_path / "boards.parquet", STOCKFISH=str(tmp_path / "stockfish"))
    assert_input_error(result, "STOCKFISH", "apt-get install stockfish", "brew install stockfish")
    assert os.listdir(tmp_path) == []


def test_games_are_read_from_a_pipe_and_the_choice_of_positions_is_explained(tmp_path):
    games = b"1. e4 e5 2. Nf3 Nc6 3. Bb5 *\n\n1. e4 Ke4 *\n\n1. e4 e5 2. Nc3 *\n"
    output = tmp_path / "boards.parquet"
    with pipe(gzip.compress(games)) as number:
        result = annotate(f"/proc/{os.getpid()}/fd/{number}", output, "--skip-bad-games", "--boards", 3)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[:3] == [
        "positions taken: 7 of 8, up to 4 of each game (--per-game); games: 2",
        "positions left out, repeated or excluded: 1 of 7",
        "positions of a random sample (--boards): 3 of 6",
    ]
    assert "warning: 1 of the 3 games of" in result.stderr
    assert len(rows(output)) == 3


def test_a_bad_fen_is_an_error_that_names_its_line(fens, tmp_path):
    bad = tmp_path / "bad.txt"
    bad.write_text(fens.read_text() + "\n8/8/4k3/8/8/8/4P3/9 w - - 0 1\n")
    assert_input_error(annotate(bad, tmp_path / "boards.parquet"), f"{bad} line 41")
    assert not (tmp_path / "boards.parquet").exists()
