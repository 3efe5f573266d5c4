"""Policies that need no training: Meta-World's scripted ones, with noise, and random actions."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from data.robot.metaworld import ACTION_SIZE, DEFAULT_CAMERA, Observation
from data.robot.simulator import import_simulator
from data.robot.tasks import TASK_OF_INSTRUCTION


class ScriptedPolicy:
    """Meta-World's policy of each task, plus noise from N(0, `noise`²) in every dimension."""

    image_size, camera = None, DEFAULT_CAMERA

    def __init__(self, noise: float, rng: np.random.Generator) -> None:
        self.noise, self.rng = noise, rng

    def act(self, histories: Sequence[Sequence[Observation]], instructions: Sequence[str]) -> np.ndarray:
        """Return the actions in some environments: (n, 4) float32."""
        actions = np.stack(
            [
                _scripted(TASK_OF_INSTRUCTION[instruction]).get_action(history[-1]["state"])
                for history, instruction in zip(histories, instructions, strict=True)
            ]
        )
        noise = self.noise * self.rng.standard_normal(actions.shape)
        return (actions.clip(-1, 1) + noise).clip(-1, 1).astype(np.float32)


class RandomPolicy:
    """Actions from U(−1, 1)."""

    image_size, camera = None, DEFAULT_CAMERA

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def act(self, histories: Sequence[Sequence[Observation]], instructions: Sequence[str]) -> np.ndarray:
        """Return the actions in some environments: (n, 4) float32."""
        return self.rng.uniform(-1, 1, (len(histories), ACTION_SIZE)).astype(np.float32)


@functools.cache
def _scripted(task: str) -> Any:
    return import_simulator().policies.ENV_POLICY_MAP[task]()
