"""Read games (PGN) and lists of positions (EPD, FEN); faulty ones are errors, not skipped."""

import io
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO, cast

import chess
import chess.pgn
from tqdm import tqdm

from cli.errors import InputError


POSITION_SUFFIXES = (".epd", ".fen", ".txt")
# In such positions python-chess generates moves that are not chess, such as capturing a king.
UNPLAYABLE = (
    chess.STATUS_NO_WHITE_KING
    | chess.STATUS_NO_BLACK_KING
    | chess.STATUS_TOO_MANY_KINGS
    | chess.STATUS_PAWNS_ON_BACKRANK
    | chess.STATUS_OPPOSITE_CHECK
)
_COMMENT = re.compile(r"\{[^}]*\}?|;.*|^%.*", re.MULTILINE)
# The tokens that python-chess reads, and redundant notation: Pe4, exd6 e.p.
_SYMBOL = re.compile(rf"{chess.pgn.MOVETEXT_REGEX.pattern}|P(?=[a-h])|e\.p\.", re.VERBOSE | re.DOTALL)


def read_games(path: str | Path) -> Iterator[tuple[str, chess.pgn.Game]]:
    """Yield the location of every game of a PGN file, for messages, and the game; long files show progress.

    Raises InputError for a missing file, an illegal move, a word that is not a move, another variant of
    chess, or an impossible first position.
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
                game = chess.pgn.read_game(cast(TextIO, lines), Visitor=_StrictGameBuilder)
                if game is None:
                    return
                _check_words(lines.kept)
                board = game.end().board()
            except ValueError as error:
                raise InputError(f"{where}: {error}; correct or remove the game") from error
            if board.uci_variant != "chess" or board.chess960:
                raise InputError(
                    f"{where}: the variant {game.headers.get('Variant')} is not supported; remove the game"
                )
            _check_can_occur(game.board(), where)
            yield where, game
            progress.update(raw.tell() - progress.n)


def read_boards(path: str | Path) -> Iterator[tuple[str, chess.Board]]:
    """Yield the location of every position of a list, for messages, and the position; one per line.

    In a file named .epd a line is an EPD with its operations, else a FEN. Raises InputError that names the
    first faulty line or impossible position.
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
    """Return the board of a FEN. Raises InputError, which begins with `where`, for a faulty FEN."""
    try:
        board = chess.Board(fen)
    except ValueError as error:
        raise InputError(f"{where}: {error}; correct it") from error
    _check_can_occur(board, where)
    return board


def check_is_file(path: Path) -> None:
    """Raise InputError unless the file exists."""
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
            f"{where}: {board.fen()} cannot occur in chess ({str(status.name).lower()}); correct or remove it"
        )


def _check_words(lines: list[str]) -> None:
    """Raise ValueError for words that python-chess ignores: all of Qh9, and the S of Sf3."""
    moves = itertools.dropwhile(lambda line: line.isspace() or line.startswith(("[", "%", ";")), lines)
    for word in _COMMENT.sub(" ", "".join(moves)).split():
        # Numbers, dots and signs such as += or ½ are not moves.
        if any(map(str.isalpha, _SYMBOL.sub("", word))):
            raise ValueError(f"{word[:40]!r} is not a move")


class _KeptLines:
    """The lines of a file, kept after they are read."""

    def __init__(self, file: TextIO):
        self._file = file
        self.kept: list[str] = []

    def readline(self) -> str:
        self.kept.append(self._file.readline())
        return self.kept[-1]


class _StrictGameBuilder(chess.pgn.GameBuilder):
    def handle_error(self, error: Exception) -> None:
        raise error
