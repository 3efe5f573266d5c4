"""Generation writes the same files with any number of processes, and after an interruption."""

import os
import signal
import time
from pathlib import Path

import datasets
import numpy as np
import pytest

from data.robot.episodes import read_episodes
from tests.support.commands import assert_input_error, run_command, start_command
from tests.support.programs import needs


GENERATE = "data.robot.generate"
ARGUMENTS = ("--tasks", "drawer-open-v3,reach-v3", "--episodes", 9, "--noise", "0:.8,2:.2")  # two parts


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("robot") / "set"
    result = run_command(GENERATE, *ARGUMENTS, "--output", folder)
    assert result.returncode == 0, result.stderr
    assert "18 episodes" in result.stdout and "noise 0 100.0% of" in result.stdout
    return folder


def test_the_written_episodes_are_read(dataset):
    episodes = read_episodes(str(dataset), with_images=False)
    assert len(episodes) == 18 and episodes.instructions == ["Open a drawer", "Reach a goal position"]
    assert episodes.states.shape == (len(episodes.actions), 39)
    assert episodes.actions.shape[1] == 4 and np.abs(episodes.actions).max() == 1
    # The tasks take turns.
    np.testing.assert_array_equal(episodes.tasks[episodes.starts[:-1]], np.arange(18) % 2)
    lengths = np.diff(episodes.starts)
    assert lengths.max() <= 50 and (lengths[~episodes.successes] == 50).all()
    assert 0.4 < episodes.successes.mean() < 1


def test_datasets_loads_the_frames(dataset, tmp_path):
    rows = datasets.load_dataset(str(dataset), cache_dir=str(tmp_path))["train"]
    episodes = read_episodes(str(dataset), with_images=False)
    np.testing.assert_array_equal(np.float32(rows["observation.state"]), episodes.states)
    np.testing.assert_array_equal(rows["next.reward"], episodes.rewards)
    assert rows["index"] == list(range(len(rows)))


@pytest.mark.slow
def test_two_processes_write_the_same_files(dataset, tmp_path):
    result = run_command(GENERATE, *ARGUMENTS, "--processes", 2, "--output", tmp_path / "set")
    assert result.returncode == 0, result.stderr
    assert contents(tmp_path / "set") == contents(dataset)
    assert os.listdir(tmp_path) == ["set"]


@pytest.mark.slow
def test_a_run_that_was_killed_continues_and_writes_the_same_files(dataset, tmp_path):
    arguments = (*ARGUMENTS, "--output", tmp_path / "set")
    process = start_command(GENERATE, *arguments)
    partial = tmp_path / "set.partial"
    while not list(partial.glob("episodes-*")):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert os.listdir(tmp_path) == ["set.partial"]
    other = run_command(GENERATE, *arguments, "--seed", 1)
    assert_input_error(other, "partial results of other arguments (seed was 0, now 1)")
    result = run_command(GENERATE, *arguments)
    assert result.returncode == 0, result.stderr
    assert contents(tmp_path / "set") == contents(dataset)
    assert os.listdir(tmp_path) == ["set"]


@pytest.mark.slow
def test_a_longer_run_of_another_set_of_tasks_has_the_same_episodes(dataset, tmp_path):
    arguments = ("--tasks", "reach-v3", "--episodes", 11, *ARGUMENTS[4:], "--output", tmp_path / "set")
    assert run_command(GENERATE, *arguments).returncode == 0
    longer, both = (read_episodes(str(path), with_images=False) for path in (tmp_path / "set", dataset))
    num_frames = longer.starts[9]
    np.testing.assert_array_equal(longer.states[:num_frames], both.states[both.tasks == 1])


@needs("renderer")
@pytest.mark.slow
def test_images_are_those_of_the_scene(tmp_path):
    arguments = ("--tasks", "reach-v3", "--episodes", 2, "--image", 32, "--output", tmp_path / "set")
    result = run_command(GENERATE, *arguments, "--camera", "corner4")
    assert result.returncode == 0, result.stderr
    episodes = read_episodes(str(tmp_path / "set"), with_images=True)
    assert episodes.images.shape == (len(episodes.actions), 32, 32, 3)
    assert isinstance(episodes.images, np.memmap) and episodes.camera == "corner4"
    assert episodes.images.std() > 20
    rows = datasets.load_dataset(str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"))["train"]
    np.testing.assert_array_equal(rows[3]["observation.images.corner4"], episodes.images[3])


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        (["--tasks", "drawer-opn-v3"], ["no task 'drawer-opn-v3': did you mean drawer-open-v3"]),
        (["--tasks", "reach-v3,reach-v3"], ["reach-v3 is given twice"]),
        (["--camera", "corner9", "--image", 32], ["no camera 'corner9': did you mean corner"]),
        pytest.param(["--image", 4000], ["pictures of 4000 pixels are too large"], marks=needs("renderer")),
        (["--noise", "0:.5,loud:.5"], ["--noise 0:.5,loud:.5: give different standard deviations"]),
        (["--noise", "0:.5,0:.5"], ["give different standard deviations"]),
        (["--noise", "0:1e308,1:1e308"], ["give different standard deviations"]),
        (["--noise", "0:-1,1:2"], ["give different standard deviations"]),
        (["--output", "{folder}/file/set"], ["is a file, not a folder"]),
        (["--output", "{folder}/full", "--overwrite"], ["full is not a dataset that this command wrote"]),
        (["--output", "{folder}/full"], ["full exists"]),
    ],
)
def test_bad_input_is_an_error_and_nothing_is_written(tmp_path, more, parts):
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    more = [str(text).format(folder=tmp_path) for text in more]
    arguments = ["--tasks", "reach-v3", "--episodes", 1, "--output", tmp_path / "set", *more]
    assert_input_error(run_command(GENERATE, *arguments), *parts)
    assert sorted(os.listdir(tmp_path)) == ["file", "full"]
