"""The games of the Arcade Learning Environment: ale-py's vector environment, and gymnasium's for variants."""

from collections.abc import Sequence

import ale_py
import gymnasium
import numpy as np
from ale_py import roms
from ale_py.env import AtariEnv
from ale_py.registration import rom_id_to_name
from ale_py.vector_env import AtariVectorEnv

from cli.errors import InputError
from data.atari.games import Game


GAMES: Sequence[str] = roms.get_all_rom_ids()
NO_LIMIT = 2**31 - 1  # frames; VectorEnvironment counts steps

ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # no banner for every game that is loaded
gymnasium.register_envs(ale_py)


def variants(name: str) -> tuple[list[int], list[int]]:
    """Return the modes and the difficulties of a game; every pair of them is a variant."""
    ale = ale_py.ALEInterface()
    path = roms.get_rom_path(name)
    assert path is not None
    ale.loadROM(path)
    return list(ale.getAvailableModes()), list(ale.getAvailableDifficulties())


def check_variant(name: str, mode: int | None, difficulty: int | None) -> None:
    """Raise InputError for a mode or a difficulty that the game does not have."""
    for what, value, known in zip(("mode", "difficulty"), (mode, difficulty), variants(name), strict=True):
        if value is not None and value not in known:
            raise InputError(f"{name} has no {what} {value}: choose from {', '.join(map(str, known))}")


class AleGames:
    """Copies of a game in the threads of ale-py's vector environment."""

    def __init__(self, game: Game, num_environments: int, num_threads: int) -> None:
        # Its defaults are not the paper's settings.
        self._env = AtariVectorEnv(
            game.name,
            num_environments,
            num_threads=num_threads,
            max_num_frames_per_episode=NO_LIMIT,
            repeat_action_probability=game.repeat_action_probability,
            full_action_space=game.full_action_space,
            img_height=game.frame_size,
            img_width=game.frame_size,
            stack_num=1,
            noop_max=0,
            reward_clipping=False,
            use_fire_reset=False,
        )
        self.frame_shape = (1, game.frame_size, game.frame_size)
        self.num_actions = len(self._env.ale.get_action_set())
        self._is_started = False

    def reset(self, seeds: np.ndarray, which: np.ndarray) -> np.ndarray:
        options = {"reset_mask": which} if self._is_started else None
        self._is_started = True
        frames, _ = self._env.reset(seed=seeds.astype(np.int32), options=options)
        return frames

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        frames, rewards, terminated, _, _ = self._env.step(actions.astype(np.int64))
        return frames, rewards, terminated


class AleGame:
    """One game, of any mode and difficulty: gymnasium's environment and preprocessing.

    Its episodes are those of `AleGames` with the same seeds.
    """

    def __init__(self, game: Game) -> None:
        from gymnasium.wrappers import AtariPreprocessing

        env = gymnasium.make(
            f"ALE/{rom_id_to_name(game.name)}-v5",
            mode=game.mode,
            difficulty=game.difficulty,
            frameskip=1,
            repeat_action_probability=game.repeat_action_probability,
            full_action_space=game.full_action_space,
            max_num_frames_per_episode=None,
            disable_env_checker=True,
        )
        self._env = AtariPreprocessing(env, noop_max=0, screen_size=game.frame_size)
        assert isinstance(env.unwrapped, AtariEnv)
        self._game = env.unwrapped
        self.frame_shape = (1, game.frame_size, game.frame_size)
        self.action_names = [name.lower() for name in self._game.get_action_meanings()]
        self.num_actions = len(self.action_names)

    def reset(self, seed: int) -> np.ndarray:
        # gymnasium would derive another seed from this one.
        self._game.ale.setInt("random_seed", int(seed))
        self._game.load_game()
        frame, _ = self._env.reset()
        return frame[None]

    def step(self, action: int) -> tuple[np.ndarray, float, bool]:
        frame, reward, terminated, _, _ = self._env.step(action)
        return frame[None], float(reward), terminated

    def picture(self) -> np.ndarray:
        return self._game.ale.getScreenRGB()
