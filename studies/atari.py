"""Measurements of Atari studies: the return of greedy play."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from cli.errors import InputError
from configs.atari import AtariConfig
from data.atari.games import make_game
from data.atari.preparation import FORMAT, prepare
from data.atari.recorded_steps import RecordedSteps
from data.prepared_folder import read_meta
from data.replay import Sampling
from eval.atari.agent import Agent
from eval.atari.playing import evaluate_policy
from studies.measurements import Level, Measure, Measurement, choose_measurements
from studies.probed_atari import ProbedAtari


NUM_EPISODES, EPSILON = 100, 0.001
RETURN = Measure("mean_return", "return", ".2f")


class StudiedAtari:
    """Atari games, played by the agents of a study that learn online, or offline from a recording.

    `recording` has episodes for probes, by default those of the training data.
    """

    example_unit, value_unit = "transitions", "transitions"

    def __init__(self, config: AtariConfig, device: torch.device, recording: Path | None = None):
        self.config, self.device = config, device
        self.recording = config.data.train if recording is None else recording
        self.prepared_dir = config.data.prepared_dir if recording is None else None

    def measurements(self, names: Sequence[str] | None) -> list[Measurement]:
        """Return the measurements with these names, by default all."""
        return choose_measurements({"play": self._play}, names or ["play"])

    def seen(self, config: AtariConfig) -> tuple[float, float]:
        """Return the number of transitions, once as examples and once as values."""
        num_transitions = config.training.steps * config.training.batch_size
        return num_transitions, num_transitions

    def probed(self, limit: int) -> ProbedAtari:
        """Return states of at most `limit` episodes of the recording."""
        if self.recording is None:
            raise InputError(
                "these models learned from their own play, which is not recorded: give --recording FILE, "
                "made by a run with the same game and atari.record=FILE"
            )
        data, discount = self.config.data, self.config.q_learning.discount
        # The states are those of MinAtar, where an observation is one frame by default.
        sampling = Sampling(data.stack or 1, discount=discount, clip_rewards=data.clip_rewards)
        steps = RecordedSteps(prepare(self.recording, self.prepared_dir), sampling)
        return ProbedAtari(steps, limit, str(self.recording), self.device)

    def _play(self) -> Measurement:
        """Measure the mean return of greedy play in the games that a model was trained on."""
        if self.config.is_online:
            games, data_return = [self.config.make_game()], None
        else:
            assert self.config.data.train is not None
            meta = read_meta(prepare(self.config.data.train, self.config.data.prepared_dir), FORMAT)
            games, data_return = [make_game(**game) for game in meta["games"]], meta["mean_return"]

        def measure(model: Path) -> dict[str, float | None]:
            agent = Agent.load(str(model), str(self.device), "float32")
            returns = [
                episode.total_reward
                for game in agent.games
                for episode in evaluate_policy(
                    game, partial(agent.choose, game), NUM_EPISODES, stack=agent.stack, epsilon=EPSILON
                )
            ]
            return {RETURN.key: float(np.mean(returns))}

        description = f"{NUM_EPISODES} episodes of the game, epsilon {EPSILON:g}"
        emulators = " ".join(sorted({game.emulator for game in games}))
        levels = () if data_return is None else (Level(RETURN.key, "the data", data_return),)
        return Measurement("play", description, emulators, (RETURN,), measure, levels)
