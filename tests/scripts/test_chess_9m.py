"""The script that makes the 9M model, with a tiny model."""

import json
import os
import subprocess

import pytest

from tests.support.commands import REPOSITORY
from tests.support.programs import needs
from tests.support.training_runs import SAMPLE, TINY


SCRIPT = REPOSITORY / "scripts/chess_9m.sh"


def run_script(folder, **environment) -> subprocess.CompletedProcess:
    puzzles = folder / "puzzles.csv"
    lines = (REPOSITORY / "data/chess/sample/puzzles.csv").read_text().splitlines()
    puzzles.write_text("\n".join(lines[:11]) + "\n")
    settings = [*TINY, "training.steps=8", "training.warmup_steps=1", "training.compile=false"]
    settings += ["evaluation.every=8", "evaluation.boards=20", "checkpoint.every=4"]
    output = folder / "output"
    return subprocess.run(
        ["bash", str(SCRIPT), str(SAMPLE), str(SAMPLE), str(puzzles), str(output), *settings],
        cwd=REPOSITORY,
        env=os.environ
        | {"SIZES": "", "LOSSES": "hl_gauss", "GAMES": "2", "SHIPPED": str(folder / "shipped")}
        | environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
@needs("stockfish")
def test_it_trains_compares_measures_and_ships(tmp_path):
    result = run_script(tmp_path)
    assert result.returncode == 0, result.stderr
    measured = json.loads((tmp_path / "output/hl_gauss/actions.json").read_text())
    assert measured["num_boards"] == 500
    card = (tmp_path / "shipped/README.md").read_text()
    for title in ("best-move agreement", "puzzles solved", "Elo"):
        assert f"| {title} |" in card
    weights = tmp_path / "shipped/model.safetensors"
    trained = weights.read_bytes()
    # The second run only writes the same files again.
    runs = tmp_path / "output/hl_gauss/metrics.jsonl"
    before = runs.stat().st_mtime_ns
    again = run_script(tmp_path)
    assert again.returncode == 0, again.stderr
    assert runs.stat().st_mtime_ns == before
    assert weights.read_bytes() == trained
    assert (tmp_path / "shipped/README.md").read_text() == card


def test_output_of_another_command_is_neither_used_nor_replaced(tmp_path):
    (tmp_path / "output").mkdir()
    (tmp_path / "output/arguments").write_text("other.parquet\n")
    result = run_script(tmp_path)
    assert result.returncode == 2
    assert "was made with other arguments" in result.stderr and result.stderr.count("\n") == 1
    assert [path.name for path in (tmp_path / "output").iterdir()] == ["arguments"]
    assert (tmp_path / "output/arguments").read_text() == "other.parquet\n"


def test_losses_without_the_one_that_ships_are_refused(tmp_path):
    result = run_script(tmp_path, LOSSES="one_hot mse")
    assert result.returncode == 2
    assert "LOSSES lacks hl_gauss" in result.stderr and result.stderr.count("\n") == 1
    assert not (tmp_path / "output").exists()


def test_another_working_folder_is_refused(tmp_path):
    result = subprocess.run(
        ["bash", str(SCRIPT), "a", "b", "c", "d"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (result.returncode, list(tmp_path.iterdir())) == (2, [])
    assert "in the folder of the repository" in result.stderr


def test_without_arguments_it_prints_its_usage():
    result = subprocess.run(["bash", str(SCRIPT)], capture_output=True, text=True)
    assert result.returncode == 2
    assert "BOARDS.parquet HELD_OUT.parquet PUZZLES.csv OUTPUT" in result.stderr
    assert "pipefail" not in result.stderr
