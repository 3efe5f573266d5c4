"""Linear probes: what is linear in the features is found, what is not there is not."""

import json

import chess
import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.stats
import torch

from cli.errors import InputError
from configs.schema import load_config
from models.tokenization_chess import ACTIONS, ChessTokenizer
from studies.linear_probes import ProbeData, area_under_roc, probe, recorded_layers
from studies.probed_chess import ProbedChess, facts_of
from studies.probes import read_cells
from tests.eval.chess.test_engines import tiny_model
from tests.support.commands import assert_input_error, run_command
from tests.support.easy_boards import easy_file


def some_data() -> ProbeData:
    rng = np.random.default_rng(0)
    blind, knowing = rng.normal(size=(2, 4000, 6))
    linear = knowing @ rng.normal(size=6) + 0.5 * rng.normal(size=4000) + 3
    targets = {"linear": linear, "square": knowing[:, 0] ** 2, "sign": (linear > 4).astype(float)}
    features = np.stack([blind, knowing, 100 * knowing + 7]).astype(np.float32)
    return ProbeData(features, targets, frozenset({"sign"}), np.arange(4000) % 2 == 0)


def test_probes_find_what_is_linear_in_a_layer_and_nothing_else():
    data = some_data()
    scores = probe(data)
    explained = 1 - 0.25 / data.targets["linear"].var()
    assert scores["linear"] == pytest.approx([0, explained, explained], abs=0.02)
    assert scores["square"] == pytest.approx([0, 0, 0], abs=0.02)
    assert scores["sign"][0] == pytest.approx(0.5, abs=0.03) and scores["sign"][1] > 0.9


def test_what_is_scored_was_not_fitted():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(1, 80, 40)).astype(np.float32)
    targets = {"noise": rng.normal(size=80), "constant": np.ones(80), "never": np.zeros(80)}
    scores = probe(ProbeData(features, targets, frozenset({"never"}), np.arange(80) < 40))
    assert scores["noise"][0] < 0  # 40 weights fit 40 examples, and nothing else
    # There is nothing to tell apart.
    assert np.isnan(scores["constant"][0]) and np.isnan(scores["never"][0])


def test_each_half_is_scored_by_the_other():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(1, 400, 2)).astype(np.float32)
    # What is true of the first half is not of the second: neither knows of the other.
    slope = np.where(np.arange(400) < 200, 1, -2)
    (score,) = probe(ProbeData(features, {"y": slope * features[0, :, 0]}, frozenset(), slope > 0))["y"]
    assert score == pytest.approx(1 - (1.5**2 + 3**2) / 2, rel=0.1)


def test_the_area_is_that_of_mann_and_whitney():
    rng = np.random.default_rng(0)
    predictions, is_one = rng.integers(0, 9, 300).astype(float), rng.random(300) < 0.2
    expected = scipy.stats.mannwhitneyu(predictions[is_one], predictions[~is_one]).statistic
    assert area_under_roc(predictions, is_one) == pytest.approx(expected / is_one.sum() / (~is_one).sum())
    assert np.isnan(area_under_roc(predictions, np.zeros(300, dtype=bool)))


def test_all_layers_of_a_pass_are_recorded_and_the_model_is_left_as_it_was():
    model = tiny_model()
    inputs = torch.zeros(2, 77, dtype=torch.int64), torch.tensor([[3, 4], [5, -100]])
    with torch.no_grad(), recorded_layers(model.model) as layers:
        model(*inputs)
    assert len(layers) == 1 + len(model.model.blocks) and {layer.shape[1] for layer in layers} == {80}
    with torch.no_grad():
        model(*inputs)
        torch.testing.assert_close(model.model.norm(layers[-1]), model.model(
            torch.nn.functional.pad(inputs[0], (1, 0), value=model.config.bos_token_id), inputs[1]
        ).last_hidden_state)  # fmt: skip
    assert len(layers) == 1 + len(model.model.blocks)


def test_what_the_rules_know_of_a_move():
    facts = facts_of("4k3/8/8/8/8/8/4q3/4K2R w - - 0 1", ["e1e2"])
    assert {name: fact.tolist() for name, fact in facts.items()} == {
        "material": [5 - 9], "in_check": [1], "gives_check": [0],
    }  # fmt: skip
    black = facts_of("4k3/8/8/8/8/8/4q3/6KR b - - 0 1", ["e2e1", "e2a2"])
    assert black["material"].tolist() == [4, 4] and black["gives_check"].tolist() == [1, 0]


@pytest.mark.slow
def test_the_models_of_a_study_of_chess_are_probed(tmp_path):
    boards = easy_file(tmp_path / "boards.parquet", 400)
    line = ["studies", "chess_model", "--output", tmp_path, "--quick", "--seeds", "0"]
    line += ["--variants", "default", "two_tokens", f"data.train={boards}", f"data.validation={boards}"]
    result = run_command(*line)
    assert result.returncode == 0, result.stderr
    result = run_command("studies.probes", tmp_path, "--examples", 400)
    assert result.returncode == 0, result.stderr
    results = json.loads((tmp_path / "probes/results.json").read_text())
    found = {(row["variant"], row["point"]): row for row in results["groups"]}
    assert set(found) == {(name, layer) for name in ("default", "two_tokens") for layer in ("0", "1", "2")}
    for name in ("default", "two_tokens"):
        first, *_, last = (found[name, layer] for layer in ("0", "1", "2"))
        # The network makes what it has to predict linear; a move by itself does not know the board.
        assert first["value"]["mean"] < 0.8 < last["value"]["mean"]
        assert first["material"]["mean"] < 0.2
        # A check is where the pieces are and what moves.
        assert last["gives_check"]["mean"] > first["gives_check"]["mean"] + 0.05
    assert (tmp_path / "probes/report.md").read_text() in result.stdout
    assert_input_error(
        run_command("studies.probes", tmp_path, "--examples", 1), "cannot be halved: give more --examples"
    )
    # Two boards are enough to go on, even if there is nothing to tell apart.
    assert run_command("studies.probes", tmp_path, "--examples", 2).returncode == 0
    (tmp_path / "results.json").write_text('{"cells": [{"point": ""}]}')
    with pytest.raises(InputError, match="is not the report of a study"):
        read_cells(tmp_path, "")


def test_what_is_probed_for_is_in_the_order_of_the_moves(tmp_path):
    boards = easy_file(tmp_path / "boards.parquet", 70)
    config = load_config("chess_tiny.yaml", [f"data.validation={boards}", f"data.train={boards}"])
    probed = ProbedChess(config, 60, torch.device("cpu"))
    rows = pq.read_table(boards).to_pylist()[:60]
    batch = probed.boards.batch(np.arange(60), False)  # not seen from the side to move
    place = 0
    for row, actions in zip(rows, batch["action_ids"], strict=True):
        board = chess.Board(row["fen"])
        points = {"P": 1, "N": 3, "B": 3, "R": 5, "Q": 9}
        placed = row["fen"].split()[0]
        balance = sum(n * (placed.count(piece) - placed.count(piece.lower())) for piece, n in points.items())
        for action in actions[actions >= 0]:
            move = ACTIONS[action]
            assert probed.targets["gives_check"][place] == board.gives_check(chess.Move.from_uci(move))
            assert probed.targets["in_check"][place] == board.is_check()
            assert probed.targets["material"][place] == (balance if board.turn else -balance)
            values = dict(zip(row["moves"], row["win_probs"], strict=True))
            assert probed.targets["value"][place] == pytest.approx(values[move])
            place += 1
    assert {len(target) for target in probed.targets.values()} == {place}
    assert {0, 1} == set(probed.targets["gives_check"]) and len(set(probed.targets["material"])) > 1


@pytest.mark.parametrize("attention", ["prefix", "full"])
def test_features_are_those_that_values_are_read_from(tmp_path, attention):
    boards = easy_file(tmp_path / "boards.parquet", 5)
    settings = [f"data.validation={boards}", f"data.train={boards}", f"model.attention={attention}"]
    config = load_config("chess_tiny.yaml", settings)
    model = tiny_model(attention).eval()
    model.save_pretrained(tmp_path / "model")
    ChessTokenizer().save_pretrained(tmp_path / "model")
    probed = ProbedChess(config, 5, torch.device("cpu"))
    data = probed.features(str(tmp_path / "model"))
    batch = probed.boards.batch(np.arange(5), True)
    with torch.no_grad():
        output = model(torch.as_tensor(batch["input_ids"]), torch.as_tensor(batch["action_ids"]))
        last = torch.as_tensor(data.features[-1])
        logits = model.head(model.model.norm(last))
    expected = output.logits[torch.as_tensor(batch["action_ids"]) >= 0]
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    assert len(data.is_first) == len(last) and 0 < data.is_first.sum() < len(last)
