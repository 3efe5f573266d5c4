"""Files in the format of the DQN replay data set, read without their padding and their stale slot."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from data.atari.recorded_steps import RecordedSteps
from data.episode_ends import TERMINATED, TRUNCATED
from data.replay import Sampling
from tests.support.commands import assert_input_error, run_command


PADDING = 3
COLUMNS = ("observation", "action", "reward", "terminal")


def steps_of(lengths: list[int], first: int) -> list[tuple]:
    """Return (pixel, action, reward, terminal) of episodes; pixels count the steps from `first`."""
    steps = []
    for length in lengths:
        for step in range(length):
            steps.append((first + len(steps), (first + step) % 4, float(step % 2), int(step == length - 1)))
    return steps


def write_checkpoint(folder: Path, number: int, slots: list[tuple]) -> None:
    """Write slots as Dopamine does: the file of a column is a gzipped array of NumPy."""
    pixels, actions, rewards, terminals = (np.array(column) for column in zip(*slots, strict=True))
    frames = np.zeros((len(slots), 84, 84), dtype=np.uint8)
    frames += pixels.astype(np.uint8)[:, None, None]
    arrays = (frames, actions.astype(np.int32), rewards.astype(np.float32), terminals.astype(np.uint8))
    folder.mkdir(exist_ok=True)
    for column, array in zip(COLUMNS, arrays, strict=True):
        with gzip.open(folder / f"$store$_{column}_ckpt.{number}.gz", "wb", compresslevel=1) as file:
            np.save(file, array, allow_pickle=False)


@pytest.fixture
def logs(tmp_path) -> Path:
    """Two checkpoints: whole episodes and the start of one; its rest and another start."""
    folder, zeros, stale = tmp_path / "replay_logs", [(0, 0, 0.0, 0)] * PADDING, [(250, 3, 1.0, 0)]
    first, second = steps_of([6, 5], 1), steps_of([9], 20)
    slots = [*zeros, *first[:6], *zeros, *first[6:], *zeros, *second[:4], *stale]
    write_checkpoint(folder, 0, slots)
    write_checkpoint(folder, 1, [*second[4:], *zeros, *steps_of([7], 40)[:5], *stale])
    return folder


def convert(logs: Path, output: Path, game: str = "breakout"):
    return run_command("data.atari.dqn_replay", "--game", game, "--data", logs, "--output", output)


def test_steps_are_read_without_padding_and_stale_slots(logs, tmp_path):
    result = convert(logs, tmp_path / "arrays")
    assert result.returncode == 0, result.stderr
    assert "25 steps of breakout in 3 episodes" in result.stdout
    steps = RecordedSteps(tmp_path / "arrays", Sampling())
    pixels = steps.frames[:, 0, 0, 0].tolist()
    assert pixels == [*range(1, 12), *range(20, 29), *range(40, 45)]
    assert np.flatnonzero(steps.ends == TERMINATED).tolist() == [5, 10, 19]
    # The steps that lack the frame after them, or the frames before them, are not sampled.
    assert np.flatnonzero(steps.ends == TRUNCATED).tolist() == [14, 15, 16, 17, 24]
    stacks = steps.batch(np.arange(len(steps)))["observations"][:, :, 0, 0].tolist()
    assert len(stacks) == 20
    assert stacks[:2] == [[0, 0, 0, 1], [0, 0, 1, 2]]
    assert stacks[6] == [0, 0, 0, 7]
    assert stacks[11:15] == [[0, 0, 0, 20], [0, 0, 20, 21], [0, 20, 21, 22], [24, 25, 26, 27]]


def test_missing_and_damaged_files_are_named_and_nothing_is_written(logs, tmp_path):
    path = logs / "$store$_reward_ckpt.1.gz"
    path.write_bytes(path.read_bytes()[:-9])
    assert_input_error(convert(logs, tmp_path / "arrays"), "$store$_reward_ckpt.1.gz: cannot be read")
    path.unlink()
    assert_input_error(convert(logs, tmp_path / "arrays"), "$store$_reward_ckpt.1.gz is missing")
    assert_input_error(convert(tmp_path, tmp_path / "arrays"), "has no files $store$_observation_ckpt.N.gz")
    write_checkpoint(logs, 1, [*steps_of([8], 0)[:-1], (1, 9, 0.0, 1), (0, 0, 0.0, 0)])
    assert_input_error(convert(logs, tmp_path / "arrays"), "checkpoint 1 has action 9, and breakout has 4")
    result = convert(logs, tmp_path / "arrays", "minatar_breakout")
    assert_input_error(result, "minatar_breakout: the data set has games of ALE")
    assert not (tmp_path / "arrays").exists()
