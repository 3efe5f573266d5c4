"""The model in the repository: its size, code and card, and that commands use it by default."""

import json
import re
import subprocess

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoModel, AutoTokenizer

from cli.options import SHIPPED_MODEL
from configs.loading import load_config
from eval.loading import load_model
from tests.support.commands import REPOSITORY, run_command


def test_it_is_small_in_files_that_any_host_takes():
    sizes = [file.stat().st_size for file in SHIPPED_MODEL.rglob("*")]
    assert sum(sizes) <= 20e6 and max(sizes) < 16 * 2**20
    assert (SHIPPED_MODEL / "onnx/model_fp16.onnx").stat().st_size < 8e6


def test_its_code_is_that_of_the_repository():
    code = sorted(SHIPPED_MODEL.glob("*.py"))
    assert code and all(file.resolve().parent == REPOSITORY / "models" for file in code)


def test_transformers_loads_it_with_that_code():
    start, moves = "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1", ["e2e4", "g2g4"]
    remote = AutoModel.from_pretrained(SHIPPED_MODEL, trust_remote_code=True, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED_MODEL, trust_remote_code=True)
    inputs = tokenizer.encode_positions([start], [moves], return_tensors="pt")
    model, _ = load_model(SHIPPED_MODEL, "cpu")
    with torch.no_grad():
        values = model(**inputs).value
        torch.testing.assert_close(remote.eval()(**inputs).value, values)
    assert values[0, 0] > values[0, 1] + 0.02


def test_its_card_has_results_and_its_settings_load():
    card = ModelCard.load(SHIPPED_MODEL / "README.md")
    measured = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert {"best_move_agreement", "regret", "kendall_tau", "kl", "accuracy", "elo"} <= measured.keys()
    assert "two CPU cores" in card.text
    settings = load_config(str(SHIPPED_MODEL / "settings.yaml"), ["output_dir=x"])
    assert settings.value_loss.name == "hl_gauss" and settings.model.hidden_size == 192


@pytest.mark.slow
def test_it_solves_puzzles_as_the_default_model(tmp_path):
    puzzles = REPOSITORY / "data/chess/sample/puzzles.csv"
    result = run_command("eval.chess.puzzles", "--puzzles", puzzles, "--json", tmp_path / "puzzles.json")
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "puzzles.json").read_text())
    assert re.fullmatch(r"chess_3m#\w{8}", found["model"])
    assert 0.15 < found["accuracy"] < 0.35


@pytest.mark.slow
def test_it_is_the_engine_of_a_chess_program():
    # A queen that costs nothing.
    lines = "uci\nposition fen 4k3/8/8/3q4/4P3/8/8/4K3 w - - 0 1\ngo nodes 1\nquit\n"
    result = subprocess.run(
        ["python", "-m", "eval.chess.uci"], input=lines, capture_output=True, text=True, cwd=REPOSITORY
    )
    assert "id name Stop Regressing chess_3m\n" in result.stdout
    assert "bestmove e4d5" in result.stdout
