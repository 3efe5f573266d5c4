"""The order in which training visits its items, a pure function of (seed, step).

Resuming needs only the step, on any number of processes. Every epoch is a pseudo-random permutation that is
evaluated one batch at a time, so 15 billion items need no more memory than a thousand: a Feistel network on a
grid slightly larger than the dataset, with cycle walking for the few cells beyond it (Black & Rogaway,
"Ciphers with Arbitrary Finite Domains", 2002).
"""

import math

import numpy as np

from data.noise import GOLDEN, mix


# Four rounds suffice for large grids (Luby & Rackoff); on small ones, all orders are likely only with more.
NUM_ROUNDS = 12


class BatchOrder:
    """An endless sequence of epochs, each a permutation of `num_items` items, divided into batches.

    Batches continue across the ends of epochs, and no item is dropped or repeated. A batch may span several
    epochs.
    """

    def __init__(self, num_items: int, batch_size: int, seed: int = 0):
        if not 1 <= num_items < 2**62:
            raise ValueError(f"num_items is {num_items}; it must be at least 1 and below 2**62")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
        if seed < 0:
            raise ValueError(f"seed is {seed}; it must not be negative")
        self.num_items, self.batch_size, self.seed = num_items, batch_size, seed
        self._columns = math.isqrt(num_items - 1) + 1
        self._rows = -(-num_items // self._columns)
        self._keys = np.random.SeedSequence(seed).generate_state(NUM_ROUNDS, np.uint64)

    def batch_indices(self, step: int) -> np.ndarray:
        """Return the items of batch `step`, counted from 0, in order: (batch_size,) int64."""
        if step < 0:
            raise ValueError(f"step is {step}; it must not be negative")
        start = step * self.batch_size
        first_epoch, first_position = divmod(start, self.num_items)
        positions = np.arange(first_position, first_position + self.batch_size, dtype=np.uint64)
        epochs_later, positions = np.divmod(positions, np.uint64(self.num_items))
        epoch_keys = mix((epochs_later + np.uint64(first_epoch + 1)) * GOLDEN)
        items = self._permute(positions, epoch_keys)
        outside = np.flatnonzero(items >= self.num_items)
        while len(outside):
            items[outside] = self._permute(items[outside], epoch_keys[outside])
            outside = outside[items[outside] >= self.num_items]
        return items.astype(np.int64)

    def _permute(self, cells: np.ndarray, epoch_keys: np.ndarray) -> np.ndarray:
        """Permute the cells of the rows x columns grid: a Feistel network that adds modulo its sides."""
        left_size, right_size = np.uint64(self._rows), np.uint64(self._columns)
        left, right = np.divmod(cells, right_size)
        for key in self._keys:
            # The upper half of the hash times the side, shifted back, is uniform below the side: no modulo.
            shift = (mix(right + epoch_keys + key) >> np.uint64(32)) * left_size >> np.uint64(32)
            left = left + shift
            # Where left is below the side the subtraction wraps to a huge number, so this is left % side.
            left = np.minimum(left, left - left_size)
            left, right, left_size, right_size = right, left, right_size, left_size
        return left * right_size + right


def shard(
    indices: np.ndarray, lengths: np.ndarray, num_processes: int, process_index: int, num_micro_batches: int
) -> list[np.ndarray]:
    """Return the part of a global batch for one process: `num_micro_batches` arrays of indices.

    `lengths` (batch,) are the numbers of moves (or tokens) of `indices` (batch,). A micro-batch has items of
    similar length, which limits padding. At every micro-step all processes get items of similar length, so
    that none waits. The longest come first: running out of memory shows in the first micro-batch. Raises
    ValueError if the batch cannot be divided equally.
    """
    batch_size, num_shards = len(indices), num_processes * num_micro_batches
    if batch_size == 0 or batch_size % num_shards:
        raise ValueError(
            f"a batch of {batch_size} cannot be divided over {num_processes} processes x {num_micro_batches} "
            f"micro-batches; make the batch size a multiple of {num_shards}"
        )
    if not 0 <= process_index < num_processes:
        raise ValueError(f"process_index is {process_index}; it must be from 0 to {num_processes - 1}")
    longest_first = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    micro_batches = np.asarray(indices)[longest_first].reshape(num_micro_batches, -1, num_processes)
    return list(micro_batches[:, :, process_index])
