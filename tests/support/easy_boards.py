"""Boards whose values a tiny model learns in seconds: the further forward a move goes, the better it is."""

from pathlib import Path

import chess

from data.chess.rows import Row, write_rows
from tests.support.random_boards import random_rows


def easy_file(path: Path, num_rows: int, seed: int = 0) -> Path:
    """Write boards of random games with all moves, worth the rank where they end, and return the path.

    Moves to the last rank win for certain, those to the mover's own first rank lose.
    """
    rows = []
    for row in random_rows(num_rows, seed):
        board = chess.Board(row.fen)
        moves = list(board.legal_moves)
        ranks = [chess.square_rank(move.to_square) for move in moves]
        values = [(rank if board.turn else 7 - rank) / 7 for rank in ranks]
        rows.append(Row(row.fen, [move.uci() for move in moves], values))
    write_rows(path, rows)
    return path
