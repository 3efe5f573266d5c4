from pathlib import Path

import chess
import pyarrow.parquet as pq
import pytest

from data.chess.positions import position_key
from data.chess.rows import SCHEMA


SAMPLE = Path(__file__).parents[3] / "data" / "chess" / "sample"


@pytest.fixture(scope="module")
def boards():
    return {name: pq.read_table(SAMPLE / f"{name}_boards.parquet") for name in ("train", "test")}


def test_the_sample_is_small_and_complete(boards):
    assert boards["train"].num_rows == 5000
    assert boards["test"].num_rows == 500
    assert all(path.stat().st_size < 1_000_000 for path in SAMPLE.iterdir())


def test_no_position_of_the_test_set_is_in_the_training_set(boards):
    train, test = ({position_key(fen.as_py()) for fen in boards[name]["fen"]} for name in ("train", "test"))
    assert len(train) == 5000
    assert len(test) == 500
    assert not train & test


@pytest.mark.parametrize("name", ["train", "test"])
def test_every_legal_move_of_every_board_has_a_win_probability(boards, name):
    assert boards[name].schema.equals(SCHEMA)
    for row in boards[name].slice(0, 500).to_pylist():
        board = chess.Board(row["fen"])
        assert row["moves"] == sorted(move.uci() for move in board.legal_moves)
        assert len(row["win_probs"]) == len(row["moves"])
        assert 0 <= min(row["win_probs"]) <= max(row["win_probs"]) <= 1


def test_mates_in_1_are_certain_wins(boards):
    num_mates = 0
    for row in boards["train"].to_pylist():
        if max(row["win_probs"]) < 1:
            continue
        board = chess.Board(row["fen"])
        for move, win_prob in zip(row["moves"], row["win_probs"], strict=True):
            after = board.copy(stack=False)
            after.push_uci(move)
            if after.is_checkmate():
                num_mates += 1
                assert win_prob == 1
            elif not any(after.legal_moves):
                assert win_prob == 0.5
    assert num_mates > 10
