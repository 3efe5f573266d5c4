"""The pipeline that travels with a model: the values are those of the engine."""

import json

import chess
import pytest
from transformers import pipeline

from cli.options import SHIPPED_MODEL
from eval.chess.engines import ValueEngine
from tests.support.commands import REPOSITORY


MIDDLE = "r1bqkb1r/pppp1ppp/2n2n2/4p2Q/2B1P3/8/PPPP1PPP/RNB1K1NR b KQkq - 4 4"


@pytest.fixture(scope="module")
def values():
    return pipeline("chess-values", model=str(SHIPPED_MODEL), trust_remote_code=True, device="cpu")


def test_the_best_moves_and_values_are_those_of_the_engine(values):
    engine = ValueEngine(SHIPPED_MODEL, device="cpu", exact_ends="none")
    fens = [chess.STARTING_FEN, MIDDLE]
    for fen, found in zip(fens, values(fens, top_k=3), strict=True):
        analysis = engine.analyse(chess.Board(fen))
        best = analysis.ranking()[:3]
        assert [row["move"] for row in found] == [analysis.moves[index].uci() for index in best]
        assert [row["value"] for row in found] == pytest.approx(
            [float(analysis.values[index]) for index in best], abs=1e-5
        )
    assert len(values(chess.STARTING_FEN)) == 20


def test_moves_can_be_given(values):
    assert {row["move"] for row in values(MIDDLE, moves=["d8e7", "g7g6"])} == {"d8e7", "g7g6"}


def test_a_position_without_moves_is_refused(values):
    with pytest.raises(ValueError, match="has no legal move"):
        values("7k/5KQ1/8/8/8/8/8/8 b - - 0 1")


def test_trained_models_have_the_pipeline(pushed_run):
    folder = pushed_run / "model"
    written = json.loads((folder / "config.json").read_text())["custom_pipelines"]
    assert written == json.loads((SHIPPED_MODEL / "config.json").read_text())["custom_pipelines"]
    code = (REPOSITORY / "models/pipeline_chess_values.py").read_text()
    assert (folder / "pipeline_chess_values.py").read_text() == code
