"""The engine without torch: the moves of PyTorch, small and ready at once; what it cannot do is refused."""

import argparse
import os
import shutil
import subprocess
import sys

import chess
import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest

from cli.errors import InputError
from cli.options import SHIPPED_MODEL, add_model_options, add_move_options
from eval.chess.engines import ValueEngine
from eval.chess.onnx_network import OnnxNetwork
from eval.chess.players import ModelPlayer
from tests.support.commands import REPOSITORY


@pytest.fixture(scope="module")
def shipped() -> ValueEngine:
    return ValueEngine(SHIPPED_MODEL, runtime="onnx")


@pytest.mark.slow
def test_the_shipped_file_chooses_the_moves_of_pytorch_on_200_boards(shipped):
    fens = pq.read_table(REPOSITORY / "data/chess/sample/test_boards.parquet")["fen"].to_pylist()[-200:]
    boards = [chess.Board(fen) for fen in fens]
    expected = ValueEngine(SHIPPED_MODEL, device="cpu").analyse_many(boards)
    for ours, theirs in zip(shipped.analyse_many(boards), expected, strict=True):
        assert ours.best_move == theirs.best_move
        assert abs(ours.values - theirs.values).max() < 1e-3


def test_a_chess_program_plays_it_without_torch_in_little_memory():
    """What a process imports, and its memory when it has moved."""
    program = (
        "import pathlib, runpy, sys\n"
        "runpy.run_module('eval.chess.uci', run_name='__main__', alter_sys=True)\n"
        "print([name for name in ('torch', 'transformers', 'huggingface_hub') if name in sys.modules])\n"
        "print(pathlib.Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    lines = "position fen 4k3/8/8/3q4/4P3/8/8/4K3 w - - 0 1\ngo nodes 1\nquit\n"
    result = subprocess.run(
        [sys.executable, "-c", program, "--runtime", "onnx"],
        input=lines,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    assert "bestmove e4d5" in result.stdout
    imported, kilobytes = result.stderr.splitlines()  # where uci sends what is not for the chess program
    assert imported == "[]"
    assert int(kilobytes) < 150_000


def test_matches_are_played_without_torch():
    program = (
        "import runpy, sys\n"
        "sys.modules['torch'] = None\n"
        "runpy.run_module('eval.chess.play', run_name='__main__', alter_sys=True)"
    )
    options = ["--runtime=onnx", "--opponent=random", "--games=2"]
    result = subprocess.run(
        [sys.executable, "-c", program, *options], capture_output=True, text=True, cwd=REPOSITORY
    )
    assert result.returncode == 0, result.stderr


def test_threads_do_not_change_its_values(shipped):
    before = shipped.analyse(chess.Board()).values
    shipped.network.set_threads(2)
    np.testing.assert_allclose(shipped.analyse(chess.Board()).values, before, atol=1e-5)
    shipped.network.set_threads(1)


def test_its_name_in_matches_has_its_runtime_and_the_digest_of_its_file(tmp_path):
    parser = argparse.ArgumentParser()
    add_model_options(parser)
    add_move_options(parser)
    player = ModelPlayer.from_options(parser.parse_args(["--model", str(SHIPPED_MODEL), "--runtime=onnx"]))
    assert player.identify().startswith("chess_3m#") and player.identify().endswith(" onnx")
    copy = tmp_path / "chess_3m"
    shutil.copytree(SHIPPED_MODEL, copy)
    assert ModelPlayer(str(copy), runtime="onnx").identify() == player.identify()
    with player.start() as engine:
        assert engine.play(chess.Board()) in chess.Board().legal_moves


def test_what_it_cannot_run_is_refused(model_folder, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"has no onnx/model\.onnx and no onnx/model_fp16\.onnx"):
        ValueEngine(model_folder, runtime="onnx")
    for settings in ({"device": "cuda"}, {"dtype": "bfloat16"}, {"compile": True}):
        with pytest.raises(InputError, match="--runtime onnx runs on the CPU"):
            ValueEngine(SHIPPED_MODEL, runtime="onnx", **settings)
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    (folder / "onnx").mkdir()
    (folder / "onnx/model.onnx").write_bytes(b"no model")
    with pytest.raises(InputError, match="cannot be loaded"):
        ValueEngine(folder, runtime="onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match="pip install onnxruntime"):
        ValueEngine(folder, runtime="onnx")


@pytest.mark.parametrize("facts", ["{", "{}", None])
def test_a_file_of_another_origin_is_refused(tmp_path, facts):
    value = onnx.helper.make_tensor_value_info("value", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["value"], ["same"])
    same = onnx.helper.make_tensor_value_info("same", onnx.TensorProto.FLOAT, [1])
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "graph", [value], [same]), ir_version=10)
    if facts:
        onnx.helper.set_model_props(model, {"stop_regressing": facts})
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(InputError, match=r"model\.onnx holds no chess model of this project"):
        OnnxNetwork(tmp_path / "model.onnx")
