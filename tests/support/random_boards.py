"""Boards of random games in the row format, for tests."""

import random

import chess

from data.chess.rows import Row, write_rows


def random_rows(num_rows: int, seed: int = 0) -> list[Row]:
    """Play random games to at most 120 plies; some rows list all legal moves, others only some of them."""
    rng = random.Random(seed)
    rows, board = [], chess.Board()
    while len(rows) < num_rows:
        moves = [move.uci() for move in board.legal_moves]
        if not moves or board.ply() > 120:
            board = chess.Board()
            continue
        listed = rng.sample(moves, rng.randint(1, len(moves))) if rng.random() < 0.3 else moves
        rows.append(Row(board.fen(en_passant="fen"), listed, [rng.random() for _ in listed]))
        board.push_uci(rng.choice(moves))
    return rows


def random_file(path, num_rows: int, seed: int = 0) -> list[Row]:
    """Write random rows to a Parquet file and return them."""
    rows = random_rows(num_rows, seed)
    write_rows(path, rows)
    return rows
