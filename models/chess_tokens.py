"""Chess positions and moves as numbers: ChessBench's 77 board tokens and 1968 actions, oriented or not.

Source: Ruoss et al., "Amortized Planning with Large-Scale Transformers" (arXiv 2402.04494), appendix A.1.

A board is its FEN, expanded to a fixed length: side to move, 64 squares (rank 8 first), castling rights (4),
en-passant square (2), half-move clock (3), full-move number (3), padded with ".". An action is a move in UCI
notation. Action ids and board tokens share one vocabulary of 1968, as in ChessBench: ids 0 to 30 are used by
both.

Oriented, a position is encoded from the perspective of the side to move: when Black moves, ranks are mirrored
and colours swapped, in the board and in the moves. A position and its colour-mirrored counterpart then have
the same encoding.

This file needs numpy alone: engines that run without torch read boards with it.
"""

import re
from collections.abc import Sequence

import numpy as np


CHARACTERS = "0123456789abcdefghpnrkqPBNRQKw."
BOARD_LENGTH = 77
FIRST_SQUARE = 1  # index of a8 among the board tokens
ACTION_PADDING = -100

_DIGITS = frozenset("12345678")
TOKEN_IDS = {character: token for token, character in enumerate(CHARACTERS)}
_BLANK, _BLACK, _WHITE = TOKEN_IDS["."], TOKEN_IDS["b"], TOKEN_IDS["w"]


class FenError(ValueError):
    """A FEN that cannot be tokenized; `index` is its index in the sequence given."""

    def __init__(self, index: int, fen: str, reason: str):
        super().__init__(f"broken FEN {fen!r}: {reason}")
        self.index = index


def _list_actions() -> tuple[str, ...]:
    """List all moves in ChessBench's order: per square queen moves, then knight moves; promotions last."""
    names = [file + rank for rank in "12345678" for file in "abcdefgh"]
    moves, promotions = [], []
    for start in range(64):
        steps = [(abs(end % 8 - start % 8), abs(end // 8 - start // 8)) for end in range(64)]
        queen = [end for end, (x, y) in enumerate(steps) if (x, y) != (0, 0) and (x == y or 0 in (x, y))]
        knight = [end for end, step in enumerate(steps) if step in ((1, 2), (2, 1))]
        moves += [names[start] + names[end] for end in queen + knight]
    for rank, last_rank in ("21", "78"):
        for file in range(8):
            for target in (file, file - 1, file + 1):
                if 0 <= target < 8:
                    move = "abcdefgh"[file] + rank + "abcdefgh"[target] + last_rank
                    promotions += [move + piece for piece in "qrbn"]
    return tuple(moves + promotions)


ACTIONS = _list_actions()
ACTION_IDS = {move: action for action, move in enumerate(ACTIONS)}


def _square_index(name: str) -> int:
    """Return the index among the board tokens of a square such as e4."""
    return FIRST_SQUARE + 8 * (8 - int(name[1])) + "abcdefgh".index(name[0])


# (1968, 2): the squares where an action starts and ends, as indices among the 77 board tokens.
ACTION_SQUARES = np.array([[_square_index(move[:2]), _square_index(move[2:4])] for move in ACTIONS])

_MIRROR_FILES = str.maketrans("abcdefgh", "hgfedcba")
_MIRROR_RANKS = str.maketrans("12345678", "87654321")
_MIRRORED_ACTIONS = np.array([ACTION_IDS[move.translate(_MIRROR_RANKS)] for move in ACTIONS])
# In a promotion to a bishop the last letter is the piece, not a file.
_FLIPPED_ACTIONS = np.array([ACTION_IDS[move[:4].translate(_MIRROR_FILES) + move[4:]] for move in ACTIONS])
_FLIPPED_FILES = np.array(
    [TOKEN_IDS.get(c.translate(_MIRROR_FILES), t) for t, c in enumerate(CHARACTERS)], dtype=np.uint8
)
_SWAPPED_COLOURS = np.array(
    [TOKEN_IDS.get(c.swapcase(), t) for t, c in enumerate(CHARACTERS)], dtype=np.uint8
)
# Letters of castling rights and en-passant squares are also pieces, so each field has its own table.
_CASTLING = slice(65, 69)
_EN_PASSANT_FILE, _EN_PASSANT_RANK = 69, 70
_CASTLING_TOKENS = np.array([TOKEN_IDS[c] for c in "KQkq"], dtype=np.uint8)

# The character "-" of an empty field is a blank, like its padding.
_TOKEN_OF_BYTE = bytes(TOKEN_IDS.get("." if chr(byte) == "-" else chr(byte), 255) for byte in range(256))
_FIELDS = re.compile(
    r"([1-8pnbrqkPNBRQK/]+) ([wb]) (-|[KQkq]{1,4}) (-|[a-h][36]) ([0-9]+) ([0-9]+)",
)


def tokenize_fens(fens: Sequence[str]) -> np.ndarray:
    """Tokenize FENs of six fields to ChessBench's board tokens, (len(fens), 77) uint8, not oriented.

    Clocks and move numbers are clipped to 999, the largest number of three digits.
    Raises FenError for the first FEN with malformed fields; legality is not checked.
    """
    expanded = "".join([_expand(fen, index) for index, fen in enumerate(fens)])
    tokens = expanded.encode("ascii").translate(_TOKEN_OF_BYTE)
    return np.frombuffer(tokens, dtype=np.uint8).reshape(len(fens), BOARD_LENGTH)


def _expand(fen: str, index: int) -> str:
    """Expand a FEN to its 77 characters."""
    fields = _FIELDS.fullmatch(fen)
    if fields is None:
        raise FenError(
            index, fen, "expected board, side to move, castling, en passant, clock and move number"
        )
    board, side, castling, en_passant, clock, number = fields.groups()
    for width in _DIGITS.intersection(board):
        board = board.replace(width, "." * int(width))
    if len(board) != 71 or board[8::9] != "///////" or board.count("/") != 7:
        raise FenError(index, fen, "the board needs 8 ranks of 8 squares")
    clock, number = (count if len(count) < 4 else str(min(int(count), 999)) for count in (clock, number))
    squares = board.replace("/", "")
    return f"{side}{squares}{castling:.<4}{en_passant:.<2}{clock:.<3}{number:.<3}"


def decode_fens(tokens: np.ndarray) -> list[str]:
    """Return the FENs of board tokens (n, 77), not oriented: the inverse of `tokenize_fens`."""
    return [_contract("".join(CHARACTERS[token] for token in row)) for row in tokens]


def _contract(characters: str) -> str:
    """Contract 77 characters to a FEN."""
    ranks = "/".join(characters[start : start + 8] for start in range(FIRST_SQUARE, FIRST_SQUARE + 64, 8))
    board = re.sub(r"\.+", lambda blanks: str(len(blanks[0])), ranks)
    fields = (characters[65:69], characters[69:71], characters[71:74], characters[74:77])
    return " ".join([board, characters[0], *(field.rstrip(".") or "-" for field in fields)])


def black_to_move(tokens: np.ndarray) -> np.ndarray:
    """Return for board tokens (n, 77) where Black is to move, (n,) bool."""
    return tokens[:, 0] == _BLACK


def orient_tokens(tokens: np.ndarray) -> np.ndarray:
    """Orient boards, (n, 77) uint8, to the side to move: mirrored, with colours swapped, if it is Black."""
    rows = np.flatnonzero(black_to_move(tokens))
    boards = tokens[rows]
    oriented = boards.copy()
    oriented[:, 0] = _WHITE
    squares = boards[:, FIRST_SQUARE : FIRST_SQUARE + 64].reshape(-1, 8, 8)
    oriented[:, FIRST_SQUARE : FIRST_SQUARE + 64] = _SWAPPED_COLOURS[squares[:, ::-1]].reshape(-1, 64)

    has_right = (boards[:, _CASTLING, None] == _CASTLING_TOKENS).any(axis=1)  # (n, 4): K, Q, k, q
    swapped = has_right[:, [2, 3, 0, 1]]
    index = np.cumsum(swapped, axis=1) - 1
    rights = np.full((len(boards), 4), _BLANK, dtype=np.uint8)
    row, right = np.nonzero(swapped)
    rights[row, index[row, right]] = _CASTLING_TOKENS[right]
    oriented[:, _CASTLING] = rights

    rank = boards[:, _EN_PASSANT_RANK]
    oriented[:, _EN_PASSANT_RANK] = np.where(rank == _BLANK, _BLANK, 9 - rank)

    result = tokens.copy()
    result[rows] = oriented
    return result


def orient_actions(actions: np.ndarray, black_to_move: np.ndarray) -> np.ndarray:
    """Mirror action ids where `black_to_move`, broadcast against them, is true; padding (-100) is kept."""
    actions = np.asarray(actions, dtype=np.int64)
    mirrored = np.where(actions < 0, actions, _MIRRORED_ACTIONS[actions])
    return np.where(black_to_move, mirrored, actions)


def can_castle(tokens: np.ndarray) -> np.ndarray:
    """Return for board tokens (n, 77) where either side has castling rights, (n,) bool."""
    return (tokens[:, _CASTLING] != _BLANK).any(axis=1)


def flip_tokens(tokens: np.ndarray) -> np.ndarray:
    """Mirror boards, (n, 77) uint8, left to right. Without castling rights this leaves the game unchanged."""
    flipped = tokens.copy()
    squares = tokens[:, FIRST_SQUARE : FIRST_SQUARE + 64].reshape(-1, 8, 8)
    flipped[:, FIRST_SQUARE : FIRST_SQUARE + 64] = squares[:, :, ::-1].reshape(-1, 64)
    flipped[:, _EN_PASSANT_FILE] = _FLIPPED_FILES[tokens[:, _EN_PASSANT_FILE]]
    return flipped


def flip_actions(actions: np.ndarray) -> np.ndarray:
    """Mirror action ids left to right; padding (-100) is kept."""
    actions = np.asarray(actions, dtype=np.int64)
    return np.where(actions < 0, actions, _FLIPPED_ACTIONS[actions])


def encode_positions(
    fens: Sequence[str], moves: Sequence[Sequence[str]], orient: bool
) -> dict[str, np.ndarray]:
    """Encode positions with the moves to value in each, in UCI notation, not oriented.

    Returns `input_ids` (n, 77) and `action_ids` (n, largest number of moves), padded with -100, both int64.
    Raises FenError for a broken FEN and ValueError for a string that is not a move.
    """
    if len(fens) != len(moves):
        raise ValueError(f"{len(fens)} positions, but moves for {len(moves)}")
    tokens = tokenize_fens(fens)
    lengths = np.array([len(listed) for listed in moves], dtype=np.int64)
    action_ids = np.full((len(fens), lengths.max(initial=0)), ACTION_PADDING, dtype=np.int64)
    try:
        flat = [ACTION_IDS[move] for listed in moves for move in listed]
    except KeyError as error:
        raise ValueError(f"{error.args[0]!r} is not a move in UCI notation such as e2e4 or a7a8q") from None
    action_ids[np.arange(action_ids.shape[1]) < lengths[:, None]] = flat
    if orient:
        action_ids = orient_actions(action_ids, black_to_move(tokens)[:, None])
        tokens = orient_tokens(tokens)
    return {"input_ids": tokens.astype(np.int64), "action_ids": action_ids}
