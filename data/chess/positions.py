"""Positions to label: from games (PGN), lists of positions (EPD, FEN) and self-play.

A position is a FEN with six fields. Two FENs that differ only in the move clocks are the same position.
"""

import random
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import chess
import pyarrow.parquet as pq
from tqdm import tqdm

from cli.errors import InputError
from data.chess.game_files import POSITION_SUFFIXES, check_is_file, read_boards, read_games


# Positions of one game are similar, so a few of each game are worth more than all of a few games.
POSITIONS_PER_GAME = 4


def read_positions(path: str | Path, per_game: int, seed: int) -> Iterator[str]:
    """Yield the positions of a .pgn, .epd, .fen or .txt file; from PGN up to `per_game` of each game.

    Raises InputError that names the first faulty line or game.
    """
    path = Path(path)
    if path.suffix not in (".pgn", *POSITION_SUFFIXES):
        known = ", ".join((".pgn", *POSITION_SUFFIXES))
        raise InputError(f"{path}: unknown kind of file; its name must end with {known}, or give selfplay")
    check_is_file(path)
    return _pgn_positions(path, per_game, seed) if path.suffix == ".pgn" else _listed_positions(path)


def positions_of_boards(path: str | Path) -> list[str]:
    """Return the positions of a Parquet file of boards."""
    try:
        return pq.read_table(path, columns=["fen"])["fen"].to_pylist()
    except (OSError, ValueError, KeyError) as error:
        remedy = "give a Parquet file with a column fen"
        raise InputError(f"{path} cannot be read as boards ({error}): {remedy}") from error


def sample_game(board: chess.Board, per_game: int, rng: random.Random) -> list[str]:
    """Return up to `per_game` positions of the game in a board's move stack, in order of play.

    The first position is left out, since all games share it, and so is a last position without legal moves.
    """
    board = board.copy()
    fens = []
    while board.move_stack:
        if any(board.legal_moves):
            fens.append(board.fen())
        board.pop()
    fens.reverse()
    chosen = sorted(rng.sample(range(len(fens)), min(per_game, len(fens))))
    return [fens[index] for index in chosen]


def position_key(fen: str) -> str:
    """Return the FEN without the move clocks, which is equal for equal positions."""
    return " ".join(fen.split()[:4])


def distinct_positions(fens: Iterable[str], exclude: Iterable[str] = ()) -> Iterator[str]:
    """Yield the FENs whose position did not occur before and is not among the FENs `exclude`."""
    seen = {position_key(fen) for fen in exclude}
    for fen in fens:
        key = position_key(fen)
        if key not in seen:
            seen.add(key)
            yield fen


def _listed_positions(path: Path) -> Iterator[str]:
    for where, board in read_boards(path):
        if any(board.legal_moves):
            yield board.fen()
        else:
            tqdm.write(f"warning: {where} is left out: it has no legal moves", file=sys.stderr)


def _pgn_positions(path: Path, per_game: int, seed: int) -> Iterator[str]:
    for number, (_, game) in enumerate(read_games(path)):
        yield from sample_game(game.end().board(), per_game, random.Random(f"pgn {seed} {number}"))
