"""The measurement of robot studies: success in the simulator, from the same starts for every model."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch

from cli.errors import InputError
from configs.robot import RobotConfig
from data.robot.episodes import read_episodes
from data.robot.metaworld import RobotEnv
from data.robot.tasks import tasks_of
from eval.robot.evaluation import play_episodes
from eval.robot.model_policy import ModelPolicy
from studies.measurements import Level, Measure, Measurement, choose_measurements
from studies.robot_networks import DESCRIPTION, MEASURES, TrainedNetwork


SUCCESS = Measure("success_rate", "success", ".1%")
# Of the values of chosen actions, compared with the discounted returns that follow.
OVER_ESTIMATION = Measure("over_estimation", "over-estimation", ".3f", higher_is_better=False)
NUM_EPISODES = 100  # of each task
STARTS = 1  # the seed of other starts than those of evaluations during training


class StudiedRobot:
    """Meta-World, with the tasks of the training episodes."""

    example_unit, value_unit = "decisions", "action dimensions"

    def __init__(self, config: RobotConfig, device: torch.device):
        self.device, self.discount = device, config.q_learning.discount
        self.episodes = read_episodes(config.data.train, with_images=False)

    def measurements(self, names: Sequence[str] | None) -> list[Measurement]:
        """Return the measurements with these names, or the default ones."""
        known = {"simulator": self._simulator, "network": self._network}
        return choose_measurements(known, names or ["simulator"])

    def seen(self, config: RobotConfig) -> tuple[float, float]:
        """Return the numbers of decisions and of dimensions."""
        num_decisions = config.training.steps * config.training.batch_size
        return num_decisions, num_decisions * self.episodes.actions.shape[1]

    def probed(self, limit: int) -> NoReturn:
        """Raise InputError."""
        raise InputError("there are no linear probes of robots: give runs of chess or Wordle")

    def _network(self) -> Measurement:
        return Measurement(
            "network",
            DESCRIPTION,
            DESCRIPTION,  # a run names its decisions
            MEASURES,
            lambda model: TrainedNetwork(model, self.device).measures(),
        )

    def _simulator(self) -> Measurement:
        rate_of = self.episodes.success_by_instruction()
        tasks = tasks_of(rate_of)
        of_task = {task: Measure(f"success_{task}", task.removesuffix("-v3"), ".1%") for task in tasks}

        def measure(model: Path) -> dict[str, float | None]:
            policy = ModelPolicy.load(str(model), str(self.device), "float32")
            values: dict[tuple[str, int], list[float]] = defaultdict(list)  # of chosen actions, by episode
            errors: list[np.ndarray] = []

            def watch(task: str, number: int, env: RobotEnv, index: int, success: bool) -> None:
                assert policy.chosen is not None and policy.chosen.value is not None
                of_episode = values[task, number]
                of_episode.append(float(policy.chosen.value[index, -1].max()))
                if not env.is_running:
                    returns = success * self.discount ** np.arange(len(of_episode))[::-1]
                    errors.append(np.array(of_episode) - returns)

            found = play_episodes(policy, tasks, NUM_EPISODES, STARTS, watch).summarise()
            return {
                SUCCESS.key: found["success_rate"],
                **{of_task[task].key: found["tasks"][task]["success_rate"] for task in tasks},
                OVER_ESTIMATION.key: float(np.concatenate(errors).mean()),
            }

        rates = {SUCCESS.key: float(self.episodes.successes.mean())}
        rates |= {of_task[task].key: rate for task, rate in zip(tasks, rate_of.values(), strict=True)}
        return Measurement(
            "simulator",
            f"{NUM_EPISODES} episodes of each of {', '.join(tasks)}",
            f"{tasks} {NUM_EPISODES} {STARTS} {self.discount}",
            (SUCCESS, *of_task.values(), OVER_ESTIMATION),
            measure,
            tuple(Level(key, "the data", rate) for key, rate in rates.items()),
        )
