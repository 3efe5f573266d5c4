"""The naive ways to make batches give the same batches."""

import numpy as np
import pyarrow.parquet as pq

from benchmarks.data import batch_one_by_one, first_boards, tokenize_one_by_one
from data.chess.boards import Boards
from models.chess_tokens import tokenize_fens
from tests.support.commands import assert_input_error, run_command
from tests.support.training_runs import SAMPLE


def test_naive_tokens_of_long_numbers_are_the_fast_ones():
    fens = ["8/8/8/8/8/8/k6K/8 w - - 1234 5678", "8/8/8/8/8/8/k6K/8 b - - 0 1000"]
    np.testing.assert_array_equal(tokenize_one_by_one(fens), tokenize_fens(fens))


def test_naive_tokens_and_batches_are_the_fast_ones():
    rows = pq.read_table(SAMPLE).slice(0, 24).to_pylist()
    fens = [row["fen"] for row in rows]
    np.testing.assert_array_equal(tokenize_one_by_one(fens), tokenize_fens(fens))
    boards = Boards.from_parquet(SAMPLE, check_moves=False)
    naive, fast = batch_one_by_one(rows), boards.batch(np.arange(24), orient=False)
    for name in ("input_ids", "action_ids", "win_probs"):
        np.testing.assert_array_equal(naive[name].numpy(), fast[name])


def test_the_first_boards_of_a_folder_are_read(tmp_path):
    boards = pq.read_table(SAMPLE)
    for part in range(3):
        pq.write_table(boards.slice(100 * part, 100), tmp_path / f"{part}.parquet")
    for limit in (50, 100, 250, 1000):
        assert first_boards(tmp_path, limit).equals(boards.slice(0, min(limit, 300)))


def test_data_that_cannot_be_read_is_refused(tmp_path):
    path = tmp_path / "boards.parquet"
    path.write_text("no boards")
    result = run_command("benchmarks", "data", "--quick", f"data.train={path}")
    assert_input_error(result, str(path), "cannot be read")
