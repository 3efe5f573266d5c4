"""The speed table: every way does the same work, and the numbers in it are those that were measured."""

import json

import chess
import numpy as np
import pytest
import torch

from eval.engines import ValueEngine
from eval.speed import NAIVE, ONE_PASS, PREFIX, PYTHON, one_move_after_the_other, with_attention
from models.tokenization_chess import ChessTokenizer
from tests.commands import assert_input_error, run_command
from tests.test_engines import FENS, tiny_model


def test_naive_baseline_chooses_the_moves_of_the_batched_engine():
    engine = ValueEngine(tiny_model("full"), ChessTokenizer(), exact_ends="none")
    for fen in FENS:
        board = chess.Board(fen)
        if any(board.legal_moves):
            assert one_move_after_the_other(engine, board) == engine.play(board)


def test_both_attentions_have_the_same_weights():
    model = tiny_model("prefix")
    prefix, full = with_attention(model, "prefix"), with_attention(model, "full")
    assert full.config.attention == "full"
    for name, weight in model.state_dict().items():
        assert torch.equal(full.state_dict()[name], weight)
    board = chess.Board()
    values = [ValueEngine(each, ChessTokenizer()).analyse(board).values for each in (model, prefix, full)]
    np.testing.assert_array_equal(values[0], values[1])
    assert not np.allclose(values[0], values[2])


def test_table_and_json_hold_the_same_numbers(tmp_path):
    tiny_model().save_pretrained(tmp_path / "model")
    ChessTokenizer().save_pretrained(tmp_path / "model")
    result = run_command(
        "eval.speed",
        "--model",
        tmp_path / "model",
        "--boards",
        2,
        "--repeats",
        1,
        "--json",
        tmp_path / "s.json",
    )
    assert result.returncode == 0, result.stderr
    measured = json.loads((tmp_path / "s.json").read_text())
    moves = measured["milliseconds_per_move"]
    assert {PREFIX, ONE_PASS, PYTHON, NAIVE} < set(moves)
    for name, row in moves.items():
        assert 0 < row["low"] <= row["median"] <= row["high"]
        assert f"{name:<{max(map(len, moves))}}{row['median']:>10.2f}" in result.stdout


def test_more_boards_than_there_are_is_refused():
    assert_input_error(run_command("eval.speed", "--boards", 501), "--boards 501", "500")


@pytest.mark.parametrize("module", ["eval.speed", "eval.actions"])
def test_a_negative_seed_is_refused(module):
    result = run_command(module, "--seed", -1)
    assert result.returncode == 2
    assert "argument --seed: '-1' is not a whole number from 0 to 2**32 - 1" in result.stderr
