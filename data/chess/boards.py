"""Boards with the values of their moves as arrays, in memory or memory-mapped, and batches of them.

A batch is a few NumPy gathers, without a Python loop over boards.
"""

from pathlib import Path

import numpy as np

from cli.errors import InputError
from data.chess.checked_rows import read_chunks
from data.chess.preparation import FORMAT, VERSION
from data.noise import uniform_at
from data.prepared_folder import load_array, read_meta
from models.chess_tokens import ACTION_PADDING, black_to_move, orient_actions, orient_tokens


class Boards:
    """Many boards; board i has the action values offsets[i] to offsets[i + 1] - 1.

    tokens (n, 77) uint8, not oriented; actions (m,) uint16; win_probs (m,) float32, of the side to move;
    offsets (n + 1,) int64. Legal moves without a label are unlabelled[unlabelled_offsets[i]] to
    unlabelled[unlabelled_offsets[i + 1] - 1]; by default there are none. `noise` is a width and a seed, as in
    `with_noise`.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        actions: np.ndarray,
        win_probs: np.ndarray,
        offsets: np.ndarray,
        unlabelled: np.ndarray | None = None,
        unlabelled_offsets: np.ndarray | None = None,
        noise: tuple[float, int] = (0.0, 0),
    ):
        self.tokens, self.actions, self.win_probs, self.offsets = tokens, actions, win_probs, offsets
        if unlabelled is None or unlabelled_offsets is None:
            unlabelled, unlabelled_offsets = np.zeros(0, np.uint16), np.zeros(len(tokens) + 1, np.int64)
        self.unlabelled, self.unlabelled_offsets = unlabelled, unlabelled_offsets
        self._noise_width, self._noise_seed = noise

    def with_noise(self, width: float, seed: int) -> "Boards":
        """Return these boards with U(-width / 2, width / 2) added to every label in batches.

        The noise of a label depends only on its index and the seed. Noisy labels may lie outside [0, 1].
        """
        labelled = self.tokens, self.actions, self.win_probs, self.offsets
        return Boards(*labelled, self.unlabelled, self.unlabelled_offsets, noise=(width, seed))

    @classmethod
    def from_parquet(cls, path: str | Path, check_moves: bool = True) -> "Boards":
        """Read a Parquet file, or a folder of them, into memory, checked. Raises InputError for bad rows."""
        chunks = list(read_chunks(path, check_moves))
        tokens, lengths, actions, win_probs, unlabelled_lengths, unlabelled = (
            np.concatenate(arrays) for arrays in zip(*chunks, strict=True)
        )
        offsets, unlabelled_offsets = (
            np.concatenate([[0], np.cumsum(counts)]) for counts in (lengths, unlabelled_lengths)
        )
        return cls(tokens, actions, win_probs, offsets, unlabelled, unlabelled_offsets)

    @classmethod
    def load(cls, folder: str | Path) -> "Boards":
        """Memory-map the arrays that `data.chess.preparation.prepare` wrote to `folder`."""
        folder = Path(folder)
        meta = read_meta(folder, FORMAT)
        if meta.get("version") != VERSION or meta.get("target") != "action_value":
            raise InputError(f"{folder}: holds no prepared boards; run python -m data.chess.preparation")
        names = ("tokens", "actions", "win_probs", "offsets", "unlabelled", "unlabelled_offsets")
        tokens, actions, win_probs, offsets, unlabelled, unlabelled_offsets = (
            load_array(folder / f"{name}.npy") for name in names
        )
        return cls(tokens, actions, win_probs, offsets, unlabelled, unlabelled_offsets)

    @property
    def num_boards(self) -> int:
        return len(self.tokens)

    @property
    def num_action_values(self) -> int:
        return len(self.actions)

    def lengths(self, indices: np.ndarray, with_unlabelled: bool = False) -> np.ndarray:
        """Count the moves of boards `indices`: (batch,) int64."""
        indices = np.asarray(indices)
        lengths = self.offsets[indices + 1] - self.offsets[indices]
        if with_unlabelled:
            lengths += self.unlabelled_offsets[indices + 1] - self.unlabelled_offsets[indices]
        return lengths

    def batch(
        self, indices: np.ndarray, orient: bool, pad_multiple: int = 1, with_unlabelled: bool = False
    ) -> dict[str, np.ndarray]:
        """Gather boards `indices` with all their labelled moves.

        Returns input_ids (batch, 77) int64; action_ids (batch, actions) int64, padded with -100; win_probs
        (batch, actions) float32, padded with 0. `actions` is the largest number of moves of a board, rounded
        up to a multiple of `pad_multiple`. Moves `with_unlabelled` follow the labelled ones of their board;
        their win_probs are NaN.
        """
        indices = np.asarray(indices)
        num_labelled, lengths = self.lengths(indices), self.lengths(indices, with_unlabelled)
        num_actions = -(-int(lengths.max()) // pad_multiple) * pad_multiple
        steps = np.arange(num_actions)
        is_labelled = steps < num_labelled[:, None]  # (batch, actions)
        sources = (self.offsets[indices][:, None] + steps)[is_labelled]  # (labelled moves of all boards,)
        action_ids = np.full(is_labelled.shape, ACTION_PADDING, dtype=np.int64)
        action_ids[is_labelled] = self.actions[sources]
        win_probs = np.zeros(is_labelled.shape, dtype=np.float32)
        win_probs[is_labelled] = self._labels(sources)
        if with_unlabelled:
            is_unlabelled = (steps < lengths[:, None]) & ~is_labelled
            first = self.unlabelled_offsets[indices] - num_labelled
            action_ids[is_unlabelled] = self.unlabelled[(first[:, None] + steps)[is_unlabelled]]
            win_probs[is_unlabelled] = np.nan
        return _as_inputs(self.tokens[indices], action_ids, win_probs, orient)

    def pairs(self, indices: np.ndarray, orient: bool) -> dict[str, np.ndarray]:
        """Gather action values `indices`, each with its board: like `batch`, with one action per row."""
        indices = np.asarray(indices)
        boards = np.searchsorted(self.offsets, indices, side="right") - 1
        action_ids = self.actions[indices].astype(np.int64)[:, None]
        return _as_inputs(self.tokens[boards], action_ids, self._labels(indices)[:, None], orient)

    def _labels(self, indices: np.ndarray) -> np.ndarray:
        labels = self.win_probs[indices]
        if not self._noise_width:
            return labels
        noise = self._noise_width * (uniform_at(indices, self._noise_seed) - 0.5)
        return (labels + noise).astype(np.float32)


def _as_inputs(tokens: np.ndarray, action_ids: np.ndarray, win_probs: np.ndarray, orient: bool) -> dict:
    if orient:
        action_ids = orient_actions(action_ids, black_to_move(tokens)[:, None])
        tokens = orient_tokens(tokens)
    return {"input_ids": tokens.astype(np.int64), "action_ids": action_ids, "win_probs": win_probs}
