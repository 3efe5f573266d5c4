"""scripts/studies_gpu.sh, at sizes of seconds."""

import json
import os
import subprocess

import pytest

from tests.support.commands import REPOSITORY
from tests.support.easy_boards import easy_file


QUICK = ["--quick", "--seeds", "0", "training.steps=8", "training.batch_size=8", "training.warmup_steps=1"]


def run_script(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", "scripts/studies_gpu.sh", *map(str, arguments)],
        cwd=REPOSITORY,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_it_runs_the_named_study_and_continues(tmp_path):
    boards = easy_file(tmp_path / "boards.parquet", 60)
    puzzles = tmp_path / "puzzles.csv"
    lines = (REPOSITORY / "data/chess/sample/puzzles.csv").read_text().splitlines()
    puzzles.write_text("\n".join(lines[:11]) + "\n")
    line = [boards, boards, puzzles, tmp_path / "out", *QUICK, "--variants", "hl_gauss", "--points", "16x1"]
    result = run_script(*line, STUDIES="sizes", PROCESSES="1")
    assert result.returncode == 0, result.stderr
    results = json.loads((tmp_path / "out/sizes/results.json").read_text())
    (cell,) = results["cells"]
    assert cell["cell"] == "hl_gauss-16x1-seed0" and "puzzle_accuracy" in cell and cell["steps"] == 8
    assert results["processes"] == 1
    again = run_script(*line, STUDIES="sizes", PROCESSES="1")
    assert "1 cells, 1 of them trained already" in again.stdout


def test_bad_arguments_are_refused():
    assert run_script("boards.parquet").returncode == 2
    result = run_script("a", "b", "c", "d", STUDIES="sizes everything")
    assert result.returncode == 2
    assert result.stderr == "error: STUDIES: everything is unknown: choose from chess_losses sigma sizes\n"
