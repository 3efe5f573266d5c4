"""Training examples of chess models: boards with all their moves, or single moves as in ChessBench."""

import zlib

import numpy as np

from data.chess.boards import Boards
from data.training_set import some_of
from models.chess_tokens import can_castle, flip_actions, flip_tokens


# With torch.compile the number of moves in a batch is rounded up to this, to bound the number of shapes.
PAD_MULTIPLE = 8


class BoardExamples:
    """Boards with all their labelled moves, padded in a batch to a multiple of `pad_multiple`.

    Also `with_unlabelled` legal moves, whose win_probs are NaN.
    """

    def __init__(self, boards: Boards, orient: bool, pad_multiple: int = 1, with_unlabelled: bool = False):
        self.boards, self.orient, self.pad_multiple = boards, orient, pad_multiple
        self.with_unlabelled = with_unlabelled

    def __len__(self) -> int:
        return self.boards.num_boards

    def num_values(self, indices: np.ndarray) -> np.ndarray:
        return self.boards.lengths(indices, self.with_unlabelled)

    def batch(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        return self.boards.batch(indices, self.orient, self.pad_multiple, self.with_unlabelled)

    def fingerprint(self) -> dict[str, int]:
        boards, some = self.boards, some_of(self.boards.num_boards)
        return {
            "num_boards": boards.num_boards,
            "num_action_values": boards.num_action_values,
            "tokens": zlib.crc32(boards.tokens[some].tobytes()),
            "win_probs": zlib.crc32(boards.win_probs[boards.offsets[some]].tobytes()),
        }


class MirroredBoardExamples(BoardExamples):
    """Every board twice: unchanged, and mirrored left to right.

    Boards with castling rights cannot be mirrored; they appear twice, unchanged.
    """

    def __len__(self) -> int:
        return 2 * self.boards.num_boards

    def num_values(self, indices: np.ndarray) -> np.ndarray:
        return super().num_values(indices % self.boards.num_boards)

    def batch(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        batch = super().batch(indices % self.boards.num_boards)
        tokens, actions = batch["input_ids"], batch["action_ids"]
        rows = np.flatnonzero((indices >= self.boards.num_boards) & ~can_castle(tokens))
        tokens[rows], actions[rows] = flip_tokens(tokens[rows]), flip_actions(actions[rows])
        return batch


class ActionExamples(BoardExamples):
    """Single (board, move) pairs."""

    def __len__(self) -> int:
        return self.boards.num_action_values

    def num_values(self, indices: np.ndarray) -> np.ndarray:
        return np.ones(len(indices), dtype=np.int64)

    def batch(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        return self.boards.pairs(indices, self.orient)
