"""Counter-based random numbers: one for each index, a pure function of (seed, index).

Noise in labels and rewards is the same in every epoch, however the examples are batched, and needs no memory.
Seeds of episodes, exploration and replay indices use them too.
"""

from functools import cache

import numpy as np


GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # the step of splitmix64's state


def uniform_at(indices: np.ndarray, seed: int) -> np.ndarray:
    """Return a number from U(0, 1) for each of `indices`, integers of any shape: float64 of that shape.

    They are the outputs of splitmix64 at these indices; each seed has its own sequence.
    """
    bits = splitmix64(_first_state(seed), np.array(indices, dtype=np.uint64, ndmin=1)) >> np.uint64(11)
    return (bits * 2.0**-53).reshape(np.shape(indices))


@cache
def _first_state(seed: int) -> np.uint64:
    return np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]


def mix(x: np.ndarray) -> np.ndarray:
    """Return splitmix64's hash of uint64 `x`; only its upper 32 bits are well mixed."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    return (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)


def splitmix64(start: np.uint64, indices: np.ndarray) -> np.ndarray:
    """Return the outputs of splitmix64 with state `start` at `indices` (uint64; the first output is at 1).

    Source: Steele et al., "Fast splittable pseudorandom number generators", 2014.
    """
    mixed = mix(start + indices * GOLDEN)
    return mixed ^ (mixed >> np.uint64(31))
