"""The moves of games as rows, as `python -m data.chess.played_moves` writes them."""

import chess
import pyarrow.parquet as pq
import pytest

from tests.support.commands import assert_input_error, run_command


GAMES = """[White "A"]
[Black "B"]
[WhiteElo "2100"]
[BlackElo "1900"]

1. f3 e5 2. g4 Qh4# 0-1

[White "C"]
[Black "D"]
[WhiteElo "?"]
[BlackElo "2300"]
[FEN "8/P6k/8/8/8/8/5K2/8 w - - 0 70"]
[SetUp "1"]

70. a8=Q {good} Kg7 (70... Kg6 71. Qe4+) 71. Qe4 1/2-1/2
"""


def write_moves(tmp_path, *options):
    (tmp_path / "games.pgn").write_text(GAMES)
    output = tmp_path / "moves.parquet"
    line = [tmp_path / "games.pgn", "--output", output, *options]
    return run_command("data.chess.played_moves", *line), output


def test_every_move_of_the_main_line_is_a_row_with_the_board_before_it(tmp_path):
    result, output = write_moves(tmp_path)
    assert result.returncode == 0, result.stderr
    assert "7 of 7 moves (games: 2)" in result.stdout
    rows = pq.read_table(output).to_pylist()
    assert [row["move"] for row in rows] == ["f2f3", "e7e5", "g2g4", "d8h4", "a7a8q", "h7g7", "a8e4"]
    assert rows[0]["fen"] == chess.STARTING_FEN
    assert rows[3]["fen"] == "rnbqkbnr/pppp1ppp/8/4p3/6P1/5P2/PPPPP2P/RNBQKBNR b KQkq - 0 2"
    for row in rows:
        assert chess.Move.from_uci(row["move"]) in chess.Board(row["fen"]).legal_moves


def test_only_the_moves_of_strong_players_are_kept(tmp_path):
    result, output = write_moves(tmp_path, "--min-rating", 2000)
    assert "3 of 7 moves (games: 2)" in result.stdout
    assert pq.read_table(output)["move"].to_pylist() == ["f2f3", "g2g4", "h7g7"]


@pytest.mark.parametrize("name", ["games.csv", "book.epd"])
def test_other_files_than_games_are_refused(tmp_path, name):
    (tmp_path / name).write_text(GAMES)
    result = run_command("data.chess.played_moves", tmp_path / name, "--output", tmp_path / "moves.parquet")
    assert_input_error(result, f"{name} holds no games: give a PGN file, such as games.pgn")


def test_without_such_players_nothing_is_written(tmp_path):
    result, output = write_moves(tmp_path, "--min-rating", 2500)
    assert_input_error(result, "games.pgn", "no moves of players rated 2500 or more")
    assert not output.exists()
