"""A study of chess as a user runs it: interrupted, continued, with a failing variant, repeated and probed."""

import json
import signal
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from configs.loading import load_run_config
from data.chess.boards import Boards
from data.chess.puzzles import read_puzzles
from eval.chess.action_evaluation import evaluate_actions
from eval.chess.engines import ValueEngine
from eval.chess.puzzles import evaluate_puzzles
from eval.loading import load_model
from tests.support.commands import REPOSITORY, assert_input_error, run_checked, run_command, start_command
from tests.support.easy_boards import easy_file
from training.run_log import read_metrics


pytestmark = pytest.mark.slow  # several runs of train.py

CELLS = [f"{variant}-seed4" for variant in ("two_hot", "hl_gauss", "diverging")]
STUDY = """
title: Does it continue?
config: chess_tiny.yaml
settings:
  model: {hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2}
  training: {steps: 200, batch_size: 16, gradient_accumulation_steps: 1, warmup_steps: 2, precision: fp32}
  evaluation.every: 100
  checkpoint.every: 100
  log_every: 1
seeds: [0, 1, 2]
reference: two_hot
variants:
  two_hot: {value_loss.name: two_hot}
  hl_gauss: {}
  diverging: {optimizer.name: adamw, optimizer.learning_rate: 1.0e+30}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A study and its data: boards to learn from and to measure on, and puzzles."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "study.yaml").write_text(STUDY)
    easy_file(folder / "train.parquet", 300, seed=0)
    easy_file(folder / "test.parquet", 40, seed=1)
    lines = (REPOSITORY / "data/chess/sample/puzzles.csv").read_text().splitlines()
    (folder / "puzzles.csv").write_text("\n".join(lines[:21]) + "\n")
    return folder


def arguments(folder: Path, *options: object) -> list[object]:
    data = [f"data.train={folder / 'train.parquet'}", f"data.validation={folder / 'test.parquet'}"]
    line = [folder / "study.yaml", "--output", folder / "out", "--seeds", "4", *data]
    return [*line, "--puzzles", folder / "puzzles.csv", *options]


@pytest.fixture(scope="module")
def study(folder) -> tuple[Path, dict, str]:
    """The output folder of a study that Ctrl-C interrupted, its results, and what the second call printed."""
    process = start_command("studies", *arguments(folder))
    metrics = [folder / "out" / cell / "metrics.jsonl" for cell in CELLS[:2]]
    while process.poll() is None and not any(len(read_metrics(path)) > 3 for path in metrics):
        time.sleep(0.05)
    assert process.poll() is None, process.communicate()
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate()
    assert process.returncode == 130
    assert stderr == "interrupted: 0 of 3 cells are trained; the same command continues\n"
    assert len(children) >= 2 and not [child for child in children if child.is_running()]
    assert not (folder / "out/results.json").exists()

    result = run_command("studies", *arguments(folder))
    assert_input_error(result, "1 of 3 cells failed: diverging-seed4: the loss is nan at step ")
    return folder / "out", json.loads((folder / "out/results.json").read_text()), result.stdout


def test_interrupted_cells_continue(study):
    output, _, _ = study
    for cell in CELLS[:2]:
        rows = read_metrics(output / cell / "metrics.jsonl")
        assert [row["step"] for row in rows if row["kind"] == "train"] == list(range(1, 201))
    logs = "".join((output / cell / "train.log").read_text() for cell in CELLS[:2])
    assert "interrupted after step " in logs and "continued after step " in logs


def test_the_others_are_reported_when_one_fails(study):
    output, results, printed = study
    assert [row["cell"] for row in results["cells"]] == CELLS[:2]
    assert list(results["failed"]) == ["diverging-seed4"]
    assert (output / "report.md").read_text() in printed
    assert (output / "report.png").read_bytes().startswith(b"\x89PNG")
    assert results["command"].startswith("python -m studies ") and results["quick"] is False
    assert [row["variant"] for row in results["differences"]] == ["hl_gauss"] * 6


def test_models_learn_and_are_measured_as_by_the_commands_for_it(study):
    output, results, _ = study
    train, boards = (Boards.from_parquet(output.parent / f"{name}.parquet") for name in ("train", "test"))
    puzzles = read_puzzles(output.parent / "puzzles.csv")
    for row in results["cells"]:
        model_folder = output / row["cell"] / "model"
        model, tokenizer = load_model(model_folder, "cpu")
        measured = evaluate_actions(model, boards, tokenizer.orient)
        for key in ("kl", "best_move_agreement", "regret", "kendall_tau"):
            assert row[key] == pytest.approx(measured[key])
        assert row["kendall_tau"] > 0.5
        solved = evaluate_puzzles(ValueEngine(model_folder, device="cpu", exact_ends="draws"), puzzles)
        assert row["puzzle_accuracy"] == solved["accuracy"] <= row["puzzle_accuracy_by_rule"]
        assert row["parameters"] == sum(tensor.numel() for tensor in model.parameters())
        values = 200 * 16 * train.num_action_values / train.num_boards
        assert (row["examples_seen"], row["values_seen"]) == (200 * 16, pytest.approx(values))
        metrics = read_metrics(output / row["cell"] / "metrics.jsonl")
        rates = [line["values_per_second"] for line in metrics if line["kind"] == "train"]
        assert row["training_seconds"] == pytest.approx(values / np.median(rates))
        curve = [point for point in results["curves"] if point["variant"] == row["variant"]]
        assert [point["step"] for point in curve] == [
            line["step"] for line in metrics if line["kind"] == "eval"
        ]
        assert curve[-1]["training_seconds"] == pytest.approx(row["training_seconds"])
        config = load_run_config(model_folder.parent)
        assert (config.seed, config.value_loss.name) == (4, row["variant"])


def test_repeated_nothing_is_trained_or_measured_and_other_settings_are_refused(folder, study):
    output, results, _ = study
    files = [path for cell in CELLS for path in (output / cell).rglob("*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in files}
    printed = run_checked("studies", *arguments(folder, "--variants", "two_hot", "hl_gauss"))
    assert "2 cells, 2 of them trained already" in printed and "is trained\n" not in printed
    assert before == {path: path.stat().st_mtime_ns for path in files}
    again = json.loads((output / "results.json").read_text())
    for key in ("cells", "means", "differences", "curves"):
        assert again[key] == results[key]
    result = run_command("studies", *arguments(folder, "training.steps=260"))
    assert_input_error(result, "two_hot-seed4 was trained with other settings: training.steps: 200, now 260")


def test_the_models_are_probed(study):
    output, _, _ = study
    printed = run_checked("studies.probes", output, "--examples", 40)
    results = json.loads((output / "probes/results.json").read_text())
    found = {(row["variant"], row["point"], row["measure"]): row["mean"] for row in results["means"]}
    for variant in ("two_hot", "hl_gauss"):
        # A network makes the values that it predicts linear.
        assert found[variant, "1", "value"] > found[variant, "0", "material"]
        assert found[variant, "1", "value"] > 0.5
    assert (output / "probes/report.md").read_text() in printed
    assert_input_error(run_command("studies.probes", output, "--examples", 1), "too few to split: increase")
    assert_input_error(run_command("studies.probes", output, "--point", "7"), "'7' is not a point")
    assert_input_error(run_command("studies.probes", output / "probes/a"), "is not the folder of a study")
