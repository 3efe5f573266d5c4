"""Speed figures: every way does the same work, and the tables hold what was measured."""

import json

import chess
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.ceiling import forward_operations
from benchmarks.data_path import batch_one_by_one, read_some_boards, tokenize_one_by_one
from benchmarks.play_speed import NAIVE, ONE_PASS, PREFIX, PYTHON, one_move_after_the_other, with_attention
from benchmarks.training import (
    PlainCrossEntropy,
    TrainingWay,
    measure_training,
    micro_batches_of_boards,
    micro_batches_of_pairs,
    padding_share,
)
from data.chess.boards import Boards
from eval.chess.engines import ValueEngine
from models.configuration_value_transformer import ValueTransformerConfig
from models.modeling_value_transformer import ValueTransformerForActionValue
from models.tokenization_chess import ChessTokenizer, tokenize_fens
from models.value_losses import make_value_loss
from tests.eval.chess.test_engines import FENS, tiny_model
from tests.support.commands import assert_input_error, run_command
from tests.support.training_runs import SAMPLE


def few_boards(number: int = 24) -> Boards:
    boards = Boards.from_parquet(SAMPLE, check_moves=False)
    end = boards.offsets[number]
    return Boards(
        boards.tokens[:number], boards.actions[:end], boards.win_probs[:end], boards.offsets[: number + 1]
    )


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


def test_both_attentions_train_on_the_same_action_values():
    boards = few_boards()
    whole = micro_batches_of_boards(boards, np.arange(24), 600, 1)
    pairs = micro_batches_of_pairs(boards, np.arange(24), 600)
    assert len(whole) == 6
    for batch in (*whole, *pairs):
        rows, actions = batch["action_ids"].shape
        assert rows * (78 + actions) <= 600
    values = []
    for batches in (whole, pairs):
        counted = [
            (tuple(tokens), int(action), float(win_prob))
            for batch in batches
            for tokens, actions, win_probs in zip(
                batch["input_ids"].tolist(), batch["action_ids"], batch["win_probs"], strict=True
            )
            for action, win_prob in zip(actions, win_probs, strict=True)
            if action >= 0
        ]
        values.append(sorted(counted))
    assert values[0] == values[1]
    assert len(values[0]) == boards.num_action_values


def test_a_step_of_either_split_is_the_same_step():
    """However a batch is cut into micro-batches, the gradients are those of the mean over its values."""
    boards, model = few_boards(), tiny_model("prefix").train()
    weights = []
    for tokens in (10**9, 600):
        batches = micro_batches_of_boards(boards, np.arange(24), tokens, 1)
        own = with_attention(model, "prefix")
        way = TrainingWay(own, own.value_loss, lambda batches=batches: (batches, boards.num_action_values))
        way.step("fp32")
        weights.append(torch.cat([p.detach().flatten() for p in own.parameters()]))
    before = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert (weights[0] - before).abs().max() > 1e-3
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=2e-4)


def test_padding_is_the_share_of_tokens_that_are_no_move():
    actions = torch.tensor([[1, 2, 3], [4, -100, -100]])
    assert padding_share([{"action_ids": actions}], 1) == pytest.approx(2 / (2 * 81))
    assert padding_share([{"action_ids": actions}], 2) == pytest.approx(4 / (2 * 84))
    assert padding_share([{"action_ids": actions[:1]}, {"action_ids": actions[1:, :1]}], 1) == 0


@pytest.mark.parametrize("num_tokens", [1, 2])
@pytest.mark.parametrize("attention", ["prefix", "causal", "full"])
def test_operations_are_those_of_the_matrix_products(attention, num_tokens):
    """Against what torch counts in a forward pass, in which attention computes all pairs of tokens."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_bins": 16}
    config = ValueTransformerConfig(**sizes, attention=attention, tokens_per_action=num_tokens)
    model = ValueTransformerForActionValue(config)
    model.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 77, dtype=torch.long), torch.arange(20)[None])
    own = range(1, num_tokens + 1)
    if attention == "full":
        seen = dense = 20 * (78 + num_tokens) ** 2
    else:
        dense = (78 + 20 * num_tokens) ** 2
        state = sum(range(1, 79)) if attention == "causal" else 78**2
        among = sum(own) if attention == "causal" else num_tokens**2
        seen = state + 20 * (78 * num_tokens + among)
    expected = counter.get_total_flops() - 4 * 2 * 32 * (dense - seen)
    assert forward_operations(config, model.value_loss.num_outputs, [20]) == expected
    assert forward_operations(config, model.value_loss.num_outputs, [20, 20]) == 2 * expected


def test_the_shares_of_a_step_are_shares():
    measured = measure_training(
        tiny_model("prefix"),
        few_boards(),
        batch_size=24,
        tokens=1000,
        precision="fp32",
        repeats=2,
        compile=False,
        ceiling=1e12,
        seed=0,
    )
    shares = measured["shares_of_step"]
    assert 0 < shares["python and waiting"] < 1
    assert shares["data, if it were not loaded ahead"] > 0
    ways = measured["ways"]
    ratio = ways["full attention"]["seconds_per_step"] / ways["prefix attention"]["seconds_per_step"]
    assert measured["prefix_to_full"] == pytest.approx(ratio)
    assert measured["prefix_to_full_compiled"] is None
    counted = 3 * forward_operations(
        tiny_model("prefix").config, 16, few_boards().lengths(range(24)).tolist()
    )
    row = ways["prefix attention"]
    assert row["model_flop_utilization"] == pytest.approx(counted / row["seconds_per_step"] / 1e12)


def test_plain_cross_entropy_is_that_of_the_index_of_the_bin():
    loss = PlainCrossEntropy(0.0, 1.0, 16)
    logits = torch.randn(5, 7, 16, generator=torch.Generator().manual_seed(0))
    values = torch.rand(5, 7, generator=torch.Generator().manual_seed(1))
    weight = torch.arange(7).expand(5, 7) < 4
    one_hot = make_value_loss("one_hot", value_min=0.0, value_max=1.0, num_bins=16)
    torch.testing.assert_close(loss.loss(logits, values, weight), one_hot.loss(logits, values, weight))


def test_naive_tokens_of_numbers_beyond_their_places_are_the_fast_ones():
    fens = ["8/8/8/8/8/8/k6K/8 w - - 1234 5678", "8/8/8/8/8/8/k6K/8 b - - 0 1000"]
    np.testing.assert_array_equal(tokenize_one_by_one(fens), tokenize_fens(fens))


def test_naive_tokens_and_batches_are_the_fast_ones():
    boards = few_boards()
    rows = pq.read_table(SAMPLE).slice(0, 24).to_pylist()
    tokens = tokenize_fens([row["fen"] for row in rows])
    np.testing.assert_array_equal(tokenize_one_by_one([row["fen"] for row in rows]), tokens)
    naive, fast = batch_one_by_one(rows), boards.batch(np.arange(24), orient=False)
    for name in ("input_ids", "action_ids", "win_probs"):
        np.testing.assert_array_equal(naive[name].numpy(), fast[name])


def test_of_large_files_the_first_boards_are_read(tmp_path):
    whole = pq.read_table(SAMPLE)
    for part in range(3):
        pq.write_table(whole.slice(100 * part, 100), tmp_path / f"{part}.parquet")
    for limit in (50, 100, 250, 1000):
        assert read_some_boards(tmp_path, limit).equals(whole.slice(0, min(limit, 300)))


def test_data_that_cannot_be_read_is_refused(tmp_path):
    path = tmp_path / "boards.parquet"
    path.write_text("no boards")
    assert_input_error(run_command("benchmarks", "data", "--data", path), str(path), "cannot be read")


def test_a_stockfish_that_is_none_is_refused():
    result = run_command("benchmarks", "data", "--data", SAMPLE, "--repeats", 1, STOCKFISH="/nowhere")
    assert_input_error(result, "/nowhere", "not a program")


@pytest.mark.slow
def test_compiled_training_is_measured_too(tmp_path):
    tiny_model().save_pretrained(tmp_path / "model")
    ChessTokenizer().save_pretrained(tmp_path / "model")
    result = run_command(
        *("benchmarks", "training", "--compile", "--model", tmp_path / "model", "--data", SAMPLE),
        *("--repeats", 1, "--train-boards", 8, "--json", tmp_path / "s.json"),
    )
    assert result.returncode == 0, result.stderr
    training = json.loads((tmp_path / "s.json").read_text())["training"]
    assert {"prefix attention, compiled", "full attention, compiled"} < training["ways"].keys()
    assert training["prefix_to_full_compiled"] > 1


def test_tables_and_json_hold_the_same_numbers(tmp_path):
    tiny_model().save_pretrained(tmp_path / "model")
    ChessTokenizer().save_pretrained(tmp_path / "model")
    result = run_command(
        "benchmarks",
        *("--model", tmp_path / "model", "--data", SAMPLE, "--repeats", 1, "--json", tmp_path / "s.json"),
        *("--boards", 2, "--batch-sizes", 1, 3, "--train-boards", 8, "--train-tokens", 500),
    )
    assert result.returncode == 0, result.stderr
    measured = json.loads((tmp_path / "s.json").read_text())
    moves = measured["play"]["milliseconds_per_move"]
    assert {PREFIX, ONE_PASS, PYTHON, NAIVE} < set(moves)
    for name, row in moves.items():
        assert 0 < row["low"] <= row["median"] <= row["high"]
        assert f"{name} {row['median']:.2f}" in " ".join(result.stdout.split())
    assert set(measured["play"]["boards_per_second_by_batch"]) == {"1", "3"}
    training = measured["training"]
    for name, row in training["ways"].items():
        assert f"{name} {row['action_values_per_second']:,.0f}" in " ".join(result.stdout.split())
        assert row["action_values_per_second"] == pytest.approx(
            training["num_action_values"] / row["seconds_per_step"]
        )
        assert set(row["seconds"]) == {"forward", "backward", "optimizer"}
    assert 0 < training["padding_share_of_tokens"] < 0.5
    assert measured["losses"].keys() >= {"hl_gauss", "mse"}
    assert measured["data"]["labels"] is not None


def test_sections_can_be_chosen(tmp_path):
    result = run_command("benchmarks", "losses", "--repeats", 1, "--json", tmp_path / "s.json")
    assert result.returncode == 0, result.stderr
    measured = json.loads((tmp_path / "s.json").read_text())
    assert "losses" in measured
    assert not measured.keys() & {"training", "play", "data"}


def test_an_unknown_section_is_refused():
    result = run_command("benchmarks", "trainin")
    assert result.returncode == 2
    assert "'trainin' is no section: choose from training, play, data, losses" in result.stderr


def test_more_boards_than_there_are_is_refused():
    assert_input_error(run_command("benchmarks", "--boards", 501), "--boards 501", "500")
    assert_input_error(
        run_command("benchmarks", "training", "--data", SAMPLE, "--train-boards", 501),
        "--train-boards 501",
        "500",
    )


@pytest.mark.parametrize("module", ["benchmarks", "eval.chess.actions"])
def test_a_negative_seed_is_refused(module):
    result = run_command(module, "--seed", -1)
    assert result.returncode == 2
    assert "argument --seed: '-1' is not a whole number from 0 to 2**32 - 1" in result.stderr
