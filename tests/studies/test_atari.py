"""Agents of a study are measured in the games that they were trained on."""

import numpy as np
import pytest
import torch

from configs.loading import load_config
from eval.atari.playing import evaluate_policy
from studies import atari
from training.tasks import make_task


def test_an_agent_plays_its_own_game(tmp_path, monkeypatch):
    monkeypatch.setattr(atari, "NUM_EPISODES", 8)
    config = load_config("atari_tiny.yaml", ["atari.game=minatar_asterix"])
    task = make_task(config)
    task.model.save_pretrained(tmp_path)
    task.save(tmp_path)
    breakout = load_config("atari_tiny.yaml", [])
    (play,) = atari.StudiedAtari(breakout, torch.device("cpu")).measurements(None)
    task.device = torch.device("cpu")
    (game,) = task.games
    episodes = evaluate_policy(game, task.choose_actions, 8, stack=1, epsilon=atari.EPSILON)
    expected = np.mean([episode.total_reward for episode in episodes])
    assert play.measure(tmp_path) == {"mean_return": pytest.approx(expected)}
