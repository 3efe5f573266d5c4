"""A study as a user runs it: interrupted, continued, with a variant that fails, and called again."""

import json
from pathlib import Path

import numpy as np
import pytest

from configs.schema import load_config
from data.chess.boards import Boards
from data.chess.puzzles import read_puzzles
from eval.chess.actions import evaluate_actions
from eval.chess.engines import ValueEngine
from eval.chess.puzzles import evaluate_puzzles
from eval.loading import load_model
from tests.support.commands import REPOSITORY, assert_input_error, run_command
from tests.support.random_boards import random_file
from tests.support.training_runs import interrupt_cells
from training.run_log import read_metrics


pytestmark = pytest.mark.slow  # many runs of train.py

CELLS = [f"{variant}-seed4" for variant in ("prefix", "full", "as_long", "diverging")]
STUDY = """
title: Does it go on?
config: chess_tiny.yaml
settings:
  model: {hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2}
  training: {steps: 5000, batch_size: 8, gradient_accumulation_steps: 1, warmup_steps: 2, precision: fp32}
  evaluation.every: 100
  checkpoint.every: 100
  log_every: 1
  tensorboard: false
quick: {training.steps: 250}
seeds: [0, 1, 2]
reference: prefix
variants:
  prefix: {}
  full: {model.attention: full}
  as_long: {same_time_as: full}
  diverging: {optimizer.name: adamw, optimizer.learning_rate: 1.0e+30}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A study and its data: boards to learn from and to measure on, and puzzles."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "study.yaml").write_text(STUDY)
    random_file(folder / "train.parquet", 60, seed=0)
    random_file(folder / "test.parquet", 20, seed=1)
    lines = (REPOSITORY / "data/chess/sample/puzzles.csv").read_text().splitlines()
    (folder / "puzzles.csv").write_text("\n".join(lines[:21]) + "\n")
    return folder


def arguments(folder: Path, *options: object) -> list[object]:
    """The command line, with puzzles and one seed."""
    data = [f"data.train={folder / 'train.parquet'}", f"data.validation={folder / 'test.parquet'}"]
    line = [folder / "study.yaml", "--output", folder / "out", "--quick", "--seeds", "4", *data]
    return [*line, "--puzzles", folder / "puzzles.csv", *options]


@pytest.fixture(scope="module")
def interrupted(folder) -> Path:
    """A study that Ctrl-C ended while the first cells were trained, and what is left of it."""
    interrupt_cells("studies", arguments(folder), folder / "out", CELLS[:2])
    return folder


@pytest.fixture(scope="module")
def study(interrupted) -> tuple[Path, dict, str]:
    """The folder of the cells after the command went on, its results, and what it printed."""
    result = run_command("studies", *arguments(interrupted))
    assert_input_error(result, "1 of 4 cells failed: diverging-seed4: the loss is nan at step ")
    output = interrupted / "out"
    return output, json.loads((output / "results.json").read_text()), result.stdout


def test_what_was_interrupted_goes_on(study):
    output, _, _ = study
    num_interrupted = 0
    for cell in CELLS[:2]:
        log = (output / cell / "train.log").read_text()
        for line in log.splitlines():
            if line.startswith("interrupted after step "):
                assert f"continued after step {line.split()[3]}\n" in log
                num_interrupted += 1
        steps = [
            row["step"] for row in read_metrics(output / cell / "metrics.jsonl") if row["kind"] == "train"
        ]
        assert steps == list(range(1, 251))
    assert num_interrupted >= 1


def test_the_others_are_reported_when_one_fails(study):
    output, results, printed = study
    assert [row["cell"] for row in results["cells"]] == CELLS[:3]
    assert list(results["failed"]) == ["diverging-seed4"]
    assert (output / "report.md").read_text() in printed
    assert "diverging-seed4 failed: the loss is nan at step " in (output / "report.md").read_text()
    assert (output / "report.png").read_bytes().startswith(b"\x89PNG")
    assert results["command"].startswith("python -m studies ") and "--quick" in results["command"]
    assert results["study"]["title"] == "Does it go on?" and results["quick"] is True
    assert results["study"]["variants"]["as_long"]["same_time_as"] == "full"
    assert results["hardware"]["cores"] and results["seconds"] > 0


def test_every_cell_has_its_settings_and_the_time_of_its_steps(study):
    output, results, _ = study
    rows = {row["variant"]: row for row in results["cells"]}
    for name, row in rows.items():
        config = load_config(str(output / row["cell"] / "config.yaml"), [])
        assert (config.seed, config.model.hidden_size, config.training.steps) == (4, 16, row["num_steps"])
        assert config.model.attention == ("full" if name == "full" else "prefix")
        assert row["examples_seen"] == 8 * row["num_steps"]
        boards = Boards.from_parquet(output.parent / "train.parquet")
        values = row["examples_seen"] * boards.num_action_values / boards.num_boards
        assert row["values_seen"] == pytest.approx(values)
        metrics = read_metrics(output / row["cell"] / "metrics.jsonl")
        rates = [line["values_per_second"] for line in metrics if line["kind"] == "train"]
        assert row["training_seconds"] == pytest.approx(values / np.median(rates))
        assert row["training_seconds"] < row["seconds_with_evaluations"]
    ratio = rows["full"]["training_seconds"] / rows["prefix"]["training_seconds"]
    assert rows["as_long"]["num_steps"] == round(250 * ratio) > 250


def test_models_are_measured_as_by_the_commands_for_it(study):
    output, results, _ = study
    boards = Boards.from_parquet(output.parent / "test.parquet")
    puzzles = read_puzzles(output.parent / "puzzles.csv")
    for row in results["cells"]:
        folder = output / row["cell"] / "model"
        model, tokenizer = load_model(folder, "cpu")
        measured = evaluate_actions(model, boards, tokenizer.orient)
        for key in ("kl", "best_move_agreement", "regret", "kendall_tau"):
            assert row[key] == pytest.approx(measured[key])
        solved = evaluate_puzzles(ValueEngine(folder, device="cpu", exact_ends="draws"), puzzles)
        assert row["puzzle_accuracy"] == solved["accuracy"]
        assert row["parameters"] == sum(tensor.numel() for tensor in model.parameters())


def test_differences_are_to_the_reference_and_curves_have_every_evaluation(study):
    output, results, _ = study
    rows = {row["variant"]: row for row in results["cells"]}
    assert [row["variant"] for row in results["differences"]] == ["full", "as_long"]
    for row in results["differences"]:
        difference = rows[row["variant"]]["kl"] - rows["prefix"]["kl"]
        assert row["kl"] == {"mean": pytest.approx(difference), "low": None, "high": None}
    for row in results["groups"]:
        last = row["curve"][-1]
        metrics = read_metrics(output / f"{row['variant']}-seed4/metrics.jsonl")
        logged = [line for line in metrics if line["kind"] == "eval"]
        assert [point["step"] for point in row["curve"]] == [line["step"] for line in logged]
        assert last["kendall_tau"] == logged[-1]["kendall_tau"]
        assert last["training_seconds"] == pytest.approx(row["training_seconds"])
        assert last["examples_seen"] == pytest.approx(row["examples_seen"])


def test_called_again_nothing_is_trained_or_measured(folder, study):
    output, results, _ = study
    files = [path for cell in CELLS for path in (output / cell).rglob("*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in files}
    result = run_command("studies", *arguments(folder, "--variants", "prefix", "full", "as_long"))
    assert result.returncode == 0, result.stderr
    assert "3 cells, 3 of them trained already" in result.stdout and "is trained" not in result.stdout
    assert before == {path: path.stat().st_mtime_ns for path in files}
    again = json.loads((output / "results.json").read_text())
    for key in ("cells", "groups", "differences"):
        assert again[key] == results[key]


def test_other_settings_in_the_same_place_are_refused(folder, study):
    result = run_command("studies", *arguments(folder, "training.steps=260"))
    assert_input_error(result, "prefix-seed4 was trained with other settings: training.steps: 250, now 260")
