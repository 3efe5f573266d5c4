"""Noise in labels and rewards: uniform, constant for each value, and absent from padding."""

import numpy as np
import pytest
import scipy.stats

from configs.loading import load_config
from data.chess.boards import Boards
from data.noise import splitmix64, uniform_at
from tests.support.random_boards import random_file
from training.tasks import make_task


def test_numbers_are_uniform_and_independent_of_their_neighbours():
    drawn = uniform_at(np.arange(200_000), seed=0)
    assert scipy.stats.kstest(drawn, "uniform").pvalue > 0.01
    other = uniform_at(np.arange(200_000), seed=1)
    for first, second in ((drawn[1:], drawn[:-1]), (drawn[1000:], drawn[:-1000]), (drawn, other)):
        assert abs(np.corrcoef(first, second)[0, 1]) < 0.01
    assert drawn.min() >= 0 and drawn.max() < 1


def test_numbers_are_the_published_ones_of_splitmix64():
    # For the state 1234567, from Rosetta Code.
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert splitmix64(np.uint64(1234567), np.arange(1, 5, dtype=np.uint64)).tolist() == expected


def test_an_index_has_the_same_number_in_every_array():
    indices = np.array([[5, 7], [10**12, 5]])
    drawn = uniform_at(indices, seed=3)
    assert drawn.shape == (2, 2) and drawn[0, 0] == drawn[1, 1] == uniform_at(np.array(5), seed=3)
    assert drawn[0, 1] == uniform_at(np.arange(10), seed=3)[7]


@pytest.fixture
def boards_file(tmp_path):
    random_file(tmp_path / "boards.parquet", 30)
    return tmp_path / "boards.parquet"


def test_labels_have_constant_noise_and_padding_has_none(boards_file):
    boards = Boards.from_parquet(boards_file)
    noisy = boards.with_noise(0.4, seed=2)
    every = np.arange(30)
    plain, changed = boards.batch(every, True), noisy.batch(every, True)
    is_move = plain["action_ids"] >= 0
    noise = (changed["win_probs"] - plain["win_probs"])[is_move]
    assert (
        np.abs(noise).max() <= 0.2 + 1e-6 and scipy.stats.kstest((noise + 0.2) / 0.4, "uniform").pvalue > 0.01
    )
    assert (changed["win_probs"][~is_move] == 0).all()
    # The noise does not depend on the batch.
    some = noisy.batch(every[[7, 3]], True)["win_probs"]
    row = changed["win_probs"][3]
    np.testing.assert_array_equal(some[1][: row.size][is_move[3][: some.shape[1]]], row[is_move[3]])
    pairs = noisy.pairs(np.arange(boards.offsets[3], boards.offsets[4]), True)["win_probs"][:, 0]
    np.testing.assert_array_equal(pairs, row[is_move[3]])
    np.testing.assert_array_equal(boards.batch(every, True)["win_probs"], plain["win_probs"])


def test_chess_trains_on_noisy_labels_and_is_evaluated_on_true_ones(boards_file):
    settings = [f"data.train={boards_file}", f"data.validation={boards_file}", "data.label_noise=0.5"]
    task = make_task(load_config("chess_tiny.yaml", [*settings, "model.hidden_size=16"]))
    task.load_data()
    trained_on, held_out = task.examples.batch(np.arange(30)), task.held_out.batch(np.arange(30), True)
    assert np.abs(trained_on["win_probs"] - held_out["win_probs"]).max() > 0.2
    (warning,) = task.warnings()
    assert "labels reach from -0.25 to 1.25, outside [value_min, value_max] = [0, 1]" in warning
    for enough in (["value_loss.name=mse"], ["value_loss.value_min=-0.25", "value_loss.value_max=1.25"]):
        assert make_task(load_config("chess_tiny.yaml", [*settings, *enough])).warnings() == []


def test_the_noise_depends_on_the_seed_of_the_run(boards_file):
    settings = [f"data.train={boards_file}", "data.label_noise=0.5", "model.hidden_size=16"]
    labels = []
    for seed in (0, 0, 1):
        task = make_task(load_config("chess_tiny.yaml", [*settings, f"seed={seed}"]))
        task.load_data()
        labels.append(task.examples.batch(np.arange(30))["win_probs"])
    assert (labels[0] == labels[1]).all() and np.abs(labels[0] - labels[2]).max() > 0.2


def test_only_rewards_of_guesses_have_noise(tmp_path):
    from tests.support.commands import run_command

    path = tmp_path / "games.parquet"
    result = run_command("data.wordle.generate", "--words", "american_446", "--games", 300, "--output", path)
    assert result.returncode == 0, result.stderr
    tasks = []
    for noise, seed in ((0, 0), (0.6, 0), (0.6, 0), (0.6, 1)):
        settings = [
            f"data.train={path}",
            f"data.reward_noise={noise}",
            f"seed={seed}",
            "model.hidden_size=16",
        ]
        tasks.append(make_task(load_config("wordle_tiny.yaml", settings)))
        tasks[-1].load_data()
    plain, noisy, again, other = (task.examples for task in tasks)
    noise = noisy.rewards - plain.rewards
    is_turn = np.arange(6) < plain.num_turns[:, None]
    assert (noise[~is_turn] == 0).all()
    assert scipy.stats.kstest(noise[is_turn] / 0.6, "uniform").pvalue > 0.01
    assert (again.rewards == noisy.rewards).all() and np.abs(other.rewards - noisy.rewards).max() > 0.2
    # The mean return of the games is that of their true rewards.
    assert tasks[0].data_return == tasks[1].data_return
