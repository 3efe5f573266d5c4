"""How a game ends by the rules, and the moves whose value the rules decide instead of the model.

A network that sees one position cannot know repetitions.
"""

from collections.abc import Sequence
from typing import NamedTuple

import chess

from cli.options import ExactEnds


# A position that occurs for the third time occurred 4 and 8 plies ago at the latest.
PLIES_TO_THREEFOLD = 8


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

    `exact_ends` is none; draws, for threefold repetition and fifty moves alone, as in ChessBench; or all.
    """
    if exact_ends == "none" or (exact_ends == "draws" and board.halfmove_clock < PLIES_TO_THREEFOLD - 1):
        return {}
    values = {}
    for index, move in enumerate(moves):
        board.push(move)
        end = game_end(board)
        board.pop()
        if end and (exact_ends == "all" or end.reason in ("threefold repetition", "fifty-move rule")):
            values[index] = 1.0 if end.is_mate else 0.5
    return values
