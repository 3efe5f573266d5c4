"""Positions and moves as text: FEN, UCI, and lists of FEN or EPD; faulty ones are errors, not skipped."""

import contextlib
import re
from collections.abc import Iterator

import chess

from cli.errors import InputError
from data.text_files import TextSource


# In such positions python-chess generates moves that are not chess, such as capturing a king.
UNPLAYABLE = (
    chess.STATUS_NO_WHITE_KING
    | chess.STATUS_NO_BLACK_KING
    | chess.STATUS_TOO_MANY_KINGS
    | chess.STATUS_PAWNS_ON_BACKRANK
    | chess.STATUS_OPPOSITE_CHECK
)
# Faults whose names in python-chess are unclear.
_FAULTS = {
    chess.STATUS_EMPTY: "no pieces",
    chess.STATUS_PAWNS_ON_BACKRANK: "pawns on the first or last rank",
    chess.STATUS_OPPOSITE_CHECK: "the king of the side that is not to move is in check",
    chess.STATUS_TOO_MANY_CHECKERS: "more pieces give check than one move allows",
    chess.STATUS_IMPOSSIBLE_CHECK: "a check that no move can give",
}
# After the four fields of a position: the move clocks of FEN, if any, and the operations of EPD, if any.
_CLOCKS_AND_OPERATIONS = re.compile(r"(?:(\d+)(?:\s+(\d+))?(?![^\s;]))?[\s;]*(?![^A-Za-z])(.*)", re.DOTALL)
_OPERATION = re.compile(r'([A-Za-z]\w*)(?:\s+"([^"]*)"?|([^;"]*))[^;]*;?')
# Of every castling right, the side and the squares of king and rook.
_CASTLING = {
    "K": (chess.WHITE, chess.E1, chess.H1),
    "Q": (chess.WHITE, chess.E1, chess.A1),
    "k": (chess.BLACK, chess.E8, chess.H8),
    "q": (chess.BLACK, chess.E8, chess.A8),
}


def read_boards(source: TextSource) -> Iterator[tuple[str, str, chess.Board]]:
    """Yield the location of every position of a list, its name and its board; see `read_epd`.

    The name is the operation `id`, or else "line N".
    """
    for number, where, board, operations in read_epd(source):
        yield where, operations.get("id") or f"line {number}", board


def read_epd(source: TextSource) -> Iterator[tuple[int, str, chess.Board, dict[str, str]]]:
    """Yield the number of every line that has a position, its location, its board and its operations.

    A line is a FEN, with or without move clocks, and may end with operations of EPD. Of these `hmvc` and
    `fmvn` are clocks of the board; others need not be well formed. Raises InputError that names the first
    faulty line or impossible position.
    """
    with contextlib.closing(source):
        for number, line in enumerate(source, start=1):
            if line.isspace():
                continue
            where = f"{source.name} line {number}"
            fen = line.strip()
            operations: dict[str, str] = {}
            fields = fen.split(None, 4)
            if len(fields) > 4:
                fen, operations = _read_operations(fields, where)
            yield number, where, read_fen(fen, where, remedy="correct or remove the line"), operations


def _read_operations(fields: list[str], where: str) -> tuple[str, dict[str, str]]:
    """Return the FEN and the operations of a line: its first four fields and the rest."""
    match = _CLOCKS_AND_OPERATIONS.fullmatch(fields[4])
    if match is None:
        raise InputError(
            f"{where}: {fields[4][:40]!r} is neither move clocks nor operations of EPD, such as "
            'id "NAME"; correct or remove the line'
        )
    halfmoves, fullmoves, text = match.groups(default="")
    operations = {code: quoted or bare.strip() for code, quoted, bare in _OPERATION.findall(text)}
    halfmoves, fullmoves = operations.get("hmvc", halfmoves), operations.get("fmvn", fullmoves)
    return " ".join([*fields[:4], halfmoves or "0", fullmoves or "1"]), operations


def read_fen(fen: str, where: str, remedy: str = "correct it") -> chess.Board:
    """Return the board of a FEN. Raises InputError, which begins with `where`, for a faulty FEN."""
    try:
        board = chess.Board(fen)
    except ValueError as error:
        raise InputError(f"{where}: {error}; {remedy}") from None
    if fault := position_fault(board, fen):
        raise InputError(f"{where}: {fault}; {remedy}")
    return board


def legal_move(board: chess.Board, uci: str) -> chess.Move | None:
    """Return a move in UCI notation if it is legal, else None."""
    try:
        return board.parse_uci(uci) or None  # parse_uci accepts 0000
    except ValueError:
        return None


def position_fault(board: chess.Board, fen: str) -> str | None:
    """Return why a position cannot occur in chess, or None if it can; `fen` is the text it was read from.

    Stockfish crashes on positions that cannot exist.
    """
    status = board.status()
    if not status:
        return None
    faults = []
    if status & chess.STATUS_BAD_CASTLING_RIGHTS:
        rights = fen.split()[2]
        if not set(rights) <= set(_CASTLING):
            faults.append(f"castling rights {rights} are those of Chess960, which is not supported")
        for right in filter(rights.__contains__, _CASTLING):
            side, king, rook = _CASTLING[right]
            if board.king(side) != king or board.piece_at(rook) != chess.Piece(chess.ROOK, side):
                squares = chess.square_name(king), chess.square_name(rook)
                faults.append("castling right {} needs a king on {} and a rook on {}".format(right, *squares))
    if status & chess.STATUS_INVALID_EP_SQUARE:
        square = fen.split()[3]
        faults.append(f"en passant square {square} needs a pawn that has just passed it in two steps")
    explained = chess.STATUS_BAD_CASTLING_RIGHTS | chess.STATUS_INVALID_EP_SQUARE
    if others := status & ~explained:
        faults.append(describe_status(others))
    return f"{fen} cannot occur in chess: {', '.join(faults)}"


def describe_status(status: chess.Status) -> str:
    """Return the faults of a position in words, such as no white king, too many kings."""
    flags = [flag for flag in chess.Status if flag & status]
    return ", ".join(_FAULTS.get(flag, str(flag.name).lower().replace("_", " ")) for flag in flags)
