"""Read and check chess puzzles: positions with their solutions.

Those of Lichess (CC0) are CSV at https://database.lichess.org/#puzzles and Parquet on the hub as
Lichess/chess-puzzles. Those of ChessBench (arXiv 2402.04494) are CSV without themes, with the game before the
position as PGN, which tells repetitions.
"""

import contextlib
import csv
import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import chess
import pyarrow as pa

from cli.errors import InputError
from data.chess.fen_files import legal_move, read_fen
from data.chess.game_files import parse_game
from data.hub import local_files
from data.parquet import is_parquet, read_rows
from data.text_files import TextSource


_SCHEMA = pa.schema(
    [("PuzzleId", pa.string()), ("FEN", pa.string()), ("Moves", pa.string()), ("Rating", pa.float64())]
)
COLUMNS = _SCHEMA.names  # required
OPTIONAL = ("Themes", "PGN")


class Puzzle(NamedTuple):
    """A puzzle: `moves[0]` is the opponent's, played from `fen`; moves 1, 3, … are the solver's.

    `game` has the moves from the initial position to `fen`, or none if they are unknown.
    """

    puzzle_id: str
    fen: str
    moves: list[chess.Move]
    rating: int | None
    themes: list[str]
    game: list[chess.Move]

    def board(self) -> chess.Board:
        """Set up the position in which the solver has to find the first move, with the known moves before."""
        board = chess.Board() if self.game else chess.Board(self.fen)
        for move in (*self.game, self.moves[0]):
            board.push(move)
        return board


def read_puzzles(path: str | Path, limit: int | None = None) -> list[Puzzle]:
    """Read the puzzles, or the first `limit`, of a CSV or Parquet file; ratings and themes may be empty.

    `path` may also name a dataset on the hub, whose split train is read.

    Raises InputError for a file that is missing, empty or in another format, and for a faulty puzzle: a
    broken FEN, an illegal move, a game that does not lead to the FEN, or a solution that does not end with a
    move of the solver.
    """
    if ".csv" not in str(path).lower():
        path = local_files(path, "train")
    has_columns = Path(path).is_dir() or is_parquet(path)
    rows = _parquet_rows(path) if has_columns else _csv_rows(TextSource(path))
    puzzles = [_read_puzzle(where, row) for where, row in itertools.islice(rows, limit)]
    if not puzzles:
        raise InputError(f"{path} holds no puzzles")
    return puzzles


def _csv_rows(source: TextSource) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.DictReader(source)
    with contextlib.closing(source):
        try:
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or [])]
            if missing:
                raise InputError(
                    f"{source.name} has no column {', '.join(missing)}: its first line must name the columns "
                    f"({', '.join(COLUMNS)}, and Themes if there are any; in any order)"
                )
            for row in reader:
                where = f"{source.name} line {reader.line_num} (id {row['PuzzleId']})"
                if None in row.values():
                    raise InputError(f"{where}: the line is cut short; correct or remove it")
                yield where, row
        except csv.Error as error:
            raise InputError(f"{source.name} line {reader.line_num} cannot be read as CSV: {error}") from None


def _parquet_rows(path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for where, row in read_rows(path, _SCHEMA, "Lichess's puzzles on the hub", OPTIONAL):
        yield f"{where} (id {row['PuzzleId']})", row


def _read_puzzle(where: str, row: dict[str, Any]) -> Puzzle:
    moves = _read_moves(where, row["FEN"] or "", (row["Moves"] or "").split())
    themes = row.get("Themes") or []
    themes = themes.split() if isinstance(themes, str) else themes
    game = _read_game(where, row["FEN"], row.get("PGN") or "")
    return Puzzle(row["PuzzleId"], row["FEN"], moves, _read_rating(where, row["Rating"]), themes, game)


def _read_rating(where: str, rating: str | float | None) -> int | None:
    """Return a rating, or None for an empty one, which is NaN in Parquet that pandas wrote."""
    if rating is None or rating == "":
        return None
    try:
        number = float(rating)
        return None if math.isnan(number) else round(number)
    except (ValueError, OverflowError):
        raise InputError(f"{where}: the rating {rating!r} is not a number") from None


def _read_moves(where: str, fen: str, names: list[str]) -> list[chess.Move]:
    """Play the moves from the FEN to see that every one is legal."""
    board = read_fen(fen, where, remedy="correct or remove the puzzle")
    if len(names) < 2 or len(names) % 2:
        raise InputError(f"{where}: {len(names)} moves; a solution has an even number, the opponent's first")
    for name in names:
        move = legal_move(board, name)
        if move is None:
            raise InputError(f"{where}: {name!r} is not legal in {board.fen()}")
        board.push(move)
    return board.move_stack


def _read_game(where: str, fen: str, pgn: str) -> list[chess.Move]:
    """Return the moves of a PGN, which have to lead to the FEN."""
    if not pgn:
        return []
    try:
        _, board = parse_game(pgn)
    except InputError as error:
        raise InputError(f"{where}, PGN: {error}") from None
    if board.root() != chess.Board() or board.epd() != chess.Board(fen).epd():
        raise InputError(f"{where}: the PGN leads to {board.fen()}, not to the FEN {fen}")
    return board.move_stack
