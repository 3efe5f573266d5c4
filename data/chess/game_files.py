"""Read games (PGN); a faulty game is an error, or is left out with a warning on request.

This file splits a text into games; python-chess would end a game at every blank line. python-chess reads the
tags and the moves of each game.
"""

import contextlib
import io
import itertools
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import chess
import chess.pgn

from cli.errors import InputError
from data.chess.fen_files import position_fault
from data.text_files import TextSource, text_suffix


POSITION_SUFFIXES = (".epd", ".fen", ".txt")
NUM_NAMED = 3  # faulty games that warnings name
RESULTS = ("1-0", "0-1", "1/2-1/2", "½-½", "*")
_PIECES = re.compile(r"\s*[1-8pnbrqkPNBRQK]+(/[1-8pnbrqkPNBRQK]+){7}\s")
_NEXT_TAG = re.compile(r'"\s*\]\s*(?=\[\s*\w+\s+")')  # several tags may share a line
_ESSENTIAL_TAGS = ("FEN", "SetUp", "Variant")  # python-chess ignores tags that are not well formed
_COMMENT = re.compile(r"([^{;]*)([{;]?)(.*)", re.DOTALL)
_FIRST_NUMBER = re.compile(r"\s*(\d+)\s*\.(\s*\.)?")  # more than one dot before a move of Black
_NUMBER_OR_BRACKET = re.compile(r"(\d{1,9})\s*\.|[()]")
_NUMBER_ONE = re.compile(r"\s*1(\s*\.(?!\s*\.)|\s+[A-Za-z])")
_CONTINUATION = re.compile(r"\s*[\d{;($*!?½-]")
# The tokens that python-chess reads, and redundant notation: Pe4, exd6 e.p.
_SYMBOL = re.compile(rf"{chess.pgn.MOVETEXT_REGEX.pattern}|P(?=[a-h])|e\.p\.", re.VERBOSE | re.DOTALL)


class Game(NamedTuple):
    """A game: where it is, for messages; its number in the file; its tags; its last board with all moves."""

    where: str
    number: int
    headers: chess.pgn.Headers
    board: chess.Board


def holds_games(source: TextSource) -> bool:
    """Return whether a source holds games, else it holds positions. Raises InputError for other names.

    The name decides, such as games.pgn.zst; for pipes without such a name, the first line.
    """
    suffix = text_suffix(source.name)
    if suffix == ".pgn" or suffix in POSITION_SUFFIXES:
        return suffix == ".pgn"
    if not source.is_stream:
        known = ", ".join((".pgn", *POSITION_SUFFIXES))
        raise InputError(f"{source.name}: unknown kind of file; give one that ends in {known}")
    return not _PIECES.match(source.peek())


def read_games(
    source: TextSource, skip_bad_games: bool = False, read: Callable[[Game], Any] = lambda game: game
) -> Iterator[Any]:
    """Yield `read(game)` of every game.

    Raises InputError for a faulty game: one that `read` refuses, an illegal or null move, a word that is not
    a move, another variant of chess, or an impossible first position. With `skip_bad_games` such games are
    left out; warnings name the first few and give their number.
    """
    number = 0
    faults = []
    with contextlib.closing(source):
        for number, text in enumerate(_split(source), start=1):
            try:
                result = read(_parse(text, number, source.name))
            except InputError as error:
                if not skip_bad_games:
                    raise InputError(f"{error}, or leave out such games with --skip-bad-games") from None
                faults.append(error)
                continue
            yield result
    if faults:
        first = "".join(f"\n  {fault}" for fault in faults[:NUM_NAMED])
        print(
            f"warning: {len(faults)} of the {number} games of {source.name} are left out, such as{first}",
            file=sys.stderr,
        )


def read_game(path: str | Path, number: int) -> Game:
    """Return a game of a PGN file; those before it are not read. Raises InputError if there is none."""
    source = TextSource(path)
    text = next(itertools.islice(_split(source), number - 1, None), None)
    if text is None:
        raise InputError(f"{source.name} has no game {number}; choose another --game or file")
    return _parse(text, number, source.name)


def parse_game(text: str) -> tuple[chess.pgn.Headers, chess.Board]:
    """Return the tags and the last board of the first game of a text.

    Raises InputError, which names no file, if the game has no moves or a fault.
    """
    game = next(_split(iter(text.splitlines(keepends=True))), None)
    try:
        found = game and _read(game)
    except ValueError as error:
        raise InputError(f"the game cannot be read: {error}") from None
    if not found or not found[1].move_stack:
        raise InputError("the text has no game: give its moves, such as 1. e4 e5")
    return found


class _GameText:
    """The lines of a game, as far as they are read."""

    def __init__(self) -> None:
        self.tags: list[str] = []
        self.moves: list[str] = []
        self.bare: list[str] = []  # the moves without comments
        self.in_comment = self.is_finished = False
        self.depth = 0  # of variations
        self.number: int | None = None  # the last of the main line
        self.fault = ""

    def add_tags(self, line: str) -> None:
        self.tags += [tag + "\n" for tag in _NEXT_TAG.sub('"]\n', line.strip()).split("\n")]

    def has_tag(self, line: str) -> bool:
        """Return whether the tag in this line has the name of an earlier one."""
        return _tag_name(line) in map(_tag_name, self.tags)

    def add_moves(self, line: str) -> None:
        self.moves.append(line)
        bare = self._strip_comments(line)
        if not bare.isspace():
            self.bare.append(bare)
            for symbol in _NUMBER_OR_BRACKET.finditer(bare):
                if symbol[0] in "()":
                    self.depth += 1 if symbol[0] == "(" else -1
                elif self.depth <= 0:
                    self.number = int(symbol[1])
            self.is_finished = bare.rstrip().endswith(RESULTS) and self.depth <= 0

    def ends_before(self, line: str) -> bool:
        """Return whether moves in this line are those of another game."""
        if not self.bare:
            return False
        if self.is_finished:
            return line.lstrip()[0] not in "{;($"
        return bool(_NUMBER_ONE.match(line)) and self.depth <= 0

    def check_continuation(self, line: str) -> None:
        """Note a fault unless moves after a blank line have the number of the next move."""
        if not _CONTINUATION.match(line):
            self.fault = f"{line.split()[0][:40]!r} after a blank line has no move number"
        elif (
            (number := _FIRST_NUMBER.match(line))
            and self.number is not None
            and self.depth <= 0
            and number[1] != str(self.number + (number[2] is None))
        ):
            found = number[0].strip()[:40]
            self.fault = f"{found!r} after a blank line does not follow move {self.number}"

    def _strip_comments(self, line: str) -> str:
        if not self.in_comment and "{" not in line and ";" not in line:
            return line
        kept = []
        while line:
            if self.in_comment:
                _, closed, line = line.partition("}")
                self.in_comment = not closed
            else:
                before, start, line = cast(re.Match[str], _COMMENT.match(line)).groups()
                kept.append(before)
                self.in_comment = start == "{"
                if start == ";":
                    break
        return " ".join(kept) + "\n"


def _split(lines: Iterator[str]) -> Iterator[_GameText]:
    """Split PGN into games: tags and then moves, with any number of blank lines.

    A game ends before tags that follow its moves, and before moves that follow its result or are numbered 1.
    Other moves after a blank line belong to it, if their number does.
    """
    game, after_blank = _GameText(), False
    for line in lines:
        # A comment that is never closed ends with the next game.
        if game.in_comment and not line.startswith('[Event "'):
            game.add_moves(line)
            continue
        if line.isspace():
            after_blank = True
            continue
        if line.startswith("%"):
            continue
        if line.lstrip().startswith("["):
            if game.bare or game.in_comment or (after_blank and game.has_tag(line)):
                yield game
                game = _GameText()
            game.add_tags(line)
        else:
            if game.ends_before(line):
                yield game
                game = _GameText()
            elif after_blank and game.bare:
                game.check_continuation(line)
            game.add_moves(line)
        after_blank = False
    if game.tags or game.bare or game.in_comment:
        yield game


def _tag_name(line: str) -> str:
    return line.lstrip("[ \t").partition(" ")[0]


def _parse(text: _GameText, number: int, source: str) -> Game:
    where = f"{source} game {number}"
    try:
        return Game(where, number, *_read(text))
    except ValueError as error:
        raise InputError(f"{where}: {error}; correct or remove the game") from None


def _read(text: _GameText) -> tuple[chess.pgn.Headers, chess.Board]:
    """Return the tags and the last board of a game. Raises ValueError for faults."""
    if text.fault or text.in_comment:
        raise ValueError(text.fault or "a comment is not closed")
    for tag in text.tags:
        if not chess.pgn.TAG_REGEX.match(tag) and _tag_name(tag).startswith(_ESSENTIAL_TAGS):
            raise ValueError(f"{tag[:40]!r} is not a tag")
    pgn = io.StringIO("".join([*text.tags, "\n", *text.moves]))
    reader = cast(_Reader, chess.pgn.read_game(pgn, Visitor=_Reader))
    _check_words("".join(text.bare))
    number_one = _FIRST_NUMBER.match("".join(text.bare))
    if number_one and number_one[1] != "1" and "FEN" not in reader.headers:
        raise ValueError(f"the first move is number {number_one[1][:40]}, but there is no tag FEN")
    return reader.headers, cast(chess.Board, reader.board)


def _check_words(moves: str) -> None:
    """Raise ValueError for words that python-chess ignores: all of Qh9, and the S of Sf3."""
    # Numbers, dots and signs such as += or ½ are not moves.
    if any(map(str.isalpha, _SYMBOL.sub("", moves))):
        word = next(word for word in moves.split() if any(map(str.isalpha, _SYMBOL.sub("", word))))
        raise ValueError(f"{word[:40]!r} is not a move")


class _Reader(chess.pgn.BaseVisitor["_Reader"]):
    """Keep the tags and the main line; raise ValueError for faults. Variations are read but not kept."""

    def __init__(self) -> None:
        self.headers = chess.pgn.Headers()
        self.board: chess.Board | None = None
        self._depth = 0
        self._has_result = False

    def visit_header(self, tagname: str, tagvalue: str) -> None:
        self.headers[tagname] = tagvalue

    def begin_headers(self) -> chess.pgn.Headers:
        return self.headers

    def visit_board(self, board: chess.Board) -> None:
        if self.board is not None:
            return
        # python-chess plays the main line on this object.
        self.board = board
        if board.uci_variant != "chess" or self.headers.is_chess960():
            raise ValueError(f"the variant {self.headers['Variant']} is not supported")
        board.chess960 = False  # which python-chess infers from castling rights
        if "FEN" in self.headers and (fault := position_fault(board, self.headers["FEN"])):
            raise ValueError(fault)

    def begin_parse_san(self, board: chess.Board, san: str) -> chess.pgn.SkipType | None:
        # The result of a variation.
        return chess.pgn.SKIP if san in RESULTS else None

    def parse_san(self, board: chess.Board, san: str) -> chess.Move:
        try:
            return super().parse_san(board, san)
        except ValueError as error:
            fault = "ambiguous" if isinstance(error, chess.AmbiguousMoveError) else "not a legal move"
            number = f"{board.fullmove_number}{'.' if board.turn else '...'}"
            raise ValueError(f"{number}{san} is {fault}") from None

    def begin_variation(self) -> None:
        self._depth += 1

    def end_variation(self) -> None:
        self._depth -= 1

    def visit_move(self, board: chess.Board, move: chess.Move) -> None:
        if self._depth == 0:
            if not move:
                raise ValueError(f"a null move in {board.fen()}")
            if self._has_result:
                raise ValueError(f"a move after the result, {board.san(move)}")

    def visit_result(self, result: str) -> None:
        self._has_result = True
        if self.headers.get("Result", "*") == "*":
            self.headers["Result"] = result

    def handle_error(self, error: Exception) -> None:
        raise error

    def result(self) -> "_Reader":
        return self
