"""Measurements of trained models: kept while model and data are the same, and right on single moves."""

from pathlib import Path

import numpy as np
import pytest
import torch

from configs.loading import load_config
from studies.chess import StudiedChess
from studies.measurements import Measure, Measurement, measure_once
from tests.eval.chess.test_engines import tiny_model
from tests.support.easy_boards import easy_file
from tests.support.random_boards import random_file


def counted(name: str, data: str, calls: list[str]) -> Measurement:
    """Return a measurement that notes its calls."""

    def measure(model: Path) -> dict:
        calls.append(name)
        return {"size": len((model / "config.json").read_text()), "other": 1}

    return Measurement(name, "nothing", data, (Measure("size", "size", "d"),), measure)


def test_models_are_measured_once_on_the_same_data(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    calls: list[str] = []
    first, second = counted("first", "some", calls), counted("second", "some", calls)
    for _ in range(2):
        assert measure_once(tmp_path, [first]) == {"size": 2}
    measure_once(tmp_path, [first, second])
    assert calls == ["first", "second"]
    measure_once(tmp_path, [counted("first", "other", calls), second])
    assert calls == ["first", "second", "first"]
    (model / "config.json").write_text("{ }")
    assert measure_once(tmp_path, [second]) == {"size": 3} and calls[3:] == ["second"]


def studied_boards(path: Path, **settings: object) -> StudiedChess:
    lines = [f"data.train={path}", f"data.validation={path}", "output_dir=out"]
    config = load_config("chess_tiny.yaml", [*lines, *(f"{key}={value}" for key, value in settings.items())])
    return StudiedChess(config, torch.device("cpu"))


def measured(studied: StudiedChess, name: str, folder: Path) -> tuple[dict, dict, np.ndarray]:
    """Return the measures of the tiny model, all boards as a batch, and its values of these boards."""
    (measurement,) = studied.measurements([name])
    batch = studied.boards.batch(np.arange(40), True)
    inputs = (torch.as_tensor(batch[name]) for name in ("input_ids", "action_ids"))
    with torch.no_grad():
        value = tiny_model().eval()(*inputs).value.numpy()
    return measurement.measure(folder), batch, value


def test_certain_wins_and_losses_are_measured_alone(tmp_path, model_folder):
    studied = studied_boards(easy_file(tmp_path / "boards.parquet", 40))
    found, batch, value = measured(studied, "certain_moves", model_folder)
    labels, is_move = batch["win_probs"], batch["action_ids"] >= 0
    wins, losses = is_move & (labels == 1), is_move & (labels == 0)
    assert 0 < wins.sum() < is_move.sum() / 2 and losses.sum() > 0
    assert found["wins_mae"] == pytest.approx((1 - value[wins]).mean(), abs=1e-5)
    assert found["losses_mae"] == pytest.approx(value[losses].mean(), abs=1e-5)
    chosen = labels[np.arange(40), np.where(is_move, value, -1).argmax(axis=1)]
    assert found["won_agreement"] == pytest.approx((chosen == 1)[wins.any(axis=1)].mean())
    assert found["won_regret"] == pytest.approx((1 - chosen)[wins.any(axis=1)].mean(), abs=1e-6)


def test_moves_that_are_not_among_the_five_best_are_measured_alone(tmp_path, model_folder):
    rows = random_file(tmp_path / "boards.parquet", 40)
    found, _, value = measured(studied_boards(tmp_path / "boards.parquet"), "other_moves", model_folder)
    errors = []
    for of_board, row in zip(value, rows, strict=True):
        others = np.argsort(row.win_probs)[:-5]
        errors.extend(of_board[others] - np.array(row.win_probs)[others])
    assert found["other_bias"] == pytest.approx(np.mean(errors), abs=1e-5)
    assert found["other_mae"] == pytest.approx(np.mean(np.abs(errors)), abs=1e-5)


def test_a_run_sees_boards_with_the_mean_number_of_moves(tmp_path):
    path = easy_file(tmp_path / "boards.parquet", 40)
    studied = studied_boards(path)
    moves = studied.boards.num_action_values / 40
    config = load_config(
        "chess_tiny.yaml", [f"data.train={path}", "training.steps=30", "training.batch_size=10"]
    )
    assert studied.seen(config) == pytest.approx((300, 300 * moves))
    config.unlabelled_moves.loss = "bound"
    num_legal = studied.boards.num_action_values + len(studied.boards.unlabelled)
    assert studied.seen(config) == pytest.approx((300, 300 * num_legal / 40))
    config.unlabelled_moves.loss, config.data.example = "none", "action"
    assert studied.seen(config) == pytest.approx((300 / moves, 300))
