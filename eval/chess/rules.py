"""How a game ends by the rules, and the moves whose value the rules decide instead of the model.

A network that sees one position cannot know repetitions.
"""

from collections.abc import Sequence
from typing import NamedTuple

import chess

from cli.options import ExactEnds


# A position that occurs for the third time occurred 4 and 8 plies ago at the latest.
PLIES_TO_THREEFOLD = 8
PLIES_TO_FIFTY_MOVES = 100


class GameEnd(NamedTuple):
    """The end of a game: `is_mate` of the side to move, or a draw, and the name of the rule."""

    is_mate: bool
    reason: str


def game_end(board: chess.Board) -> GameEnd | None:
    """Return how the game has ended on this board, or None if it continues.

    Threefold repetition and fifty moves count as drawn without a claim. Repetitions are found as far back as
    the board's move stack goes.
    """
    if not any(board.generate_legal_moves()):
        return GameEnd(True, "checkmate") if board.is_check() else GameEnd(False, "stalemate")
    if board.halfmove_clock >= PLIES_TO_THREEFOLD and board.is_repetition():
        return GameEnd(False, "threefold repetition")
    if board.is_fifty_moves():
        return GameEnd(False, "fifty-move rule")
    if board.is_insufficient_material():
        return GameEnd(False, "insufficient material")
    return None


def values_by_rule(
    board: chess.Board, moves: Sequence[chess.Move], exact_ends: ExactEnds
) -> dict[int, float]:
    """Return, by index, the result of the moves that end the game: 1 for checkmate, 0.5 for a draw.

    `exact_ends` is none; draws, for threefold repetition and fifty moves alone, as in ChessBench; or all. The
    position has two kings, and that of the side that is not to move is not in check.
    """
    plies_to_repeat = min(board.halfmove_clock, len(board.move_stack)) + 1
    is_draw_near = plies_to_repeat >= PLIES_TO_THREEFOLD or board.halfmove_clock + 1 >= PLIES_TO_FIFTY_MOVES
    if exact_ends == "none" or (exact_ends == "draws" and not is_draw_near):
        return {}
    ending_squares = chess.BB_ALL if is_draw_near else _squares_of_ending_moves(board)
    values = {}
    for index, move in enumerate(moves):
        if not (chess.BB_SQUARES[move.from_square] | chess.BB_SQUARES[move.to_square]) & ending_squares:
            continue
        board.push(move)
        end = game_end(board)
        board.pop()
        if end and (exact_ends == "all" or end.reason in ("threefold repetition", "fifty-move rule")):
            values[index] = 1.0 if end.is_mate else 0.5
    return values


def _squares_of_ending_moves(board: chess.Board) -> chess.Bitboard:
    """Return squares where every checkmate, stalemate and move to insufficient material starts or ends.

    A move between squares that the other king, as a queen or a knight, does not attack gives no check and
    pins nothing. Pawns of that side on such squares can then step forward if the move leaves the square
    before them empty; of two such pawns it stops or captures one at most. Castling and en passant take a
    second piece from its square.
    """
    king, occupied = board.king(not board.turn), board.occupied
    assert king is not None
    in_sight = (
        chess.BB_KNIGHT_ATTACKS[king]
        | chess.BB_RANK_ATTACKS[king][chess.BB_RANK_MASKS[king] & occupied]
        | chess.BB_FILE_ATTACKS[king][chess.BB_FILE_MASKS[king] & occupied]
        | chess.BB_DIAG_ATTACKS[king][chess.BB_DIAG_MASKS[king] & occupied]
    )
    pawns = board.pawns & board.occupied_co[not board.turn] & ~in_sight
    steps = (pawns >> 8 if board.turn == chess.WHITE else pawns << 8) & ~occupied
    if chess.popcount(steps) < 2:
        return chess.BB_ALL
    en_passant = 0 if board.ep_square is None else chess.BB_SQUARES[board.ep_square]
    return in_sight | board.kings | en_passant
