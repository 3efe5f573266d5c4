"""All ways to play have the same weights, and the naive one chooses the same moves."""

import chess
import numpy as np
import torch

from benchmarks.play import one_sequence_at_a_time, with_attention
from eval.chess.engines import ValueEngine
from models.tokenization_chess import ChessTokenizer
from tests.eval.chess.test_engines import FENS, tiny_model


def test_naive_baseline_chooses_the_moves_of_the_batched_engine():
    engine = ValueEngine(tiny_model("full"), ChessTokenizer(), exact_ends="none")
    for fen in FENS:
        board = chess.Board(fen)
        if any(board.legal_moves):
            assert one_sequence_at_a_time(engine, board) == engine.play(board)


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
