"""Opening books: the positions in which the games of a match start.

`openings.pgn` was written for this project from general knowledge of opening theory: named lines of 4 to 10
plies; Stockfish 15.1 with 300,000 nodes puts each end position within 70 centipawns.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import chess

from cli.errors import InputError
from data.chess.fen_files import read_boards
from data.chess.game_files import Game, holds_games, read_games
from data.chess.positions import position_key
from data.text_files import TextSource
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


def read_openings(path: str | Path = DEFAULT_BOOK, skip_bad_games: bool = False) -> list[Opening]:
    """Read the main lines of a .pgn file, or the positions of an .epd, .fen or .txt file.

    An opening that ends in the position of an earlier one is left out. Raises InputError for a file that is
    missing, of another kind or without openings, and for an opening that is not legal, is empty, or ends the
    game; `skip_bad_games` leaves such games out instead.
    """
    source = TextSource(path)
    if holds_games(source):
        read = read_games(source, skip_bad_games, _opening_of_game)
    else:
        read = (_opening(where, name, board) for where, name, board in read_boards(source))
    # Of openings with the same last position the first is kept.
    openings: dict[str, Opening] = {}
    for opening, end in read:
        openings.setdefault(end, opening)
    if not openings:
        raise InputError(f"{source.name} holds no openings; give a file with at least one")
    return list(openings.values())


def identify_openings(path: str | Path, openings: Sequence[Opening]) -> str:
    """Return a book's name with a digest of its openings, such as openings.pgn#1a2b3c4d."""
    return f"{Path(path).name}#{hashlib.sha256(repr(openings).encode()).hexdigest()[:8]}"


def _opening_of_game(game: Game) -> tuple[Opening, str]:
    if not game.board.move_stack and "FEN" not in game.headers:
        raise InputError(f"{game.where}: no moves and no FEN; give it either, or remove the game")
    # Books differ in the header of the opening's code.
    names = (game.headers.get(key, "?") for key in ("Opening", "ECO", "Eco"))
    name = next((name for name in names if name.strip(" ?")), f"game {game.number}")
    return _opening(game.where, name, game.board)


def _opening(where: str, name: str, board: chess.Board) -> tuple[Opening, str]:
    """Return the opening that leads to a board, and a key of its last position."""
    if over := game_end(board):
        raise InputError(f"{where}: the game is over ({over.reason}) at {board.fen()}; shorten or remove it")
    moves = tuple(move.uci() for move in board.move_stack)
    return Opening(name, board.root().fen(), moves), position_key(board.fen())
