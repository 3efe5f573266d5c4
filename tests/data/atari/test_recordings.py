"""Recordings: read, emulated into frames once, and refused where they are faulty."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli.errors import InputError
from data.atari.episodes import emulate
from data.atari.games import make_game
from data.atari.preparation import FORMAT, prepare
from data.atari.recorded_steps import RecordedSteps
from data.atari.recordings import SCHEMA, read_recording
from data.dataset_card import find_kind
from data.episode_ends import TRUNCATED
from data.prepared_folder import read_meta
from data.replay import Sampling
from tests.support.atari_episodes import record_random_play
from tests.support.commands import assert_input_error, run_command


BREAKOUT = make_game("minatar_breakout", max_steps=30)
FREEWAY = make_game("minatar_freeway", max_steps=40)


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "breakout.parquet"
    record_random_play(path, BREAKOUT, 150)
    return path


def test_prepared_frames_are_those_of_the_episodes(recording):
    folder = prepare(recording)
    frames, ages = (np.load(folder / f"{name}.npy") for name in ("frames", "ages"))
    episodes = read_recording(recording).episodes
    assert read_meta(folder, FORMAT)["num_episodes"] == len(episodes) > 10
    starts = np.flatnonzero(ages == 0)
    for steps in emulate(BREAKOUT, episodes, "recording"):
        assert np.array_equal(frames[starts[steps.episodes] + steps.ages], steps.frames)


def test_a_recording_is_prepared_once_and_again_when_it_changes(recording):
    folder = prepare(recording)
    written = (folder / "frames.npy").stat().st_mtime_ns
    assert prepare(recording) == folder == prepare(folder)
    assert (folder / "frames.npy").stat().st_mtime_ns == written
    record_random_play(recording, BREAKOUT, 100, seed=1)
    prepare(recording)
    assert read_meta(folder, FORMAT)["num_episodes"] == len(read_recording(recording).episodes)


def test_batches_have_returns_to_the_end_of_the_episode_and_no_step_at_a_time_limit(recording):
    steps = RecordedSteps(prepare(recording), Sampling(stack=2, n_step=2, discount=0.9))
    batch = steps.batch(np.arange(len(steps)))
    assert batch["observations"].shape == (len(steps), 8, 10, 10)
    rewards, ends = steps.rewards, steps.ends
    expected = np.zeros(len(rewards) + 1)
    for row in reversed(range(len(rewards))):
        expected[row] = rewards[row] + 0.9 * expected[row + 1] * (ends[row] == 0)
    np.testing.assert_allclose(batch["returns"], expected[:-1][ends != TRUNCATED], rtol=1e-6)
    assert rewards.any() and (ends == TRUNCATED).any()


def test_all_games_of_a_folder_are_sampled_equally_often(tmp_path):
    folder = tmp_path / "games"
    folder.mkdir()
    record_random_play(folder / "a.parquet", make_game("minatar_asterix", max_steps=25), 30)
    record_random_play(folder / "b.parquet", make_game("minatar_breakout", max_steps=5), 55)
    steps = RecordedSteps(prepare(folder), Sampling())
    batch = steps.batch(np.arange(len(steps)))
    assert [game.name for game in steps.games] == ["minatar_asterix", "minatar_breakout"]
    returns = [read_recording(folder / name).episodes for name in ("a.parquet", "b.parquet")]
    means = [np.mean([episode.total_reward for episode in episodes]) for episodes in returns]
    assert len(returns[0]) < len(returns[1]) and steps.mean_return == pytest.approx(np.mean(means))
    counts = np.bincount(batch["games"])
    assert counts[0] == counts[1] == 11 * 2 * 4  # the larger game's steps


def test_noise_in_rewards_is_the_same_for_every_reader(recording):
    folder, sampling = prepare(recording), Sampling(stack=2)
    plain, *noisy = (RecordedSteps(folder, sampling, noise, seed=3).rewards for noise in (0, 0.5, 0.5))
    assert np.array_equal(*noisy)
    noise = noisy[0] - plain
    assert 0 <= noise.min() < 0.05 < 0.45 < noise.max() <= 0.5


def change(path, **columns) -> None:
    """Replace columns of the third row of a recording."""
    rows = pq.read_table(path).to_pylist()
    rows[2] |= columns
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"crc": 1}, r"MinAtar .* does not reproduce episode 2 of minatar_breakout \(seed \d+\)"),
        ({"return": 99.0}, "does not reproduce episode 2"),
        ({"actions": b"\0\1"}, "does not reproduce episode 2"),
        ({"actions": b"\7\7"}, "action 7 is not one of the 3 of minatar_breakout"),
        ({"actions": b""}, "row 2: the episode has an empty column or no actions"),
        ({"seed": -1}, "row 2: the seed -1 is not from 0 to"),
        ({"emulator": "MinAtar 1.0.11"}, "recorded with MinAtar 1.0.11, .* pip install MinAtar==1.0.11"),
        ({"game": "minatar_braekout"}, "row 2: there is no game 'minatar_braekout': did you mean"),
        ({"settings": '{"frame": 3}'}, "row 2: .* are not settings of a game"),
        ({"settings": '{"frame_size": "10"}', "game": "breakout"}, "row 2: .* are not settings of a game"),
        ({"settings": "[", "seed": 3}, "row 2: .* are not settings of a game"),
        ({"game": "minatar_freeway"}, "the frames of its games differ in shape: minatar_breakout"),
    ],
)
def test_a_faulty_recording_is_refused_and_nothing_is_written(recording, columns, message):
    change(recording, **columns)
    with pytest.raises(InputError, match=message):
        prepare(recording)
    assert {path.name for path in recording.parent.iterdir()} <= {
        "breakout.parquet",
        ".breakout.parquet.prepared.lock",
    }


def test_an_empty_recording_and_a_file_of_another_kind_are_refused_in_one_line(tmp_path):
    pq.write_table(pa.Table.from_pylist([], SCHEMA), tmp_path / "empty.parquet")
    result = run_command("data.atari.preparation", tmp_path / "empty.parquet")
    assert_input_error(result, "the recording has no episodes")
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "other.parquet")
    result = run_command("data.atari.preparation", tmp_path / "other.parquet")
    assert_input_error(result, "column 'game' is missing")


def test_a_recording_is_published_with_its_counts(recording, tmp_path):
    assert find_kind([recording]).name == "atari"
    result = run_command("data.publish", "--data", recording, "--folder", tmp_path / "dataset")
    assert result.returncode == 0, result.stderr
    card = (tmp_path / "dataset/README.md").read_text()
    episodes = read_recording(tmp_path / "dataset/data").episodes
    assert f"| episodes | {len(episodes)} |" in card and "| emulator | MinAtar " in card
    meta = read_meta(prepare(str(tmp_path / "dataset"), tmp_path / "arrays"), FORMAT)
    assert meta["num_episodes"] == len(episodes)
