"""The batches that training reads: which boards, a pure function of seed and step, and their arrays."""

import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from data.batch_order import BatchOrder, shard
from data.chess.boards import Boards
from data.command_line import InputError


class TrainingSet:
    """The share of one process in every batch.

    A batch counts `batch_size` boards with all their moves or, with `by_action`, single (board, move) pairs;
    over all processes and `num_micro_batches`. The last three arguments are those of `shard`. Raises
    InputError if batches cannot be divided.
    """

    def __init__(
        self,
        boards: Boards,
        *,
        by_action: bool,
        orient: bool,
        pad_multiple: int,
        batch_size: int,
        seed: int,
        num_processes: int,
        process_index: int,
        num_micro_batches: int,
    ):
        self.boards, self.by_action, self.orient, self.pad_multiple = boards, by_action, orient, pad_multiple
        num_items = boards.num_action_values if by_action else boards.num_boards
        self.order = BatchOrder(num_items, batch_size, seed)
        self.shard_of = (num_processes, process_index, num_micro_batches)
        try:
            self.load(1)
        except ValueError as error:
            raise InputError(f"training.batch_size: {error}") from None

    def load(self, step: int) -> tuple[list[dict[str, Tensor]], int]:
        """Return this process's micro-batches of step 1, 2, … and the number of all processes' action values.

        Micro-batches are those of `Boards.batch` or `Boards.pairs`, as tensors.
        """
        indices = self.order.batch_indices(step - 1)
        if self.by_action:
            lengths = np.ones(len(indices), dtype=np.int64)
            parts = shard(indices, lengths, *self.shard_of)
            micro_batches = [self.boards.pairs(part, self.orient) for part in parts]
        else:
            lengths = self.boards.lengths(indices)
            parts = shard(indices, lengths, *self.shard_of)
            micro_batches = [self.boards.batch(part, self.orient, self.pad_multiple) for part in parts]
        tensors = [
            {name: torch.from_numpy(array) for name, array in batch.items()} for batch in micro_batches
        ]
        return tensors, int(lengths.sum())

    def iterate(self, first_step: int, last_step: int) -> Iterator[tuple[int, tuple]]:
        """Yield the steps after `first_step` up to `last_step` with what `load` gives, loading one ahead."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            ahead = pool.submit(self.load, first_step + 1)
            for step in range(first_step + 1, last_step + 1):
                batch = ahead.result()
                if step < last_step:
                    ahead = pool.submit(self.load, step + 1)
                yield step, batch

    def state_dict(self) -> dict[str, int]:
        """Return what tells these boards from others, for checkpoints; some thousands stand for all."""
        boards = self.boards
        some = np.linspace(0, boards.num_boards - 1, min(boards.num_boards, 4096), dtype=np.int64)
        return {
            "num_boards": boards.num_boards,
            "num_action_values": boards.num_action_values,
            "tokens": zlib.crc32(boards.tokens[some].tobytes()),
            "win_probs": zlib.crc32(boards.win_probs[boards.offsets[some]].tobytes()),
        }

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Check that a checkpoint was made with these boards; raise InputError if not."""
        if state != self.state_dict():
            raise InputError("data.train does not hold the boards that this run was started with")
