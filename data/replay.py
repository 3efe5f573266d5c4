"""Replay memory: a ring of single frames from which transitions with stacked frames are sampled.

Sampling is a pure function of seed, step and content. A sampled transition has

    observations       (batch, stack × channels, height, width) uint8; zeros before an episode's start
    actions            (batch,) int64
    rewards            (batch,) float32: Σ γ^k r_k over n steps, or up to the end of the episode
    discounts          (batch,) float32: γ^n, or 0 if the episode ended, so that a target is
                       rewards + discounts × value(next_observations)
    next_observations  like observations, n steps later
    next_actions       (batch,) int64: the action taken there, for SARSA

A time limit is not an end: the target continues from the last observation before it. The transition at the
limit, whose next observation is not stored, is not sampled.
"""

from dataclasses import dataclass

import numpy as np
import psutil
import torch
from torch import Tensor

from cli.errors import InputError
from data.episode_ends import NOT_OVER, TERMINATED, TRUNCATED
from data.noise import uniform_at


GPU_RESERVE = 4 * 2**30  # bytes left for the network
REDRAWS = 2**48  # distance between the random numbers of repeated draws


@dataclass(frozen=True)
class Sampling:
    """How transitions are made of steps."""

    stack: int = 4  # frames in an observation
    n_step: int = 1
    discount: float = 0.99
    clip_rewards: bool = True  # to [-1, 1]


class Steps:
    """The steps of a game: frame, action, reward and end of each, in one or several streams.

    Arrays are (streams × length, …). The steps of a stream are in order, and its end continues at its start.
    `ages` counts the earlier steps of the episode.
    """

    def __init__(
        self,
        frames: Tensor,
        actions: np.ndarray,
        rewards: np.ndarray,
        ends: np.ndarray,
        ages: np.ndarray,
        length: int,
        sampling: Sampling,
    ) -> None:
        self.frames, self.actions, self.rewards, self.ends, self.ages = frames, actions, rewards, ends, ages
        self.length, self.sampling = length, sampling
        self._lags = np.arange(sampling.stack - 1, -1, -1)  # oldest frame first
        self._leads = np.arange(sampling.n_step)
        self._powers = (sampling.discount ** np.arange(sampling.n_step + 1)).astype(np.float32)

    def gather(self, rows: np.ndarray) -> tuple[dict[str, Tensor], dict[str, np.ndarray]]:
        """Return the transitions from steps `rows` (batch,): observations, and the other arrays.

        The `n_step` following steps have to be stored too.
        """
        leads, powers = self._leads, self._powers
        following = self.move(rows[:, None], leads)  # (batch, n)
        ends, rewards = self.ends[following], self.rewards[following]
        if self.sampling.clip_rewards:
            rewards = np.clip(rewards, -1, 1)
        is_over = (ends == TERMINATED) | ((ends == TRUNCATED) & (leads > 0))
        first = np.where(is_over.any(1), is_over.argmax(1), len(leads))
        is_terminal = ends[np.arange(len(rows)), np.minimum(first, len(leads) - 1)] == TERMINATED
        num_rewards = first + is_terminal
        rewards = np.where(leads < num_rewards[:, None], powers[:-1] * rewards, np.float32(0)).sum(1)
        next_rows = np.where(is_terminal, rows, self.move(rows, num_rewards))
        stacks = self.stacks(np.concatenate([rows, next_rows]))
        observations = {"observations": stacks[: len(rows)], "next_observations": stacks[len(rows) :]}
        others = {
            "actions": self.actions[rows].astype(np.int64),
            "rewards": rewards,
            "discounts": np.where(is_terminal, np.float32(0), powers[num_rewards]),
            "next_actions": self.actions[next_rows].astype(np.int64),
        }
        return observations, others

    def stacks(self, rows: np.ndarray) -> Tensor:
        """Return the stacked frames of steps `rows` (batch,), with zeros before an episode's start."""
        return self._stack(self.move(rows[:, None], -self._lags), self.ages[rows, None] >= self._lags)

    def _stack(self, rows: np.ndarray, is_in_episode: np.ndarray) -> Tensor:
        frames = self.frames.index_select(0, torch.from_numpy(rows.reshape(-1)).to(self.frames.device))
        if len(before := np.flatnonzero(~is_in_episode)):
            # With a mask instead of indices this takes 30 times as long on a CPU.
            frames.index_fill_(0, torch.from_numpy(before).to(frames.device), 0)
        _, channels, *size = self.frames.shape
        return frames.view(len(rows), rows.shape[1] * channels, *size)

    def move(self, rows: np.ndarray, distances: np.ndarray) -> np.ndarray:
        """Return the rows at these distances within the same streams."""
        slots = rows % self.length
        return rows - slots + (slots + distances) % self.length


class ReplayMemory(Steps):
    """The newest steps of several environments that act together.

    It holds `num_steps` steps in all. The frames are on `device` if they fit there, else in pinned memory;
    batches are on `device`. Raises InputError if they do not fit at all.
    """

    def __init__(
        self,
        num_steps: int,
        num_environments: int,
        frame_shape: tuple[int, ...],
        sampling: Sampling,
        seed: int,
        device: str | torch.device = "cpu",
    ) -> None:
        length = num_steps // num_environments
        if length < (least := sampling.stack + sampling.n_step + 1):
            raise InputError(
                f"a replay memory of {num_steps} steps has {length} for each of {num_environments} "
                f"environments; it needs {least}: make it larger"
            )
        size = length * num_environments
        self.device, self.num_environments, self.seed = torch.device(device), num_environments, seed
        super().__init__(
            _allocate((size, *frame_shape), self.device),
            np.zeros(size, dtype=np.uint8),
            np.zeros(size, dtype=np.float32),
            np.zeros(size, dtype=np.uint8),
            np.zeros(size, dtype=np.int32),
            length,
            sampling,
        )
        self.num_added = 0  # steps of each environment
        self._next_ages = np.zeros(num_environments, dtype=np.int64)
        self._environments = np.arange(num_environments)
        self._first_rows = self._environments * length

    def add(self, frames: np.ndarray, actions: np.ndarray, rewards: np.ndarray, ends: np.ndarray) -> None:
        """Store a step of every environment: the frames before the actions, and what followed."""
        times = np.full(self.num_environments, self.num_added)
        self.put(self._environments, times, frames, actions, rewards, ends, self._next_ages)
        self.num_added += 1
        self._next_ages = np.where(ends == NOT_OVER, self._next_ages + 1, 0)

    def resume(self, num_added: int, next_ages: np.ndarray) -> None:
        """Continue after `num_added` steps of each environment, which `put` stores.

        `next_ages` are the numbers of steps in their current episodes.
        """
        self.num_added, self._next_ages = num_added, next_ages

    def put(
        self,
        environments: np.ndarray,
        times: np.ndarray,
        frames: np.ndarray,
        actions: np.ndarray,
        rewards: np.ndarray,
        ends: np.ndarray,
        ages: np.ndarray,
    ) -> None:
        """Store steps at the places where `add` stores the steps number `times` of `environments`."""
        rows = self._first_rows[environments] + times % self.length
        device = self.frames.device
        self.frames.index_copy_(0, torch.from_numpy(rows).to(device), torch.from_numpy(frames).to(device))
        self.actions[rows], self.rewards[rows] = actions, rewards
        self.ends[rows], self.ages[rows] = ends, ages

    def observe(self, frames: np.ndarray) -> Tensor:
        """Return observations that end with new `frames` of all environments, which `add` may store next."""
        rows = self._first_rows[:, None] + (self.num_added - self._lags) % self.length
        stacks = self._stack(rows, self._next_ages[:, None] >= self._lags)
        stacks[:, -frames.shape[1] :] = torch.from_numpy(frames).to(stacks.device)
        return stacks.to(self.device)

    def sample(self, step: int, batch_size: int, num_steps: int = 1) -> dict[str, Tensor]:
        """Return the transitions of `num_steps` training steps from `step` on, `batch_size` for each."""
        observations, others = self.gather(self.sample_rows(step * batch_size, num_steps * batch_size))
        batch = observations | {name: torch.from_numpy(array) for name, array in others.items()}
        return {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}

    def sample_rows(self, first: int, number: int) -> np.ndarray:
        """Return the rows of draws `first`, `first` + 1, …; steps at a time limit are drawn again."""
        oldest = max(0, self.num_added - self.length)
        earliest = oldest + self.sampling.stack - 1 if oldest else 0  # older frames are overwritten
        num_times = self.num_added - self.sampling.n_step - earliest
        if num_times < 1:
            raise ValueError(f"{self.num_added} steps of each environment are too few to sample transitions")
        counters = np.uint64(first) + np.arange(number, dtype=np.uint64)
        rows = np.empty(number, dtype=np.int64)
        missing = np.arange(number)
        while len(missing):
            drawn = (uniform_at(counters[missing], self.seed) * (num_times * self.num_environments)).astype(
                np.int64
            )
            times = earliest + drawn // self.num_environments
            rows[missing] = self._first_rows[drawn % self.num_environments] + times % self.length
            counters += np.uint64(REDRAWS)
            missing = missing[self.ends[rows[missing]] == TRUNCATED]
        return rows


def _allocate(shape: tuple[int, ...], device: torch.device) -> Tensor:
    num_bytes = int(np.prod(shape, dtype=np.int64))
    if device.type == "cuda" and num_bytes + GPU_RESERVE <= torch.cuda.mem_get_info(device)[0]:
        return torch.zeros(shape, dtype=torch.uint8, device=device)
    available = psutil.virtual_memory().available
    if num_bytes > available:
        raise InputError(
            f"a replay memory of {shape[0]:,} steps needs {num_bytes / 1e9:.1f} GB for its frames, and "
            f"{available / 1e9:.1f} GB of memory are free: make it smaller"
        )
    return torch.zeros(shape, dtype=torch.uint8, pin_memory=device.type == "cuda")
