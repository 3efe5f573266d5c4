"""Recorded episodes of random play."""

from pathlib import Path

import numpy as np

from data.atari.collector import Collector
from data.atari.games import Game
from data.replay import Sampling


def record_random_play(path: Path, game: Game, num_steps: int, seed: int = 0) -> None:
    """Play a game at random in two environments and record the episodes that end."""
    collector = Collector(game, 2, 100, Sampling(stack=2), seed, record=path)
    for _ in range(num_steps):
        collector.step(lambda observations: np.zeros(2), epsilon=1.0)
    collector.save_recording()
