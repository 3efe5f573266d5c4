"""The measurement of robot studies: success in the simulator, from the same starts for every model."""

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import torch

from cli.errors import InputError
from configs.schema import Config
from data.robot.episodes import read_episodes
from data.robot.tasks import INSTRUCTIONS
from eval.robot.evaluation import evaluate_policy
from eval.robot.model_policy import ModelPolicy
from studies.measurements import Level, Measure, Measurement, choose_measurements


SUCCESS = Measure("success_rate", "success", ".1%")
NUM_EPISODES = 100  # of each task
STARTS = 1  # the seed of other starts than those of evaluations during training


class StudiedRobot:
    """Meta-World, with the tasks of the training episodes."""

    example_unit, value_unit = "decisions", "action dimensions"

    def __init__(self, config: Config, device: torch.device):
        self.device = device
        self.episodes = read_episodes(config.data.train, with_images=False)

    def measurements(self, names: Sequence[str] | None) -> list[Measurement]:
        """Return the measurements with these names, by default all."""
        return choose_measurements({"simulator": self._simulator}, names or ["simulator"])

    def seen(self, config: Config) -> tuple[float, float]:
        """Return the numbers of decisions and of dimensions."""
        num_decisions = config.training.steps * config.training.batch_size
        return num_decisions, num_decisions * self.episodes.actions.shape[1]

    def probed(self, limit: int) -> NoReturn:
        """Raise InputError."""
        raise InputError("there are no linear probes of robots: give runs of chess or Wordle")

    def _simulator(self) -> Measurement:
        names = {text: name for name, text in INSTRUCTIONS.items()}
        if unknown := [text for text in self.episodes.instructions if text not in names]:
            raise InputError(f"data.train: the simulator has no task with the instruction {unknown[0]!r}")
        tasks = [names[text] for text in self.episodes.instructions]

        def measure(model: Path) -> dict[str, float | None]:
            policy = ModelPolicy.load(str(model), str(self.device), "float32")
            return {SUCCESS.key: evaluate_policy(policy, tasks, NUM_EPISODES, STARTS)["success_rate"]}

        return Measurement(
            "simulator",
            f"{NUM_EPISODES} episodes of each of {', '.join(tasks)}",
            f"{tasks} {NUM_EPISODES} {STARTS}",
            (SUCCESS,),
            measure,
            (Level(SUCCESS.key, "the data", float(self.episodes.successes.mean())),),
        )
