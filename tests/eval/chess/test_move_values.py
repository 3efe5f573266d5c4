"""Models of state values and of moves as engines: by the positions after moves, and by probabilities."""

import json
import re
from collections import Counter

import chess
import numpy as np
import pytest
import torch

from cli.errors import InputError
from data.chess.boards import Boards
from data.chess.rows import Row, write_rows
from eval.chess.action_evaluation import evaluate_actions
from eval.chess.analyse import analyse_boards, model_data
from eval.chess.engines import MoveChoice, ValueEngine
from eval.loading import load_model
from models.chess_tokens import ACTION_IDS
from models.configuration_value_transformer import ValueTransformerConfig
from models.modeling_value_transformer import ValueTransformerForMovePrediction, ValueTransformerForStateValue
from models.tokenization_chess import ChessTokenizer
from tests.eval.chess.test_engines import FENS, MATE, MATE_IN_ONE
from tests.eval.chess.test_uci import talk
from tests.support.browser import dom_of
from tests.support.commands import assert_input_error, run_command
from tests.support.programs import needs
from tests.support.random_boards import random_rows


KINDS = {"state_value": ValueTransformerForStateValue, "move": ValueTransformerForMovePrediction}
STALEMATE = "7k/8/6K1/8/8/8/5Q2/8 w - - 0 1"  # Qf2-f7 stalemates, Qf2-f8 mates


def tiny(target: str, **settings) -> torch.nn.Module:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_bins": 16}
    return KINDS[target](ValueTransformerConfig(**sizes | {"board_rotation": True} | settings)).eval()


def engine_of(target: str, model: torch.nn.Module | None = None, **options) -> ValueEngine:
    return ValueEngine(model or tiny(target), ChessTokenizer(), **options)


@pytest.fixture(scope="module", params=KINDS)
def folder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / request.param
    tiny(request.param).save_pretrained(folder)
    ChessTokenizer().save_pretrained(folder)
    return folder


def values_one_by_one(model: torch.nn.Module, fens: list[str]) -> list[float]:
    tokenizer = ChessTokenizer()
    with torch.no_grad():
        return [model(tokenizer([fen], return_tensors="pt")["input_ids"]).value.item() for fen in fens]


def test_the_value_of_a_move_is_what_the_opponent_lacks_after_it():
    engine = engine_of("state_value", batch_size=7, exact_ends="none")
    for fen in FENS[:4]:
        board = chess.Board(fen)
        analysis = engine.analyse(board, distributions=True)
        after = []
        for move in analysis.moves:
            board.push(move)
            after.append(board.fen())
            board.pop()
        expected = 1 - np.array(values_one_by_one(engine.network.model, after))
        np.testing.assert_allclose(analysis.values, expected, atol=1e-5)
        means = analysis.distributions @ engine.network.move_support
        np.testing.assert_allclose(means, analysis.values, atol=1e-4)


@pytest.mark.parametrize("exact_ends", ["none", "draws", "all"])
def test_positions_without_a_legal_move_have_their_value_by_rule(exact_ends):
    engine = engine_of("state_value", exact_ends=exact_ends)
    analysis = engine.analyse(chess.Board(STALEMATE))
    values = {move.uci(): value for move, value in zip(analysis.moves, analysis.values, strict=True)}
    assert (values["f2f8"], values["f2f7"]) == (1.0, 0.5)
    assert set(analysis.by_rule.values()) == {1.0, 0.5}
    assert engine.play(chess.Board(STALEMATE)).uci() == "f2f8"


def test_a_repetition_has_the_value_of_a_draw():
    board = chess.Board()
    for move in ["g1f3", "g8f6", "f3g1", "f6g8"] * 2:
        board.push_uci(move)
    board.pop()
    analysis = engine_of("state_value").analyse(board)
    index = analysis.moves.index(chess.Move.from_uci("f6g8"))
    assert analysis.values[index] == 0.5 and analysis.by_rule == {index: 0.5}


def test_the_values_of_a_policy_are_its_probabilities_of_the_legal_moves():
    engine = engine_of("move", batch_size=2)
    boards = [chess.Board(fen) for fen in FENS[:4]]
    for board, analysis in zip(boards, engine.analyse_many(boards), strict=True):
        tokenizer = ChessTokenizer(orient=True)
        inputs = tokenizer.encode_positions(
            [board.fen()], [[move.uci() for move in analysis.moves]], return_tensors="pt"
        )
        with torch.no_grad():
            logits = engine.network.model(inputs["input_ids"]).logits[0, inputs["action_ids"][0]]
        np.testing.assert_allclose(analysis.values, logits.softmax(0).numpy(), atol=1e-6)
        assert analysis.values.sum() == pytest.approx(1.0)
        chosen = engine.choose(board)
        assert chosen.win_prob is None
        assert chosen.move == analysis.moves[analysis.values.argmax()]


def test_at_temperature_1_a_policy_plays_moves_as_often_as_it_predicts_them():
    model = tiny("move")
    with torch.no_grad():
        model.head.bias[ACTION_IDS["e2e4"]] = 5.0
    engine = engine_of("move", model, choice=MoveChoice(1.0))
    analysis = engine.analyse(chess.Board())
    played = Counter(engine.choose_index(analysis, range(len(analysis.moves))) for _ in range(5000))
    for index, prob in enumerate(analysis.values):
        assert played[index] / 5000 == pytest.approx(prob, abs=0.03)
    assert max(analysis.values) > 0.5


def test_a_checkmate_is_played_at_any_temperature(folder):
    engine = ValueEngine(folder, device="cpu", choice=MoveChoice(np.inf))
    assert {engine.play(chess.Board(MATE_IN_ONE)) for _ in range(20)} == {MATE}


def test_boards_together_equal_boards_alone(folder):
    boards = [chess.Board(fen) for fen in FENS]
    engine = ValueEngine(folder, device="cpu", batch_size=3)
    for board, analysis in zip(boards, engine.analyse_many(boards), strict=True):
        alone = engine.analyse(board)
        assert analysis.moves == alone.moves and analysis.by_rule == alone.by_rule
        np.testing.assert_allclose(analysis.values, alone.values, atol=1e-5)
    assert engine.analyse_many([]) == []


def test_the_choices_of_the_engine_are_measured(folder, tmp_path):
    """A model of state values that decides by the engine's moves has the engine's agreement and regret."""
    rows = random_rows(20)
    write_rows(tmp_path / "boards.parquet", rows)
    model, tokenizer = load_model(folder, "cpu")
    results = evaluate_actions(model, Boards.from_parquet(tmp_path / "boards.parquet"), tokenizer.orient)
    engine = ValueEngine(model, tokenizer, exact_ends="none")
    regrets = []
    for row in rows:
        values = dict(zip(*engine.analyse(chess.Board(row.fen))[:2], strict=True))
        values = {move.uci(): value for move, value in values.items()}
        order = sorted(row.moves, key=lambda move: ACTION_IDS[move])
        chosen = max(order, key=lambda move: values[move])
        regrets.append(max(row.win_probs) - row.win_probs[row.moves.index(chosen)])
    assert results["regret"] == pytest.approx(np.mean(regrets), abs=1e-6)
    is_policy = folder.name == "move"
    of_values = ("mae", "bias", "calibration_error")
    assert [results[name] is None for name in of_values] == [is_policy] * len(of_values)
    assert results["kl"] is None


def test_uci_reports_scores_of_values_and_probabilities_of_a_policy(folder):
    commands = ["position startpos", "setoption name MultiPV value 2", "go"]
    lines = [line for line in talk(folder, *commands) if not line.startswith(("option", "id"))]
    assert lines[-1].startswith("bestmove ")
    if folder.name == "move":
        assert lines[0].startswith("info string probabilities ") and lines[0].count("%") == 2
        assert all("score" not in line for line in lines)
    else:
        assert " score cp " in lines[0]
    mate = talk(folder, f"position fen {MATE_IN_ONE}", "go")
    assert "score mate 1" in mate[-2] and mate[-1] == "bestmove a1a8"


def test_the_analysis_of_a_policy_shows_probabilities(folder):
    engine = ValueEngine(folder, device="cpu")
    boards = [chess.Board(), chess.Board(FENS[5])]
    first, over = analyse_boards(engine, boards, [chess.Move.from_uci("e2e4"), None])
    is_policy = folder.name == "move"
    assert model_data(folder, engine.network)["is_policy"] is is_policy
    assert ("white" in first) is not is_policy
    assert over["over"] == "checkmate"
    assert len(first["moves"]) == 20 and len(first["moves"][0]) == (3 if is_policy else 5)
    if is_policy:
        assert sum(move[2] for move in first["moves"]) == pytest.approx(1.0, abs=1e-3)
    json.dumps([first, over])


@pytest.mark.slow
@needs("chromium")
@pytest.mark.parametrize("folder", ["move"], indirect=True)
def test_the_page_of_a_policy_speaks_of_probabilities_of_moves_alone(folder, tmp_path):
    (tmp_path / "game.pgn").write_text("1. f3 e5 2. g4 Qh4# 0-1\n")
    for name, source in (("game", ["--pgn", tmp_path / "game.pgn"]), ("position", ["--fen", MATE_IN_ONE])):
        page = tmp_path / f"{name}.html"
        result = run_command("eval.chess.analyse", "--model", folder, *source, "--output", page)
        assert result.returncode == 0, result.stderr
        width = "document.body.dataset.width = document.getElementById('board').getBoundingClientRect().width"
        dom = dom_of(page, script=width)
        assert float(re.search(r'data-width="([\d.]+)"', dom)[1]) > 200
        shown = re.sub(r"<script.*?</script>|<style.*?</style>", "", dom, flags=re.DOTALL)
        assert "Probability of the move" in shown
        assert "in probability is" not in shown and "in probability</h2>" not in shown


@pytest.mark.parametrize("folder", ["move"], indirect=True)
def test_a_reliability_diagram_of_a_policy_is_refused(folder, tmp_path):
    write_rows(tmp_path / "boards.parquet", [Row(FENS[0], ["e2e4"], [0.5])])
    line = ["--model", folder, "--data", tmp_path / "boards.parquet", "--plot", tmp_path / "plot.png"]
    assert_input_error(run_command("eval.chess.actions", *line), "predicts moves, not win probabilities")


def test_other_weights_that_are_not_finite_are_refused(folder):
    model, tokenizer = load_model(folder, "cpu")
    torch.nn.init.constant_(model.head.bias, float("nan"))
    with pytest.raises(InputError, match="not finite"):
        ValueEngine(model, tokenizer).play(chess.Board())
