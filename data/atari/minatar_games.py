"""The games of MinAtar (Young and Tian, arXiv 1903.03176)."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np

from data.atari.games import MINATAR_PREFIX, Game


ACTION_NAMES = ("noop", "left", "up", "right", "down", "fire")
# Of nothing, and of the channels of a frame in order.
COLOURS = np.array(
    [
        (12, 12, 16),
        (230, 230, 230),
        (221, 132, 82),
        (85, 168, 104),
        (76, 114, 176),
        (196, 78, 82),
        (129, 114, 179),
        (204, 185, 116),
        (100, 181, 205),
        (147, 120, 96),
        (218, 139, 195),
    ],
    dtype=np.uint8,
)


def _load_game(name: str) -> ModuleType:
    # The package imports seaborn for its window, which takes seconds; the game itself needs numpy alone.
    package = importlib.util.find_spec("minatar")
    assert package is not None and package.origin is not None
    path = Path(package.origin).parent / "environments" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"minatar.environments.{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class MinAtarGame:
    """One game; its episodes are those of minatar.Environment, which does not reset the last action."""

    def __init__(self, game: Game) -> None:
        self._env = _load_game(game.name.removeprefix(MINATAR_PREFIX)).Env(ramping=True)
        self._sticky = game.repeat_action_probability
        actions = range(6) if game.full_action_space else self._env.minimal_action_set()
        self._actions = [int(action) for action in actions]
        self._last_action = 0
        height, width, channels = self._env.state_shape()
        self.frame_shape = (channels, height, width)
        self.num_actions = len(self._actions)
        self.action_names = [ACTION_NAMES[action] for action in self._actions]

    def reset(self, seed: int) -> np.ndarray:
        self._env.random.seed(seed)
        self._env.reset()
        self._last_action = 0
        return self._frame()

    def step(self, action: int) -> tuple[np.ndarray, float, bool]:
        if self._env.random.rand() >= self._sticky:
            self._last_action = self._actions[action]
        reward, terminated = self._env.act(self._last_action)
        return self._frame(), reward, terminated

    def picture(self) -> np.ndarray:
        kinds = self._frame()
        highest = np.where(kinds.any(0), len(kinds) - kinds[::-1].argmax(0), 0)
        return COLOURS[highest]

    def _frame(self) -> np.ndarray:
        return self._env.state().transpose(2, 0, 1)
