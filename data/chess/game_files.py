"""Read games (PGN) and lists of positions (EPD, FEN), refusing what is broken instead of skipping it."""

import io
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import chess
import chess.pgn
from tqdm import tqdm

from cli.errors import InputError


POSITION_SUFFIXES = (".epd", ".fen", ".txt")
# In such positions python-chess generates moves that are not chess, such as taking a king.
UNPLAYABLE = (
    chess.STATUS_NO_WHITE_KING
    | chess.STATUS_NO_BLACK_KING
    | chess.STATUS_TOO_MANY_KINGS
    | chess.STATUS_PAWNS_ON_BACKRANK
    | chess.STATUS_OPPOSITE_CHECK
)
_COMMENT = re.compile(r"\{[^}]*\}?|;.*|^%.*", re.MULTILINE)
# What python-chess reads in a game, and what players write that says no more: Pe4, exd6 e.p.
_SYMBOL = re.compile(rf"{chess.pgn.MOVETEXT_REGEX.pattern}|P(?=[a-h])|e\.p\.", re.VERBOSE | re.DOTALL)


def read_games(path: str | Path) -> Iterator[tuple[str, chess.pgn.Game]]:
    """Yield where every game of a PGN file stands, for messages, and the game; long files show progress.

    Raises InputError for a file that is not there, a move that is not legal, a word that is no move at all,
    another variant of chess, or a first position that cannot occur.
    """
    path = Path(path)
    check_is_file(path)
    size = path.stat().st_size
    with (
        path.open("rb") as raw,
        io.TextIOWrapper(raw, encoding="utf-8-sig", errors="replace") as file,
        tqdm(total=size, desc="reading games", unit="B", unit_scale=True, delay=2) as progress,
    ):
        number = 0
        while True:
            number += 1
            where = f"{path} game {number}"
            lines = _KeptLines(file)
            try:
                game = chess.pgn.read_game(lines, Visitor=_StrictGameBuilder)
                if game is None:
                    return
                _check_words(lines.kept)
                board = game.end().board()
            except ValueError as error:
                raise InputError(f"{where}: {error}; correct or remove the game") from error
            if board.uci_variant != "chess" or board.chess960:
                raise InputError(
                    f"{where}: {game.headers.get('Variant')} is another game than chess; remove it"
                )
            _check_can_occur(game.board(), where)
            yield where, game
            progress.update(raw.tell() - progress.n)


def read_boards(path: str | Path) -> Iterator[tuple[str, chess.Board]]:
    """Yield where every position of a list stands, for messages, and the position, from its one line.

    A line is an EPD, with its operations, in a file named .epd, else a FEN. Raises InputError naming the
    line that is not one, or whose position cannot occur.
    """
    path = Path(path)
    check_is_file(path)
    read_board = _board_from_epd if path.suffix.lower() == ".epd" else chess.Board
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
            _check_can_occur(board, where)
            yield where, board


def read_fen(fen: str, where: str) -> chess.Board:
    """Return the board of a FEN. Raises InputError, which begins with `where`, if it is not a position."""
    try:
        board = chess.Board(fen)
    except ValueError as error:
        raise InputError(f"{where}: {error}; correct it") from error
    _check_can_occur(board, where)
    return board


def check_is_file(path: Path) -> None:
    """Raise InputError unless there is a file; reading checks too, but only once it begins."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")


def _board_from_epd(line: str) -> chess.Board:
    board = chess.Board()
    board.set_epd(line)
    return board


def _check_can_occur(board: chess.Board, where: str) -> None:
    # Stockfish crashes on positions that cannot exist.
    if status := board.status():
        raise InputError(
            f"{where}: {board.fen()} cannot occur in chess ({status.name.lower()}); correct or remove it"
        )


def _check_words(lines: list[str]) -> None:
    """Raise ValueError if a game has words that python-chess passes over: Qh9 wholly, and of Sf3 the S."""
    moves = itertools.dropwhile(lambda line: line.isspace() or line.startswith(("[", "%", ";")), lines)
    for word in _COMMENT.sub(" ", "".join(moves)).split():
        # Numbers, dots and signs such as += or ½ can be no move.
        if any(map(str.isalpha, _SYMBOL.sub("", word))):
            raise ValueError(f"{word[:40]!r} is not a move")


class _KeptLines:
    """Hands out the lines of a file, and keeps them."""

    def __init__(self, file: TextIO):
        self._file = file
        self.kept: list[str] = []

    def readline(self) -> str:
        self.kept.append(self._file.readline())
        return self.kept[-1]


class _StrictGameBuilder(chess.pgn.GameBuilder):
    def handle_error(self, error: Exception) -> None:
        raise error
