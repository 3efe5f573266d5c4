"""Moves that end the game by rule, against python-chess asked after every single move."""

import random

import chess
import numpy as np
import pytest

from cli.options import EXACT_ENDS
from eval.chess.engines import ValueEngine, ordered_legal_moves
from eval.chess.rules import values_by_rule
from models.tokenization_chess import ChessTokenizer
from tests.eval.chess.test_engines import FENS, tiny_model


STARTS = (
    chess.STARTING_FEN,
    "r3k2r/p6p/8/3pP3/8/8/P6P/R3K2R w KQkq d6 0 20",
    "7k/8/8/3q4/8/8/1R6/K7 w - - 91 120",
    "8/8/8/4k3/8/2b5/3N4/4K3 b - - 95 120",
    "8/8/8/8/8/5k2/4p3/4K3 b - - 40 70",
    "6k1/5ppp/8/8/8/8/5PPP/R5K1 w - - 94 80",
    "k7/8/1QK5/8/8/8/8/8 w - - 96 90",
)
BACK_RANK_MATE = "6k1/5ppp/8/8/8/8/8/R5K1 w - - 0 80"


def shuffled_boards() -> list[chess.Board]:
    """Play games in which pieces often go back to where they came from; they continue after draws."""
    rng = random.Random(0)
    boards = []
    for start in STARTS * 10:
        board = chess.Board(start)
        for _ in range(20):
            if not any(board.legal_moves):
                break
            boards.append(board.copy())
            move = rng.choice(list(board.legal_moves))
            if len(board.move_stack) >= 2 and rng.random() < 0.8:
                last = board.move_stack[-2]
                undone = chess.Move(last.to_square, last.from_square)
                move = undone if board.is_legal(undone) else move
            board.push(move)
    return boards


def ending(board: chess.Board, exact_ends: str) -> str | None:
    if exact_ends == "all":
        if board.is_checkmate():
            return "checkmate"
        if board.is_stalemate():
            return "stalemate"
        if board.is_insufficient_material():
            return "insufficient material"
    if exact_ends != "none":
        if board.is_repetition():
            return "repetition"
        if board.is_fifty_moves():
            return "fifty moves"
    return None


def endings(board: chess.Board, exact_ends: str) -> list[str | None]:
    """Push every legal move on a copy and say how the game is over then, if it is."""
    names = []
    for move in ordered_legal_moves(board):
        after = board.copy()
        after.push(move)
        names.append(ending(after, exact_ends))
    return names


def value(name: str) -> float:
    return 1.0 if name == "checkmate" else 0.5


@pytest.fixture(scope="module")
def boards():
    return shuffled_boards()


def test_the_test_games_contain_every_kind_of_ending(boards):
    assert len(boards) > 800
    names = [name for board in boards for name in endings(board, "all")]
    for name in ("checkmate", "stalemate", "insufficient material", "repetition", "fifty moves"):
        assert names.count(name) >= 20, name


@pytest.mark.parametrize("exact_ends", EXACT_ENDS)
def test_values_by_rule_are_those_of_python_chess(boards, exact_ends):
    for board in boards:
        names = endings(board, exact_ends)
        expected = {index: value(name) for index, name in enumerate(names) if name}
        assert values_by_rule(board, ordered_legal_moves(board), exact_ends) == expected, board.fen()


@pytest.mark.parametrize(
    ("fen", "move"),
    [
        ("6rk/p1p3pp/7N/8/8/8/8/4K3 w - - 0 1", "h6f7"),  # the piece itself gives check
        ("7k/p1p3pp/8/8/8/8/8/3RK3 w - - 0 1", "d1d8"),  # it gives check from afar
        ("5bkb/p1p3pp/8/3N4/8/1B6/8/4K3 w - - 0 1", "d5b4"),  # another one does
        ("5bkb/p1p3pp/8/3pP3/8/1B6/8/4K3 w - d6 0 1", "e5d6"),  # the pawn taken in passing stood in the way
        ("5k2/pp6/8/8/8/8/4R1R1/4K2R w K - 0 1", "e1g1"),  # the rook gives check
        ("7k/p1p5/P1P5/8/8/8/8/K3R1R1 w - - 0 1", "e1e7"),  # no pawn can step forward
        ("7k/p3p3/P7/8/8/8/8/K3R1R1 w - - 0 1", "e1e7"),  # takes the pawn that could
        ("4k3/2Pp1pP1/8/5N2/B7/8/8/K2B4 w - - 0 1", "d1h5"),  # pins the pawn that could
    ],
)
def test_moves_that_end_the_game_in_any_way_are_found(fen, move):
    board, move = chess.Board(fen), chess.Move.from_uci(move)
    mirrored = chess.Move(chess.square_mirror(move.from_square), chess.square_mirror(move.to_square))
    for position, played in ((board, move), (board.mirror(), mirrored)):
        moves = ordered_legal_moves(position)
        expected = {i: value(name) for i, name in enumerate(endings(position, "all")) if name}
        assert moves.index(played) in expected
        assert values_by_rule(position, moves, "all") == expected


def test_mate_with_the_hundredth_half_move_wins():
    board = chess.Board(BACK_RANK_MATE.replace(" 0 80", " 99 80"))
    moves = ordered_legal_moves(board)
    mate = moves.index(chess.Move.from_uci("a1a8"))
    values = values_by_rule(board, moves, "all")
    assert values.pop(mate) == 1.0
    assert len(values) == len(moves) - 1 and set(values.values()) == {0.5}
    assert mate not in values_by_rule(board, moves, "draws")


def test_values_by_rule_are_those_of_python_chess_in_chess960():
    rng = random.Random(0)
    for number in range(0, 960, 96):
        board = chess.Board.from_chess960_pos(number)
        for _ in range(40):
            moves = ordered_legal_moves(board)
            if not moves:
                break
            expected = {i: value(name) for i, name in enumerate(endings(board, "all")) if name}
            assert values_by_rule(board, moves, "all") == expected, board.fen()
            castling = [move for move in moves if board.is_castling(move)]
            board.push(rng.choice(castling or moves))


def test_repetitions_are_found_as_far_as_the_move_stack_goes():
    board = chess.Board()
    for move in ("g1f3", "g8f6", "f3g1", "f6g8", "g1f3", "g8f6", "f3g1"):
        board.push_uci(move)
    moves = ordered_legal_moves(board)
    assert values_by_rule(board, moves, "draws") == {moves.index(chess.Move.from_uci("f6g8")): 0.5}
    assert values_by_rule(chess.Board(board.fen()), moves, "draws") == {}
    assert values_by_rule(board.copy(stack=6), moves, "draws") == {}


@pytest.mark.parametrize("exact_ends", EXACT_ENDS)
def test_the_board_is_unchanged(boards, exact_ends):
    for board in boards[::5]:
        before = board.copy()
        values_by_rule(board, ordered_legal_moves(board), exact_ends)
        assert board == before and board.fen() == before.fen() and board.move_stack == before.move_stack


def test_positions_without_history_have_no_draws_by_rule():
    boards = [chess.Board(fen) for fen in (*FENS, BACK_RANK_MATE)]
    model = tiny_model()
    by_model, by_draws, by_default = (
        [analysis.values for analysis in ValueEngine(model, ChessTokenizer(), **options).analyse_many(boards)]
        for options in ({"exact_ends": "none"}, {"exact_ends": "draws"}, {})
    )
    for expected, values in zip(by_model, by_draws, strict=True):
        np.testing.assert_array_equal(values, expected)
    assert by_default[-1].max() == 1.0 > by_model[-1].max()


def test_an_engine_takes_values_by_rule_where_there_are_any(boards):
    model = tiny_model()
    by_model, by_rules = (
        ValueEngine(model, ChessTokenizer(), exact_ends=exact_ends).analyse_many(boards[::7], True)
        for exact_ends in ("none", "all")
    )
    for board, before, after in zip(boards[::7], by_model, by_rules, strict=True):
        expected = [
            predicted if name is None else value(name)
            for name, predicted in zip(endings(board, "all"), before.values, strict=True)
        ]
        np.testing.assert_array_equal(after.values, np.array(expected, np.float32))
        np.testing.assert_array_equal(after.distributions, before.distributions)
        by_rule = {index: value(name) for index, name in enumerate(endings(board, "all")) if name}
        assert (before.by_rule, after.by_rule) == ({}, by_rule)
