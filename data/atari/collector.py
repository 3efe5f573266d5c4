"""Experience for online learning: environments, ε-greedy actions and the replay memory.

All random numbers are counter-based, and an episode is a function of its seed and its actions. So the state
in a checkpoint has no frames: the memory is filled again by emulating its episodes.
"""

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from cli.errors import InputError
from data.atari.episodes import (
    EmulatedSteps,
    Episode,
    EpisodesInProgress,
    emulate,
    episode_seeds,
    resume_episodes,
)
from data.atari.games import Game, make_environments
from data.atari.recordings import read_recording, write_recording
from data.episode_ends import NOT_OVER, TERMINATED, TRUNCATED
from data.noise import uniform_at
from data.replay import ReplayMemory, Sampling


# Each purpose has its own sequence of random numbers.
EPISODES, EXPLORES, ACTIONS, SAMPLES = range(4)
NUM_PURPOSES = 4
RECENT = 100  # returns of the newest episodes


def derived_seed(seed: int, purpose: int) -> int:
    return seed * NUM_PURPOSES + purpose


class Collector:
    """Acts in many environments and stores what happens in `memory`.

    With `record`, all finished episodes are kept in `recorded`, and written to this Parquet file whenever the
    state is saved, and by `save_recording`.
    """

    def __init__(
        self,
        game: Game,
        num_environments: int,
        memory_steps: int,
        sampling: Sampling,
        seed: int,
        device: str = "cpu",
        record: str | Path | None = None,
    ) -> None:
        self.game, self.seed, self.record = game, seed, record
        self.environments = make_environments(game, num_environments)
        self.memory = ReplayMemory(
            memory_steps,
            num_environments,
            self.environments.frame_shape,
            sampling,
            derived_seed(seed, SAMPLES),
            device,
        )
        self.num_actions = self.environments.num_actions
        self.recent_returns: deque[float] = deque(maxlen=RECENT)
        self.recorded: list[Episode] = []
        # Finished episodes of each environment that the memory holds steps of, with their first step.
        self._kept: list[deque[tuple[int, Episode]]] = [deque() for _ in range(num_environments)]
        self._current = EpisodesInProgress(num_environments)
        self._numbers = np.zeros(num_environments, dtype=np.int64)  # of the current episodes
        self._frames = np.empty(0, dtype=np.uint8)  # of all environments, before their next actions
        self._start_episodes(np.ones(num_environments, dtype=bool))

    @property
    def num_steps(self) -> int:
        """The steps of all environments so far."""
        return self.memory.num_added * self.environments.num_environments

    def step(self, choose_actions: Callable[[Tensor], Any], epsilon: float = 0.0) -> list[Episode]:
        """Act once in every environment, at random with probability `epsilon`; return episodes that ended.

        `choose_actions` gets observations (environments, stack × channels, height, width) on the device of
        the memory, and returns an action for each. It is not called if all actions are random.
        """
        number = self.environments.num_environments
        counters = self.num_steps + np.arange(number)
        explores = uniform_at(counters, derived_seed(self.seed, EXPLORES)) < epsilon
        actions = (uniform_at(counters, derived_seed(self.seed, ACTIONS)) * self.num_actions).astype(np.int64)
        if not explores.all():
            chosen = choose_actions(self.memory.observe(self._frames))
            actions = np.where(explores, actions, np.asarray(chosen))
        frames, rewards, terminated, truncated = self.environments.step(actions)
        ends = (TERMINATED * terminated + TRUNCATED * truncated).astype(np.uint8)
        self.memory.add(self._frames, actions, rewards, ends)
        self._frames = frames
        self._current.add(actions, rewards, frames)
        is_over = ends != NOT_OVER
        return self._finish_episodes(is_over, ends) if is_over.any() else []

    def _start_episodes(self, which: np.ndarray) -> None:
        seed = derived_seed(self.seed, EPISODES)
        seeds = episode_seeds(seed, np.flatnonzero(which), self._numbers[which])
        self._frames = self.environments.reset(seeds, which)
        self._current.start(which, seeds, self._frames)

    def _finish_episodes(self, is_over: np.ndarray, ends: np.ndarray) -> list[Episode]:
        finished = []
        oldest = self.memory.num_added - self.memory.length
        for environment in np.flatnonzero(is_over).tolist():
            episode = self._current.episode(environment, int(ends[environment]))
            finished.append(episode)
            kept = self._kept[environment]
            kept.append((self.memory.num_added - len(episode.actions), episode))
            while kept and kept[0][0] + len(kept[0][1].actions) <= oldest:
                kept.popleft()
        self.recent_returns.extend(episode.total_reward for episode in finished)
        if self.record is not None:
            self.recorded += finished
        self._numbers[is_over] += 1
        self._start_episodes(is_over)
        return finished

    def save_recording(self) -> None:
        """Write the finished episodes of the run to the recording, if there is one."""
        if self.record is not None:
            write_recording(self.record, self.game, self.recorded)

    def state_dict(self) -> dict:
        """Return the state without frames, as JSON; the recording is written first."""
        self.save_recording()
        return {
            "emulator": self.game.emulator,
            "steps": self.memory.num_added,
            "numbers": self._numbers.tolist(),
            "recent_returns": list(self.recent_returns),
            "num_recorded": len(self.recorded),
            "kept": [[[first, episode.to_json()] for first, episode in kept] for kept in self._kept],
            "current": [self._current.episode(index).to_json() for index in range(len(self._kept))],
        }

    def load_state_dict(self, state: dict) -> None:
        """Continue from a state; emulates the episodes in the memory.

        Raises InputError if another version of the emulator made them, and if frames or rewards differ.
        """
        source = "the checkpoint"
        self.game.check_emulator(state["emulator"], f"{source} was made")
        if self.record is not None and state["num_recorded"]:
            self.recorded = self._read_recorded(self.record, state["num_recorded"])
        current = [Episode.from_json(values) for values in state["current"]]
        self._kept = [
            deque((first, Episode.from_json(values)) for first, values in kept) for kept in state["kept"]
        ]
        num_added = state["steps"]
        self.memory.resume(num_added, np.array([len(episode.actions) for episode in current]))
        starts, environments, episodes = [], [], []
        for environment, (kept, last) in enumerate(zip(self._kept, current, strict=True)):
            for first, episode in [*kept, (num_added - len(last.actions), last)]:
                if len(episode.actions):
                    starts.append(first)
                    environments.append(environment)
                    episodes.append(episode)
        self._fill_memory(np.array(starts), np.array(environments), episodes, source)
        self._frames = resume_episodes(self.environments, current)
        self._current.resume(current)
        self._numbers = np.array(state["numbers"])
        self.recent_returns.extend(state["recent_returns"])

    def _fill_memory(
        self, starts: np.ndarray, environments: np.ndarray, episodes: Sequence[Episode], source: str
    ) -> None:
        oldest = self.memory.num_added - self.memory.length
        for steps in emulate(self.game, episodes, source):
            times = starts[steps.episodes] + steps.ages
            is_kept = times >= oldest
            kept = EmulatedSteps(*(column[is_kept] for column in steps))
            self.memory.put(
                environments[kept.episodes],
                times[is_kept],
                kept.frames,
                kept.actions,
                kept.rewards,
                kept.ends,
                kept.ages,
            )

    def _read_recorded(self, path: str | Path, number: int) -> list[Episode]:
        """Return the episodes that were recorded up to the checkpoint; later ones are played again."""
        recording = read_recording(path)
        if recording.games != [self.game]:
            found = ", ".join(game.title for game in recording.games)
            raise InputError(f"{path} is a recording of {found}, not of this run: choose another file")
        if len(recording.episodes) < number:
            raise InputError(
                f"{path} has {len(recording.episodes)} of the {number} episodes that this run has "
                "recorded: restore the file, or start another run"
            )
        return recording.episodes[:number]
