"""Emulators: ALE equals gymnasium's preprocessing, MinAtar its own environment; faults are named."""

import ale_py
import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import AtariPreprocessing

from cli.errors import InputError
from data.atari import games
from data.atari.ale import variants
from data.atari.games import MINATAR_GAMES, make_environments, make_game, single_game


gymnasium.register_envs(ale_py)


def ale_seed(seed: int) -> int:
    """Return the seed that gymnasium's environment gives to the emulator."""
    return int(np.random.SeedSequence(seed).generate_state(2)[1].astype(np.int32))


@pytest.mark.parametrize(
    ("name", "identifier", "size"),
    [("breakout", "Breakout", 84), ("pong", "Pong", 84), ("space_invaders", "SpaceInvaders", 42)],
)
def test_frames_and_rewards_of_ale_equal_gymnasiums_preprocessing(name, identifier, size):
    env = gymnasium.make(f"ALE/{identifier}-v5", frameskip=1, repeat_action_probability=0.25)
    env = AtariPreprocessing(env, noop_max=0, screen_size=size)
    environments = make_environments(make_game(name, frame_size=size), 1)
    rng = np.random.default_rng(0)
    seed = next(seed for seed in range(100) if ale_seed(seed) >= 0)
    frame, _ = env.reset(seed=seed)
    frames = environments.reset(np.array([ale_seed(seed)]))
    total = 0.0
    for _ in range(300):
        assert frames.shape == (1, 1, size, size) and np.array_equal(frames[0, 0], frame)
        action = rng.integers(env.action_space.n)
        frame, reward, terminated, _, _ = env.step(action)
        frames, rewards, is_over, is_truncated = environments.step(np.array([action]))
        assert (rewards[0], is_over[0], is_truncated[0]) == (reward, terminated, False)
        total += reward
        if terminated:
            break
    assert total  # rewards were compared


def test_episodes_of_ale_do_not_depend_on_the_number_of_threads():
    plays = []
    for num_threads in (1, 2, 5):
        environments = make_environments(make_game("breakout", frame_size=42), 5, num_threads)
        steps = [environments.reset(np.arange(5))]
        steps += [array for step in range(40) for array in environments.step(np.full(5, step % 4))[:2]]
        plays.append(steps)
    for other in plays[1:]:
        assert all(np.array_equal(*pair) for pair in zip(plays[0], other, strict=True))
    assert any(not np.array_equal(frames[0], frames[1]) for frames in plays[0][1::2])  # by sticky actions


@pytest.mark.parametrize("name", MINATAR_GAMES)
def test_episodes_of_minatar_equal_those_of_its_environment(name):
    from minatar import Environment

    env, game = Environment(name.removeprefix("minatar_")), single_game(make_game(name))
    actions = env.minimal_action_set()
    rng = np.random.default_rng(0)
    for seed in range(3):
        env.seed(seed)
        env.reset()
        env.last_action = 0  # which it leaks into the next episode
        frame, is_over = game.reset(seed), False
        for _ in range(300):
            assert np.array_equal(frame, env.state().transpose(2, 0, 1))
            action = int(rng.integers(len(actions)))
            reward, is_over = env.act(actions[action])
            frame, *found = game.step(action)
            assert found == [reward, is_over]
            if is_over:
                break


def test_an_episode_is_cut_off_at_the_time_limit_and_the_next_one_has_its_own_limit():
    environments = make_environments(make_game("minatar_freeway", max_steps=5), 2)
    environments.reset(np.arange(2))
    for _ in range(3):
        for _ in range(4):
            assert not environments.step(np.zeros(2, dtype=int))[3].any()
        _, _, terminated, truncated = environments.step(np.zeros(2, dtype=int))
        assert truncated.all() and not terminated.any()
        environments.reset(np.arange(2), truncated)


def test_asteroids_and_space_invaders_have_the_variants_of_the_paper():
    assert [np.prod([len(part) for part in variants(name)]) for name in ("asteroids", "space_invaders")] == [
        66,
        32,
    ]


def test_a_variant_plays_differently_and_the_default_variant_as_the_vector_environment():
    plays = []
    for settings in ({}, {"mode": 0, "difficulty": 0}, {"mode": 3, "difficulty": 3}):
        environments = make_environments(make_game("asteroids", **settings), 2)
        frames = [environments.reset(np.array([4, 5]))]
        frames += [environments.step(np.array([step % 14, 3]))[0] for step in range(30)]
        plays.append(np.stack(frames))
    assert np.array_equal(plays[0], plays[1])
    assert not np.array_equal(plays[1], plays[2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "braekout"}, "there is no game 'braekout': did you mean breakout"),
        ({"name": "SpaceInvaders"}, "did you mean space_invaders"),
        ({"name": "minatar_pong"}, "no game 'minatar_pong'"),
        ({"name": "asteroids", "mode": 77}, "asteroids has no mode 77: choose from 0, 1, 2"),
        ({"name": "minatar_breakout", "mode": 1}, "no variants"),
        ({"name": "minatar_breakout", "max_steps": 1}, "max_steps at least 2"),
        ({"name": "minatar_breakout", "frame_size": 84}, "frames of 10 by 10"),
        ({"name": "breakout", "frame_size": -3}, "frame_size is -3"),
        ({"name": "breakout", "repeat_action_probability": 2}, "repeat_action_probability is 2"),
    ],
)
def test_games_that_do_not_exist_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        make_game(**arguments)


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(games, "find_spec", lambda module: None)
    with pytest.raises(InputError, match=r"ale-py, which is not installed: pip install 'ale-py>=0.12,<0.13'"):
        make_game("breakout")
    with pytest.raises(InputError, match=r"'minatar_brekout': did you mean minatar_breakout"):
        make_game("minatar_brekout")
    with pytest.raises(InputError, match=r"pip install 'MinAtar>="):
        make_game("minatar_breakout")
