"""Opening books: the positions in which the games of a match start.

`openings.pgn` was written for this project from general knowledge of opening theory: named lines of 4 to 10
plies; Stockfish 15.1 with 300,000 nodes puts each end position within 70 centipawns.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import chess

from cli.errors import InputError
from data.chess.game_files import POSITION_SUFFIXES, check_is_file, read_boards, read_games
from data.chess.positions import position_key
from eval.chess.rules import game_end


DEFAULT_BOOK = Path(__file__).with_name("openings.pgn")


class Opening(NamedTuple):
    """An opening: moves in UCI, played from the position `fen`."""

    name: str
    fen: str
    moves: tuple[str, ...]

    def board(self) -> chess.Board:
        """Return the position after the moves, which are in its move stack."""
        board = chess.Board(self.fen)
        for move in self.moves:
            board.push_uci(move)
        return board


def read_openings(path: str | Path = DEFAULT_BOOK) -> list[Opening]:
    """Read the main lines of a .pgn file, or the positions of an .epd, .fen or .txt file.

    An opening that ends in the position of an earlier one is left out. Raises InputError for a file that is
    missing, of another kind or without openings, and for an opening that is not legal, is empty, or ends the
    game.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in (".pgn", *POSITION_SUFFIXES):
        known = ", ".join((".pgn", *POSITION_SUFFIXES))
        raise InputError(f"{path}: unknown kind of opening book; give a file that ends in {known}")
    check_is_file(path)
    openings, seen = [], set()
    for where, opening, end in _read_games(path) if kind == ".pgn" else _read_positions(path):
        if over := game_end(end):
            raise InputError(
                f"{where}: the game is over ({over.reason}) at {end.fen()}; shorten or remove it"
            )
        key = position_key(end.fen())
        if key not in seen:
            seen.add(key)
            openings.append(opening)
    if not openings:
        raise InputError(f"{path} holds no openings; give a file with at least one")
    return openings


def identify_openings(path: str | Path) -> str:
    """Return a book's name with a digest of its contents, such as openings.pgn#1a2b3c4d."""
    path = Path(path)
    return f"{path.name}#{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"


def _read_games(path: Path) -> Iterator[tuple[str, Opening, chess.Board]]:
    for number, (where, game) in enumerate(read_games(path), start=1):
        end = game.end().board()
        moves = tuple(move.uci() for move in end.move_stack)
        if not moves and "FEN" not in game.headers:
            raise InputError(f"{where}: no moves and no FEN; give it either, or remove the game")
        # Books differ in the header of the opening's code.
        names = (game.headers.get(key, "?") for key in ("Opening", "ECO", "Eco"))
        name = next((name for name in names if name.strip(" ?")), f"game {number}")
        yield where, Opening(name, end.root().fen(), moves), end


def _read_positions(path: Path) -> Iterator[tuple[str, Opening, chess.Board]]:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        lines = [(number, line.strip()) for number, line in enumerate(file, start=1) if line.strip()]
    for (number, line), (where, board) in zip(lines, read_boards(path), strict=True):
        # read_boards does not return an EPD's operations.
        operations = chess.Board().set_epd(line) if path.suffix.lower() == ".epd" else {}
        yield where, Opening(str(operations.get("id") or f"line {number}"), board.fen(), ()), board
