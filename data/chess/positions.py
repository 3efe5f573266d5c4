"""Positions to label: from games (PGN), lists of positions (EPD, FEN) and self-play.

A position is a FEN with six fields. Two FENs that differ only in the move clocks are the same position.
"""

import random
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import chess
import pyarrow as pa

from data.chess.fen_files import read_boards
from data.chess.game_files import Game, holds_games, read_games
from data.chess.rows import MADE_BY
from data.parquet import list_files, open_file, read_batches
from data.text_files import TextSource


# Positions of one game are similar, so a few of each game are worth more than all of a few games.
POSITIONS_PER_GAME = 4
ROWS_PER_BATCH = 65_536


class ReadPositions(NamedTuple):
    """Positions of a file, and how many there were to choose from; `num_games` is None for a list."""

    fens: list[str]
    num_positions: int
    num_games: int | None


def read_positions(path: str | Path, per_game: int, seed: int, skip_bad_games: bool = False) -> ReadPositions:
    """Read games or a list of positions; of every game up to `per_game` positions.

    Raises InputError that names the first faulty line or game; `skip_bad_games` is that of `read_games`.
    """
    source = TextSource(path)
    if not holds_games(source):
        fens = list(_listed_positions(source))
        return ReadPositions(fens, len(fens), None)

    def sample(game: Game) -> tuple[list[str], int]:
        rng = random.Random(f"pgn {seed} {game.number - 1}")
        return sample_game(game.board, per_game, rng), len(_plies(game.board))

    samples = list(read_games(source, skip_bad_games, sample))
    fens = [fen for chosen, _ in samples for fen in chosen]
    return ReadPositions(fens, sum(count for _, count in samples), len(samples))


def positions_of_boards(path: str | Path) -> list[str]:
    """Return the positions of a Parquet file of boards, or of a folder of them."""
    schema = pa.schema([("fen", pa.string())])
    fens = []
    for file in list_files(path):
        for _, batch in read_batches(file, open_file(file, schema, MADE_BY), schema.names, ROWS_PER_BATCH):
            fens += batch.column("fen").drop_null().to_pylist()
    return fens


def sample_game(board: chess.Board, per_game: int, rng: random.Random) -> list[str]:
    """Return up to `per_game` positions of the game in a board's move stack, in order of play.

    The initial position is left out, since most games share it, and so is a last position without legal
    moves.
    """
    plies = _plies(board)
    chosen = set(rng.sample(plies, min(per_game, len(plies))))
    board = board.copy()
    fens = []
    while True:
        if len(board.move_stack) in chosen:
            fens.append(board.fen())
        if not board.move_stack:
            return fens[::-1]
        board.pop()


def _plies(board: chess.Board) -> range:
    """Return the plies of the game whose positions can be labelled."""
    is_usual_start = position_key(board.root().fen()) == position_key(chess.STARTING_FEN)
    return range(int(is_usual_start), len(board.move_stack) + any(board.legal_moves))


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


def _listed_positions(source: TextSource) -> Iterator[str]:
    for where, _, board in read_boards(source):
        if any(board.legal_moves):
            yield board.fen()
        else:
            print(f"warning: {where} is left out: it has no legal moves", file=sys.stderr)
