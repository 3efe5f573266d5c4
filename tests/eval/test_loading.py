"""Models in folders: loading, the errors of broken ones, and identification by their files."""

import re
import shutil
import time

import chess
import numpy as np
import pytest
import torch

from cli.errors import InputError
from eval.chess.engines import ValueEngine
from eval.loading import identify_model, load_model
from eval.model_folder import model_name
from models.tokenization_chess import ChessTokenizer
from tests.eval.chess.test_engines import tiny_model


def test_saved_model_plays_as_it_did(tmp_path):
    model, tokenizer = tiny_model(), ChessTokenizer(orient=False)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = ValueEngine(tmp_path, device="cpu")
    assert loaded.network.orient is False and not loaded.network.model.training
    expected = ValueEngine(model, tokenizer).analyse(chess.Board())
    np.testing.assert_array_equal(loaded.analyse(chess.Board()).values, expected.values)


def test_missing_weights_are_an_error(tmp_path):
    model = tiny_model()
    weights = model.state_dict()
    del weights["head.weight"]
    model.save_pretrained(tmp_path, state_dict=weights)
    ChessTokenizer().save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"head\.weight"):
        load_model(tmp_path, "cpu")


def test_folder_without_a_complete_chess_model_is_an_error_with_the_reason(tmp_path):
    tiny_model().save_pretrained(tmp_path / "run" / "model")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}')
    (tmp_path / "bert" / "tokenizer_config.json").write_text("{}")
    resized = tmp_path / "resized"
    tiny_model().save_pretrained(resized)
    ChessTokenizer().save_pretrained(resized)
    config = (resized / "config.json").read_text()
    (resized / "config.json").write_text(config.replace('"num_bins": 16', '"num_bins": 8'))
    for name, file, text in (
        ("broken", "config.json", "{broken"),
        ("listed", "config.json", "[]"),
        ("mistyped", "config.json", '{"architectures": 3}'),
        ("binary", "tokenizer_config.json", "\0"),
    ):
        shutil.copytree(resized, tmp_path / name)
        (tmp_path / name / file).write_text(text)
    damaged = tmp_path / "damaged"
    tiny_model().save_pretrained(damaged)
    ChessTokenizer().save_pretrained(damaged)
    (damaged / "model.safetensors").write_bytes(b"not weights")
    for folder, reason in (
        ("nowhere", "no such folder"),
        ("empty", r"no config\.json"),
        ("bert", "holds BertModel"),
        ("run", "did you mean .*run/model"),
        ("run/model", "holds no tokenizer"),
        ("resized", r"other sizes .*head\."),
        ("damaged", "cannot be loaded"),
        ("broken", r"config\.json cannot be read: .*line 1.*; save the model again"),
        ("listed", r"config\.json holds no JSON object: save the model again"),
        ("mistyped", r"holds no known model, .*: give another"),
        ("binary", r"tokenizer_config\.json cannot be read: .*; save the tokenizer again"),
    ):
        with pytest.raises(InputError, match=reason) as caught:
            load_model(tmp_path / folder, "cpu")
        assert str(tmp_path / folder) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("runs/chess_tiny/model", "chess_tiny"),
        ("runs/chess_tiny/model/", "chess_tiny"),
        ("checkpoints/chess_3m", "chess_3m"),
        ("user/chess_3m", "user/chess_3m"),
    ],
)
def test_a_model_has_the_name_of_its_run_or_folder_or_its_hub_id(path, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("runs/chess_tiny/model", "checkpoints/chess_3m"):
        (tmp_path / folder).mkdir(parents=True)
    assert model_name(path) == name
    if (tmp_path / path).is_dir():
        assert model_name(tmp_path / path) == name


def test_without_a_network_a_model_of_the_hub_is_an_error_within_seconds(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    started = time.monotonic()
    with pytest.raises(InputError, match=r"user/name: no such folder, and the hub cannot be reached \(.*\)"):
        load_model("user/name", "cpu")
    assert time.monotonic() - started < 5


def test_missing_device_is_an_error():
    with pytest.raises(InputError, match="'nonsense'"):
        load_model("anything", "nonsense")


def test_a_model_is_identified_by_what_is_in_its_files(model_folder, tmp_path):
    name = identify_model(model_folder)
    assert re.fullmatch(rf"{re.escape(model_folder.parent.name)}#[0-9a-f]{{8}}", name)
    digest = name.rpartition("#")[2]
    copy = tmp_path / "copy"
    shutil.copytree(model_folder, copy)
    (copy / "notes.txt").write_text("nothing that plays")
    assert identify_model(copy) == f"copy#{digest}"
    model = tiny_model()
    torch.nn.init.constant_(model.head.bias, 1e-3)
    model.save_pretrained(copy)
    assert identify_model(copy) != f"copy#{digest}"
    model = tiny_model()
    model.save_pretrained(copy)
    ChessTokenizer(orient=False).save_pretrained(copy)
    assert identify_model(copy) != f"copy#{digest}"
