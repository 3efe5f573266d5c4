"""Measurements of Atari studies: the return of greedy play."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from cli.errors import InputError
from configs.atari import AtariConfig
from eval.atari.agent import Agent
from eval.atari.playing import evaluate_policy
from studies.linear_probes import Probed
from studies.measurements import Measure, Measurement, choose_measurements


NUM_EPISODES, EPSILON = 100, 0.001
RETURN = Measure("mean_return", "return", ".2f")


class StudiedAtari:
    """An Atari game, played by the agents of a study."""

    example_unit, value_unit = "transitions", "transitions"

    def __init__(self, config: AtariConfig, device: torch.device):
        self.config, self.device = config, device

    def measurements(self, names: Sequence[str] | None) -> list[Measurement]:
        """Return the measurements with these names, by default all."""
        return choose_measurements({"play": self._play}, names or ["play"])

    def seen(self, config: AtariConfig) -> tuple[float, float]:
        """Return the number of transitions, once as examples and once as values."""
        num_transitions = config.training.steps * config.training.batch_size
        return num_transitions, num_transitions

    def probed(self, limit: int) -> Probed:
        """Raise InputError: there are no probes of these agents."""
        raise InputError("studies.probes has no targets for atari: choose a study of chess or wordle")

    def _play(self) -> Measurement:
        """Measure the mean return of greedy play in the game that a model was trained on."""

        def measure(model: Path) -> dict[str, float | None]:
            agent = Agent.load(str(model), str(self.device), "float32")
            (game,) = agent.games
            episodes = evaluate_policy(
                game, partial(agent.choose, game), NUM_EPISODES, stack=agent.stack, epsilon=EPSILON
            )
            return {RETURN.key: float(np.mean([episode.total_reward for episode in episodes]))}

        description = f"{NUM_EPISODES} episodes of the game, epsilon {EPSILON:g}"
        return Measurement("play", description, self.config.make_game().emulator, (RETURN,), measure)
