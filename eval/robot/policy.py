"""Policies: anything that chooses an action of every environment from its observations and instruction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from cli.errors import InputError
from data.robot.metaworld import Observation
from data.robot.scripted_policies import RandomPolicy, ScriptedPolicy


POLICIES = {
    "scripted:SD": "the scripted policy of Meta-World with noise of this standard deviation in its actions",
    "random": "uniformly random actions",
}


class Policy(Protocol):
    """Chooses the actions of episodes; the observations have images if it has an `image_size`."""

    image_size: int | None
    camera: str

    def act(self, histories: Sequence[Sequence[Observation]], instructions: Sequence[str]) -> np.ndarray:
        """Return actions (n, dimensions) float32 in [−1, 1].

        `histories` has the observations of each of n episodes so far, the newest last.
        """


def make_policy(spec: str, rng: np.random.Generator) -> Policy:
    """Return the policy of a text such as scripted:0.5. Raises InputError for other texts."""
    name, _, noise = spec.partition(":")
    if spec == "random":
        return RandomPolicy(rng)
    try:
        level = float(noise or 0)
    except ValueError:
        level = -1.0
    if name != "scripted" or not 0 <= level < np.inf:
        raise InputError(f"unknown policy {spec!r}: choose scripted:SD, such as scripted:0.5, or random")
    return ScriptedPolicy(level, rng)
