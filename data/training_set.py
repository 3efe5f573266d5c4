"""The batches of offline training; their examples are a pure function of seed and step."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from cli.errors import InputError
from data.batch_order import BatchOrder, shard


class Examples(Protocol):
    """The examples of a task."""

    def __len__(self) -> int: ...

    def num_values(self, indices: np.ndarray) -> np.ndarray:
        """Count the values that each of `indices` (batch,) trains; padding grows with it."""

    def batch(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Gather the arrays of a batch by name."""

    def fingerprint(self) -> dict[str, int]:
        """Return numbers that identify these examples."""


class TrainingSet:
    """The part of every batch that one process trains on.

    `batch_size` is that of all processes and micro-batches together; the last three arguments are those of
    `shard`. Raises InputError if batches cannot be divided equally.
    """

    def __init__(
        self,
        examples: Examples,
        *,
        batch_size: int,
        seed: int,
        num_processes: int,
        process_index: int,
        num_micro_batches: int,
    ):
        self.examples = examples
        self.order = BatchOrder(len(examples), batch_size, seed)
        self.shard_of = (num_processes, process_index, num_micro_batches)
        try:
            shard(np.arange(batch_size), np.ones(batch_size), *self.shard_of)
        except ValueError as error:
            raise InputError(f"training.batch_size: {error}") from None

    def load(self, step: int) -> tuple[list[dict[str, Tensor]], int]:
        """Return this process's micro-batches of a step, counted from 1, and the number of values in all."""
        indices = self.order.batch_indices(step - 1)
        num_values = self.examples.num_values(indices)
        micro_batches = [self.examples.batch(part) for part in shard(indices, num_values, *self.shard_of)]
        tensors = [
            {name: torch.from_numpy(array) for name, array in batch.items()} for batch in micro_batches
        ]
        return tensors, int(num_values.sum())

    def iterate(self, first_step: int, last_step: int) -> Iterator[tuple[int, tuple]]:
        """Yield each step after `first_step` up to `last_step` with its batch, loaded one step ahead."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            ahead = pool.submit(self.load, first_step + 1)
            for step in range(first_step + 1, last_step + 1):
                batch = ahead.result()
                if step < last_step:
                    ahead = pool.submit(self.load, step + 1)
                yield step, batch

    def state_dict(self) -> dict[str, int]:
        """Return the numbers that identify these examples, for checkpoints."""
        return self.examples.fingerprint()

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Check that a checkpoint was made with these examples; raise InputError if not."""
        if state != self.state_dict():
            raise InputError(
                "data.train does not hold the examples that this run was started with; config.yaml in its "
                "output_dir names them"
            )


def some_of(num_items: int) -> np.ndarray:
    """Return the indices of up to 4,096 evenly spaced items, a sample for fingerprints."""
    return np.linspace(0, num_items - 1, min(num_items, 4096), dtype=np.int64)
