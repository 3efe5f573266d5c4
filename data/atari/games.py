"""The games of ALE and MinAtar, many at once behind one interface.

    environments = make_environments(make_game("breakout"), num_environments=8)
    frames = environments.reset(np.arange(8))                   # (8, 1, 84, 84) uint8
    frames, rewards, terminated, truncated = environments.step(actions)

An episode is a pure function of its seed and its actions, sticky actions included. The steps of an
environment whose episode is over mean nothing until `environments.reset(seeds, terminated | truncated)`. A
reset of an ALE game loads its ROM, because ale-py takes a seed only then: as long as some 300 steps.

The settings of ALE are those of the paper (Machado et al., arXiv 1709.06009): frame skip 4, the maximum of
the last two grey frames, sticky actions, minimal actions, no no-ops or FIRE at the start, no end when a life
is lost, and 27,000 steps per episode at most. ale-py is licensed under GPL-2.0, MinAtar under GPL-3.
"""

import difflib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np

from cli.errors import InputError


MINATAR_PREFIX = "minatar_"
MINATAR_GAMES = tuple(
    MINATAR_PREFIX + name for name in ("asterix", "breakout", "freeway", "seaquest", "space_invaders")
)
# Package, module and requirement of each emulator.
ALE = ("ale-py", "ale_py", "ale-py>=0.12,<0.13")
MINATAR = ("MinAtar", "minatar", "MinAtar>=1.0.15,<2")
OPENCV = ("opencv-python-headless", "cv2", "opencv-python-headless>=4.10")
MAX_STEPS = 27_000  # of an episode; 108,000 frames of ALE


@dataclass(frozen=True)
class Game:
    """A game with all settings that determine its episodes; `make_game` checks them."""

    name: str
    repeat_action_probability: float  # sticky actions: per frame in ALE, per step in MinAtar
    frame_size: int  # height and width of frames
    max_steps: int  # an episode ends here without being terminal
    full_action_space: bool  # all 18 actions of ALE, 6 of MinAtar, instead of those that the game uses
    mode: int | None  # variants of ALE's games; None is the default variant
    difficulty: int | None

    @property
    def title(self) -> str:
        """The name, with the settings that are not the default: asteroids (mode 3, difficulty 1)."""
        default = make_game(self.name).settings()
        changed = self.settings().items() - default.items()
        parts = [f"{name.replace('_', ' ')} {value}" for name, value in sorted(changed)]
        return f"{self.name} ({', '.join(parts)})" if parts else self.name

    @property
    def is_minatar(self) -> bool:
        return self.name.startswith(MINATAR_PREFIX)

    @property
    def has_threads(self) -> bool:
        """Whether its environments act in threads; else one after the other."""
        return not self.is_minatar and self.mode is None and self.difficulty is None

    @property
    def emulator(self) -> str:
        """The package that emulates it, and its version, which episodes depend on."""
        package = (MINATAR if self.is_minatar else ALE)[0]
        return f"{package} {version(package)}"

    def check_emulator(self, emulator: str, made: str) -> None:
        """Raise InputError unless this version of the emulator was used; `made` begins the message."""
        if emulator != self.emulator:
            package, _, used_version = emulator.partition(" ")
            raise InputError(
                f"{made} with {emulator}, and {self.emulator} is installed, which may make other frames: "
                f"pip install {package}=={used_version}"
            )

    def settings(self) -> dict[str, Any]:
        """Return the arguments with which `make_game` makes this game."""
        return {name: value for name, value in asdict(self).items() if value is not None and name != "name"}


class Emulators(Protocol):
    """Copies of a game, without a time limit."""

    frame_shape: tuple[int, int, int]
    num_actions: int

    def reset(self, seeds: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Start episodes in the environments at indices `which`; return the frames of all."""

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Act in all; return frames, rewards and whether the game has ended."""


class SingleGame(Protocol):
    """One copy of a game, without a time limit."""

    frame_shape: tuple[int, int, int]
    num_actions: int
    action_names: list[str]

    def reset(self, seed: int) -> np.ndarray:
        """Start an episode; return its first frame."""

    def step(self, action: int) -> tuple[np.ndarray, float, bool]:
        """Act; return frame, reward and whether the game has ended."""

    def picture(self) -> np.ndarray:
        """Return the screen as a person sees it: (height, width, 3) uint8."""


class OneByOne:
    """Emulators that act one after the other."""

    def __init__(self, games: Sequence[SingleGame]) -> None:
        self.frame_shape, self.num_actions = games[0].frame_shape, games[0].num_actions
        self._games = games
        self._frames = np.zeros((len(games), *self.frame_shape), dtype=np.uint8)

    def reset(self, seeds: np.ndarray, which: np.ndarray) -> np.ndarray:
        for index, seed in zip(np.flatnonzero(which).tolist(), seeds.tolist(), strict=True):
            self._frames[index] = self._games[index].reset(seed)
        return self._frames.copy()

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rewards, terminated = np.zeros(len(self._games)), np.zeros(len(self._games), dtype=bool)
        for index, (game, action) in enumerate(zip(self._games, actions.tolist(), strict=True)):
            self._frames[index], rewards[index], terminated[index] = game.step(action)
        return self._frames.copy(), rewards, terminated


class VectorEnvironment:
    """Many copies of a game, which act together.

    `frame_shape` is (channels, height, width): one grey channel for ALE, one per kind of object for MinAtar.
    """

    def __init__(self, game: Game, emulators: Emulators, num_environments: int) -> None:
        self.game, self.num_environments = game, num_environments
        self.frame_shape, self.num_actions = emulators.frame_shape, emulators.num_actions
        self._emulators = emulators
        self._steps = np.zeros(num_environments, dtype=np.int64)

    def reset(self, seeds: np.ndarray, which: np.ndarray | None = None) -> np.ndarray:
        """Start episodes with `seeds`, one for each environment of the mask `which`, by default all.

        Returns the frames of all environments: (environments, channels, height, width) uint8.
        """
        if which is None:
            which = np.ones(self.num_environments, dtype=bool)
        self._steps[which] = 0
        return self._emulators.reset(np.asarray(seeds), which)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Act in all environments; return frames, rewards, terminated and truncated by the time limit.

        The frames of episodes that are over are their last ones.
        """
        frames, rewards, terminated = self._emulators.step(actions)
        self._steps += 1
        truncated = (self._steps >= self.game.max_steps) & ~terminated
        return frames, rewards.astype(np.float32), terminated, truncated


def require(package: tuple[str, str, str], purpose: str) -> None:
    """Raise InputError if an optional package is not installed."""
    name, module, requirement = package
    if find_spec(module) is None:
        raise InputError(f"{purpose} {name}, which is not installed: pip install '{requirement}'")


def make_game(
    name: str,
    repeat_action_probability: float | None = None,
    frame_size: int | None = None,
    max_steps: int = MAX_STEPS,
    full_action_space: bool = False,
    mode: int | None = None,
    difficulty: int | None = None,
) -> Game:
    """Return a game with its settings; raise InputError if there is no such game or variant.

    By default actions are sticky with probability 0.25 in ALE, and 0.1 in MinAtar; frames are 84 pixels wide,
    and 10 in MinAtar.
    """
    is_minatar = name in MINATAR_GAMES
    if is_minatar:
        require(MINATAR, "the games of MinAtar need")
        if frame_size not in (None, 10) or mode is not None or difficulty is not None:
            raise InputError(
                f"{name} has frames of 10 by 10 and no variants: leave frame_size, mode and difficulty out"
            )
    elif name.startswith("minatar_"):
        raise InputError(f"there is no game {name!r}{_nearest(name, list(MINATAR_GAMES))}")
    else:
        require(ALE, f"{name!r} is not a game of MinAtar ({', '.join(MINATAR_GAMES)}); the games of ALE need")
        from data.atari.ale import GAMES, check_variant

        if name not in GAMES:
            raise InputError(f"there is no game {name!r}{_nearest(name, [*GAMES, *MINATAR_GAMES])}")
        if mode is not None or difficulty is not None:
            require(OPENCV, "variants of a game need")
            check_variant(name, mode, difficulty)
    if max_steps < 2:
        raise InputError("an episode of one step has no transition to learn from: give max_steps at least 2")
    default_probability, default_size = (0.1, 10) if is_minatar else (0.25, 84)
    if repeat_action_probability is None:
        repeat_action_probability = default_probability
    if not 0 <= repeat_action_probability <= 1:
        raise InputError(f"repeat_action_probability is {repeat_action_probability}: give 0 to 1")
    frame_size = default_size if frame_size is None else frame_size
    if frame_size < 1:
        raise InputError(f"frame_size is {frame_size}: give at least 1")
    return Game(
        name,
        repeat_action_probability,
        frame_size,
        max_steps,
        full_action_space,
        mode,
        difficulty,
    )


def _nearest(name: str, games: list[str]) -> str:
    plain = {game.replace("_", ""): game for game in games}
    near = difflib.get_close_matches(name.lower().replace("_", "").replace("-", ""), plain, n=3)
    return (
        f": did you mean {' or '.join(plain[game] for game in near)}?"
        if near
        else ": docs/atari.md says how to list all"
    )


def make_environments(game: Game, num_environments: int, num_threads: int = 0) -> VectorEnvironment:
    """Return copies of a game. `num_threads` is for ALE; by default one per core."""
    emulators: Emulators
    if game.has_threads:
        from data.atari.ale import AleGames

        emulators = AleGames(game, num_environments, num_threads)
    else:
        emulators = OneByOne([single_game(game) for _ in range(num_environments)])
    return VectorEnvironment(game, emulators, num_environments)


def single_game(game: Game) -> SingleGame:
    """Return one copy of a game, which also has pictures; its episodes are those of `make_environments`."""
    if game.is_minatar:
        from data.atari.minatar_games import MinAtarGame

        return MinAtarGame(game)
    from data.atari.ale import AleGame

    return AleGame(game)
