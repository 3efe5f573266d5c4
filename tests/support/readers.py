"""All readers of files, lines and requests that come from elsewhere, each with an input that it reads."""

import bz2
import contextlib
import gzip
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from starlette.testclient import TestClient

from cli.errors import InputError
from configs.loading import CONFIG_FOLDER, differences, load_config
from data.atari.dqn_replay import NAME, read_checkpoint
from data.atari.preparation import prepare as prepare_recording
from data.atari.recorded_steps import RecordedSteps
from data.atari.scores import SCORES, read_scores
from data.chess.bag_records import ACTION_VALUES, read_bag, schema_of
from data.chess.boards import Boards
from data.chess.fen_files import read_fen
from data.chess.lichess_rows import convert
from data.chess.lichess_sources import ROWS, open_source
from data.chess.played_moves import read_moves
from data.chess.positions import positions_of_boards, read_positions
from data.chess.puzzles import read_puzzles
from data.chess.rows import PLAYED_MOVES, STATE_VALUES
from data.chess.state_records import convert_states
from data.chess.states import read_states
from data.replay import Sampling
from data.robot.episodes import read_episodes
from data.text_files import TextSource
from data.wordle.games import read_games
from data.wordle.words import read_words
from eval.atari import aggregate
from eval.chess.engines import ValueEngine
from eval.chess.game_log import GameLog
from eval.chess.openings import read_openings
from eval.chess.opponents import Opponent
from eval.chess.players import RandomPlayer
from eval.chess.serve import PageHandlers
from eval.chess.suite import read_suite
from eval.chess.tournament import read_rounds
from eval.chess.uci_protocol import ProtocolError, list_options, read_go, read_move, read_position
from eval.loading import load_model
from eval.page_server import make_app
from eval.wordle.model_player import read_game
from models.tokenization_chess import ChessTokenizer
from studies.definition import STUDY_FOLDER, read_study
from studies.probes import read_cells
from tests.data.chess.test_state_records import played_move, state_value
from tests.eval.chess.test_engines import tiny_model
from tests.eval.wordle.test_page_answers import make_answers
from tests.support.readable_files import (
    ATARI_SCORES,
    EPD,
    EVALUATIONS,
    FEN,
    GAME,
    LOG,
    METRICS,
    PGN,
    PUZZLE,
    PUZZLES,
    REQUESTED,
    ROBOT_FILE,
    ROWS_OF_LICHESS,
    SUITE,
    TEXT,
    UCI,
    action_values,
    chess_model,
    fixed,
    parquet_of,
    plain_parquet,
    prepared_boards,
    prepared_steps,
    random_boards,
    recording,
    records,
    replay_column,
    results,
    run_folder,
    study_folder,
    wordle_games,
    zstd,
)
from tests.support.robot_data import write_robot_data
from training.model_card import read_results
from training.run_log import keep_metrics


class Reader(NamedTuple):
    """A reader of a file: its name, which is that of the file, and how to make the contents and read them."""

    name: str
    contents: Callable[[Path], bytes]  # of a folder for what else is needed
    read: Callable[[Path], object]
    num_inputs: int = 100


def in_folder(
    kind: str,
    name: str,
    write: Callable[[Path], object],
    read: Callable[[Path], object],
    num_inputs: int = 100,
) -> Reader:
    """Return the reader of a kind of folder, which `write` writes, and whose file of a name is changed."""

    def contents(folder: Path) -> bytes:
        write(folder / "set")
        file = folder / "set" / name
        return plain_parquet(file) if file.suffix == ".parquet" else file.read_bytes()

    def read_changed(path: Path) -> object:
        folder = path.parent / "set"
        (folder / name).write_bytes(path.read_bytes())
        return read(folder)

    return Reader(f"{kind}-{name.replace('/', '-')}", contents, read_changed, num_inputs)


def read_boards(path: Path) -> None:
    positions_of_boards(path)
    Boards.from_parquet(path)


def read_records(path: Path) -> None:
    schema_of(path)
    for schema in (STATE_VALUES, PLAYED_MOVES):
        with contextlib.suppress(InputError):
            convert_states([path], path.with_suffix(".parquet"), schema)


def read_evaluations(path: Path) -> None:
    source = open_source(str(path))
    for block in source.blocks(None):
        convert(source.parse(block.content))


def read_steps(folder: Path) -> None:
    RecordedSteps(prepare_recording(folder), Sampling())


def read_replay(folder: Path) -> None:
    read_checkpoint(folder, 0)


def read_uci(path: Path) -> None:
    """Read a file as the words after `position`, after `go`, and as the value of every option."""
    text = path.read_bytes().decode(errors="replace")
    for option in list_options(0.0, 1.0, "all"):
        with contextlib.suppress(ProtocolError):
            option.read(text)
    read_go(text.split())
    position = read_position(text.split())
    for move in position.moves:
        position.board.push(read_move(position.board, move))


def read_log(path: Path) -> None:
    log = GameLog(path)
    try:
        read_rounds(log, "us", [Opponent(RandomPlayer(), "them", 0.0)], {"Seed": "0"})
    finally:
        log.close()


def read_robot_data(folder: Path) -> None:
    read_episodes(str(folder), with_images=True)


def load_chess_model(folder: Path) -> None:
    load_model(folder, "cpu")


def read_own_results(path: Path) -> None:
    read_results([path], "chess", path.parent / "model", "tiny")


def read_run(folder: Path) -> None:
    differences(load_config(str(folder / "config.yaml"), []), folder / "config.yaml")


def read_number(path: Path) -> None:
    with contextlib.suppress(InputError):
        load_config(str(path), [])


def read_studies(folder: Path) -> None:
    with contextlib.suppress(InputError):
        aggregate.read_study(folder)
    read_cells(folder, "x")


@cache
def pages() -> TestClient:
    """The servers of both pages."""
    wordle = make_answers()
    chess = PageHandlers(ValueEngine(tiny_model().eval(), ChessTokenizer()))
    handlers = {"position": chess.position, "pgn": chess.pgn, "play": wordle.play, "advise": wordle.advise}
    return TestClient(make_app("", handlers, 8000), "http://127.0.0.1:8000")


def send(path: Path) -> None:
    """Send a file as the body of a request."""
    headers = {"content-type": "application/json"}
    pages().post(f"/api/{path.stem}", content=path.read_bytes(), headers=headers)


def read_fen_file(path: Path) -> None:
    read_fen(path.read_bytes().decode("latin-1"), "--fen")


def sample(path: Path) -> None:
    read_positions(path, 4, 0)


READERS = [
    Reader("fen.txt", fixed(FEN), read_fen_file, 300),
    Reader("list.fen", fixed(f"{FEN}\n{FEN}\n"), sample, 300),
    Reader("list.epd", fixed(2 * EPD), lambda path: (sample(path), read_openings(path)), 300),
    Reader("suite.epd", fixed(SUITE), read_suite),
    Reader("games.pgn", fixed(PGN), sample, 300),
    Reader("book.pgn", fixed(PGN), lambda path: read_openings(path, skip_bad_games=True), 300),
    Reader("old.pgn", lambda folder: PGN.replace('"A"', '"Ä"').encode("cp1252"), sample),
    Reader("moves.pgn", fixed(PGN), lambda path: list(read_moves(TextSource(path), 1500, False, Counter()))),
    Reader("log.pgn", fixed(LOG), read_log),
    *(
        Reader(f"games.pgn{suffix}", lambda folder, compress=compress: compress(PGN.encode()), sample)
        for suffix, compress in ((".gz", gzip.compress), (".bz2", bz2.compress), (".zst", zstd))
    ),
    Reader("puzzles.csv", fixed(PUZZLES), read_puzzles, 300),
    Reader("puzzles.parquet", parquet_of([PUZZLE]), read_puzzles, 300),
    Reader("boards.parquet", random_boards, read_boards, 300),
    Reader(
        "states.parquet",
        parquet_of([{"fen": FEN, "win_prob": 0.5}] * 3, STATE_VALUES),
        lambda path: list(read_states(path, "state_value")),
    ),
    Reader(
        "moves.parquet",
        parquet_of([{"fen": FEN, "move": "d4e3"}] * 3, PLAYED_MOVES),
        lambda path: list(read_states(path, "move")),
    ),
    Reader("values.bag", action_values, lambda path: list(read_bag(path, ACTION_VALUES)), 300),
    Reader("states.bag", records(*[state_value(0.25, FEN)] * 3), read_records),
    Reader("moves.bag", records(*[played_move("d4e3", FEN)] * 3), read_records),
    in_folder("boards", "meta.json", prepared_boards, Boards.load),
    in_folder("boards", "tokens.npy", prepared_boards, Boards.load),
    Reader("evaluations.jsonl", fixed(EVALUATIONS), read_evaluations),
    Reader("evaluations.parquet", parquet_of(ROWS_OF_LICHESS, ROWS), read_evaluations),
    Reader("games.parquet", wordle_games, read_games, 300),
    Reader("words.txt", fixed("slate\nacute\nCRANE\n"), read_words, 300),
    Reader("wordle.json", fixed(GAME), lambda path: read_game(path.parent)),
    Reader("recording.parquet", recording, prepare_recording),
    in_folder("steps", "meta.json", prepared_steps, read_steps),
    in_folder("steps", "actions.npy", prepared_steps, read_steps),
    in_folder("replay", NAME.format(column="action", number=0), replay_column, read_replay),
    Reader("atari.json", fixed(ATARI_SCORES), lambda path: aggregate.read_results([str(path)], SCORES)),
    Reader("scores.csv", lambda folder: SCORES.read_bytes()[:200], read_scores.__wrapped__),
    *(
        in_folder("robot", name, lambda folder: write_robot_data(folder, image_size=8), read_robot_data)
        for name in (
            "meta/info.json",
            "meta/tasks.parquet",
            f"meta/episodes/{ROBOT_FILE}",
            f"data/{ROBOT_FILE}",
        )
    ),
    in_folder("model", "config.json", chess_model, load_chess_model, 50),
    in_folder("model", "tokenizer_config.json", chess_model, load_chess_model, 50),
    Reader("results.json", results, read_own_results),
    in_folder("study", "results.json", study_folder, read_studies),
    Reader("metrics.jsonl", fixed(METRICS), lambda path: keep_metrics(path, 1)),
    Reader("study.yaml", lambda folder: (STUDY_FOLDER / "chess_losses.yaml").read_bytes(), read_study, 40),
    in_folder("run", "config.yaml", run_folder, read_run, 20),
    *(
        Reader(
            f"{task}_tiny.yaml",
            lambda folder, task=task: (CONFIG_FOLDER / f"{task}_tiny.yaml").read_bytes(),
            lambda path: load_config(str(path), []),
            20,
        )
        for task in ("chess", "wordle", "atari", "robot")
    ),
    Reader("number.yaml", fixed("7\n"), read_number, 20),
    Reader("uci.txt", fixed(UCI), read_uci, 300),
    Reader("position.json", fixed(REQUESTED), send),
    Reader("pgn.json", fixed(TEXT), send),
    Reader("play.json", fixed('{"number": 5, "guesses": ["abler", "clang"]}'), send),
    Reader("advise.json", fixed('{"guesses": ["clang", "moody"], "patterns": ["byybb", "bbbbb"]}'), send),
]
