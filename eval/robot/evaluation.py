"""Episodes of a policy in the simulator: many at a time, with one call of the policy for all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from data.robot.metaworld import Observation, RobotEnv
from data.robot.tasks import TASKS
from eval.intervals import wilson_interval
from eval.robot.policy import Policy


# More at a time would need more environments, and making one takes as long as ten episodes.
EPISODES_AT_A_TIME = 16
PURPOSE = 1  # keeps the starts apart from those of training data with the same seed
# Called after each decision with task, number of the episode, environment, index in the batch, and success.
Watcher = Callable[[str, int, RobotEnv, int, bool], None]
_kept: dict[tuple[str, int | None, str], list[RobotEnv]] = {}


@dataclass
class Results:
    """How the episodes of some tasks ended: (tasks, episodes)."""

    tasks: list[str]
    success: np.ndarray  # bool
    decisions: np.ndarray  # int64
    seconds: float
    seconds_of_policy: float

    def summarise(self) -> dict:
        """Return rates with 95% Wilson intervals, of all episodes and by task, and the speed."""
        return {
            **_rates(self.success, self.decisions),
            "decisions_per_second": float(self.decisions.sum() / self.seconds),
            "fraction_outside_policy": 1 - self.seconds_of_policy / self.seconds,
            "tasks": {task: _rates(self.success[i], self.decisions[i]) for i, task in enumerate(self.tasks)},
        }


def _rates(success: np.ndarray, decisions: np.ndarray) -> dict:
    low, high = wilson_interval(success.sum(), success.size)
    return {
        "success_rate": float(success.mean()),
        "low": low,
        "high": high,
        "num_episodes": success.size,
        "decisions_to_success": float(decisions[success].mean()) if success.any() else None,
    }


@dataclass
class _Running:
    """An episode that is being played."""

    task: int
    number: int
    env: RobotEnv
    observations: list[Observation] = field(default_factory=list)


def play_episodes(
    policy: Policy,
    tasks: Sequence[str],
    episodes: int,
    seed: int,
    watch: Watcher | None = None,
    at_a_time: int = EPISODES_AT_A_TIME,
) -> Results:
    """Play `episodes` episodes of each task; as one ends, the next one starts in its environment.

    The starts are functions of `seed`, and the environments are kept for the next call.
    """
    started, seconds_of_policy = time.perf_counter(), 0.0
    success = np.zeros((len(tasks), episodes), dtype=bool)
    decisions = np.zeros((len(tasks), episodes), dtype=np.int64)
    # The tasks take turns, so that few environments of each are in use at a time.
    waiting = ((task, number) for number in range(episodes) for task in range(len(tasks)))
    running: list[_Running] = []
    while True:
        for task, number in islice(waiting, at_a_time - len(running)):
            env = _take_environment(tasks[task], policy)
            running.append(_Running(task, number, env, [env.reset(seed=start_of(seed, env.task, number))[0]]))
        if not running:
            break
        before = time.perf_counter()
        actions = policy.act([run.observations for run in running], [run.env.instruction for run in running])
        seconds_of_policy += time.perf_counter() - before
        still_running = []
        for index, (run, action) in enumerate(zip(running, actions, strict=True)):
            observation, _, terminated, truncated, _ = run.env.step(action)
            run.observations.append(observation)
            success[run.task, run.number] = terminated
            decisions[run.task, run.number] += 1
            if watch is not None:
                watch(run.env.task, run.number, run.env, index, terminated)
            if terminated or truncated:
                _kept[run.env.task, policy.image_size, policy.camera].append(run.env)
            else:
                still_running.append(run)
        running = still_running
    return Results(list(tasks), success, decisions, time.perf_counter() - started, seconds_of_policy)


def start_of(seed: int, task: str, number: int) -> int:
    """Return the seed of the start of an episode."""
    sequence = np.random.SeedSequence([seed, TASKS.index(task), number], spawn_key=(PURPOSE,))
    return int(sequence.generate_state(1, np.uint64)[0])


def _take_environment(task: str, policy: Policy) -> RobotEnv:
    kept = _kept.setdefault((task, policy.image_size, policy.camera), [])
    return kept.pop() if kept else RobotEnv(task, policy.image_size, policy.camera)
