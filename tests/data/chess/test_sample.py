from pathlib import Path

import chess
import pyarrow.parquet as pq
import pytest

from data.chess.positions import position_key
from data.chess.puzzles import read_puzzles
from data.chess.rows import SCHEMA


SAMPLE = Path(__file__).parents[3] / "data" / "chess" / "sample"


@pytest.fixture(scope="module")
def boards():
    return {name: pq.read_table(SAMPLE / f"{name}_boards.parquet") for name in ("train", "test")}


def positions(table) -> set[str]:
    return {position_key(fen) for fen in table["fen"].to_pylist()}


def test_no_position_is_in_two_files(boards):
    train, test = positions(boards["train"]), positions(boards["test"])
    puzzles = {position_key(puzzle.board().fen()) for puzzle in read_puzzles(SAMPLE / "puzzles.csv")}
    assert (len(train), len(test), len(puzzles)) == (5000, 500, 200)
    assert not train & test and not puzzles & (train | test)


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


def test_puzzles_have_ratings_and_end_in_mate_where_their_themes_say_so():
    puzzles = read_puzzles(SAMPLE / "puzzles.csv")
    assert all(puzzle.rating for puzzle in puzzles)
    mates = [puzzle for puzzle in puzzles if "mate" in puzzle.themes]
    assert len(mates) > 20
    for puzzle in mates:
        board = chess.Board(puzzle.fen)
        for move in puzzle.moves:
            board.push(move)
        assert board.is_checkmate()
