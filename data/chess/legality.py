"""Legal moves of many boards at once: python-chess's move generator without its FEN parser.

Boards are set up from their tokens as bitboards, in 1 µs each; python-chess parses a FEN in 36 µs.
"""

from collections.abc import Iterator

import chess
import numpy as np

from data.chess.fen_files import UNPLAYABLE, describe_status
from models.chess_tokens import ACTIONS, CHARACTERS, FIRST_SQUARE, black_to_move


_TOKEN = {character: token for token, character in enumerate(CHARACTERS)}
_ROOK_SQUARES = {"K": chess.BB_H1, "Q": chess.BB_A1, "k": chess.BB_H8, "q": chess.BB_A8}
_CASTLING, _EN_PASSANT_FILE, _EN_PASSANT_RANK = slice(65, 69), 69, 70
_MOVES = [chess.Move.from_uci(uci) for uci in ACTIONS]
_ACTION_OF_MOVE = np.full(64 << 9, -1, dtype=np.int64)
_MOVE_NUMBERS = [move.from_square << 9 | move.to_square << 3 | (move.promotion or 0) for move in _MOVES]
_ACTION_OF_MOVE[_MOVE_NUMBERS] = np.arange(len(ACTIONS))


class ImpossibleBoard(ValueError):
    """A board on which legal moves are undefined; `index` is its index among the boards given."""

    def __init__(self, index: int, reason: str):
        super().__init__(index, reason)
        self.index, self.reason = index, reason


def find_legal_actions(tokens: np.ndarray) -> np.ndarray:
    """Return which actions are legal, (n, 1968) bool, on boards (n, 77), not oriented.

    Raises ImpossibleBoard for the first board without exactly one king per side, with pawns on the first or
    last rank, or where the side to move could capture the king.
    """
    moves: list[int] = []
    ends = np.zeros(len(tokens), dtype=np.int64)
    for index, board in enumerate(_set_up(tokens)):
        if faults := board.status() & UNPLAYABLE:
            raise ImpossibleBoard(index, describe_status(faults))
        moves += [
            move.from_square << 9 | move.to_square << 3 | (move.promotion or 0)
            for move in board.generate_legal_moves()
        ]
        ends[index] = len(moves)
    legal = np.zeros((len(tokens), len(ACTIONS)), dtype=bool)
    rows = np.repeat(np.arange(len(tokens)), np.diff(ends, prepend=0))
    legal[rows, _ACTION_OF_MOVE[np.array(moves, dtype=np.int64)]] = True
    return legal


def check_some_actions(tokens: np.ndarray, rows: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, ...]:
    """Check boards (n, 77), not oriented, and of board rows[i] the action actions[i]; `rows` are sorted.

    Return python-chess's status of every board, (n,) int64, and which actions are legal, (m,) bool; none is
    where legal moves are undefined. For a few moves per board this is faster than `find_legal_actions`.
    """
    statuses = np.zeros(len(tokens), dtype=np.int64)
    ends = np.cumsum(np.bincount(rows, minlength=len(tokens))).tolist()
    moves = [_MOVES[action] for action in actions.tolist()]
    is_legal: list[bool] = []
    for index, board in enumerate(_set_up(tokens)):
        status = statuses[index] = board.status()
        of_board = moves[len(is_legal) : ends[index]]
        is_legal += [False] * len(of_board) if status & UNPLAYABLE else map(board.is_legal, of_board)
    return statuses, np.array(is_legal, dtype=bool)


def _set_up(tokens: np.ndarray) -> Iterator[chess.Board]:
    """Yield one board object, set up as each of `tokens` in turn, without clocks."""
    ranks = tokens[:, FIRST_SQUARE : FIRST_SQUARE + 64].reshape(-1, 8, 8)
    squares = ranks[:, ::-1].reshape(-1, 64)  # a1, b1, ... h8, as in python-chess
    white = [_bitboards(squares == _TOKEN[piece]) for piece in "PNBRQK"]
    black = [_bitboards(squares == _TOKEN[piece]) for piece in "pnbrqk"]
    pieces = [ours | theirs for ours, theirs in zip(white, black, strict=True)]
    castling_rights = sum(
        (tokens[:, _CASTLING] == _TOKEN[right]).any(axis=1) * np.uint64(rook)
        for right, rook in _ROOK_SQUARES.items()
    )
    has_en_passant = tokens[:, _EN_PASSANT_FILE] != _TOKEN["."]
    # The token of a rank is its digit; the token of a file is not its index.
    files = np.array(["abcdefgh".find(character) for character in CHARACTERS])[tokens[:, _EN_PASSANT_FILE]]
    en_passant = np.where(has_en_passant, files + 8 * (tokens[:, _EN_PASSANT_RANK].astype(np.int64) - 1), -1)
    columns = [*pieces, sum(white), sum(black), castling_rights, en_passant, black_to_move(tokens)]

    board = chess.Board(None)
    for row in zip(*(column.tolist() for column in columns), strict=True):
        board.pawns, board.knights, board.bishops, board.rooks, board.queens, board.kings = row[:6]
        ours, theirs, board.castling_rights, square, is_black = row[6:]
        board.occupied_co[chess.WHITE], board.occupied_co[chess.BLACK] = ours, theirs
        board.occupied = ours | theirs
        board.ep_square = None if square < 0 else square
        board.turn = chess.BLACK if is_black else chess.WHITE
        yield board


def _bitboards(squares: np.ndarray) -> np.ndarray:
    """Pack (n, 64) bool, from a1 to h8, into (n,) uint64 bitboards."""
    return np.packbits(squares, axis=1, bitorder="little").view("<u8")[:, 0]
