"""Scaling laws of studies."""

import json

import numpy as np
import pytest

from studies.scaling import Law, analyse, best_size
from tests.support.commands import assert_input_error, run_checked, run_command


SIZES = {"small": 1e5, "middle": 4e5, "large": 1.6e6, "largest": 3.2e6}
LAW = Law(0.2, 0.3, 0.5, 0.35, 0.45)
BOARDS = 64_000


def study_of(sizes: dict[str, float]) -> dict:
    """Return the results of a study whose error follows the law, with a time of N^0.8, and 0.2% of noise."""
    rng, largest = np.random.default_rng(0), max(sizes.values())
    cells = [
        {"variant": name, "point": "", "seed": seed, "parameters": size}
        for name, size in sizes.items()
        for seed in (0, 1)
    ]
    curves = []
    for cell in cells:
        size = cell["parameters"] / largest
        for part in np.linspace(0, 1, 17):
            error = LAW.loss(size, max(part, 0.01)) * rng.normal(1, 0.002)
            costs = {"examples_seen": BOARDS * part, "training_seconds": 3600 * part * size**0.8}
            curves.append({**cell, **costs, "mae": error, "best_move_agreement": 1 - error})
    measures = [
        {"key": "mae", "label": "error ↓", "format": ".4f", "higher_is_better": False},
        {"key": "best_move_agreement", "label": "best move ↑", "format": ".1%", "higher_is_better": True},
        {"key": "puzzle_accuracy", "label": "puzzles ↑", "format": ".1%", "higher_is_better": True},
    ]
    costs = [{"title": "parameters"}, {"title": "boards"}, {"title": "training seconds"}]
    return {"cells": cells, "curves": curves, "measures": measures, "costs": costs}


def test_the_law_of_a_study_is_found_and_extrapolated():
    found = analyse(study_of(SIZES))
    assert found["time_exponent"] == pytest.approx(0.8) and found["largest"] == 3.2e6
    error, agreement = found["laws"]
    for part, of_study in zip(error["law"].values(), LAW, strict=True):
        assert part == pytest.approx(of_study, rel=0.1)
    assert error["last"]["predicted"] == pytest.approx(error["last"]["measured"], rel=0.02)
    for row, multiple in zip(error["best"], (1, 10, 100), strict=True):
        size, examples, loss = best_size(LAW, multiple, 0.8)
        assert row["seconds"] == pytest.approx(3600 * multiple)
        assert row["predicted"] == pytest.approx(loss, rel=0.02)
        assert row["parameters"] / 3.2e6 == pytest.approx(size, rel=0.3)
        assert row["examples"] / BOARDS == pytest.approx(examples, rel=0.3)
    assert [row["predicted"] for row in agreement["best"]] == pytest.approx(
        [1 - row["predicted"] for row in error["best"]], rel=1e-3
    )


def test_the_best_size_of_a_time_has_the_lowest_loss():
    size, examples, loss = best_size(LAW, 10.0, 0.8)
    assert examples * size**0.8 == pytest.approx(10)
    for other in (0.8 * size, 1.25 * size):
        assert LAW.loss(other, 10 / other**0.8) > loss


@pytest.mark.slow
def test_the_command_writes_the_laws_of_a_study_of_three_sizes(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(study_of(SIZES)))
    printed = run_checked("studies.scaling", tmp_path)
    assert (tmp_path / "scaling.md").read_text() in printed and "10.00" in printed
    laws = json.loads((tmp_path / "scaling.json").read_text())["laws"]
    assert [row["measure"]["key"] for row in laws] == ["mae", "best_move_agreement"]
    path.write_text(json.dumps(study_of({"small": 1e5, "large": 1e6})))
    assert_input_error(run_command("studies.scaling", tmp_path), str(tmp_path), "fewer than three sizes")
