"""Linear probes, and the features and targets of chess models."""

from dataclasses import replace

import chess
import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.stats
import torch

from configs.loading import load_config
from models.chess_tokens import ACTIONS
from models.tokenization_chess import ChessTokenizer
from studies.chess import StudiedChess
from studies.linear_probes import Targets, probe, recorded_layers
from studies.probed_chess import facts_of
from tests.eval.chess.test_engines import tiny_model
from tests.support.easy_boards import easy_file


def targets_of(values: dict[str, np.ndarray], is_first: np.ndarray, *binary: str) -> Targets:
    return Targets(values, frozenset(binary), is_first, {name: [name] for name in values})


def test_probes_find_what_is_linear_in_a_layer_and_nothing_else():
    rng = np.random.default_rng(0)
    unrelated, features = rng.normal(size=(2, 4000, 6))
    linear = features @ rng.normal(size=6) + 0.5 * rng.normal(size=4000) + 3
    values = {"linear": linear, "square": features[:, 0] ** 2, "sign": (linear > 4).astype(float)}
    targets = targets_of(values, np.arange(4000) % 2 == 0, "sign")
    explained = 1 - 0.25 / linear.var()
    for layer in (features, 100 * features + 7):
        scores = probe(layer.astype(np.float32), targets)
        assert scores["linear"] == pytest.approx(explained, abs=0.02)
        assert scores["square"] == pytest.approx(0, abs=0.02) and scores["sign"] > 0.9
    scores = probe(unrelated.astype(np.float32), targets)
    assert scores["linear"] == pytest.approx(0, abs=0.02) and scores["sign"] == pytest.approx(0.5, abs=0.03)


def test_probes_are_scored_on_examples_they_were_not_fitted_to():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(80, 40)).astype(np.float32)
    values = {"noise": rng.normal(size=80), "constant": np.ones(80), "never": np.zeros(80)}
    targets = targets_of(values, np.arange(80) < 40, "never")
    scores = probe(features, targets)
    assert scores["noise"] < 0  # 40 weights fit 40 examples, and nothing else
    assert scores["noise"] < probe(features, replace(targets, penalty=10.0))["noise"] < 0.1
    assert np.isnan(scores["constant"]) and np.isnan(scores["never"])


def test_each_half_is_scored_by_the_probe_of_the_other():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 2)).astype(np.float32)
    slope = np.where(np.arange(400) < 200, 1, -2)
    score = probe(features, targets_of({"y": slope * features[:, 0]}, slope > 0))["y"]
    assert score == pytest.approx(1 - (1.5**2 + 3**2) / 2, rel=0.1)


def test_a_feature_that_is_active_in_one_half_alone_does_not_spoil_the_score():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 3))
    is_first = np.arange(400) < 200
    y = features[:, 0] + rng.normal(size=400)
    targets = replace(targets_of({"y": y}, is_first), penalty=1e-2)
    usual = probe(features, targets)["y"]
    rare = np.where(is_first, 0, rng.normal(size=400))
    rare[7] = 1e-4
    never = np.zeros(400)
    assert probe(np.column_stack([features, rare, never]), targets)["y"] == pytest.approx(usual, abs=0.02)
    assert probe(np.column_stack([never, never]), targets)["y"] == pytest.approx(0, abs=0.02)


def test_binary_targets_are_scored_by_the_area_under_the_roc():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(600, 1))
    is_one = features[:, 0] + rng.normal(size=600) > 1
    score = probe(features, targets_of({"y": is_one}, np.arange(600) < 300, "y"))["y"]
    areas = []
    for half in (slice(300), slice(300, 600)):
        ones, zeros = features[half][is_one[half]], features[half][~is_one[half]]
        # A probe of one feature with a positive weight keeps its order.
        areas.append(scipy.stats.mannwhitneyu(ones[:, 0], zeros[:, 0]).statistic / len(ones) / len(zeros))
    assert score == pytest.approx(np.mean(areas))


def test_all_layers_are_recorded_and_hooks_are_removed():
    model = tiny_model()
    inputs = torch.zeros(2, 77, dtype=torch.int64), torch.tensor([[3, 4], [5, -100]])
    with torch.no_grad(), recorded_layers(model.model) as layers:
        model(*inputs, output_hidden_states=True)
    assert len(layers) == 1 + len(model.model.blocks) and {layer.shape[1] for layer in layers} == {80}
    with torch.no_grad():
        model(*inputs)
    assert len(layers) == 1 + len(model.model.blocks)


def test_facts_of_a_move():
    facts = facts_of("4k3/8/8/8/8/8/4q3/4K2R w - - 0 1", ["e1e2"])
    assert {name: fact.tolist() for name, fact in facts.items()} == {
        "material": [5 - 9], "in_check": [1], "gives_check": [0],
    }  # fmt: skip
    black = facts_of("4k3/8/8/8/8/8/4q3/6KR b - - 0 1", ["e2e1", "e2a2"])
    assert black["material"].tolist() == [4, 4] and black["gives_check"].tolist() == [1, 0]


def test_targets_are_in_the_order_of_the_moves(tmp_path):
    boards = easy_file(tmp_path / "boards.parquet", 70)
    config = load_config("chess_tiny.yaml", [f"data.validation={boards}", f"data.train={boards}"])
    probed = StudiedChess(config, torch.device("cpu")).probed(60)
    rows = pq.read_table(boards).to_pylist()[:60]
    batch = probed.boards.batch(np.arange(60), False)  # not seen from the side to move
    index = 0
    for row, actions in zip(rows, batch["action_ids"], strict=True):
        board = chess.Board(row["fen"])
        points = {"P": 1, "N": 3, "B": 3, "R": 5, "Q": 9}
        placed = row["fen"].split()[0]
        balance = sum(n * (placed.count(piece) - placed.count(piece.lower())) for piece, n in points.items())
        for action in actions[actions >= 0]:
            move = ACTIONS[action]
            assert probed.targets.values["gives_check"][index] == board.gives_check(chess.Move.from_uci(move))
            assert probed.targets.values["in_check"][index] == board.is_check()
            assert probed.targets.values["material"][index] == (balance if board.turn else -balance)
            values = dict(zip(row["moves"], row["win_probs"], strict=True))
            assert probed.targets.values["value"][index] == pytest.approx(values[move])
            index += 1
    assert {len(target) for target in probed.targets.values.values()} == {index}
    assert {0, 1} == set(probed.targets.values["gives_check"]) and len(
        set(probed.targets.values["material"])
    ) > 1


@pytest.mark.parametrize("attention", ["prefix", "full"])
def test_features_are_those_that_values_are_computed_from(tmp_path, attention):
    boards = easy_file(tmp_path / "boards.parquet", 5)
    settings = [f"data.validation={boards}", f"data.train={boards}", f"model.attention={attention}"]
    config = load_config("chess_tiny.yaml", settings)
    model = tiny_model(attention).eval()
    model.save_pretrained(tmp_path / "model")
    ChessTokenizer().save_pretrained(tmp_path / "model")
    probed = StudiedChess(config, torch.device("cpu")).probed(5)
    features = probed.features(tmp_path / "model")
    batch = probed.boards.batch(np.arange(5), True)
    with torch.no_grad():
        output = model(torch.as_tensor(batch["input_ids"]), torch.as_tensor(batch["action_ids"]))
        last = torch.as_tensor(features[-1])
        logits = model.head(model.model.norm(last))
    expected = output.logits[torch.as_tensor(batch["action_ids"]) >= 0]
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    is_first = probed.targets.is_first
    assert len(is_first) == len(last) and 0 < is_first.sum() < len(last)
