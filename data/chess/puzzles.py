"""Read and check the puzzle file of Lichess, a CSV of positions and solutions.

Source: https://database.lichess.org/#puzzles (CC0).
"""

import csv
import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

import chess
import pyarrow as pa
from tqdm import tqdm

from cli.errors import InputError


COLUMNS = ("PuzzleId", "FEN", "Moves", "Rating", "Themes")


class Puzzle(NamedTuple):
    """A puzzle: `moves[0]` is the opponent's, played from `fen`; moves 1, 3, … are the solver's."""

    puzzle_id: str
    fen: str
    moves: list[chess.Move]
    rating: int | None
    themes: list[str]

    def board(self) -> chess.Board:
        """Set up the position in which the solver has to find the first move."""
        board = chess.Board(self.fen)
        board.push(self.moves[0])
        return board


def read_puzzles(path: str | Path, limit: int | None = None) -> list[Puzzle]:
    """Read the puzzles, or the first `limit`, of a .csv or .csv.zst file; ratings and themes may be empty.

    Raises InputError for a file that is missing, empty or in another format, and for a faulty puzzle: a
    broken FEN, an illegal move, or a solution that does not end with a move of the solver.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; puzzles are at https://database.lichess.org/#puzzles")
    try:
        with _open_text(path) as file:
            puzzles = list(_parse(path, file, limit))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as CSV: {error}; download it again") from error
    if not puzzles:
        raise InputError(f"{path} holds no puzzles")
    return puzzles


def _open_text(path: Path) -> TextIO:
    compression = "zstd" if path.suffix == ".zst" else None
    stream = pa.input_stream(str(path), compression=compression)
    return io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")


def _parse(path: Path, file: TextIO, limit: int | None) -> Iterator[Puzzle]:
    reader = csv.DictReader(file)
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or [])]
    if missing:
        raise InputError(
            f"{path} has no column {', '.join(missing)}: its first line must name Lichess's columns "
            f"({', '.join(COLUMNS)}, in any order)"
        )
    rows = itertools.islice(reader, limit)
    for row in tqdm(rows, desc="reading", unit="puzzle", disable=None):
        where = f"{path} line {reader.line_num} (id {row['PuzzleId']})"
        if None in row.values():
            raise InputError(f"{where}: the line is cut short; correct or remove it")
        yield Puzzle(
            row["PuzzleId"],
            row["FEN"],
            _parse_moves(where, row["FEN"], row["Moves"].split()),
            _parse_rating(where, row["Rating"]),
            row["Themes"].split(),
        )


def _parse_rating(where: str, text: str) -> int | None:
    if not text:
        return None
    if not text.isdecimal():
        raise InputError(f"{where}: the rating {text!r} is not an integer")
    return int(text)


def _parse_moves(where: str, fen: str, names: list[str]) -> list[chess.Move]:
    """Play the moves from the FEN to see that every one is legal."""
    try:
        board = chess.Board(fen)
    except ValueError as error:
        raise InputError(f"{where}: broken FEN {fen!r}: {error}") from error
    if not board.is_valid():
        faults = ", ".join(str(flag.name).lower() for flag in chess.Status if flag & board.status())
        raise InputError(f"{where}: the position {fen} cannot occur in a game ({faults})")
    if len(names) < 2 or len(names) % 2:
        raise InputError(f"{where}: {len(names)} moves; a solution has an even number, the opponent's first")
    moves = []
    for name in names:
        try:
            move = board.parse_uci(name)
        except ValueError as error:
            raise InputError(f"{where}: {name!r} is not legal in {board.fen()}") from error
        board.push(move)
        moves.append(move)
    return moves
