"""Positions to label: out of games (PGN), lists of positions (EPD, FEN) and games of self-play.

A position is a FEN with six fields. Two FENs that differ only in the move clocks are the same position.
"""

import io
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import chess
import chess.pgn
import pyarrow.parquet as pq
from tqdm import tqdm

from data.command_line import InputError


# Neighbouring positions of a game are nearly alike, so a few of each game teach more than all of a few games.
POSITIONS_PER_GAME = 4


def read_positions(path: str | Path, per_game: int, seed: int) -> Iterator[str]:
    """Yield the positions of a .pgn, .epd, .fen or .txt file; from PGN up to `per_game` of each game.

    Raises InputError naming the line or the game that is broken.
    """
    path = Path(path)
    readers: dict[str, Callable[[], Iterator[str]]] = {
        ".pgn": lambda: _pgn_positions(path, per_game, seed),
        ".epd": lambda: _listed_positions(path, _board_from_epd),
        ".fen": lambda: _listed_positions(path, chess.Board),
        ".txt": lambda: _listed_positions(path, chess.Board),
    }
    if path.suffix not in readers:
        raise InputError(f"{path}: cannot tell what it holds; name it {', '.join(readers)}, or say selfplay")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    return readers[path.suffix]()


def positions_of_boards(path: str | Path) -> list[str]:
    """Return the positions of a Parquet file of boards."""
    try:
        return pq.read_table(path, columns=["fen"])["fen"].to_pylist()
    except (OSError, ValueError, KeyError) as error:
        remedy = "give a Parquet file with a column fen"
        raise InputError(f"{path} cannot be read as boards ({error}): {remedy}") from error


def sample_game(board: chess.Board, per_game: int, rng: random.Random) -> list[str]:
    """Return up to `per_game` positions of the game in a board's move stack, in order of play.

    The first position of the game is left out, since every game has it, and so is a last one without legal
    moves.
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
    """Return what makes a position the same one: all of its FEN but the move clocks."""
    return " ".join(fen.split()[:4])


def distinct_positions(fens: Iterable[str], exclude: Iterable[str] = ()) -> Iterator[str]:
    """Yield the FENs whose position neither came before nor is among the FENs `exclude`."""
    seen = {position_key(fen) for fen in exclude}
    for fen in fens:
        key = position_key(fen)
        if key not in seen:
            seen.add(key)
            yield fen


def _listed_positions(path: Path, read_board: Callable[[str], chess.Board]) -> Iterator[str]:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            line = line.strip()
            if not line:
                continue
            where = f"{path} line {number}"
            try:
                board = read_board(line)
            except ValueError as error:
                raise InputError(f"{where}: {error}; correct or remove the line") from error
            _check_legal(board, where)
            if any(board.legal_moves):
                yield board.fen()
            else:
                tqdm.write(f"warning: {where} is left out: it has no legal moves", file=sys.stderr)


def _board_from_epd(line: str) -> chess.Board:
    board = chess.Board()
    board.set_epd(line)
    return board


def _check_legal(board: chess.Board, where: str) -> None:
    # Stockfish crashes on positions that cannot exist.
    if status := board.status():
        raise InputError(
            f"{where}: {board.fen()} cannot occur in chess ({status.name.lower()}); correct or remove it"
        )


class _StrictGameBuilder(chess.pgn.GameBuilder):
    def handle_error(self, error: Exception) -> None:
        raise error


def _pgn_positions(path: Path, per_game: int, seed: int) -> Iterator[str]:
    with (
        path.open("rb") as raw,
        io.TextIOWrapper(raw, encoding="utf-8-sig", errors="replace") as file,
        tqdm(total=path.stat().st_size, desc="reading games", unit="B", unit_scale=True) as progress,
    ):
        number = 0
        while True:
            where = f"{path} game {number + 1}"
            try:
                game = chess.pgn.read_game(file, Visitor=_StrictGameBuilder)
                if game is None:
                    break
                board = game.end().board()
            except ValueError as error:
                raise InputError(f"{where}: {error}; correct or remove the game") from error
            if board.uci_variant != "chess" or board.chess960:
                raise InputError(
                    f"{where}: {game.headers.get('Variant')} is another game than chess; remove it"
                )
            _check_legal(game.board(), where)
            yield from sample_game(board, per_game, random.Random(f"pgn {seed} {number}"))
            number += 1
            progress.update(raw.tell() - progress.n)
