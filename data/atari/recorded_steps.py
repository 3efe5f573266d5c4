"""Prepared steps as examples of offline training (data/training_set.py); Atari's counterpart of a data set.

A batch has the arrays of data/replay.py, and

    returns  (batch,) float32: discounted rewards up to the end of the episode, for Monte-Carlo targets
    games    (batch,) int64: index of the game in `games`
"""

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from cli.errors import InputError
from data.atari.games import Game, make_game
from data.atari.preparation import DTYPES, FORMAT
from data.episode_ends import NOT_OVER, TRUNCATED
from data.noise import uniform_at
from data.prepared_folder import damaged, load_array, read_meta
from data.replay import Sampling, Steps
from data.training_set import some_of


class RecordedSteps(Steps):
    """The transitions of a prepared folder, with all games equally often.

    `reward_noise` η adds U(0, η) to the reward of every step, the same whenever it is read.
    """

    def __init__(
        self, folder: str | Path, sampling: Sampling, reward_noise: float = 0.0, seed: int = 0
    ) -> None:
        folder = Path(folder)
        meta = read_meta(folder, FORMAT)
        try:
            self.games: list[Game] = [make_game(**settings) for settings in meta["games"]]
            self.mean_return: float | None = meta["mean_return"]
        except (KeyError, TypeError) as error:
            raise damaged(folder, error) from None
        # Torch takes only arrays that can be written to; what is written stays in memory.
        frames = load_array(folder / "frames.npy", mode="c")
        arrays = {name: np.array(load_array(folder / f"{name}.npy")) for name in DTYPES}
        rewards = np.clip(arrays["rewards"], -1, 1) if sampling.clip_rewards else arrays["rewards"]
        if reward_noise:
            rewards += (reward_noise * uniform_at(np.arange(len(rewards)), seed)).astype(np.float32)
        sampling = replace(sampling, clip_rewards=False)  # they are clipped already, and the noise is not
        ends, ages = arrays["ends"], arrays["ages"]
        super().__init__(
            torch.from_numpy(frames), arrays["actions"], rewards, ends, ages, len(rewards), sampling
        )
        self.returns = discounted_returns(rewards, ends, sampling.discount)
        is_sampled = ends != TRUNCATED
        self._rows = [
            np.flatnonzero(is_sampled & (arrays["games"] == game)) for game in range(len(self.games))
        ]
        for game, rows in zip(self.games, self._rows, strict=True):
            if not len(rows):
                raise InputError(f"{folder}: {game.name} has no steps to train on: record more episodes")

    def __len__(self) -> int:
        """Return the steps of an epoch: those of small games come several times."""
        return len(self._rows) * max(map(len, self._rows))

    def num_values(self, indices: np.ndarray) -> np.ndarray:
        return np.ones(len(indices), dtype=np.int64)

    def batch(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        games, numbers = indices % len(self._rows), indices // len(self._rows)
        rows = np.empty(len(indices), dtype=np.int64)
        for game, rows_of_game in enumerate(self._rows):
            rows[games == game] = rows_of_game[numbers[games == game] % len(rows_of_game)]
        observations, others = self.gather(rows)
        arrays = {name: tensor.numpy() for name, tensor in observations.items()}
        return arrays | others | {"returns": self.returns[rows], "games": games}

    def fingerprint(self) -> dict[str, int]:
        rows = some_of(len(self.actions))
        sample = (self.frames[torch.from_numpy(rows)].numpy(), self.actions[rows], self.rewards[rows])
        return {"steps": len(self.actions), "crc": zlib.crc32(b"".join(array.tobytes() for array in sample))}


def discounted_returns(rewards: np.ndarray, ends: np.ndarray, discount: float) -> np.ndarray:
    """Return the discounted sum of each step's and all later rewards of its episode: (steps,) float32."""
    from scipy.signal import lfilter  # takes a second

    returns = np.empty(len(rewards), dtype=np.float32)
    last = np.flatnonzero(ends != NOT_OVER) + 1
    for start, end in zip([0, *last], [*last, len(rewards)], strict=True):
        returns[start:end] = lfilter([1.0], [1.0, -discount], rewards[start:end][::-1])[::-1]
    return returns
