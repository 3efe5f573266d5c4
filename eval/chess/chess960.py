"""Positions and moves of Chess960 as the nearest ones of standard chess, for which models have tokens.

Models are trained on standard chess and never saw another placement of king and rooks, so their values of
such positions are extrapolations.
"""

import chess


def standard_fen(board: chess.Board) -> str:
    """Return the FEN with the castling rights KQkq, also for rooks on other files than a and h."""
    if not board.chess960:
        return board.fen()
    rights = [
        letter
        for letter, has_right in (
            ("K", board.has_kingside_castling_rights(chess.WHITE)),
            ("Q", board.has_queenside_castling_rights(chess.WHITE)),
            ("k", board.has_kingside_castling_rights(chess.BLACK)),
            ("q", board.has_queenside_castling_rights(chess.BLACK)),
        )
        if has_right
    ]
    fields = board.fen().split()
    fields[2] = "".join(rights) or "-"
    return " ".join(fields)


def standard_move(board: chess.Board, move: chess.Move) -> str:
    """Return a legal move in UCI, castling as the king's move to the g- or c-file.

    A king that is there or next to it takes its own rook instead, as in Chess960's UCI: the king's move could
    be another legal one. All legal moves of a board have different names.
    """
    if not (board.chess960 and board.is_castling(move)):
        return move.uci()
    file = 6 if board.is_kingside_castling(move) else 2
    target = chess.square(file, chess.square_rank(move.from_square))
    if chess.square_distance(move.from_square, target) < 2:
        return move.uci()
    return chess.Move(move.from_square, target).uci()
