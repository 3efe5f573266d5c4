"""Play episodes with a policy: many at a time, each with its own random numbers.

An episode depends on the seed and its number alone, not on how many are played at once.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from data.atari.episodes import Episode, EpisodesInProgress, episode_seeds
from data.atari.games import Game, make_environments
from data.episode_ends import TERMINATED, TRUNCATED
from data.noise import uniform_at


# Each purpose has its own sequence of random numbers.
EPISODES, EXPLORES, ACTIONS = range(3)
NUM_PURPOSES = 3
EVALUATION = 2**64  # above the seeds of training, whose episodes are others
STEPS_OF_AN_EPISODE = 2**32  # counters
EPISODES_AT_ONCE = 16

# From observations (episodes, stack × channels, height, width) to an action for each.
Policy = Callable[[Tensor], Any]


def evaluate_policy(
    game: Game,
    policy: Policy,
    num_episodes: int,
    *,
    stack: int,
    epsilon: float = 0.001,
    seed: int = 0,
    episodes_at_once: int = EPISODES_AT_ONCE,
) -> list[Episode]:
    """Play episodes to their ends; return them in order, with their returns (`total_reward`).

    Actions are random with probability `epsilon`; with 1, `policy` is not asked.
    """
    num = min(episodes_at_once, num_episodes)
    environments = make_environments(game, num)
    history = FrameHistory(num, stack, environments.frame_shape)
    in_progress = EpisodesInProgress(num)
    numbers = np.arange(num)  # of the current episodes
    next_number = num
    first_seed = EVALUATION + NUM_PURPOSES * seed
    seeds = episode_seeds(first_seed + EPISODES, np.zeros(num_episodes, int), np.arange(num_episodes))
    ages = np.zeros(num, dtype=np.int64)
    episodes: dict[int, Episode] = {}
    starts = np.ones(num, dtype=bool)
    with tqdm(total=num_episodes, desc=game.name, unit=" episodes", disable=None, leave=False) as progress:
        while len(episodes) < num_episodes:
            if starts.any():
                ages[starts] = 0
                frames = environments.reset(seeds[numbers[starts]], starts)
                in_progress.start(starts, seeds[numbers[starts]], frames)
            history.add(frames, starts)
            counters = numbers * STEPS_OF_AN_EPISODE + ages
            explores = uniform_at(counters, first_seed + EXPLORES) < epsilon
            noise = uniform_at(counters, first_seed + ACTIONS)
            actions = (noise * environments.num_actions).astype(np.int64)
            if not explores.all():
                chosen = policy(torch.from_numpy(history.observations()))
                actions = np.where(explores, actions, np.asarray(chosen))
            frames, rewards, terminated, truncated = environments.step(actions)
            in_progress.add(actions, rewards, frames)
            ages += 1
            is_over = (terminated | truncated) & (numbers < num_episodes)
            for index in np.flatnonzero(is_over).tolist():
                end = TERMINATED if terminated[index] else TRUNCATED
                episodes[int(numbers[index])] = in_progress.episode(index, end)
                progress.update()
                numbers[index], next_number = next_number, next_number + 1
            # Environments without another episode continue to act, and their steps are ignored.
            starts = is_over & (numbers < num_episodes)
    return [episodes[number] for number in range(num_episodes)]


class FrameHistory:
    """The newest frames of several episodes; zeros before their starts."""

    def __init__(self, num_episodes: int, stack: int, frame_shape: tuple[int, ...]) -> None:
        self._frames = np.zeros((num_episodes, stack, *frame_shape), dtype=np.uint8)

    def add(self, frames: np.ndarray, starts: np.ndarray) -> None:
        """Add a frame to every episode; where `starts`, it is the first of a new one."""
        self._frames[:, :-1] = self._frames[:, 1:]
        self._frames[starts] = 0
        self._frames[:, -1] = frames

    def observations(self) -> np.ndarray:
        """Return the observations, (episodes, stack × channels, height, width)."""
        num, stack, channels, *size = self._frames.shape
        return self._frames.reshape(num, stack * channels, *size).copy()
