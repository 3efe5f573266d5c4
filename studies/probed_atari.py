"""Probes of agents for MinAtar in states of recorded episodes: the return, the next reward, and objects."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from cli.errors import InputError
from data.atari.recorded_steps import RecordedSteps
from eval.atari.agent import Agent
from studies.linear_probes import Targets, recorded_layers
from studies.measurements import Measure


STATES_PER_EPISODE = 10
REWARD_WITHIN = 10  # steps
STATES_AT_ONCE = 1024
# Features of the convolution that are rarely active are large once they have variance 1: with the usual
# penalty of 1e-4, R² of the return is below 0 there. The scores of the other layers are the same with both.
PENALTY = 1e-2


class ProbedAtari:
    """States of `limit` recorded episodes, spread evenly over the recording and over each episode.

    Returns are those of the players of the episodes, discounted and clipped as in learning. Q-learning
    predicts other returns, those of the best continuation, but these are the same for all targets and losses.
    """

    measures = (
        Measure("value", "return of the rest of the episode, R²", ".3f"),
        Measure("reward_soon", f"a reward within {REWARD_WITHIN} steps, area under the ROC", ".3f"),
        Measure("objects", "number of objects, R²", ".3f"),
    )

    def __init__(self, steps: RecordedSteps, limit: int, source: str, device: torch.device):
        if not all(game.is_minatar for game in steps.games):
            raise InputError(f"{source}: the layers of agents for ALE are too large to probe: choose MinAtar")
        self.steps, self.source, self.device = steps, source, device
        starts = np.flatnonzero(steps.ages == 0)
        ends = np.append(starts[1:], len(steps.ages))
        num_episodes = min(limit, len(starts))
        episodes = np.linspace(0, len(starts) - 1, num_episodes).astype(int)
        rows = [
            np.unique(np.linspace(starts[episode], ends[episode] - 1, STATES_PER_EPISODE).astype(int))
            for episode in episodes
        ]
        self.rows, num_states = np.concatenate(rows), list(map(len, rows))
        self.description = f"{len(self.rows):,} states of {num_episodes:,} episodes of {source}"
        soon = np.minimum(self.rows + REWARD_WITHIN, np.repeat(ends[episodes], num_states))
        num_rewards = np.append(0, np.cumsum(steps.rewards != 0))
        values = {
            "value": steps.returns[self.rows],
            "reward_soon": (num_rewards[soon] > num_rewards[self.rows]).astype(float),
            "objects": steps.frames[torch.from_numpy(self.rows)].sum(dim=(1, 2, 3)).numpy(),
        }
        # In turn, because early episodes of a recording are played at random.
        is_first = np.repeat(np.arange(num_episodes) % 2 == 0, num_states)
        of_measure = {name: [name] for name in values}
        self.targets = Targets(values, frozenset({"reward_soon"}), is_first, of_measure, PENALTY)

    def features(self, model: Path) -> Iterator[np.ndarray]:
        """Yield the features of the frames and of every block, float32 (states, width)."""
        agent = Agent.load(str(model), str(self.device), "float32")
        trained_on = {game.name for game in agent.games}
        if others := {game.name for game in self.steps.games} - trained_on:
            raise InputError(
                f"{self.source} has episodes of {', '.join(sorted(others))}, and {model} plays "
                f"{', '.join(sorted(trained_on))}: choose another --recording, or --point"
            )
        parts = []
        for start in range(0, len(self.rows), STATES_AT_ONCE):
            observations = self.steps.stacks(self.rows[start : start + STATES_AT_ONCE])
            with torch.no_grad(), recorded_layers(agent.model) as layers:
                agent.model(observations.to(self.device))
            parts.append([layer.flatten(1).cpu().numpy() for layer in layers])
        for layers_of_all in zip(*parts, strict=True):
            yield np.concatenate(layers_of_all)
