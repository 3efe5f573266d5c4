"""The replay memory samples what a plain list of episodes would give."""

import numpy as np
import pytest
import torch

from cli.errors import InputError
from data.episode_ends import NOT_OVER, TERMINATED, TRUNCATED
from data.replay import ReplayMemory, Sampling


SHAPE = (2, 3, 3)
STACK, N_STEP, DISCOUNT = 3, 3, 0.9
ENVIRONMENTS = 2


def random_steps(num_steps: int, seed: int = 0) -> list[tuple]:
    """Return frames, actions, rewards and ends of both environments at every step."""
    rng = np.random.default_rng(seed)
    return [
        (
            rng.integers(1, 256, (ENVIRONMENTS, *SHAPE), dtype=np.uint8),
            rng.integers(4, size=ENVIRONMENTS),
            rng.integers(-3, 4, ENVIRONMENTS).astype(np.float32),
            rng.choice([NOT_OVER, TERMINATED, TRUNCATED], ENVIRONMENTS, p=[0.7, 0.15, 0.15]).astype(np.uint8),
        )
        for _ in range(num_steps)
    ]


def fill(steps: list[tuple], memory_steps: int = 60) -> ReplayMemory:
    memory = ReplayMemory(memory_steps, ENVIRONMENTS, SHAPE, Sampling(STACK, N_STEP, DISCOUNT), seed=1)
    for step in steps:
        memory.add(*step)
    return memory


def expected_stack(steps: list[tuple], environment: int, time: int) -> np.ndarray:
    frames = [steps[time][0][environment]]
    for earlier in range(time - 1, time - STACK, -1):
        if earlier < 0 or steps[earlier][3][environment] != NOT_OVER:
            break
        frames.insert(0, steps[earlier][0][environment])
    missing = [np.zeros(SHAPE, dtype=np.uint8)] * (STACK - len(frames))
    return np.concatenate([*missing, *frames])


def expected_transition(steps: list[tuple], environment: int, time: int) -> dict:
    total, now, is_terminal = 0.0, time, False
    while now < time + N_STEP and not is_terminal:
        _, _, rewards, ends = steps[now]
        if ends[environment] == TRUNCATED:
            break  # its next observation is not stored: continue from its own
        total += DISCOUNT ** (now - time) * np.clip(rewards[environment], -1, 1)
        is_terminal = ends[environment] == TERMINATED
        now += 1
    expected = {
        "observations": expected_stack(steps, environment, time),
        "actions": steps[time][1][environment],
        "rewards": total,
        "discounts": 0 if is_terminal else DISCOUNT ** (now - time),
    }
    if not is_terminal:
        expected["next_observations"] = expected_stack(steps, environment, now)
        expected["next_actions"] = steps[now][1][environment]
    return expected


@pytest.mark.parametrize("num_steps", [20, 137])  # a part of the ring, and more than its 30 steps
def test_transitions_are_those_of_the_episodes(num_steps):
    steps = random_steps(num_steps)
    memory = fill(steps)
    rows = np.concatenate([memory.sample_rows(64 * step, 64) for step in range(20)])
    sampled, others = memory.gather(rows)
    arrays = others | {name: tensor.numpy() for name, tensor in sampled.items()}
    times = {time % memory.length: time for time in range(num_steps)}
    for index, row in enumerate(rows):
        environment, time = row // memory.length, times[row % memory.length]
        for name, value in expected_transition(steps, environment, time).items():
            np.testing.assert_allclose(arrays[name][index], value, rtol=1e-6, err_msg=name)


def test_every_transition_is_sampled_equally_often_and_none_at_a_time_limit():
    steps = random_steps(137)
    memory = fill(steps)
    rows, counts = np.unique(
        np.concatenate([memory.sample_rows(1000 * step, 1000) for step in range(50)]), return_counts=True
    )
    # The frames of the first stacks are overwritten, and the last steps have no complete target yet.
    times = range(137 - memory.length + STACK - 1, 137 - N_STEP)
    expected = {
        environment * memory.length + time % memory.length
        for environment in range(ENVIRONMENTS)
        for time in times
        if steps[time][3][environment] != TRUNCATED
    }
    assert set(rows.tolist()) == expected
    assert counts.std() < 1.5 * np.sqrt(counts.mean())


def test_samples_are_a_function_of_the_step():
    memory = fill(random_steps(40))
    first, again, other = (memory.sample(step, 16) for step in (7, 7, 8))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["observations"], other["observations"])
    together = memory.sample(7, 16, num_steps=2)
    assert all(torch.equal(torch.cat([first[name], other[name]]), together[name]) for name in first)


def test_an_observation_to_act_on_is_the_one_that_is_sampled_later():
    steps = random_steps(50)
    memory = fill(steps[:-5])
    for step in steps[-5:]:
        observed = memory.observe(step[0])
        memory.add(*step)
        rows = np.arange(ENVIRONMENTS) * memory.length + (memory.num_added - 1) % memory.length
        assert torch.equal(observed, memory.stacks(rows))


def test_a_memory_that_does_not_fit_is_refused_with_its_size():
    with pytest.raises(InputError, match=r"100,000,000,000 steps needs 705600.0 GB .* GB of memory are free"):
        ReplayMemory(10**11, 1, (1, 84, 84), Sampling(), seed=0)
    with pytest.raises(InputError, match="needs 6: make it larger"):
        ReplayMemory(8, 2, (1, 84, 84), Sampling(), seed=0)
