"""Contents of files that every reader of this project can read, each as bytes."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from configs.loading import load_config, save_config
from data.atari.games import make_game
from data.atari.preparation import prepare as prepare_recording
from data.chess.preparation import prepare as prepare_boards
from data.wordle.games import SCHEMA
from eval.loading import identify_model
from models.tokenization_chess import ChessTokenizer
from tests.data.atari.test_dqn_replay import write_checkpoint
from tests.data.chess.test_chessbench import write_bag
from tests.eval.chess.test_engines import tiny_model
from tests.support.atari_episodes import record_random_play
from tests.support.random_boards import random_file


FEN = "rnbqkbnr/ppp1pppp/8/8/3pP3/5N2/PPPP1PPP/RNBQKB1R b KQkq e3 0 3"
POSITION = FEN.removesuffix(" 0 3")
EPD = f'{POSITION} bm dxe3; id "one; two"; hmvc 0; fmvn 3;\n'
SUITE = f'{POSITION} bm dxe3; id "STS one.01"; c8 "10 5"; c9 "d4e3 g8f6";\n{POSITION} am Nf6; id "two";\n'
PGN = f"""[Event "A"]
[WhiteElo "2000"]
[FEN "{FEN}"]

3... dxe3 {{a comment}} (3... c5 4. d3 $1) 4. fxe3 Nf6 1/2-1/2

[Event "B"]

1. e4 e5 2. Nf3 ; another
Nc6 3. Bb5 a6 4. O-O 0-1
"""
LOG = "".join(
    f'[White "{white}"]\n[Black "{black}"]\n[Result "1-0"]\n[Seed "0"]\n\n1. e4 e5 1-0\n\n'
    for white, black in (("us", "them"), ("them", "us"), ("us", "them"))
)
PUZZLES = """PuzzleId,FEN,Moves,Rating,Themes,PGN
03UeU,6k1/R5pp/p4p2/1p6/1P6/2P2N2/1r3PPP/6K1 w - - 0 30,a7a6 b2b1 f3e1 b1e1,574,mate mateIn2,
two,6k1/5ppp/7N/8/8/8/8/RR4K1 b - - 0 1,g8h8 a1a8,1000.0,,
three,rnbqkbnr/pppp1ppp/8/4p3/8/5P2/PPPPP1PP/RNBQKBNR w KQkq e6 0 2,g2g4 d8h4,,,1. f3 e5
"""
VARIATIONS = [{"cp": 20, "line": "d4e3 f2e3"}, {"mate": -3, "line": "g8f6"}]
EVALUATIONS = json.dumps({"fen": POSITION, "evals": [{"pvs": VARIATIONS, "knodes": 9, "depth": 30}]})
GAME = '{"rule": "official", "answers": ["slate", "acute"], "guesses": ["slate", "acute"]}'
REQUESTED = json.dumps({"fen": FEN, "moves": ["d4e3", "f2e3"]})
TEXT = json.dumps({"text": f'[White "half of \ud83d"]\n{PGN}'})
METRICS = '{"kind": "eval", "step": 0, "kl": 0.5}\n{"kind": "train", "step": 1, "loss": 1.5}\n'
ATARI_SCORES = '{"games": {"breakout": {"mean_return": 30.5}, "pong (mode 1)": {"mean_return": -2.0}}}'
CELLS = [
    {"variant": variant, "point": point, "seed": seed, "mean_return": 1.5 + seed}
    for variant in "ab"
    for point in ("x", "y")
    for seed in (0, 1)
]
STUDY = json.dumps({"title": "study", "reference": "a", "cells": CELLS})
ROBOT_FILE = "chunk-000/file-000.parquet"
UCI = f"fen {FEN} moves d4e3 f2e3 g8f6"
PUZZLE = {"PuzzleId": "two", "FEN": "6k1/5ppp/7N/8/8/8/8/RR4K1 b - - 0 1", "Moves": "g8h8 a1a8"}
PUZZLE |= {"Rating": 1000, "Themes": ["mate", "short"]}
ROWS_OF_LICHESS = [{"fen": POSITION, "depth": 30, "knodes": 9, **variation} for variation in VARIATIONS]


def fixed(text: str) -> Callable[[Path], bytes]:
    return lambda folder: text.encode()


def plain_parquet(path: Path) -> bytes:
    """Write a file again without compression, so that a changed byte changes its contents."""
    pq.write_table(pq.read_table(path), path, compression="none", use_dictionary=False)
    return path.read_bytes()


def parquet_of(rows: list[dict], schema: pa.Schema | None = None) -> Callable[[Path], bytes]:
    def contents(folder: Path) -> bytes:
        pq.write_table(pa.Table.from_pylist(rows, schema), folder / "rows.parquet")
        return plain_parquet(folder / "rows.parquet")

    return contents


def random_boards(folder: Path) -> bytes:
    random_file(folder / "boards.parquet", 3)
    return plain_parquet(folder / "boards.parquet")


def prepared_boards(folder: Path) -> None:
    random_boards(folder.parent)
    prepare_boards(folder.parent / "boards.parquet", folder)


def action_values(folder: Path) -> bytes:
    records = [(FEN, move, 0.5) for move in ("d4e3", "c7c5", "g8f6")]
    return write_bag(folder / "values.bag", records).read_bytes()


def records(*of_bag: bytes) -> Callable[[Path], bytes]:
    return lambda folder: write_bag(folder / "records.bag", list(of_bag)).read_bytes()


def recording(folder: Path) -> bytes:
    record_random_play(folder / "random.parquet", make_game("minatar_breakout", max_steps=6), 20)
    return plain_parquet(folder / "random.parquet")


def prepared_steps(folder: Path) -> None:
    recording(folder.parent)
    prepare_recording(folder.parent / "random.parquet", folder)


def replay_column(folder: Path) -> None:
    """Write a checkpoint of the DQN replay data set with two short episodes."""
    zeros, steps = [(0, 0, 0.0, 0)] * 3, [(5, 1, 1.0, 0), (6, 2, 0.0, 0), (7, 0, 0.0, 1)]
    write_checkpoint(folder, 0, [*zeros, *steps, *zeros, *steps, (250, 3, 1.0, 0)])


def wordle_games(folder: Path) -> bytes:
    row = {"secret": "slate", "guesses": ["acute", "slate"], "feedback": ["ybbgg", "ggggg"]}
    row |= {"rewards": [-1.0, 0.0], "done": True, "policy": "me"}
    return parquet_of(20 * [row], SCHEMA.with_metadata({"wordle": GAME}))(folder)


def chess_model(folder: Path) -> None:
    tiny_model().save_pretrained(folder)
    ChessTokenizer().save_pretrained(folder)


def results(folder: Path) -> bytes:
    chess_model(folder / "model")
    found = {"model": identify_model(folder / "model"), "accuracy": 0.5, "num_puzzles": 200}
    return json.dumps(found | {"puzzles": "puzzles.csv"}).encode()


def run_folder(folder: Path) -> None:
    save_config(load_config("chess_tiny.yaml", []), folder / "config.yaml")


def study_folder(folder: Path) -> None:
    folder.mkdir()
    (folder / "results.json").write_text(STUDY)


def zstd(data: bytes) -> bytes:
    return pa.Codec("zstd").compress(data, asbytes=True)
