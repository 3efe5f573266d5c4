"""Random numbers that belong to places: drawn once for each, and the same whenever it is looked at.

For noise in labels and rewards: a data set with noise is one data set, whose examples do not change from
epoch to epoch, however they are batched, and it needs no memory.
"""

import numpy as np


def uniform_at(places: np.ndarray, seed: int) -> np.ndarray:
    """Return a number from U(0, 1) for each of `places`, whole numbers of any shape: float64 of that shape.

    They are those of splitmix64, on a sequence that starts at a place of its own for each seed.
    """
    (start,) = np.random.SeedSequence(seed).generate_state(1, np.uint64)
    drawn = (splitmix64(start, np.array(places, dtype=np.uint64, ndmin=1)) >> np.uint64(11)) * 2.0**-53
    return drawn.reshape(np.shape(places))


def splitmix64(start: np.uint64, places: np.ndarray) -> np.ndarray:
    """Return what splitmix64 that starts at `start` gives at each of `places`, the first at 1, both uint64.

    Source: Steele et al., "Fast splittable pseudorandom number generators", 2014.
    """
    mixed = start + places * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
