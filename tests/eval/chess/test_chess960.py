"""Chess960: castling by its rules, and the standard positions and moves that models have tokens for."""

import random

import chess
import pytest

from eval.chess.chess960 import standard_fen, standard_move
from eval.chess.engines import ValueEngine, ordered_legal_moves
from eval.chess.uci_protocol import read_move, read_position
from models.chess_tokens import ACTION_IDS
from models.tokenization_chess import ChessTokenizer
from tests.eval.chess.test_engines import tiny_model
from tests.eval.chess.test_uci import make_session, one_thread, talk  # noqa: F401 (fixture)


# Castling with the rooks on b and g, kings on c and f, and an inner rook that has the right.
ROOKS_INSIDE = "1rk3r1/pppppppp/8/8/8/8/PPPPPPPP/1R3KR1 w GBgb - 0 1"
CASTLING = "r3k2r/8/8/8/8/8/8/R3K2R w HAha - 0 1"
INNER_ROOK = "4k3/8/8/8/8/8/8/R1R1K3 w C - 0 1"


def positions() -> list[chess.Board]:
    """Return positions of random games from all 960 first positions."""
    rng = random.Random(0)
    boards = []
    for number in range(960):
        board = chess.Board.from_chess960_pos(number)
        for _ in range(rng.randrange(30)):
            moves = list(board.legal_moves)
            # Castling is rare; play and keep it where it is legal.
            castling = [move for move in moves if board.is_castling(move)]
            if castling:
                boards.append(board.copy())
            if not moves:
                break
            board.push(rng.choice(castling or moves))
    return boards


def test_every_legal_move_is_a_different_action():
    boards = positions()
    assert len(boards) > 200
    for board in boards:
        actions = [ACTION_IDS[standard_move(board, move)] for move in board.legal_moves]
        assert len(set(actions)) == len(actions), board.fen()
        assert [ACTION_IDS[standard_move(board, m)] for m in ordered_legal_moves(board)] == sorted(actions)
        fen = standard_fen(board)
        assert set(fen.split()[2]) <= set("KQkq-")
        ChessTokenizer()(fen)


@pytest.mark.parametrize(
    ("fen", "rights", "moves"),
    [
        (CASTLING, "KQkq", {"e1h1": "e1g1", "e1a1": "e1c1"}),
        (INNER_ROOK, "Q", {"e1c1": "e1c1"}),
        ("4k3/8/8/8/8/8/8/1K5R w H - 0 1", "K", {"b1h1": "b1g1"}),
        # The king on f1 can also move to g1.
        ("4k3/8/8/8/8/8/8/R4K1R w HA - 0 1", "KQ", {"f1h1": "f1h1", "f1a1": "f1c1"}),
        ("6kr/8/8/8/8/8/8/4K3 b h - 0 1", "k", {"g8h8": "g8h8"}),
    ],
)
def test_castling_is_the_kings_move_where_no_other_move_has_that_name(fen, rights, moves):
    board = chess.Board(fen, chess960=True)
    assert standard_fen(board).split()[2] == rights
    castling = {
        move.uci(): standard_move(board, move) for move in board.legal_moves if board.is_castling(move)
    }
    assert castling == moves


def test_a_standard_position_has_the_values_of_standard_chess():
    engine = ValueEngine(tiny_model(), ChessTokenizer(), device="cpu")
    fen = "r3k2r/p1ppqpb1/bn2pnp1/3PN3/1p2P3/2N2Q1p/PPPBBPPP/R3K2R w KQkq - 0 1"
    standard, chess960 = (engine.analyse(chess.Board(fen, chess960=is_960)) for is_960 in (False, True))
    assert (standard.values == chess960.values).all()
    assert {move.uci() for move in chess960.moves} - {move.uci() for move in standard.moves} == {
        "e1h1",
        "e1a1",
    }


def test_without_the_option_rights_of_chess960_are_dropped_with_a_warning(model_folder):
    (line,) = talk(model_folder, f"position fen {ROOKS_INSIDE}")
    assert line.startswith("info string castling rights of Chess960 in '1rk3r1/pppppppp/")
    assert line.endswith(" are dropped: set UCI_Chess960 to true")
    assert talk(model_folder, "position fen r3k2r/8/8/8/8/8/8/R3K2R w KQkq - 0 1") == []


def fen_after(model_folder, position: str) -> str:
    *_, last = talk(model_folder, "setoption name UCI_Chess960 value true", f"position {position}", "d")
    return last


def test_the_option_castles_by_king_takes_rook(model_folder):
    fen = fen_after(model_folder, f"fen {ROOKS_INSIDE} moves f1g1 c8b8")
    assert fen == "Fen: 2kr2r1/pppppppp/8/8/8/8/PPPPPPPP/1R3RK1 w - - 2 2"
    fen = fen_after(model_folder, "startpos moves e2e4 e7e5 g1f3 g8f6 f1c4 f8c5 e1h1")
    assert fen == "Fen: rnbqk2r/pppp1ppp/5n2/2b1p3/2B1P3/5N2/PPPP1PPP/RNBQ1RK1 b kq - 5 4"


def test_it_plays_legal_moves_of_chess960_castling_included(model_folder):
    said: list[str] = []
    session = make_session(model_folder, said)
    session.run([b"setoption name UCI_Chess960 value true", b"setoption name MultiPV value 256"])
    num_castling = 0
    for board in positions()[::40]:
        session.run([f"position fen {board.fen()}".encode(), b"go"])
        *_, best = said
        valued = {line.split(" pv ")[1] for line in said if " pv " in line}
        assert valued == {move.uci() for move in board.legal_moves}
        assert best.removeprefix("bestmove ") in valued
        num_castling += sum(board.is_castling(chess.Move.from_uci(move)) for move in valued)
        said.clear()
    assert num_castling >= 5


def test_moves_of_chess960_are_read_in_both_notations():
    words = f"fen {CASTLING}".split()
    board = read_position(words, chess960=True).board
    assert read_move(board, "e1g1") == read_move(board, "e1h1") == chess.Move.from_uci("e1h1")
