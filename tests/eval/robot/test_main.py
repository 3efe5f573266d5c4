"""`python -m eval.robot` measures a policy, compares two, and draws a video."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.errors import InputError
from data.robot.metaworld import MAX_DECISIONS
from data.robot.scripted_policies import ScriptedPolicy
from eval.robot.evaluation import EPISODES_AT_A_TIME, play_episodes
from eval.robot.policy import make_policy
from tests.support.commands import assert_input_error, run_command
from tests.support.programs import needs


TASK = "drawer-open-v3"


class Still:
    """Never moves; records how many episodes it acts in at a time."""

    image_size, camera = None, "behindGripper"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def act(self, histories, instructions):
        self.batches.append(len(histories))
        assert len(histories[0]) == len(self.batches)  # all observations so far
        return np.zeros((len(histories), 4), dtype=np.float32)


def scripted(noise: float) -> ScriptedPolicy:
    return ScriptedPolicy(noise, np.random.default_rng(0))


def test_all_episodes_act_in_one_batch_until_they_end():
    policy = Still()
    results = play_episodes(policy, [TASK], 3, seed=0)
    assert policy.batches == [3] * MAX_DECISIONS
    assert (results.decisions == MAX_DECISIONS).all() and not results.success.any()
    found = results.summarise()
    assert (found["success_rate"], found["num_episodes"], found["decisions_to_success"]) == (0, 3, None)


def test_the_scripted_policy_succeeds_and_the_same_seed_gives_the_same_results():
    first, again = (play_episodes(scripted(0), [TASK, "reach-v3"], 2, seed=1) for _ in range(2))
    assert first.success.all() and first.success.shape == (2, 2)
    np.testing.assert_array_equal(first.decisions, again.decisions)
    other = play_episodes(scripted(0), [TASK, "reach-v3"], 2, seed=2)
    assert (first.decisions != other.decisions).any()


@pytest.mark.slow
def test_a_start_does_not_depend_on_the_number_of_episodes():
    few = play_episodes(scripted(0), ["reach-v3"], 2, seed=0)
    many = play_episodes(scripted(0), ["reach-v3"], EPISODES_AT_A_TIME + 1, seed=0)
    np.testing.assert_array_equal(few.decisions, many.decisions[:, :2])


def test_results_have_intervals_by_task():
    found = play_episodes(scripted(0), [TASK, "reach-v3"], 2, seed=0).summarise()
    assert found["success_rate"] == 1 and found["low"] == pytest.approx(0.51, abs=0.01)
    assert found["tasks"].keys() == {TASK, "reach-v3"}
    assert found["tasks"][TASK]["num_episodes"] == 2
    assert 0 < found["fraction_outside_policy"] < 1


@pytest.mark.parametrize("spec", ["clever", "scripted:loud", "scripted:-1", "random:1"])
def test_unknown_policies_are_errors(spec):
    with pytest.raises(InputError, match="choose scripted:SD"):
        make_policy(spec, np.random.default_rng(0))


@needs("renderer")
@pytest.mark.slow
def test_the_command_compares_policies_and_draws_the_first(tmp_path):
    json_file, video = tmp_path / "robot.json", tmp_path / "robot.gif"
    arguments = ["--policy", "scripted:0", "--tasks", TASK, "--episodes", 4, "--compare", "policy:random"]
    result = run_command("eval.robot", *arguments, "--json", json_file, "--video", video)
    assert result.returncode == 0, result.stderr
    found = json.loads(json_file.read_text())
    assert found["policy"] == "scripted:0" and found["success_rate"] == 1
    assert found["references"]["random"]["success_rate"] == 0
    assert found["comparison"]["only_first_won"] == 4 and found["comparison"]["mcnemar_p_value"] == 0.125
    assert "100.0%" in result.stdout and "McNemar p = 0.125" in result.stdout
    with Image.open(video) as frames:
        assert 15 < frames.n_frames < MAX_DECISIONS
        assert frames.size == (480, 320)  # two rows of up to three


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        (["--tasks", "drawer-opn-v3"], ["no task 'drawer-opn-v3': did you mean drawer-open-v3"]),
        (["--policy", "clever"], ["unknown policy 'clever'"]),
        (["--compare", "policy:clever"], ["unknown policy 'clever'"]),
        (["--compare", "nowhere"], ["nowhere: no such folder"]),
        (["--video", "{folder}/file/robot.gif"], ["is a file, not a folder"]),
        (["--video", "{folder}/robot.mp4"], ["give a name that ends in .gif"]),
        (["--json", "{folder}"], ["is a folder: give the path of a file"]),
    ],
)
def test_bad_input_is_an_error_before_episodes_are_played(tmp_path: Path, more, parts):
    (tmp_path / "file").write_text("")
    more = [text.format(folder=tmp_path) for text in more]
    arguments = ["--policy", "scripted:0", "--tasks", TASK, "--episodes", 1000]
    assert_input_error(run_command("eval.robot", *arguments, *more), *parts)
