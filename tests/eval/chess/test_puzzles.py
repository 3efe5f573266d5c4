"""Puzzle accuracy: what counts as solved, how it is summed up, and what is refused."""

import json
from functools import partial

import chess
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli.errors import InputError
from data.chess.puzzles import read_puzzles
from eval.chess.engines import Analysis, ValueEngine, ordered_legal_moves
from eval.chess.puzzles import evaluate_puzzles
from models.tokenization_chess import ChessTokenizer
from tests.eval.chess.test_engines import tiny_model
from tests.support.commands import assert_input_error, run_command
from tests.support.hub_server import HubServer, Repository


run = partial(run_command, "eval.chess.puzzles")
HEADER = "PuzzleId,FEN,Moves,Rating,RatingDeviation,Popularity,NbPlays,Themes,GameUrl,OpeningTags\n"
# From the Lichess database (CC0): mates in two and in one, and a puzzle without rating and themes.
MATE_IN_2 = (
    "03UeU,6k1/R5pp/p4p2/1p6/1P6/2P2N2/1r3PPP/6K1 w - - 0 30,a7a6 b2b1 f3e1 b1e1,574,,74,610,"
    "endgame mate mateIn2,,\n"
)
MATE_IN_1 = (
    "01y4n,3rk1nr/p4pp1/2p4p/1p2b3/6b1/1P3N2/1PP2PPP/RNB1K2R w KQk - 0 13,f3e5 d8d1,471,88,100,128,mate,,\n"
)
UNRATED = "anz09770,8/5k2/6p1/2p2p1p/2Pq1n1P/3pQ3/PP3PP1/5NK1 w - - 1 40,b2b3 f4e2 g1h2 d4h4,,,,,,,\n"
# After 1...h6 both Ra8 and Rb8 mate; the solution names Ra8.
TWO_MATES = "two,6k1/5ppp/7N/8/8/8/8/RR4K1 b - - 0 1,g8h8 a1a8,1000,,,,mate,,\n"


class ScriptedEngine:
    """Plays the move listed for a position, by its FEN, else the first legal one; notes what it is asked."""

    def __init__(self, answers: dict[str, chess.Move]):
        self.answers = answers
        self.batch_sizes: list[int] = []

    def analyse_many(self, boards):
        self.batch_sizes.append(len(boards))
        analyses = []
        for board in boards:
            moves = ordered_legal_moves(board)
            best = self.answers.get(board.fen(), moves[0])
            analyses.append(Analysis(moves, np.array([float(move == best) for move in moves], np.float32)))
        return analyses


def solutions(puzzles) -> dict[str, chess.Move]:
    answers = {}
    for puzzle in puzzles:
        board = chess.Board(puzzle.fen)
        for ply, move in enumerate(puzzle.moves):
            if ply % 2:
                answers[board.fen()] = move
            board.push(move)
    return answers


@pytest.fixture
def puzzles_file(tmp_path):
    path = tmp_path / "puzzles.csv"
    path.write_text(HEADER + MATE_IN_2 + MATE_IN_1 + UNRATED)
    return path


def test_playing_the_solutions_solves_everything_in_one_batch_per_ply(puzzles_file):
    puzzles = read_puzzles(puzzles_file)
    engine = ScriptedEngine(solutions(puzzles))
    results = evaluate_puzzles(engine, puzzles)
    assert (results["accuracy"], results["num_puzzles"], results["high"]) == (1, 3, 1)
    assert 0 < results["low"] < 1
    assert engine.batch_sizes == [3, 2]


def test_one_wrong_last_move_loses_the_puzzle(puzzles_file):
    puzzles = read_puzzles(puzzles_file)
    answers = solutions(puzzles)
    board = puzzles[2].board()
    for move in puzzles[2].moves[1:3]:
        board.push(move)
    answers[board.fen()] = next(move for move in board.legal_moves if move != puzzles[2].moves[3])
    assert evaluate_puzzles(ScriptedEngine(answers), puzzles)["accuracy"] == pytest.approx(2 / 3)


def test_any_mate_solves(tmp_path):
    path = tmp_path / "puzzles.csv"
    path.write_text(HEADER + TWO_MATES)
    puzzles = read_puzzles(path)
    for answer, accuracy in (("a1a8", 1), ("b1b8", 1), ("h6f7", 0)):
        engine = ScriptedEngine({puzzles[0].board().fen(): chess.Move.from_uci(answer)})
        assert evaluate_puzzles(engine, puzzles)["accuracy"] == accuracy


def test_accuracy_by_rating_and_theme(puzzles_file):
    puzzles = read_puzzles(puzzles_file)
    answers = solutions(puzzles)
    del answers[puzzles[1].board().fen()]
    results = evaluate_puzzles(ScriptedEngine(answers), puzzles)
    assert list(results["by_rating"]) == ["400-599"]  # 471 and 574; the third has no rating
    assert results["by_rating"]["400-599"]["accuracy"] == 0.5
    assert {name: row["accuracy"] for name, row in results["by_theme"].items()} == {
        "endgame": 1,
        "mate": 0.5,
        "mateIn2": 1,
    }
    assert results["by_theme"]["mate"]["num_puzzles"] == 2


@pytest.mark.parametrize(("suffix", "compression"), [("zst", "zstd"), ("gz", "gzip"), ("bz2", "bz2")])
def test_compressed_file_reads_the_same(puzzles_file, tmp_path, suffix, compression):
    compressed = tmp_path / f"puzzles.csv.{suffix}"
    with pa.CompressedOutputStream(str(compressed), compression) as stream:
        stream.write(puzzles_file.read_bytes())
    assert read_puzzles(compressed) == read_puzzles(puzzles_file)
    assert read_puzzles(compressed, limit=2) == read_puzzles(puzzles_file)[:2]


def test_ratings_of_pandas_are_read(tmp_path):
    path = tmp_path / "puzzles.csv"
    path.write_text(HEADER + MATE_IN_2.replace(",574,", ",574.0,") + UNRATED)
    assert [puzzle.rating for puzzle in read_puzzles(path)] == [574, None]


def chessbench_file(folder, pgn, fen, moves):
    path = folder / "puzzles.csv"
    path.write_text(f"PuzzleId,Rating,PGN,Solution,FEN,Moves\nmade1,900,{pgn},unread,{fen},{moves}\n")
    return path


def test_puzzles_of_chessbench_have_no_themes(tmp_path):
    fen = "r1bqkbnr/pppp1ppp/2n5/4p2Q/2B1P3/8/PPPP1PPP/RNB1K1NR b KQkq - 3 3"
    path = chessbench_file(tmp_path, "1. e4 e5 2. Bc4 Nc6 3. Qh5", fen, "g8f6 h5f7")
    [puzzle] = read_puzzles(path)
    assert (puzzle.rating, puzzle.themes, puzzle.moves[1].uci()) == (900, [], "h5f7")


def test_games_of_chessbench_tell_the_engine_repetitions(tmp_path):
    fen = "rnbqkb1r/pppppppp/5n2/8/8/5N2/PPPPPPPP/RNBQKB1R w KQkq - 6 4"
    to_and_fro = "1. Nf3 Nf6 2. Ng1 Ng8 3. Nf3 Nf6"
    [with_game] = read_puzzles(chessbench_file(tmp_path, to_and_fro, fen, "f3g1 f6g8"))
    [without] = read_puzzles(chessbench_file(tmp_path, "", fen, "f3g1 f6g8"))
    assert with_game.board().fen() == without.board().fen()
    # The position before the first move occurs for the third time.
    home = chess.Move.from_uci("f6g8")
    engine = ValueEngine(tiny_model(), ChessTokenizer(), exact_ends="draws")
    values = [
        dict(zip(analysis.moves, analysis.values, strict=True))[home]
        for analysis in engine.analyse_many([with_game.board(), without.board()])
    ]
    assert values[0] == 0.5 != values[1]


@pytest.mark.parametrize(
    ("pgn", "message"),
    [
        ("1. e4 e5 2. Bc4 Nc6", ": the PGN leads to r1bqkbnr/pppp1ppp/2n5/4p3/2B1P3"),
        ("1. e4 e5 2. Bc4 Nc6 3. Qh6", ", PGN: the game cannot be read: 3.Qh6 is not a legal move"),
        (
            "1. e4 -- 2. -- e5 3. Bc4 Nc6 4. Qh5",
            ", PGN: the game cannot be read: a null move in rnbqkbnr/pppppppp/8/8/4P3",
        ),
        ("no moves", ", PGN: the game cannot be read: 'no' is not a move"),
    ],
)
def test_a_game_that_does_not_lead_to_the_position_is_refused(pgn, message, tmp_path):
    fen = "r1bqkbnr/pppp1ppp/2n5/4p2Q/2B1P3/8/PPPP1PPP/RNB1K1NR b KQkq - 3 3"
    with pytest.raises(InputError) as caught:
        read_puzzles(chessbench_file(tmp_path, pgn, fen, "g8f6 h5f7"))
    assert f"puzzles.csv line 2 (id made1){message}" in str(caught.value)


@pytest.mark.parametrize("themes", [["endgame mate", "mate", None], [["endgame", "mate"], ["mate"], None]])
def test_parquet_of_the_hub_reads_the_same(themes, puzzles_file, tmp_path):
    expected = [
        puzzle._replace(themes=["endgame", "mate"] if index == 0 else puzzle.themes)
        for index, puzzle in enumerate(read_puzzles(puzzles_file))
    ]
    columns = {
        "PuzzleId": pa.array([puzzle.puzzle_id for puzzle in expected], pa.large_string()),
        "FEN": [puzzle.fen for puzzle in expected],
        "Moves": [" ".join(move.uci() for move in puzzle.moves) for puzzle in expected],
        "Rating": pa.array([puzzle.rating for puzzle in expected], pa.uint16()),
        "Themes": themes,
    }
    path = tmp_path / "puzzles.parquet"
    pq.write_table(pa.table(columns), path)
    assert read_puzzles(path) == expected
    assert read_puzzles(path, limit=1) == expected[:1]


def test_network_solves_the_same_puzzles_in_batches_and_alone(puzzles_file):
    puzzles = read_puzzles(puzzles_file)
    model, tokenizer = tiny_model(), ChessTokenizer()
    together = evaluate_puzzles(ValueEngine(model, tokenizer, batch_size=64), puzzles)
    alone = [evaluate_puzzles(ValueEngine(model, tokenizer, batch_size=1), [puzzle]) for puzzle in puzzles]
    assert together["accuracy"] == pytest.approx(np.mean([result["accuracy"] for result in alone]))


@pytest.mark.slow
def test_command_prints_a_table_and_writes_json(tmp_path, model_folder, puzzles_file):
    output = tmp_path / "results.json"
    done = run("--model", model_folder, "--puzzles", puzzles_file, "--limit", 2, "--json", output)
    assert done.returncode == 0, done.stderr
    results = json.loads(output.read_text())
    assert {"accuracy", "low", "high", "num_puzzles", "by_rating", "by_theme"} <= results.keys()
    assert results["num_puzzles"] == 2
    assert done.stdout.startswith(f"{model_folder.parent.name} on 2 puzzles of {puzzles_file}\n")
    assert "400-599" in done.stdout and "mateIn2" in done.stdout


@pytest.mark.slow
def test_puzzles_of_the_hub_are_read_by_name(tmp_path, model_folder, puzzles_file):
    columns = {
        "PuzzleId": ["03UeU", "01y4n"],
        "GameId": ["gJJBlen5", "unread"],
        "FEN": [row.split(",")[1] for row in (MATE_IN_2, MATE_IN_1)],
        "Moves": [row.split(",")[2] for row in (MATE_IN_2, MATE_IN_1)],
        "Rating": pa.array([574, 471], pa.int64()),
        "Themes": [["mate"], ["mate"]],
    }
    pq.write_table(pa.table(columns), tmp_path / "train.parquet")
    outputs = tmp_path / "hub.json", tmp_path / "file.json"
    with HubServer(tmp_path / "hub") as hub:
        repository = hub.repositories.setdefault(("datasets", "Lichess/chess-puzzles"), Repository(False))
        path = "data/train-00000-of-00001.parquet"
        repository.commit("main", {path: (tmp_path / "train.parquet").read_bytes()})
        arguments = ("--model", model_folder, "--puzzles", "Lichess/chess-puzzles", "--json", outputs[0])
        done = run(*arguments, **hub.environment)
        assert done.returncode == 0, done.stderr
        assert_input_error(run(*arguments[:3], "Lichess/none", **hub.environment), "no such dataset")
    run("--model", model_folder, "--puzzles", puzzles_file, "--limit", 2, "--json", outputs[1])
    by_name, by_file = (json.loads(output.read_text()) for output in outputs)
    assert by_name["by_rating"] == by_file["by_rating"]


def test_command_leaves_mates_to_the_network(tmp_path, model_folder):
    path, output = tmp_path / "puzzles.csv", tmp_path / "results.json"
    path.write_text(HEADER + MATE_IN_2 + MATE_IN_1 + TWO_MATES)
    by_network, by_rule = (
        evaluate_puzzles(ValueEngine(model_folder, exact_ends=exact_ends), read_puzzles(path))["accuracy"]
        for exact_ends in ("none", "all")
    )
    assert by_network < by_rule
    assert run("--model", model_folder, "--puzzles", path, "--json", output).returncode == 0
    assert json.loads(output.read_text())["accuracy"] == by_network


BAD_FILES = {
    "illegal move": (
        HEADER + MATE_IN_1 + MATE_IN_2.replace("b1e1", "b1e2"),
        "puzzles.csv line 3 (id 03UeU): 'b1e2' is not legal in",
    ),
    "broken FEN": (
        HEADER + MATE_IN_1.replace("3rk1nr", "3rk1n"),
        "line 2 (id 01y4n): expected 8 columns per row",
    ),
    "impossible position": (
        HEADER + MATE_IN_1.replace("RNB1K2R", "RNB4R"),
        "no white king",
    ),
    "null move": (HEADER + MATE_IN_1.replace("f3e5", "0000"), "line 2 (id 01y4n): '0000' is not legal in"),
    "too few moves": (HEADER + MATE_IN_1.replace(" d8d1", ""), "line 2 (id 01y4n): 1 moves"),
    "cut line": (HEADER + MATE_IN_1[:40], "line 2 (id 01y4n): the line is cut short"),
    "bad rating": (HEADER + MATE_IN_1.replace(",471,", ",many,"), "the rating 'many' is not a number"),
    "missing columns": ("PuzzleId,FEN,Rating\n", "no column Moves"),
    "no puzzles": (HEADER, "holds no puzzles"),
    "UTF-16 or binary": (b"\xff\xfe\x00\x01", "is not UTF-8 text: save it as UTF-8"),
}


@pytest.mark.parametrize("fault", BAD_FILES)
def test_bad_puzzles_are_named_before_anything_is_evaluated(fault, tmp_path):
    content, message = BAD_FILES[fault]
    path = tmp_path / "puzzles.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        read_puzzles(path)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"missing\.csv: no such file"):
        read_puzzles(tmp_path / "missing.csv")


def test_command_refuses_bad_input_in_one_line_and_leaves_results_alone(tmp_path, model_folder, puzzles_file):
    output = tmp_path / "results.json"
    output.write_text("{}")
    bad = tmp_path / "bad.csv"
    bad.write_text(BAD_FILES["illegal move"][0])
    for puzzles, results in ((bad, output), (puzzles_file, tmp_path)):
        assert_input_error(run("--model", model_folder, "--puzzles", puzzles, "--json", results))
    assert output.read_text() == "{}"
