"""Speed of chess data: preparation, batches and tokens compared with plain Python, and labels."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import chess
import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import torch

from benchmarks.settings import Settings
from benchmarks.timing import Alternative, Table, compare
from cli.errors import InputError, first_line
from data.chess.boards import Boards
from data.chess.preparation import prepare
from data.chess.rows import SCHEMA
from data.chess.stockfish import Stockfish, label_moves
from data.hub import local_files
from data.parquet import list_files
from models.chess_tokens import ACTION_IDS, ACTION_PADDING, CHARACTERS, tokenize_fens


NUM_BOARDS = 20_000  # at most: more would take longer and show the same
BATCH_SIZE = 1024
FEW_BOARDS = 256  # for plain Python, which is slower: rates are compared
NODES_PER_MOVE, LABELLED_BOARDS = 1000, 4

_TOKENS = {character: token for token, character in enumerate(CHARACTERS)}


def tokenize_one_by_one(fens: list[str]) -> list[list[int]]:
    """Tokenize boards as ChessBench does, character by character."""
    boards = []
    for fen in fens:
        board, side, castling, en_passant, clock, number = fen.split(" ")
        text = side
        for character in board.replace("/", ""):
            text += "." * int(character) if character in "12345678" else character
        text += castling.replace("-", ".").ljust(4, ".") + en_passant.replace("-", ".").ljust(2, ".")
        text += "".join(str(min(int(count), 999)).ljust(3, ".") for count in (clock, number))
        boards.append([_TOKENS[character] for character in text])
    return boards


def batch_one_by_one(rows: list[dict]) -> dict[str, torch.Tensor]:
    """Make the batch of `Boards.batch`, not oriented, from rows of a Parquet file, board by board."""
    num_actions = max(len(row["moves"]) for row in rows)
    action_ids = torch.full((len(rows), num_actions), ACTION_PADDING)
    win_probs = torch.zeros(len(rows), num_actions)
    for i, row in enumerate(rows):
        for j, (move, win_prob) in enumerate(zip(row["moves"], row["win_probs"], strict=True)):
            action_ids[i, j] = ACTION_IDS[move]
            win_probs[i, j] = win_prob
    input_ids = torch.tensor(tokenize_one_by_one([row["fen"] for row in rows]))
    return {"input_ids": input_ids, "action_ids": action_ids, "win_probs": win_probs}


def first_boards(source: Path, limit: int) -> pa.Table:
    """Read the first rows of a Parquet file of boards, or of a folder of them, unchecked.

    Raises InputError if they cannot be read.
    """
    try:
        files = pyarrow.dataset.dataset([str(path) for path in list_files(source)], format="parquet")
        return files.head(limit, columns=SCHEMA.names)
    except pa.ArrowException as error:
        raise InputError(f"{source} cannot be read: {first_line(error)}; give a file of boards") from None


def measure(settings: Settings) -> Iterator[Table]:
    """Measure boards per second, from prepared arrays, from Parquet, and of tokens alone; and labels."""
    rows = first_boards(
        local_files(settings.config.data.train, "train"), 64 if settings.quick else NUM_BOARDS
    )
    fens = rows["fen"].to_pylist()
    few = rows.slice(0, FEW_BOARDS)
    few_fens, batch_size = fens[:FEW_BOARDS], min(len(fens), BATCH_SIZE)
    rounds = range(settings.repeats)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parquet = folder / "boards.parquet"
        pq.write_table(rows, parquet)
        boards = Boards.load(prepare(parquet))
        rng = np.random.default_rng(settings.seed)
        batches = [rng.integers(len(fens), size=batch_size) for _ in range(settings.repeats + 1)]

        def prepare_and_batch(check_moves: bool) -> None:
            with tempfile.TemporaryDirectory(dir=folder) as name:
                prepared = Boards.load(prepare(parquet, Path(name) / "prepared", check_moves))
                for start in range(0, len(fens), batch_size):
                    prepared.batch(np.arange(start, min(start + batch_size, len(fens))), orient=True)

        table = compare(
            f"batches of {batch_size} boards",
            "board",
            {
                "prepared arrays": Alternative(lambda i: boards.batch(i, orient=True), batch_size),
                "prepared arrays, not oriented": Alternative(
                    lambda i: boards.batch(i, orient=False), batch_size
                ),
                "Parquet rows, board by board": Alternative(
                    lambda i: batch_one_by_one(few.take(pa.array(i[: len(few)] % len(few))).to_pylist()),
                    min(len(few), batch_size),
                ),
            },
            batches[1:],
            warm_up=batches[0],
        )
        table.notes.append(f"{boards.num_action_values / boards.num_boards:.1f} moves per board")
        yield table
        yield compare(
            f"{len(fens)} boards from Parquet to batches",
            "board",
            {
                "prepared, moves checked": Alternative(lambda _: prepare_and_batch(True), len(fens)),
                "prepared, moves not checked": Alternative(lambda _: prepare_and_batch(False), len(fens)),
                "Parquet rows, board by board": Alternative(
                    lambda _: batch_one_by_one(few.to_pylist()), len(few)
                ),
            },
            rounds,
        )
    yield compare(
        "tokens",
        "board",
        {
            "tokenize_fens": Alternative(lambda _: tokenize_fens(fens), len(fens)),
            "character by character": Alternative(lambda _: tokenize_one_by_one(few_fens), len(few_fens)),
        },
        rounds,
        warm_up=0,
    )
    yield from labels(fens[:LABELLED_BOARDS], settings.repeats)


def labels(fens: list[str], repeats: int) -> Iterator[Table]:
    """Measure Stockfish's labels, one search of all moves and one search per move, if it is installed."""
    boards = [chess.Board(fen) for fen in fens]
    num_moves = sum(board.legal_moves.count() for board in boards)
    try:
        engine = Stockfish()
    except InputError as error:
        print(f"\nlabels are not measured: {error}")
        return

    def one_search(_: int) -> None:
        for board in boards:
            label_moves(engine, board, NODES_PER_MOVE)

    def search_per_move(_: int) -> None:
        for board in boards:
            engine.new_game()
            for move in board.legal_moves:
                engine.search(board.fen(), nodes=NODES_PER_MOVE, only=[move.uci()])

    alternatives = {
        "one search of all moves": Alternative(one_search, num_moves),
        "one search per move": Alternative(search_per_move, num_moves),
    }
    title = f"labels, {NODES_PER_MOVE} nodes per move"
    with engine:
        yield compare(title, "move", alternatives, range(repeats), warm_up=0, milliseconds=True)
