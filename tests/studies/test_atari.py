"""Agents of a study are measured in the games that they were trained on, and probed in recorded episodes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from cli.errors import InputError
from configs.loading import load_config
from data.atari.games import make_game
from eval.atari.playing import evaluate_policy
from studies import atari
from tests.support.atari_episodes import record_random_play
from tests.support.commands import assert_input_error, run_checked, run_command
from training.tasks import make_task
from training.tasks.atari import AtariTask


CPU = torch.device("cpu")


def save_agent(folder: Path, *settings: str, config: str = "atari_tiny.yaml") -> AtariTask:
    """Save an untrained agent as train.py does."""
    task = make_task(load_config(config, list(settings)))
    task.model.save_pretrained(folder)
    task.save(folder)
    task.device = CPU
    return task


@pytest.fixture
def recording(tmp_path) -> Path:
    path = tmp_path / "breakout.parquet"
    record_random_play(path, make_game("minatar_breakout", max_steps=25), 400)
    return path


def offline(recording: Path, *settings: str) -> atari.StudiedAtari:
    config = load_config("atari_cql.yaml", [f"data.train={recording}", *settings])
    return atari.StudiedAtari(config, CPU)


def test_an_agent_plays_its_own_game(tmp_path, monkeypatch):
    monkeypatch.setattr(atari, "NUM_EPISODES", 8)
    task = save_agent(tmp_path, "atari.game=minatar_asterix")
    breakout = load_config("atari_tiny.yaml", [])
    (play,) = atari.StudiedAtari(breakout, CPU).measurements(None)
    (game,) = task.games
    episodes = evaluate_policy(game, task.choose_actions, 8, stack=1, epsilon=atari.EPSILON)
    expected = np.mean([episode.total_reward for episode in episodes])
    assert play.measure(tmp_path) == {"mean_return": pytest.approx(expected)} and not play.levels


def test_an_offline_agent_plays_the_game_of_its_recording_and_is_compared_with_the_data(
    tmp_path, monkeypatch, recording
):
    monkeypatch.setattr(atari, "NUM_EPISODES", 4)
    small = ("model.architecture=minatar", "model.hidden_size=8")
    task = save_agent(tmp_path / "model", f"data.train={recording}", *small, config="atari_cql.yaml")
    (play,) = offline(recording).measurements(None)
    (level,) = play.levels
    task.load_data()
    steps = task.examples
    assert level.key == "mean_return" and level.value == steps.rewards.sum() / (steps.ends != 0).sum() > 0
    (game,) = steps.games
    episodes = evaluate_policy(game, task.choose_actions, 4, stack=1, epsilon=atari.EPSILON)
    assert play.measure(tmp_path / "model")["mean_return"] == np.mean(
        [episode.total_reward for episode in episodes]
    )


def test_probes_of_a_state_are_about_the_rest_of_its_episode(recording):
    probed = offline(recording, "q_learning.discount=0.9").probed(12)
    steps, targets = probed.steps, probed.targets
    rows = probed.rows.tolist()
    for number, row in enumerate(rows):
        last = row + int(np.argmax(steps.ends[row:] != 0))
        rewards = steps.rewards[row : last + 1]
        expected = sum(0.9**age * reward for age, reward in enumerate(rewards.tolist()))
        assert targets.values["value"][number] == pytest.approx(expected, abs=1e-6)
        assert targets.values["reward_soon"][number] == rewards[:10].any()
        assert targets.values["objects"][number] == steps.frames[row].sum()
    assert 0 < targets.values["reward_soon"].mean() < 1
    # No episode is in both halves, and both have late ones.
    episodes = np.cumsum(steps.ages == 0)[rows]
    halves = [set(episodes[mask]) for mask in (targets.is_first, ~targets.is_first)]
    assert not halves[0] & halves[1] and len(halves[0]) == len(halves[1]) == 6
    assert "12 episodes" in probed.description and min(map(max, halves)) > episodes.max() / 2


def test_features_are_the_frames_and_those_that_values_are_computed_from(tmp_path, recording):
    probed = offline(recording).probed(12)
    task = save_agent(tmp_path / "model", "model.hidden_size=8")
    pixels, conv, dense = map(torch.as_tensor, probed.features(tmp_path / "model"))
    observations = probed.steps.stacks(probed.rows)
    assert torch.equal(pixels, observations.flatten(1).float()) and conv.shape[1] == 16 * 8 * 8
    with torch.no_grad():
        expected, found = task.model(observations).logits, task.model.head(dense)
    torch.testing.assert_close(found.view_as(expected), expected)


def test_agents_for_ale_are_not_probed(tmp_path):
    path = tmp_path / "pong.parquet"
    record_random_play(path, make_game("pong", max_steps=5), 10)
    with pytest.raises(InputError, match="too large to probe: choose MinAtar"):
        offline(path).probed(4)


def test_agents_are_probed_in_episodes_of_their_own_game(tmp_path, recording):
    config = load_config("atari_tiny.yaml", ["atari.game=minatar_asterix"])
    with pytest.raises(InputError, match="not recorded: give --recording FILE"):
        atari.StudiedAtari(config, CPU).probed(12)
    save_agent(tmp_path / "model", "atari.game=minatar_asterix")
    probed = atari.StudiedAtari(config, CPU, recording).probed(12)
    with pytest.raises(InputError, match=r"episodes of minatar_breakout, and .* plays minatar_asterix"):
        list(probed.features(tmp_path / "model"))


@pytest.mark.slow
def test_a_study_of_a_recording_is_trained_and_probed(tmp_path, recording):
    output = tmp_path / "study"
    chosen = ["--variants", "mse", "--points", "noise_0.1", "--seeds", 0, "--quick"]
    run_checked("studies", "atari_offline", "--output", output, *chosen, f"data.train={recording}")
    results = json.loads((output / "results.json").read_text())
    assert results["levels"][0]["title"] == "the data" and len(results["cells"]) == 1
    assert results["quick"] is True
    run_checked("studies.probes", output, "--point", "noise_0.1", "--examples", 40)
    results = json.loads((output / "probes/results.json").read_text())
    scores = {row["point"]: row["mean"] for row in results["means"] if row["measure"] == "objects"}
    assert set(scores) == {"0", "1", "2"} and scores["0"] > 0.9
    missing = tmp_path / "missing.parquet"
    assert_input_error(
        run_command("studies.probes", output, "--point", "noise_0.1", "--recording", missing), str(missing)
    )
