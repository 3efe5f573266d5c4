"""Decisions as training examples: returns, histories and next observations, against loops by hand."""

from pathlib import Path

import numpy as np
import pytest

from data.robot.episodes import Episodes, read_episodes
from data.robot.examples import Decisions
from tests.support.robot_data import write_robot_data


@pytest.fixture(scope="module")
def episodes(tmp_path_factory) -> Episodes:
    folder: Path = tmp_path_factory.mktemp("robot") / "data"
    return read_episodes(str(write_robot_data(folder, state_size=3)), with_images=False)


def decisions_of(episodes: Episodes, **settings) -> Decisions:
    return Decisions(episodes, np.array([[5, 6, 7]]), discount=0.5, **settings)


@pytest.mark.parametrize("history", [1, 3])
def test_a_decision_has_its_history_its_return_and_the_next_observation(episodes, history):
    decisions = decisions_of(episodes, history=history)
    batch = decisions.batch(np.arange(len(decisions)))
    assert len(decisions) == len(episodes.rewards) and (batch["input_ids"] == [5, 6, 7]).all()
    for start, end in zip(episodes.starts, episodes.starts[1:], strict=False):
        for frame in range(start, end):
            window = [max(frame + i, start) for i in range(1 - history, 1)] + [min(frame + 1, end - 1)]
            np.testing.assert_array_equal(batch["states"][frame], episodes.states[window])
            expected = sum(0.5 ** (i - frame) * episodes.rewards[i] for i in range(frame, end))
            assert batch["returns"][frame] == pytest.approx(expected)
            assert batch["is_last"][frame] == (frame == end - 1)
            np.testing.assert_array_equal(batch["actions"][frame], episodes.actions[frame])


def test_episodes_without_success_can_be_left_out(episodes):
    decisions = decisions_of(episodes, only_successes=True)
    batch = decisions.batch(np.arange(len(decisions)))
    assert 0 < len(decisions) < len(episodes.rewards)
    assert (batch["returns"] > 0).all()
    assert batch["is_last"].sum() == batch["rewards"].sum() == episodes.successes.sum()


def test_noise_of_rewards_is_a_function_of_frame_and_seed(episodes):
    plain, noisy, again, other = (
        decisions_of(episodes, reward_noise=noise, seed=seed)
        for noise, seed in ((0.0, 0), (0.1, 0), (0.1, 0), (0.1, 1))
    )
    added = noisy.rewards - plain.rewards
    assert (added >= -1e-7).all() and 0.05 < added.max() <= 0.1
    np.testing.assert_array_equal(noisy.rewards, again.rewards)
    assert (noisy.rewards != other.rewards).any()
    assert noisy.fingerprint() == again.fingerprint() != other.fingerprint()
    assert (noisy.returns > plain.returns).any()


def test_images_and_their_order_are_part_of_the_fingerprint(tmp_path):
    with_images = read_episodes(str(write_robot_data(tmp_path / "data", image_size=16)), with_images=True)
    decisions = decisions_of(with_images)
    assert decisions.batch(np.array([0, 3]))["images"].shape == (2, 2, 16, 16, 3)
    before = decisions.fingerprint()
    with_images.images = with_images.images[::-1]
    assert decisions.fingerprint() != before


def test_shifted_images_are_copies_of_a_decision_with_repeated_edges(tmp_path):
    with_images = read_episodes(str(write_robot_data(tmp_path / "data", image_size=16)), with_images=True)
    plain, shifted = decisions_of(with_images, history=2), decisions_of(with_images, history=2, image_shift=2)
    assert len(shifted) == 25 * len(plain) and shifted.fingerprint() == plain.fingerprint()
    of_decision = np.arange(len(plain) - 1, len(shifted), len(plain))  # all copies of the last decision
    expected, copies = plain.batch(of_decision[:1]), shifted.batch(of_decision)
    for name in ("states", "actions", "rewards", "returns", "is_last", "input_ids"):
        assert (copies[name] == expected[name]).all()
    padded = np.pad(expected["images"][0], ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
    windows = [padded[:, top : top + 16, left : left + 16] for top in range(5) for left in range(5)]
    np.testing.assert_array_equal(copies["images"], windows)
    np.testing.assert_array_equal(copies["images"][12], expected["images"][0])
