"""A task of Meta-World as a Gymnasium environment with decisions, sparse rewards and an end.

    env = RobotEnv("drawer-open-v3", image_size=64)
    observation, info = env.reset(seed=0)
    observation, reward, terminated, truncated, info = env.step(env.action_space.sample())

An action, (4,) in [−1, 1], moves the hand along x, y and z and closes the gripper. It is held for three steps
of the simulator. The reward is 1 at success, which ends the episode, and else 0; after 50 decisions the
episode is truncated. Observations:

    state  (39,) float32: hand, gripper and objects now and one simulator step before, and the goal
    image  (size, size, 3) uint8: a picture by the camera, if `image_size` is given

The same seed gives the same episode bit for bit, whatever was played before.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded

from data.robot.simulator import SceneRenderer, check_camera, import_simulator
from data.robot.tasks import instruction_of


STATE_SIZE, ACTION_SIZE = 39, 4
HOLD = 3  # simulator steps per decision
MAX_DECISIONS = 50
FPS = 27  # decisions per second, in whole numbers as LeRobotDataset has it: 80 simulator steps / HOLD
DEFAULT_CAMERA = "behindGripper"
# All environments of a task share a renderer of each size.
RENDERERS: dict[tuple[str, int], SceneRenderer] = {}


Observation = dict[str, np.ndarray]


class RobotEnv(gymnasium.Env):
    """One task.

    Raises InputError for an unknown task or camera, and if a package or a renderer is missing.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": FPS}

    def __init__(
        self,
        task: str,
        image_size: int | None = None,
        camera: str = DEFAULT_CAMERA,
        render_mode: str | None = None,
    ) -> None:
        self.instruction = instruction_of(task)
        check_camera(camera)
        self.task, self.image_size, self.camera, self.render_mode = task, image_size, camera, render_mode
        self.action_space = spaces.Box(-1, 1, (ACTION_SIZE,), np.float32)
        observations: dict[str, spaces.Space] = {
            "state": spaces.Box(-np.inf, np.inf, (STATE_SIZE,), np.float32)
        }
        if image_size is not None:
            observations["image"] = spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
        self.observation_space = spaces.Dict(observations)
        self.simulator = _make_simulator(task)
        self._decisions_left = 0
        if image_size is not None:
            self._renderer(image_size)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode with random positions of the objects."""
        super().reset(seed=seed)
        self.simulator.seed(int(self.np_random.integers(2**63)))
        # It resets twice. A single reset would be faster, but would depend on earlier episodes in many tasks.
        self._state, _ = self.simulator.reset()
        self._decisions_left = MAX_DECISIONS
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Hold an action for three simulator steps."""
        if not self.is_running:
            raise ResetNeeded("the episode is over: call reset() first")
        success = False
        for _ in range(HOLD):
            self._state, _, _, _, info = self.simulator.step(action)
            if success := bool(info["success"]):
                break
        self._decisions_left = 0 if success else self._decisions_left - 1
        truncated = not success and not self.is_running
        return self._observe(), float(success), success, truncated, {"success": success}

    @property
    def is_running(self) -> bool:
        """Return whether the episode has not ended."""
        return self._decisions_left > 0

    def picture(self, size: int) -> np.ndarray:
        """Return a picture of the scene by the camera: (size, size, 3) uint8."""
        return self._renderer(size).render(self.simulator.model, self.simulator.data, self.camera)

    def render(self) -> np.ndarray | None:
        """Return a picture of the scene."""
        return self.picture(self.image_size or 480) if self.render_mode == "rgb_array" else None

    def _renderer(self, size: int) -> SceneRenderer:
        if (self.task, size) not in RENDERERS:
            RENDERERS[self.task, size] = SceneRenderer(self.simulator.model, size)
        return RENDERERS[self.task, size]

    def _observe(self) -> Observation:
        observation = {"state": self._state.astype(np.float32)}
        if self.image_size is not None:
            observation["image"] = self.picture(self.image_size)
        return observation


def _make_simulator(task: str) -> Any:
    """Return Meta-World's environment of a task, with random starts by seed and a visible goal."""
    simulator = import_simulator().env_dict.ENV_CLS_MAP[task]()
    simulator._freeze_rand_vec, simulator.seeded_rand_vec = False, True
    simulator._set_task_called, simulator._partially_observable = True, False
    # It caches the space for hidden goals.
    simulator.__dict__.pop("sawyer_observation_space", None)
    return simulator


# gymnasium.make("data.robot.metaworld:Robot-v0", task="drawer-open-v3")
gymnasium.register("Robot-v0", entry_point="data.robot.metaworld:RobotEnv")
