"""Mistakes are refused before torch is imported, which takes seconds, on a busy machine most of a minute."""

import json
import subprocess
import sys

import pytest

from tests.cli.test_help import commands
from tests.support.commands import REPOSITORY


# Runs each command in a fork, and prints its status, its slow libraries, and how its threads wait.
PROGRAM = """
import io, json, os, runpy, sys
from contextlib import redirect_stderr

import chess.pgn, gymnasium, huggingface_hub.hf_api, matplotlib.figure, omegaconf, pandas, pyarrow.parquet
import scipy.stats

os.environ.pop("OMP_WAIT_POLICY", None)
for line in json.loads(sys.argv[1]):
    if os.fork():
        os.wait()
        continue
    sys.argv, printed, status = line, io.StringIO(), None
    try:
        with redirect_stderr(printed):
            runpy.run_module(line[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code
    slow = [name for name in ("torch", "transformers", "accelerate", "datasets") if name in sys.modules]
    # Torch reads it when it is imported: threads that wait actively are many times slower on a busy machine.
    if os.environ.get("OMP_WAIT_POLICY") != "PASSIVE":
        slow.append("threads that wait actively")
    print(json.dumps([status, slow, printed.getvalue()]), flush=True)
    os._exit(0)
"""
START = "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1"
TINY = ["train", "--config", "chess_tiny.yaml", "output_dir=runs/nowhere"]
WORDLE = ["train", "--config", "wordle_tiny.yaml", "output_dir=runs/nowhere"]
ATARI = ["train", "--config", "atari_tiny.yaml", "output_dir=runs/nowhere"]
ROBOT = ["train", "--config", "robot_tiny.yaml", "output_dir=runs/nowhere"]
REFUSED = {
    "Did you mean: 'steps'?": [
        [*TINY, "training.stps=3"],
        ["studies", "chess_losses", "--output", "runs/nowhere", "training.stps=3"],
        ["benchmarks", "training", "training.stps=3"],
    ],
    "nowhere": [
        ["train", "--config", "nowhere.yaml"],
        [*TINY, "data.train=nowhere.parquet"],
        [*TINY, "data.validation=nowhere.parquet"],
        [*WORDLE, "data.train=README.md", "data.words=nowhere.txt"],
        ["train", "--config", "atari_cql.yaml", "data.train=nowhere.parquet"],
        [*ROBOT, "data.train=nowhere"],
        ["training.publish", "--run", "nowhere", "--folder", "runs/nowhere"],
        ["data.publish", "--data", "nowhere.parquet", "--folder", "runs/nowhere"],
        ["data.chess.preparation", "nowhere.parquet"],
        ["data.chess.played_moves", "nowhere.pgn", "--output", "runs/nowhere.parquet"],
        ["eval.chess.actions", "--data", "nowhere.parquet"],
        ["eval.chess.puzzles", "--puzzles", "nowhere.csv"],
        ["eval.chess.puzzles", "--puzzles", "data/chess/sample/puzzles.csv", "--model", "nowhere"],
        ["eval.chess.analyse", "--fen", START, "--output", "runs/nowhere.html", "--model", "nowhere"],
        ["eval.chess.play", "--opponent", "random", "--model", "nowhere"],
        ["eval.chess.serve", "--model", "nowhere"],
        ["eval.chess.elo", "--model", "nowhere", "--output", "runs/nowhere"],
        ["eval.wordle", "--model", "nowhere"],
        ["eval.wordle.serve", "--model", "nowhere"],
        ["eval.atari", "--model", "nowhere"],
        ["eval.atari.aggregate", "nowhere.json"],
        ["data.atari.preparation", "nowhere.parquet"],
        ["data.atari.dqn_replay", "--game=breakout", "--data=nowhere", "--output=runs/nowhere"],
        ["eval.robot", "--model", "nowhere"],
        ["eval.robot", "--policy", "nowhere", "--tasks", "reach-v3"],
        ["data.robot.generate", "--tasks", "nowhere", "--episodes", "1", "--output", "runs/nowhere"],
        ["studies", "nowhere", "--output", "runs/nowhere"],
        ["studies.probes", "nowhere"],
    ],
    "value_min must be below value_max": [[*TINY, "value_loss.value_max=0"]],
    "must be a multiple of model.num_attention_heads=3": [[*TINY, "model.num_attention_heads=3"]],
    "an even number of heads": [[*TINY, "model.num_attention_heads=1"]],
    "for hl_gauss, not for two_hot": [[*TINY, "value_loss.name=two_hot", "value_loss.sigma=0.1"]],
    "make the batch size a multiple of 2": [[*TINY, "training.batch_size=9"]],
    "trackers: mlflow is not installed: pip install mlflow": [[*TINY, "trackers=[mlflow]"]],
    "did you mean breakout": [[*ATARI, "atari.game=brakout"]],
    "README.md exists": [[*ATARI, "atari.record=README.md"]],
    "num_experts is for impala": [[*ATARI, "model.num_experts=4"]],
    "set q_learning.conservative=cql": [[*ROBOT, "q_learning.target=behavior_cloning"]],
    "is a variant of q_learning": [
        [*WORDLE, "q_learning.double=true", "q_learning.target=sarsa", "q_learning.mask_illegal_in_max=false"]
    ],
}


def refuse(lines: list[list[str]]) -> list[tuple[int, list[str], str]]:
    """Run commands; return their exit statuses, slow libraries and waiting threads, and stderr."""
    command = [sys.executable, "-c", PROGRAM, json.dumps(lines)]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return [tuple(json.loads(line)) for line in result.stdout.splitlines()]


@pytest.mark.slow
def test_unknown_options_are_refused_before_torch_is_imported():
    lines = [[command, "--no-such-option"] for command in commands()]
    for line, (status, slow, printed) in zip(lines, refuse(lines), strict=True):
        assert (status, slow) == (2, []), (line, printed)


@pytest.mark.slow
def test_wrong_settings_and_missing_files_are_refused_before_torch_is_imported():
    expected = [(message, line) for message, lines in REFUSED.items() for line in lines]
    refused = refuse([line for _, line in expected])
    for (message, line), (status, slow, printed) in zip(expected, refused, strict=True):
        assert (status, slow) == (2, []), (line, printed)
        assert printed.startswith("error: ") and message in printed and printed.count("\n") == 1, line
