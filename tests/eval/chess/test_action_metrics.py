"""Action metrics against slow references, and `python -m eval.chess.actions` as a user runs it."""

import json
from functools import partial

import chess
import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.stats
import torch

from data.chess.boards import Boards
from data.chess.rows import Row, write_rows
from eval.chess.action_evaluation import evaluate_actions
from eval.chess.action_metrics import agreement_and_regret, kendall_tau, kendall_tau_chessbench
from eval.chess.calibration import Calibration
from eval.chess.engines import ordered_legal_moves
from eval.intervals import mean_and_standard_error, wilson_interval
from models.chess_tokens import ACTION_IDS
from models.tokenization_chess import ChessTokenizer
from tests.eval.chess.test_engines import tiny_model
from tests.support.commands import assert_input_error, run_command


run = partial(run_command, "eval.chess.actions")


def padded(boards: list[np.ndarray], padding: float = 7.0, extra: int = 0) -> np.ndarray:
    """Stack boards of different numbers of moves; the padding is a value that would matter if it counted."""
    result = np.full((len(boards), max(map(len, boards)) + extra), padding, dtype=np.float32)
    for row, board in enumerate(boards):
        result[row, : len(board)] = board
    return result


@pytest.fixture
def ragged() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Values and labels of 60 boards with 1 to 40 moves and many ties."""
    rng = np.random.default_rng(0)
    labels = [rng.integers(0, 12, n).astype(np.float32) / 12 for n in rng.integers(1, 41, 60)]
    values = [np.round(label + rng.normal(0, 0.3, len(label)), 1).astype(np.float32) for label in labels]
    return values, labels


def is_move(boards: list[np.ndarray], extra: int = 0) -> np.ndarray:
    return padded([np.ones(len(board)) for board in boards], padding=0, extra=extra) == 1


def test_kendall_tau_equals_scipy_with_ties(ragged):
    values, labels = ragged
    expected = [
        scipy.stats.kendalltau(value, label).statistic if len(value) > 1 else np.nan
        for value, label in zip(values, labels, strict=True)
    ]
    np.testing.assert_allclose(
        kendall_tau(padded(values), padded(labels), is_move(values)), expected, atol=1e-12
    )


def test_kendall_tau_chessbench_equals_scipy_on_argsort(ragged):
    values, labels = ragged
    expected = [
        scipy.stats.kendalltau(np.argsort(value), np.argsort(label)).statistic if len(value) > 1 else 1.0
        for value, label in zip(values, labels, strict=True)
    ]
    tau = kendall_tau_chessbench(padded(values), padded(labels), is_move(values))
    np.testing.assert_allclose(tau, expected, atol=1e-12)


def test_kendall_tau_of_equal_and_opposite_order():
    labels = np.array([[0.1, 0.5, 0.2, 0.9]] * 2)
    values = np.array([[1, 3, 2, 4], [4, 2, 3, 1]])
    assert kendall_tau(values, labels, np.ones((2, 4), bool)).tolist() == [1, -1]


def test_kendall_tau_is_undefined_without_an_order_to_find_and_0_if_nothing_of_it_is_found():
    labels = np.array([[0.5, 0.5, 0.5], [0.1, 0.2, 0.3], [0.5, 0, 0]])
    values = np.array([[0.1, 0.2, 0.3], [0.4, 0.4, 0.4], [0.4, 0, 0]])
    tau = kendall_tau(values, labels, np.array([[1, 1, 1], [1, 1, 1], [1, 0, 0]], bool))
    np.testing.assert_array_equal(tau, [np.nan, 0, np.nan])


def test_agreement_and_regret_equal_a_naive_loop(ragged):
    values, labels = ragged
    result = agreement_and_regret(padded(values), padded(labels), is_move(values))
    for row, (value, label) in enumerate(zip(values, labels, strict=True)):
        chosen = label[int(value.argmax())]
        assert result["best_move_agreement"][row] == (chosen == label.max())
        assert result["regret"][row] == pytest.approx(label.max() - chosen)
        assert result["random_agreement"][row] == pytest.approx(np.mean(label == label.max()))
        assert result["random_regret"][row] == pytest.approx(np.mean(label.max() - label), abs=1e-6)


def test_any_of_several_best_moves_agrees():
    labels = np.array([[0.9, 0.9, 0.1]])
    for values in ([[2.0, 1.0, 0.0]], [[1.0, 2.0, 0.0]]):
        result = agreement_and_regret(np.array(values), labels, np.ones((1, 3), bool))
        assert (result["best_move_agreement"], result["regret"]) == (1, 0)


def test_metrics_do_not_depend_on_padding(ragged):
    values, labels = ragged
    for metric in (
        kendall_tau,
        kendall_tau_chessbench,
        lambda *board: agreement_and_regret(*board)["regret"],
    ):
        tight = metric(padded(values), padded(labels), is_move(values))
        wide = metric(padded(values, -9, extra=5), padded(labels, 99, extra=5), is_move(values, extra=5))
        np.testing.assert_array_equal(tight, wide)


def test_calibration_error_is_the_weighted_gap_of_the_bins():
    calibration = Calibration()
    calibration.add(np.array([0.11, 0.13, 0.91]), np.array([0.3, 0.1, 0.81]))
    calibration.add(np.array([1.2]), np.array([1.0]))
    assert calibration.expected_error() == pytest.approx((2 * 0.08 + 0.1 + 0.2) / 4)
    assert [row["count"] for row in calibration.table()] == [2, 1, 1]


def test_wilson_interval_equals_scipy():
    for successes, trials in ((0, 20), (7, 20), (20, 20), (431, 5000)):
        expected = scipy.stats.binomtest(successes, trials).proportion_ci(method="wilson")
        assert wilson_interval(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-7)


def test_standard_error_of_a_ratio_covers_correlated_action_values():
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 40, (2000, 100))
    # All action values of a board are equal, the worst case for treating them as independent.
    means, errors = zip(*(mean_and_standard_error(n * rng.normal(0, 1, 100), n) for n in counts), strict=True)
    assert np.std(means) == pytest.approx(np.mean(errors), rel=0.05)


FENS = (
    "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1",
    "r1bqkbnr/pppp1ppp/2n5/4p3/2B1P3/5N2/PPPP1PPP/RNBQK2R b KQkq - 3 3",
    "8/P6k/8/8/8/8/5K2/8 w - - 0 70",
    "8/5k2/8/8/8/8/p6K/8 b - - 0 70",
    "r3k2r/8/8/8/8/8/8/4K3 w kq - 0 40",
    "7k/8/8/8/8/8/6r1/7K w - - 9 80",
    "4k3/8/8/8/8/8/8/R3K2R w KQ - 0 1",
)


@pytest.fixture(scope="session")
def boards_file(tmp_path_factory):
    """A Parquet file of seven boards with random labels; the sixth has a single legal move."""
    rng = np.random.default_rng(1)
    rows = []
    for fen in FENS:
        moves = sorted(move.uci() for move in ordered_legal_moves(chess.Board(fen)))
        rows.append(Row(fen, moves, rng.random(len(moves), dtype=np.float32).tolist()))
    path = tmp_path_factory.mktemp("boards") / "boards.parquet"
    write_rows(path, rows)
    return path


def test_results_do_not_depend_on_batch_size(boards_file):
    boards = Boards.from_parquet(boards_file)
    model = tiny_model()
    together = evaluate_actions(model, boards, orient=True, batch_size=64)
    alone = evaluate_actions(model, boards, orient=True, batch_size=1)
    for name in ("best_move_agreement", "regret", "kendall_tau", "kendall_tau_chessbench", "mae", "kl"):
        assert together[name] == pytest.approx(alone[name], abs=1e-5), name
    assert together["num_boards"] == len(FENS)
    assert together["num_boards_ranked"] == len(FENS) - 1


def test_evaluation_equals_a_naive_loop_over_boards(boards_file):
    boards = Boards.from_parquet(boards_file)
    model, tokenizer = tiny_model(), ChessTokenizer(orient=True)
    agreement, taus, errors, divergences = [], [], [], []
    for row in pq.read_table(boards_file).to_pylist():
        labels = torch.tensor([row["win_probs"]])
        inputs = tokenizer.encode_positions([row["fen"]], [row["moves"]], return_tensors="pt")
        with torch.no_grad():
            outputs = model(**inputs)
        value = outputs.value[0].numpy()
        agreement.append(labels[0, value.argmax()] == labels.max())
        errors.extend(value - labels[0].numpy())
        # One number for each board, weighted by its moves, makes the mean over moves.
        divergences += [model.value_loss.kl(outputs.logits, labels).item()] * len(value)
        order = np.argsort([ACTION_IDS[move] for move in row["moves"]])
        label = labels[0].numpy()[order]
        taus.append(
            scipy.stats.kendalltau(np.argsort(value[order]), np.argsort(label)).statistic
            if len(value) > 1
            else 1
        )
    result = evaluate_actions(model, boards, orient=True)
    assert result["best_move_agreement"] == pytest.approx(np.mean(agreement))
    assert result["mae"] == pytest.approx(np.mean(np.abs(errors)), abs=1e-6)
    assert result["bias"] == pytest.approx(np.mean(errors), abs=1e-6)
    assert result["kl"] == pytest.approx(np.mean(divergences), abs=1e-5)
    assert result["kendall_tau_chessbench"] == pytest.approx(np.mean(taus), abs=1e-6)


def test_mse_models_have_no_kl(boards_file):
    boards = Boards.from_parquet(boards_file)
    for value_loss in ("mse", "mse_softmax"):
        result = evaluate_actions(tiny_model(value_loss=value_loss), boards, orient=False)
        assert result["kl"] is None and result["cross_entropy"] is None
        assert result["mae"] > 0


def test_evaluation_leaves_training_mode_as_it_was(boards_file):
    model = tiny_model().train()
    evaluate_actions(model, Boards.from_parquet(boards_file), orient=True)
    assert model.training


def test_command_prints_a_table_and_writes_json_and_plot(tmp_path, boards_file, model_folder):
    output, plot = tmp_path / "results.json", tmp_path / "plot.png"
    done = run("--model", model_folder, "--data", boards_file, "--json", output, "--plot", plot, "--limit", 5)
    assert done.returncode == 0, done.stderr
    results = json.loads(output.read_text())
    keys = "best_move_agreement regret kendall_tau kendall_tau_chessbench mae kl num_boards"
    assert set(keys.split()) <= results.keys()
    assert results["num_boards"] == 5
    heading, _, *table = done.stdout.splitlines()
    assert heading.startswith(f"{model_folder.parent.name} on {boards_file}: 5 boards")
    assert table[0].split() == ["model", "±", "95%", "random", "choice"]
    assert len(table) == 9 and len({len(line) for line in table}) == 1
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_command_refuses_a_missing_model_in_one_line_and_leaves_results_alone(tmp_path, boards_file):
    output = tmp_path / "results.json"
    output.write_text("{}")
    done = run("--model", tmp_path / "nowhere", "--data", boards_file, "--json", output)
    assert_input_error(done, f"error: {tmp_path / 'nowhere'}: no such folder")
    assert output.read_text() == "{}"
