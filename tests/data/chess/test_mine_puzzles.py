import csv
import os
from pathlib import Path

import chess
import pytest

from data.chess.mine_puzzles import COLUMNS, find_puzzle
from data.chess.positions import position_key, positions_of_boards
from data.chess.stockfish import Stockfish
from tests.support.commands import assert_input_error, run_command


MINE = "data.chess.mine_puzzles"
SAMPLE = Path(__file__).parents[3] / "data" / "chess" / "sample" / "puzzles.csv"


@pytest.fixture(scope="module")
def engine():
    with Stockfish() as engine:
        yield engine


def read_puzzles(path):
    with open(path, newline="") as file:
        reader = csv.DictReader(file)
        assert tuple(reader.fieldnames) == COLUMNS
        return list(reader)


def mine(output, *more, processes=2, **environment):
    settings = ["--nodes", 5000, "--puzzles", 2, "--seed", 4, "--processes", processes]
    return run_command(MINE, "--output", output, *settings, *more, **environment)


def puzzle_after(engine, fen, move):
    return find_puzzle(engine, chess.Board(fen), chess.Move.from_uci(move), nodes=20_000)


def test_a_mate_in_1_is_found_whatever_else_wins(engine):
    puzzle = puzzle_after(engine, "rnbqkbnr/pppp1ppp/8/4p3/8/5P2/PPPPP1PP/RNBQKBNR w KQkq - 0 2", "g2g4")
    assert puzzle.moves == ["g2g4", "d8h4"]
    assert puzzle.themes == ["mate", "mateIn1", "oneMove", "opening"]


def test_a_longer_mate_is_found_with_the_defence(engine):
    puzzle = puzzle_after(engine, "rnbqkbnr/pppp1ppp/8/4p3/8/7P/PPPPPPP1/RNBQKBNR w KQkq - 0 2", "f2f3")
    assert puzzle.moves == ["f2f3", "d8h4", "g2g3", "h4g3"]
    assert puzzle.themes == ["mate", "mateIn2", "short", "opening"]


def test_a_piece_left_hanging_is_a_tactic(engine):
    puzzle = puzzle_after(engine, "rnbqkbnr/ppp1pppp/8/3p4/4P3/8/PPPP1PPP/RNBQKBNR w KQkq - 0 2", "d1g4")
    assert puzzle.kind == "winning tactic"
    assert puzzle.moves[:2] == ["d1g4", "c8g4"]
    assert puzzle.themes[0] == "crushing"


def test_ordinary_moves_set_no_puzzle(engine):
    assert puzzle_after(engine, chess.STARTING_FEN, "e2e4") is None


def test_a_recapture_is_no_puzzle(engine):
    fen = "rnb1kbnr/ppp1pppp/8/3q4/8/2N5/PPPP1PPP/R1BQKBNR b KQkq - 1 3"
    assert (
        puzzle_after(engine, "rnbqkbnr/ppp1pppp/8/3p4/4P3/8/PPPP1PPP/RNBQKBNR w KQkq - 0 2", "e4d5") is None
    )
    assert puzzle_after(engine, fen, "d5a5") is None


def test_a_position_that_was_won_anyway_is_no_tactic(engine):
    # White is a rook up, and the pawn that moves in front of it changes nothing.
    assert puzzle_after(engine, "6k1/5pp1/7p/8/8/1r6/5PPP/R3R1K1 b - - 0 30", "b3a3") is None


def test_the_puzzles_are_the_same_for_any_number_of_processes(tmp_path):
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    for output, processes in ((one, 1), (two, 2)):
        result = mine(output, processes=processes)
        assert result.returncode == 0, result.stderr
    assert one.read_bytes() == two.read_bytes()
    assert len(read_puzzles(one)) == 2
    assert sorted(os.listdir(tmp_path)) == ["one.csv", "two.csv"]


def test_an_existing_output_is_replaced_only_on_request(tmp_path):
    output = tmp_path / "puzzles.csv"
    output.write_text("earlier")
    assert_input_error(mine(output), "puzzles.csv exists", "--overwrite")
    assert output.read_text() == "earlier"


def test_a_missing_stockfish_is_an_error(tmp_path):
    result = mine(tmp_path / "puzzles.csv", STOCKFISH=str(tmp_path / "stockfish"))
    assert_input_error(result, "STOCKFISH", "apt-get install stockfish")


@pytest.fixture(scope="module")
def sample():
    return read_puzzles(SAMPLE)


def test_the_sample_mixes_mates_and_tactics(sample):
    themes = [puzzle["Themes"].split() for puzzle in sample]
    assert len(sample) == 200
    assert len({puzzle["PuzzleId"] for puzzle in sample}) == 200
    assert sum("mateIn1" in some for some in themes) == 80
    assert sum("mate" in some and "mateIn1" not in some for some in themes) == 20
    assert sum("mate" not in some for some in themes) == 100


def test_the_moves_of_the_sample_are_legal_and_its_mates_end_in_mate(sample):
    for puzzle in sample:
        board = chess.Board(puzzle["FEN"])
        moves = puzzle["Moves"].split()
        assert len(moves) % 2 == 0
        for uci in moves:
            move = chess.Move.from_uci(uci)
            assert move in board.legal_moves, puzzle
            board.push(move)
        themes = puzzle["Themes"].split()
        assert board.is_checkmate() == ("mate" in themes), puzzle
        if "mate" in themes:
            assert f"mateIn{len(moves) // 2}" in themes


def test_no_puzzle_of_the_sample_sets_a_position_of_the_training_set(sample):
    train = {position_key(fen) for fen in positions_of_boards(SAMPLE.with_name("train_boards.parquet"))}
    for puzzle in sample:
        board = chess.Board(puzzle["FEN"])
        board.push_uci(puzzle["Moves"].split()[0])
        assert position_key(board.fen()) not in train


def test_the_sample_holds_no_number_that_was_not_measured(sample):
    for puzzle in sample:
        assert (
            puzzle["Rating"] == puzzle["RatingDeviation"] == puzzle["Popularity"] == puzzle["NbPlays"] == ""
        )
