"""The order of training: permutations without an array, the same from any step, divided equally."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from data.batch_order import BatchOrder, shard


REPOSITORY = Path(__file__).parents[2]


def epochs(num_items: int, num_epochs: int, seed: int = 0) -> np.ndarray:
    """Return the first epochs: (num_epochs, num_items)."""
    return BatchOrder(num_items, num_items * num_epochs, seed).batch_indices(0).reshape(num_epochs, num_items)


def deviation(observed: np.ndarray) -> float:
    """Return chi-square of counts against equal counts, in standard deviations of its distribution."""
    expected, freedom = observed.mean(), len(observed) - 1
    return (((observed - expected) ** 2 / expected).sum() - freedom) / np.sqrt(2 * freedom)


@pytest.mark.parametrize(
    "num_items", [*range(1, 70), *(2**k + d for k in (7, 8, 10, 12) for d in (-1, 0, 1)), 999, 3000]
)
def test_every_epoch_visits_every_item_once(num_items):
    for epoch in epochs(num_items, 3):
        np.testing.assert_array_equal(np.sort(epoch), np.arange(num_items))


@pytest.mark.parametrize("num_items, batch_size", [(10, 3), (7, 7), (5, 12), (1, 4), (1000, 64)])
def test_batches_divide_one_sequence_of_epochs_without_gaps(num_items, batch_size):
    order = BatchOrder(num_items, batch_size, seed=3)
    num_steps = 3 * num_items
    batches = np.concatenate([order.batch_indices(step) for step in range(num_steps)])
    np.testing.assert_array_equal(batches, epochs(num_items, 3 * batch_size, seed=3).ravel())
    assert batches.dtype == np.int64


def test_a_step_is_the_same_in_a_fresh_process_and_without_the_steps_before():
    order = BatchOrder(1000, 48, seed=5)
    for step in range(30):
        expected = order.batch_indices(step)
    code = "from data.batch_order import BatchOrder; print(*BatchOrder(1000, 48, seed=5).batch_indices(29))"
    fresh = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert [int(item) for item in fresh.stdout.split()] == expected.tolist()


def test_the_order_never_changes_between_versions():
    # A changed order would silently repeat and skip items in every run that is resumed.
    assert BatchOrder(10, 10, seed=0).batch_indices(0).tolist() == [2, 1, 5, 0, 8, 9, 6, 3, 4, 7]
    expected = [8_387_608_629, 9_292_401_036, 6_731_726_673]
    assert BatchOrder(15_300_000_000, 3, seed=1).batch_indices(10**9).tolist() == expected


def test_seeds_and_epochs_differ_like_chance():
    num_items = 2000
    orders = [*epochs(num_items, 4, seed=0), *epochs(num_items, 4, seed=1)]
    for index, first in enumerate(orders):
        for second in orders[:index]:
            # Two random permutations agree at one position on average.
            assert np.sum(first == second) < 10


def test_all_orders_of_few_items_occur():
    for num_items, num_orders in ((2, 2), (3, 6), (4, 24)):
        counts = Counter(map(tuple, epochs(num_items, 6000)))
        assert len(counts) == num_orders
        assert deviation(np.array(list(counts.values()))) < 5


@pytest.mark.parametrize("num_items", [13, 64, 100, 257])
def test_each_position_holds_each_item_equally_often(num_items):
    orders = epochs(num_items, 5000, seed=num_items)
    for position in (0, 1, num_items // 2, num_items - 1):
        assert abs(deviation(np.bincount(orders[:, position], minlength=num_items))) < 5


@pytest.mark.parametrize("num_items", [13, 64, 100, 257])
def test_pairs_of_positions_hold_items_at_any_distance(num_items):
    orders = epochs(num_items, 5000, seed=num_items)
    side = int(np.ceil(np.sqrt(num_items)))  # positions that share a row or a column of the Feistel grid
    for first, second in ((0, 1), (0, side), (0, num_items - 1), (1, num_items // 2)):
        distances = (orders[:, second] - orders[:, first]) % num_items
        assert abs(deviation(np.bincount(distances, minlength=num_items)[1:])) < 5


@pytest.mark.parametrize("num_items", [65_536, 100_003, 15_300_000_000])
def test_neighbours_in_a_long_epoch_are_unrelated(num_items):
    count = 60_000
    items = np.concatenate([BatchOrder(num_items, 4096, seed=2).batch_indices(step) for step in range(15)])[
        :count
    ]
    assert len(np.unique(items)) == count
    uniform = items / num_items
    for lag in (1, 2, round(np.sqrt(num_items)) % count):
        correlation = np.corrcoef(uniform[lag:], uniform[:-lag])[0, 1]
        assert abs(correlation) < 5 / np.sqrt(count)
    differences = np.diff(items) % num_items
    assert abs(deviation(np.bincount(differences * 200 // num_items, minlength=200))) < 5
    assert abs(deviation(np.bincount(items * 200 // num_items, minlength=200))) < 5 or num_items < 2 * count


def test_batches_of_fifteen_billion_items_continue_across_the_end_of_an_epoch():
    num_items, batch_size = 15_300_000_000, 4096
    order = BatchOrder(num_items, batch_size)
    last_step = num_items // batch_size
    for step in (0, last_step, 10 * last_step):
        items = order.batch_indices(step)
        assert len(np.unique(items)) == batch_size
        assert np.all((items >= 0) & (items < num_items))


@pytest.mark.parametrize("arguments", [(0, 4, 0), (4, 0, 0), (4, 4, -1)])
def test_impossible_settings_are_refused(arguments):
    with pytest.raises(ValueError, match="must"):
        BatchOrder(*arguments)


@pytest.mark.parametrize("num_processes, num_micro_batches", [(1, 1), (2, 1), (1, 4), (2, 3), (4, 2)])
def test_shards_together_are_the_global_batch(num_processes, num_micro_batches):
    rng = np.random.default_rng(0)
    indices, lengths = rng.permutation(1000)[:48], rng.integers(1, 80, 48)
    shards = [
        shard(indices, lengths, num_processes, index, num_micro_batches) for index in range(num_processes)
    ]
    sizes = {len(micro_batch) for of_process in shards for micro_batch in of_process}
    assert sizes == {48 // (num_processes * num_micro_batches)}
    together = np.concatenate([micro_batch for of_process in shards for micro_batch in of_process])
    assert sorted(together) == sorted(indices)


def test_micro_batches_hold_similar_lengths_and_processes_equal_work():
    rng = np.random.default_rng(0)
    indices, lengths = np.arange(1024), rng.integers(1, 80, 1024)
    shards = [shard(indices, lengths, 4, index, 8) for index in range(4)]
    for micro_step in range(8):
        of_step = [lengths[of_process[micro_step]] for of_process in shards]
        # Eight slices of lengths 1 to 79 span about ten each.
        assert np.ptp(np.concatenate(of_step)) <= 15
        assert np.ptp([part.mean() for part in of_step]) < 1.5
    assert lengths[shards[0][0]].max() == lengths.max()


def test_a_batch_that_cannot_be_divided_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match="multiple of 6"):
        shard(np.arange(10), np.ones(10), 2, 0, 3)
    with pytest.raises(ValueError, match="process_index"):
        shard(np.arange(4), np.ones(4), 2, 2, 1)
