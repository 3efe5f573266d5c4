"""What the rules say of moves that end the game: a network that sees one position cannot know repetitions."""

from collections.abc import Sequence

import chess

from cli.options import ExactEnds


# A position that occurs for the third time did so 4 and 8 plies ago at the latest.
_PLIES_TO_THREEFOLD = 8
_FIFTY_MOVES = 100


def values_by_rule(
    board: chess.Board, moves: Sequence[chess.Move], exact_ends: ExactEnds
) -> dict[int, float]:
    """Return by index the mover's result of those legal moves that end the game: 1 for mate, 0.5 for a draw.

    `exact_ends` is none; draws, for moves that complete a threefold repetition or fifty moves, as in
    ChessBench; or all, also for checkmate, stalemate and positions that nobody can win.

    Repetitions are seen as far as the board's move stack goes back. Draws that can be claimed count as drawn.
    """
    may_repeat = min(board.halfmove_clock, len(board.move_stack)) >= _PLIES_TO_THREEFOLD - 1
    may_reach_fifty = board.halfmove_clock >= _FIFTY_MOVES - 1
    if exact_ends == "none" or (exact_ends == "draws" and not (may_repeat or may_reach_fifty)):
        return {}
    values = {}
    for index, move in enumerate(moves):
        board.push(move)
        has_reply = exact_ends == "draws" or any(board.generate_legal_moves())
        if not has_reply and board.is_check():
            values[index] = 1.0
        elif (
            not has_reply
            or (exact_ends == "all" and board.is_insufficient_material())
            or (may_repeat and board.is_repetition())
            or (may_reach_fifty and board.is_fifty_moves())
        ):
            values[index] = 0.5
        board.pop()
    return values
