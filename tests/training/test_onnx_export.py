"""ONNX files predict what PyTorch does, for any batch and any number of actions; others are refused."""

import json
import re
import sys

import chess
import numpy as np
import onnxruntime
import pytest
import torch

import training.publish
from cli.errors import InputError
from data.wordle.games import GameDescription
from data.wordle.words import WordLists, load_word_lists
from eval.chess.engines import ValueEngine
from models.configuration_value_transformer import ValueTransformerConfig
from models.modeling_value_transformer import (
    ValueTransformerForActionValue,
    ValueTransformerForMovePrediction,
    ValueTransformerForStateValue,
)
from models.tokenization_chess import ChessTokenizer
from models.tokenization_wordle import make_wordle_tokenizer
from tests.eval.chess.test_engines import FENS
from tests.support.commands import run_checked
from tests.support.wordle_models import tiny_token_model
from training.onnx_export import Prediction, check_packages, compare, export_onnx


SIZES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_bins": 16}
KINDS = {
    "prefix": (ValueTransformerForActionValue, {"board_rotation": True, "preference_scale": 0.5}),
    "full": (ValueTransformerForActionValue, {"attention": "full", "action_embedding": "table"}),
    "state_value": (ValueTransformerForStateValue, {"board_rotation": True}),
    "move": (ValueTransformerForMovePrediction, {"board_rotation": True}),
}


@pytest.fixture
def make_folder(tmp_path):
    def make_folder(kind: str):
        torch.manual_seed(0)
        model_class, settings = KINDS[kind]
        model = model_class(ValueTransformerConfig(**SIZES | settings))
        model.save_pretrained(tmp_path)
        ChessTokenizer(orient=kind != "full").save_pretrained(tmp_path)
        return tmp_path

    return make_folder


def is_same(folder) -> None:
    """Assert that engines with both runtimes agree on boards of any number of moves, alone and together."""
    boards = [chess.Board(fen) for fen in FENS]
    torch_engine = ValueEngine(folder, device="cpu")
    onnx_engine = ValueEngine(folder, runtime="onnx")
    has_distributions = torch_engine.network.num_bins > 0
    expected = torch_engine.analyse_many(boards, has_distributions)
    alone = [onnx_engine.analyse(board, has_distributions) for board in boards]
    for found in (alone, onnx_engine.analyse_many(boards, has_distributions)):
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.moves == theirs.moves and ours.by_rule == theirs.by_rule
            np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)
            if has_distributions:
                np.testing.assert_allclose(ours.distributions, theirs.distributions, atol=1e-5)
    for name in ("architecture", "orient", "value_loss", "num_parameters", "has_preference"):
        assert getattr(onnx_engine.network, name) == getattr(torch_engine.network, name)
    if has_distributions:
        np.testing.assert_array_equal(onnx_engine.network.move_support, torch_engine.network.move_support)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_onnx_files_of_chess_models_predict_what_pytorch_does(kind, make_folder):
    folder = make_folder(kind)
    export_onnx(folder, "chess")
    is_same(folder)
    assert all(b"onnx_export.py" not in file.read_bytes() for file in (folder / "onnx").iterdir())


@pytest.mark.slow
def test_the_onnx_file_of_a_wordle_model_values_games_of_any_length(tmp_path):
    model = tiny_token_model(num_hidden_layers=1)
    torch.nn.init.normal_(model.head.weight, std=0.05)  # logits of a size that float16 resolves
    model.save_pretrained(tmp_path)
    make_wordle_tokenizer().save_pretrained(tmp_path)
    words = WordLists(*[load_word_lists("american_446").answers[::4]] * 2)
    (tmp_path / "wordle.json").write_text(json.dumps(GameDescription(words, "simplified").to_json()))
    export_onnx(tmp_path, "wordle")
    for file, tolerance in (("model.onnx", 1e-5), ("model_fp16.onnx", 1e-2)):
        session = onnxruntime.InferenceSession(tmp_path / "onnx" / file)
        for batch, length in ((1, 1), (3, 73)):
            tokens = torch.randint(26, (batch, length), generator=torch.Generator().manual_seed(0))
            with torch.no_grad():
                expected = model(tokens)
            value, logits = session.run(["value", "logits"], {"input_ids": tokens.numpy()})
            np.testing.assert_allclose(value, expected.value, atol=tolerance)
            np.testing.assert_allclose(logits, expected.logits, atol=tolerance)


@pytest.mark.slow
def test_publish_writes_both_files_and_a_hub_serves_them(pushed_run, own_hub, monkeypatch, tmp_path):
    line = ["training.publish", "--run", str(pushed_run), "--repo", "user/onnx", "--onnx"]
    monkeypatch.setattr(sys, "argv", line)
    training.publish.main()
    pushed = own_hub.files("models", "user/onnx")
    assert len(pushed["onnx/model_fp16.onnx"]) < len(pushed["onnx/model.onnx"])
    mentioned = b"\nFor onnxruntime, without torch: `onnx/model.onnx`, `onnx/model_fp16.onnx`, with"
    assert mentioned in pushed["README.md"]
    line = ["--model=user/onnx", "--runtime=onnx", "--opponent=random", "--games=2", f"--pgn={tmp_path}/pgn"]
    printed = run_checked("eval.chess.play", *line, **own_hub.environment)
    assert re.search(r"user/onnx#\w{8} onnx\n", printed)
    training.publish.publish(pushed_run, "user/onnx")
    assert not [name for name in own_hub.files("models", "user/onnx") if name.startswith("onnx/")]


VALUES = np.array([0.2, 0.5, 0.50001])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (VALUES + 2e-5, "differs from PyTorch by 2.0e-05 in value"),
        (VALUES * np.nan, "differs from PyTorch by nan"),
        (VALUES[[0, 2, 1]], "chooses another action than PyTorch in 1 of 2 states"),
    ],
)
def test_a_file_that_differs_from_pytorch_is_refused(values, message):
    same = Prediction(VALUES, VALUES)
    with pytest.raises(InputError, match=message):
        compare([same, same], [same, Prediction(values, values)], 1.5e-5, True, "model.onnx")
    compare([same], [Prediction(VALUES[[0, 2, 1]], VALUES[[0, 2, 1]])], 1.5e-5, False, "model_fp16.onnx")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match="not installed: onnxscript; pip install onnxscript"):
        check_packages()


def test_domains_without_an_onnx_form_are_refused(tmp_path):
    with pytest.raises(InputError, match="models of atari have no ONNX form"):
        export_onnx(tmp_path, "atari")
