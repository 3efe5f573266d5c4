"""Episodes as seeds and actions, from which the emulator makes frames and rewards again.

A CRC of all frames of an episode guards it: another version of the emulator may make other frames.
"""

import base64
import os
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from cli.errors import InputError
from data.atari.games import Game, VectorEnvironment, make_environments
from data.episode_ends import NOT_OVER, TERMINATED, TRUNCATED
from data.noise import uniform_at


NUM_SEEDS = 2**31  # ale-py takes signed 32-bit integers
EPISODES_OF_AN_ENVIRONMENT = 2**32
STEPS_PER_PROCESS = 50_000  # starting a process takes as long as some 10,000 steps of MinAtar


class Episode(NamedTuple):
    """An episode, or the part of one that has been played."""

    seed: int
    actions: np.ndarray  # (steps,) uint8
    total_reward: float
    end: int  # NOT_OVER, TERMINATED or TRUNCATED
    crc: int  # of all frames, also the last one

    def to_json(self) -> list:
        packed = base64.b85encode(zlib.compress(self.actions.tobytes())).decode()
        return [self.seed, packed, self.total_reward, self.end, self.crc]

    @classmethod
    def from_json(cls, values: list) -> "Episode":
        seed, packed, *others = values
        return cls(seed, np.frombuffer(zlib.decompress(base64.b85decode(packed)), dtype=np.uint8), *others)


def episode_seeds(seed: int, environments: np.ndarray, episodes: np.ndarray) -> np.ndarray:
    """Return the seeds of the episodes with these numbers in these environments: a counter-based function."""
    counters = environments * EPISODES_OF_AN_ENVIRONMENT + episodes
    return (uniform_at(counters, seed) * NUM_SEEDS).astype(np.int64)


def update_crcs(crcs: np.ndarray, frames: np.ndarray, which: np.ndarray) -> None:
    """Continue the CRCs (environments,) at indices `which` with the frames of their environments."""
    crcs[which] = [zlib.crc32(frames[index], crcs[index]) for index in which]


class EpisodesInProgress:
    """What has happened in the current episodes of several environments."""

    def __init__(self, num_environments: int) -> None:
        self.seeds = np.zeros(num_environments, dtype=np.int64)
        self._actions = [bytearray() for _ in range(num_environments)]
        self._totals = np.zeros(num_environments)
        self._crcs = np.zeros(num_environments, dtype=np.int64)

    def start(self, which: np.ndarray, seeds: np.ndarray, frames: np.ndarray) -> None:
        """Start episodes in the environments of the mask `which`; `frames` are those of all environments."""
        self.seeds[which] = seeds
        self._totals[which] = self._crcs[which] = 0
        update_crcs(self._crcs, frames, np.flatnonzero(which))
        for environment in np.flatnonzero(which):
            self._actions[environment] = bytearray()

    def add(self, actions: np.ndarray, rewards: np.ndarray, frames: np.ndarray) -> None:
        """Add a step of every environment."""
        self._totals += rewards
        update_crcs(self._crcs, frames, np.arange(len(frames)))
        for played, action in zip(self._actions, actions.tolist(), strict=True):
            played.append(action)

    def resume(self, episodes: Sequence[Episode]) -> None:
        """Continue after the steps of unfinished episodes, one for each environment."""
        self.seeds[:], _, self._totals[:], _, self._crcs[:] = zip(*episodes, strict=True)
        self._actions = [bytearray(episode.actions.tobytes()) for episode in episodes]

    def episode(self, environment: int, end: int = NOT_OVER) -> Episode:
        """Return the episode of an environment so far."""
        actions = np.frombuffer(bytes(self._actions[environment]), dtype=np.uint8)
        seed, total, crc = (values[environment].item() for values in (self.seeds, self._totals, self._crcs))
        return Episode(seed, actions, total, end, crc)


class EmulatedSteps(NamedTuple):
    """Steps that were emulated again: arrays (rows, …), each row with its episode and its place in it."""

    episodes: np.ndarray
    ages: np.ndarray
    frames: np.ndarray  # before the actions
    actions: np.ndarray
    rewards: np.ndarray
    ends: np.ndarray


def emulate(
    game: Game,
    episodes: Sequence[Episode],
    source: str,
    numbers: np.ndarray | None = None,
    num_environments: int | None = None,
    num_processes: int | None = None,
) -> Iterator[EmulatedSteps]:
    """Yield all steps of episodes, in any order, emulated on all cores.

    The episodes have `numbers` in their `source`, by default 0, 1, …. Raises InputError if the emulator does
    not reproduce the frames, the return or the end of an episode.
    """
    num_steps = sum(len(episode.actions) for episode in episodes)
    numbers = np.arange(len(episodes)) if numbers is None else numbers
    num_environments = num_environments or 2 * (os.cpu_count() or 1)
    with tqdm(total=num_steps, desc="emulating", unit=" steps", unit_scale=True, disable=None) as progress:
        for steps in _spread(game, episodes, source, numbers, num_environments, num_processes):
            progress.update(len(steps.ages))
            yield steps


def _spread(
    game: Game,
    episodes: Sequence[Episode],
    source: str,
    numbers: np.ndarray,
    num_environments: int,
    num_processes: int | None,
) -> Iterator[EmulatedSteps]:
    """Emulate episodes in several processes, unless threads do it or there is too little to do."""
    if not episodes:
        return
    num_steps = sum(len(episode.actions) for episode in episodes)
    if num_processes is None:
        num_processes = 1 if game.has_threads else min(os.cpu_count() or 1, num_steps // STEPS_PER_PROCESS)
    if num_processes <= 1:
        yield from _emulate(game, episodes, source, numbers, num_environments)
        return
    # Parts small enough for the progress bar and for memory.
    num_parts = max(num_processes, num_steps // STEPS_PER_PROCESS)
    yield from Parallel(num_processes, return_as="generator_unordered")(
        delayed(_emulate_part)(
            game, episodes[first::num_parts], source, numbers[first::num_parts], num_environments
        )
        for first in range(min(num_parts, len(episodes)))
    )


def _emulate_part(*arguments: Any) -> EmulatedSteps:
    columns = list(zip(*_emulate(*arguments), strict=True))
    return EmulatedSteps(*(np.concatenate(column) for column in columns))


def _emulate(
    game: Game, episodes: Sequence[Episode], source: str, numbers: np.ndarray, num_environments: int
) -> Iterator[EmulatedSteps]:
    """Yield the steps of episodes, which have these `numbers` in the source."""
    lengths = np.array([len(episode.actions) for episode in episodes])
    offsets = np.cumsum(lengths) - lengths
    actions_of_all = np.concatenate([episode.actions for episode in episodes])
    seeds = np.array([episode.seed for episode in episodes])
    num_environments = min(num_environments, len(episodes))
    environments = make_environments(game, num_environments)
    if actions_of_all.max(initial=0) >= environments.num_actions:
        raise InputError(
            f"{source}: action {actions_of_all.max()} is not one of the {environments.num_actions} of "
            f"{game.name}: its settings are those of another game"
        )
    # Long episodes first, so that the environments finish together.
    waiting = iter(np.argsort(-lengths, kind="stable").tolist())
    current = np.full(num_environments, -1)
    ages = np.zeros(num_environments, dtype=np.int64)
    crcs, totals = ages.copy(), ages.astype(np.float64)
    is_done = np.ones(num_environments, dtype=bool)
    while True:
        current[is_done] = [next(waiting, -1) for _ in range(is_done.sum())]
        # Environments without another episode continue to act, and their steps are left out.
        if (starts := is_done & (current >= 0)).any():
            frames = environments.reset(seeds[current[starts]], starts)
            ages[starts] = crcs[starts] = totals[starts] = 0
            update_crcs(crcs, frames, np.flatnonzero(starts))
        active = np.flatnonzero(current >= 0)
        if not len(active):
            return
        actions = np.zeros(num_environments, dtype=np.int64)
        actions[active] = actions_of_all[offsets[current[active]] + ages[active]]
        earlier_frames = frames
        frames, rewards, terminated, truncated = environments.step(actions)
        ends = TERMINATED * terminated + TRUNCATED * truncated
        yield EmulatedSteps(
            numbers[current[active]],
            ages[active],
            earlier_frames[active],
            actions[active].astype(np.uint8),
            rewards[active],
            ends[active].astype(np.uint8),
        )
        update_crcs(crcs, frames, active)
        ages += 1
        totals += rewards
        is_done = (current >= 0) & (ages == lengths[current])
        for index in np.flatnonzero(is_done | ((ends != NOT_OVER) & (current >= 0))):
            episode = episodes[current[index]]
            made = (ends[index], crcs[index], totals[index])
            if not is_done[index] or made != (episode.end, episode.crc, episode.total_reward):
                raise InputError(
                    f"{source}: {game.emulator} does not reproduce episode {numbers[current[index]]} of "
                    f"{game.name} (seed {episode.seed}): its frames or rewards differ; the episode is damaged"
                )


def resume_episodes(environments: VectorEnvironment, episodes: Sequence[Episode]) -> np.ndarray:
    """Bring every environment to the end of its episode; return their frames.

    All act together, so the shorter episodes start later.
    """
    lengths = np.array([len(episode.actions) for episode in episodes])
    seeds = np.array([episode.seed for episode in episodes])
    frames = environments.reset(seeds)
    waits = lengths.max() - lengths
    for step in range(lengths.max()):
        actions = np.array(
            [
                episode.actions[step - wait] if step >= wait else 0
                for episode, wait in zip(episodes, waits.tolist(), strict=True)
            ]
        )
        frames, *_ = environments.step(actions)
        if (starts := waits == step + 1).any():
            frames = environments.reset(seeds[starts], starts)
    return frames
