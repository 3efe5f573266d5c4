import random
import re

import chess
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli.errors import InputError
from data.chess.positions import (
    distinct_positions,
    position_key,
    positions_of_boards,
    read_positions,
    sample_game,
)
from data.chess.selfplay import play_game
from data.chess.stockfish import Stockfish
from tests.support.programs import needs


GAMES = """[White "Anderssen"]
[Black "Kieseritzky"]

1. e4 e5 2. f4 exf4 3. Bc4 Qh4+ 4. Kf1 b5 1-0

[White "A"]
[Black "B"]

1. f3 e5 2. g4 Qh4# 0-1
"""


def read(tmp_path, name, text, per_game=4, seed=0):
    path = tmp_path / name
    path.write_text(text)
    return read_positions(path, per_game, seed).fens


def test_fens_may_leave_out_the_move_clocks(tmp_path):
    fens = read(tmp_path, "fens.txt", f"{chess.STARTING_FEN}\n\n8/8/4k3/8/8/4K3/4P3/8 b - -\n")
    assert fens == [chess.STARTING_FEN, "8/8/4k3/8/8/4K3/4P3/8 b - - 0 1"]


def test_epd_operations_are_understood(tmp_path):
    fens = read(tmp_path, "book.epd", '8/8/4k3/8/8/4K3/4P3/8 w - - bm Kd4; id "study"; fmvn 40; hmvc 7;\n')
    assert fens == ["8/8/4k3/8/8/4K3/4P3/8 w - - 7 40"]


@pytest.mark.parametrize("name", ["fens.txt", "book.epd"])
@pytest.mark.parametrize(
    "line",
    ["rnbqkbnr/pppp w - -", "e2e4", "8/8/4k3/8/8/8/4P3/8 w - -", "8/8/4k3/8/8/4K3/4P3/8 w - - 0 1 2"],
)
def test_a_bad_line_is_named(tmp_path, name, line):
    with pytest.raises(InputError, match=f"{name} line 3"):
        read(tmp_path, name, f"8/8/4k3/8/8/4K3/4P3/8 w - -\n8/8/4k3/8/8/4K3/4P3/8 b - -\n{line}\n")


def test_a_line_may_be_a_fen_an_epd_or_both_whatever_the_name(tmp_path):
    """Official books of Stockfish hold FENs in files named .epd."""
    position = "8/8/4k3/8/8/4K3/4P3/8 w - -"
    lines = {
        f"{position} 3 40": f"{position} 3 40",
        f'{position} 3 40 c0 "no semicolon"': f"{position} 3 40",
        f"{position} 3 40; bm Qh9+; ce 1.": f"{position} 3 40",
        f'{position} bm Kd9 id "not well formed': f"{position} 0 1",
        f'{position} c9 "hmvc 9; fmvn 9;"; hmvc 7; fmvn 41': f"{position} 7 41",
    }
    for name in ("list.fen", "list.EPD", "list.txt"):
        assert read(tmp_path, name, "\n".join(lines)) == list(lines.values())


def test_a_position_that_cannot_occur_is_shown_as_given_with_the_fault(tmp_path):
    faults = {
        "r3k2r/8/8/8/8/8/8/R3K3 w KQkq - 0 1": "castling right K needs a king on e1 and a rook on h1",
        "r3k2r/8/8/8/8/8/8/R3K3 b k e3 0 1": "en passant square e3 needs a pawn that has just passed it",
        "nbqrnkbr/pppppppp/8/8/8/8/PPPPPPPP/NBQRNKBR w HDhd - 0 1": "castling rights HDhd are",
        "4k3/8/8/8/8/8/4p3/4K2P w - - 0 1": "pawns on the first or last rank",
    }
    for fen, fault in faults.items():
        with pytest.raises(InputError, match=f"line 1: {re.escape(fen)} cannot occur in chess: {fault}"):
            read(tmp_path, "list.fen", fen)


def test_the_first_position_is_taken_unless_it_is_the_initial_one(tmp_path):
    start = "8/P7/8/8/8/8/k1K5/8 w - - 0 1"
    assert read(tmp_path, "games.pgn", f'[FEN "{start}"]\n\n*\n') == [start]
    assert read(tmp_path, "games.pgn", f'[FEN "{chess.STARTING_FEN}"]\n\n1. e4 *\n', per_game=9) == [
        "rnbqkbnr/pppppppp/8/8/4P3/8/PPPP1PPP/RNBQKBNR b KQkq - 0 1"
    ]


def test_the_positions_to_choose_from_are_counted(tmp_path):
    (tmp_path / "games.pgn").write_text(GAMES)
    # 8 plies, and 4 plies that end in mate: the last position has no legal move.
    assert read_positions(tmp_path / "games.pgn", 2, 0)[1:] == (8 + 3, 2)


def test_positions_without_legal_moves_are_left_out_with_a_warning(tmp_path, capsys):
    assert read(tmp_path, "fens.txt", "7k/5K2/6Q1/8/8/8/8/8 b - - 0 1\n") == []
    assert "line 1 is left out: it has no legal moves" in capsys.readouterr().err


def test_every_game_of_a_pgn_gives_up_to_the_number_asked_for(tmp_path):
    fens = read(tmp_path, "games.pgn", GAMES, per_game=5)
    # The second game has four moves, and its last position is mate.
    assert len(fens) == 5 + 3
    assert all(chess.Board(fen).is_valid() and any(chess.Board(fen).legal_moves) for fen in fens)
    assert read(tmp_path, "games.pgn", GAMES, per_game=5) == fens
    assert any(read(tmp_path, "games.pgn", GAMES, per_game=5, seed=seed) != fens for seed in range(1, 9))


def test_a_bad_game_is_named(tmp_path):
    with pytest.raises(InputError, match=r"games\.pgn game 2: .*Qh5 is not a legal move"):
        read(tmp_path, "games.pgn", GAMES.replace("Qh4#", "Qh5#"))


def test_chess960_is_refused(tmp_path):
    start = "bnrqkrnb/pppppppp/8/8/8/8/PPPPPPPP/BNRQKRNB w KQkq - 0 1"
    headers = f'[SetUp "1"]\n[FEN "{start}"]\n[Variant "Chess960"]\n\n'
    with pytest.raises(InputError, match="game 1: the variant Chess960 is not supported"):
        read(tmp_path, "games.pgn", headers + "1. e4 e5 *\n")


def test_files_of_an_unknown_kind_and_missing_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="unknown kind of file"):
        read(tmp_path, "games.doc", GAMES)
    with pytest.raises(InputError, match="no such file"):
        read_positions(tmp_path / "games.pgn", 4, 0)
    with pytest.raises(InputError, match="is a folder: give a file"):
        read_positions(tmp_path, 4, 0)


def test_positions_that_differ_only_in_clocks_are_one():
    fens = ["8/8/4k3/8/8/4K3/4P3/8 w - - 0 1", "8/8/4k3/8/8/4K3/4P3/8 w - - 9 40", chess.STARTING_FEN]
    assert list(distinct_positions(fens)) == [fens[0], fens[2]]
    assert list(distinct_positions(fens, exclude=[fens[1]])) == [fens[2]]
    assert position_key(fens[0]) == position_key(fens[1])


def test_sampling_keeps_the_order_of_the_game_and_leaves_the_initial_position_out():
    board = chess.Board()
    for move in ("e2e4", "e7e5", "g1f3", "b8c6", "f1b5"):
        board.push_uci(move)
    fens = sample_game(board, 10, random.Random(0))
    assert len(fens) == 5
    assert [chess.Board(fen).ply() for fen in fens] == [1, 2, 3, 4, 5]
    assert len(sample_game(board, 2, random.Random(0))) == 2


@needs("stockfish")
def test_a_game_of_selfplay_depends_only_on_seed_and_number():
    with Stockfish() as engine:
        first = play_game(engine, seed=5, game=1)
        other = play_game(engine, seed=5, game=2)
        again = play_game(engine, seed=5, game=1)
    assert first.move_stack == again.move_stack
    assert first.move_stack != other.move_stack


def test_a_file_that_holds_no_boards_is_refused(tmp_path):
    path = tmp_path / "boards.parquet"
    path.write_text("no boards")
    with pytest.raises(InputError, match=r"boards\.parquet: cannot be read as Parquet"):
        positions_of_boards(path)
    pq.write_table(pa.table({"position": ["8/8"]}), path)
    with pytest.raises(InputError, match="column 'fen' is missing"):
        positions_of_boards(path)
