"""Meta-World's tasks as environments: starts by seed, sparse rewards and an end."""

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

from cli.errors import InputError
from data.robot import simulator
from data.robot.metaworld import MAX_DECISIONS, RobotEnv
from data.robot.scripted_policies import ScriptedPolicy
from data.robot.tasks import INSTRUCTIONS, TASKS, instruction_of
from tests.support.commands import assert_input_error, run_command
from tests.support.programs import needs


@pytest.fixture(scope="module")
def drawer() -> RobotEnv:
    return RobotEnv("drawer-open-v3")


@pytest.fixture(scope="module")
def seen() -> RobotEnv:
    """A task with pictures."""
    return RobotEnv("drawer-open-v3", image_size=32, render_mode="rgb_array")


def play(env: RobotEnv, seed: int, noise: float = 0.0) -> tuple[np.ndarray, list[float], bool]:
    """Return the states and rewards of an episode of the scripted policy, and whether it was truncated."""
    policy = ScriptedPolicy(noise, np.random.default_rng(seed))
    observation, _ = env.reset(seed=seed)
    states, rewards, terminated, truncated = [observation["state"]], [], False, False
    while not terminated and not truncated:
        (action,) = policy.act([[observation]], [env.instruction])
        observation, reward, terminated, truncated, _ = env.step(action)
        states.append(observation["state"])
        rewards.append(reward)
    return np.array(states), rewards, truncated


def test_every_task_has_an_instruction_of_its_own_and_a_scripted_policy():
    metaworld = simulator.import_simulator()
    assert set(TASKS) == set(metaworld.env_dict.ENV_CLS_MAP) == set(metaworld.policies.ENV_POLICY_MAP)
    assert len(set(INSTRUCTIONS.values())) == 50
    assert instruction_of("drawer-open-v3") == "Open a drawer"


def test_the_environment_is_as_gymnasium_wants_it(drawer):
    check_env(drawer, skip_render_check=True)


def test_the_same_seed_gives_the_same_episode_whatever_was_played_before(drawer):
    first, _, _ = play(drawer, seed=3, noise=0.3)
    play(drawer, seed=4)
    again, _, _ = play(drawer, seed=3, noise=0.3)
    np.testing.assert_array_equal(first, again)
    other, _, _ = play(drawer, seed=5, noise=0.3)
    assert (first[0] != other[0]).any()


def test_the_scripted_policy_opens_the_drawer_from_every_start(drawer):
    for seed in range(5):
        _, rewards, truncated = play(drawer, seed)
        assert not truncated and rewards[-1] == 1 and not any(rewards[:-1])
        assert 15 < len(rewards) < 40


def test_an_episode_without_success_is_truncated_after_50_decisions(drawer):
    drawer.reset(seed=0)
    steps = [drawer.step(np.zeros(4, dtype=np.float32)) for _ in range(MAX_DECISIONS)]
    assert [step[3] for step in steps] == [False] * 49 + [True]
    assert not any(step[1] or step[2] for step in steps)
    with pytest.raises(ResetNeeded):
        drawer.step(np.zeros(4))


def test_a_decision_is_three_steps_of_the_simulator(drawer):
    drawer.reset(seed=0)
    drawer.step(np.ones(4, dtype=np.float32))
    assert drawer.simulator.curr_path_length == 3


@needs("renderer")
def test_pictures_show_the_scene_and_follow_from_the_seed(seen):
    first = seen.reset(seed=1)[0]["image"]
    assert (first.shape, first.dtype) == ((32, 32, 3), np.uint8)
    assert first.std() > 20  # it is not empty
    seen.step(np.ones(4, dtype=np.float32))
    moved = seen.step(np.ones(4, dtype=np.float32))[0]["image"]
    assert (first != moved).any()
    np.testing.assert_array_equal(first, seen.reset(seed=1)[0]["image"])
    assert seen.render().shape == (32, 32, 3)


@needs("renderer")
def test_cameras_see_other_pictures(seen):
    other = RobotEnv("drawer-open-v3", image_size=32, camera="corner4")
    assert (seen.reset(seed=1)[0]["image"] != other.reset(seed=1)[0]["image"]).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "drawer-opn-v3"}, "no task 'drawer-opn-v3': did you mean drawer-open-v3"),
        ({"task": "drawer-open-v3", "camera": "corner9"}, "no camera 'corner9': did you mean corner"),
        ({"task": "drawer-open-v3", "image_size": 10_000}, "pictures of 10000 pixels are too large"),
    ],
)
def test_unknown_names_raise_errors_with_the_nearest_ones(arguments, message):
    with pytest.raises(InputError, match=message):
        RobotEnv(**arguments)


def test_without_the_package_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(simulator.sys.modules, "metaworld", None)
    simulator.import_simulator.cache_clear()
    with pytest.raises(InputError, match=r"Meta-World is not installed .*: pip install 'metaworld>="):
        simulator.import_simulator()
    monkeypatch.undo()
    simulator.import_simulator.cache_clear()


def test_without_a_renderer_states_are_simulated_and_the_error_says_how_to_install_one(monkeypatch):
    from mujoco import gl_context

    monkeypatch.delattr(gl_context, "GLContext", raising=False)
    assert RobotEnv("reach-v3").reset(seed=0)[0].keys() == {"state"}
    with pytest.raises(InputError, match=r"no pictures can be rendered .*: apt-get install libegl1"):
        RobotEnv("reach-v3", image_size=32)


@pytest.mark.slow
def test_an_unknown_renderer_is_one_line(tmp_path):
    arguments = ["--tasks", "reach-v3", "--episodes", "1", "--output", tmp_path / "set"]
    result = run_command("data.robot.generate", *arguments, MUJOCO_GL="none")
    assert_input_error(result, "MUJOCO_GL=none: MuJoCo finds no such renderer: unset it, or apt-get install")
