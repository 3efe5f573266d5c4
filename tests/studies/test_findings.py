"""Every study that ships, at its quick setting: seconds of training, and something that has to be found."""

import json
from pathlib import Path

import pytest

from tests.support.commands import run_command
from tests.support.easy_boards import easy_file
from training.run_log import read_metrics


pytestmark = pytest.mark.slow  # many runs of train.py


@pytest.fixture(scope="module")
def boards(tmp_path_factory) -> list[str]:
    """Settings of boards to learn from and to measure on."""
    folder = tmp_path_factory.mktemp("boards")
    train, held_out = (
        easy_file(folder / "train.parquet", 1000),
        easy_file(folder / "held_out.parquet", 100, 1),
    )
    return [f"data.train={train}", f"data.validation={held_out}"]


@pytest.fixture(scope="module")
def games(tmp_path_factory) -> list[str]:
    """Settings of games to learn from."""
    path = tmp_path_factory.mktemp("games") / "games.parquet"
    result = run_command("data.wordle.generate", "--words", "american_446", "--games", 400, "--output", path)
    assert result.returncode == 0, result.stderr
    return [f"data.train={path}"]


def study(name: str, output: Path, *options: object) -> dict[tuple[str, str], dict[str, float | None]]:
    """Run the quick setting with one seed; return what was measured, by variant and point."""
    result = run_command("studies", name, "--output", output, "--quick", "--seeds", "0", *options)
    assert result.returncode == 0, result.stderr
    results = json.loads((output / "results.json").read_text())
    keys = [measure["key"] for measure in results["measures"]] + ["parameters"]
    return {(row["variant"], row["point"]): {key: row[key] for key in keys} for row in results["cells"]}


def logged(output: Path, cell: str, key: str) -> list[float]:
    """Return what a cell logged at every step."""
    return [row[key] for row in read_metrics(output / cell / "metrics.jsonl") if row["kind"] == "train"]


def test_chess_is_learnt_with_every_loss(boards, tmp_path):
    found = study("chess_losses", tmp_path, *boards)
    assert len(found) == 5
    for measured in found.values():
        # A constant errs by 0.25 or more: ranks are uniform.
        assert measured["kendall_tau"] > 0.6 and measured["mae"] < 0.2 and measured["regret"] < 0.25


def test_many_bins_are_learnt_sooner_with_a_wide_gaussian(boards, tmp_path):
    found = study("sigma", tmp_path, "--variants", "0.5", "2", "--points", "201", *boards)
    assert found["2", "201"]["kendall_tau"] > found["0.5", "201"]["kendall_tau"] + 0.1


def test_so_they_are_with_one_that_is_wide_in_units_of_the_value(boards, tmp_path):
    found = study("sigma_absolute", tmp_path, "--variants", "0.005", "0.08", "--points", "201", *boards)
    assert found["0.08", "201"]["kendall_tau"] > found["0.005", "201"]["kendall_tau"] + 0.1


def test_certain_wins_are_valued_higher_with_either_cure(tmp_path):
    won = easy_file(tmp_path / "won.parquet", 300, all_win=True)
    settings = [f"data.train={won}", f"data.validation={won}", "value_loss.num_bins=8"]
    found = study("edges", tmp_path / "out", *settings)
    plain, padded, matched = (found[variant, ""]["wins_mae"] for variant in ("plain", "padded", "matched"))
    # Without a cure, the target of a win decodes to 0.69 bins less.
    assert plain == pytest.approx(0.69 / 8, abs=0.02)
    assert max(padded, matched) < plain - 0.02


def test_noise_in_labels_costs_precision(boards, tmp_path):
    found = study("label_noise", tmp_path, "--points", "0", "1", *boards)
    for loss in ("mse", "hl_gauss"):
        assert 1.1 * found[loss, "0"]["mae"] < found[loss, "1"]["mae"]
    assert "its change from 0" in (tmp_path / "report.md").read_text()


def test_a_larger_network_learns_more(boards, tmp_path):
    found = study("sizes", tmp_path, "--variants", "hl_gauss", "--points", "16x1", "64x3", *boards)
    small, large = found["hl_gauss", "16x1"], found["hl_gauss", "64x3"]
    assert small["parameters"] < large["parameters"] / 8 and large["mae"] < small["mae"]


def test_boards_are_learnt_sooner_as_the_mover_sees_them(boards, tmp_path):
    found = study("chess_model", tmp_path, "--variants", "default", "not_oriented", *boards)
    assert found["default", ""]["kendall_tau"] > found["not_oriented", ""]["kendall_tau"] + 0.1


def test_one_pass_learns_what_a_pass_for_every_move_learns(boards, tmp_path):
    found = study("one_pass", tmp_path, "--variants", "prefix", "full", *boards)
    assert min(measured["kendall_tau"] for measured in found.values()) > 0.6


def test_in_a_third_of_the_steps_the_higher_rate_learns_more(boards, tmp_path):
    options = ["--variants", "hl_gauss", "--points", "0.5", "4", "training.steps=20"]
    found = study("chess_rates", tmp_path, *options, *boards)
    assert found["hl_gauss", "4"]["mae"] < found["hl_gauss", "0.5"]["mae"]


def test_more_weight_of_cql_follows_the_players_more(games, tmp_path):
    study("wordle_losses", tmp_path, "--variants", "c51", "--points", "0.1", "1", *games)
    little, much = (logged(tmp_path, f"c51-{alpha}-seed0", "cql") for alpha in ("0.1", "1"))
    assert little[0] == much[0] > little[-1] > much[-1]


def test_at_a_higher_rate_the_players_are_followed_sooner(games, tmp_path):
    study("wordle_rates", tmp_path, "--variants", "mse", "--points", "0.5", "4", *games)
    slow, fast = (logged(tmp_path, f"mse-{rate}-seed0", "cql") for rate in ("0.5", "4"))
    assert slow[0] == fast[0] and slow[-1] > fast[-1]


def test_noise_raises_rewards_by_half_of_its_width(games, tmp_path):
    study("reward_noise", tmp_path, "--variants", "mse", "--points", "0", "1", *games)
    without, noisy = (logged(tmp_path, f"mse-{noise}-seed0", "target")[0] for noise in ("0", "1"))
    # Of the six tokens of a guess one has a reward.
    assert noisy - without == pytest.approx(0.5 / 6, abs=0.02)


def test_targets_of_q_learning_are_highest_and_returns_are_lower_than_what_nobody_has_learnt(games, tmp_path):
    study("targets", tmp_path, "--variants", "mse", *games)
    q_learning, sarsa, monte_carlo = (
        logged(tmp_path, f"mse-{target}-seed0", "target")[0]
        for target in ("q_learning", "sarsa", "monte_carlo")
    )
    assert q_learning > sarsa > monte_carlo
