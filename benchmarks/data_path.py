"""What data costs on its way to the model, and before: labels, preparation, batches, tokens.

Naive ways do the same for one board after the other with dictionaries and lists.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import chess
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks.timing import Row, Way, compare, format_rows, rate_rows
from cli.errors import InputError
from data.chess.boards import Boards
from data.chess.checked_rows import MADE_BY
from data.chess.preparation import prepare
from data.chess.rows import SCHEMA
from data.chess.stockfish import EngineCrash, Stockfish, find_stockfish, label_moves
from data.parquet import list_files, open_file, read_batches
from models.tokenization_chess import ACTION_IDS, ACTION_PADDING, CHARACTERS, tokenize_fens


NODES_PER_MOVE = 1000
LABELLED_BOARDS = 4
NAIVE_BOARDS = 256

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
    most = max(len(row["moves"]) for row in rows)
    action_ids = torch.full((len(rows), most), ACTION_PADDING)
    win_probs = torch.zeros(len(rows), most)
    for i, row in enumerate(rows):
        for j, (move, win_prob) in enumerate(zip(row["moves"], row["win_probs"], strict=True)):
            action_ids[i, j] = ACTION_IDS[move]
            win_probs[i, j] = win_prob
    input_ids = torch.tensor(tokenize_one_by_one([row["fen"] for row in rows]))
    return {"input_ids": input_ids, "action_ids": action_ids, "win_probs": win_probs}


def read_some_boards(source: Path, limit: int) -> pa.Table:
    """Read the first rows of a Parquet file of boards, or of a folder of them.

    Raises InputError if they cannot be read; what they say is not checked.
    """
    tables: list[pa.Table] = []
    num_rows = 0
    for path in list_files(source):
        file = open_file(path, SCHEMA, MADE_BY)
        for _, batch in read_batches(path, file, SCHEMA.names, limit):
            tables.append(pa.Table.from_batches([batch]).slice(0, limit - num_rows))
            num_rows += len(tables[-1])
            if num_rows == limit:
                break
        if num_rows == limit:
            break
    if not num_rows:
        raise InputError(f"{source}: holds no boards")
    return pa.concat_tables(tables, promote_options="permissive")


def measure_data(parquet: Path, folder: Path, batch_size: int, repeats: int, seed: int) -> dict[str, dict]:
    """Measure boards per second: from Parquet to batches, prepared or not, and tokens alone.

    Writes prepared arrays to new folders in `folder`.
    """
    rows = pq.read_table(parquet)
    fens = rows["fen"].to_pylist()
    boards = Boards.load(prepare(parquet, folder / "for-batches"))
    some = np.random.default_rng(seed).integers(boards.num_boards, size=(repeats + 1, batch_size))
    num_naive = min(NAIVE_BOARDS, boards.num_boards)
    # Of its own, since reading a file costs by how much it holds.
    for_naive = folder / "naive.parquet"
    pq.write_table(rows.slice(0, num_naive), for_naive)

    def gather(indices: np.ndarray) -> None:
        {name: torch.from_numpy(array) for name, array in boards.batch(indices, orient=True).items()}

    def gather_as_it_is(indices: np.ndarray) -> None:
        boards.batch(indices, orient=False)

    def board_by_board(indices: np.ndarray) -> None:
        batch_one_by_one(rows.take(pa.array(indices[:num_naive])).to_pylist())

    def cold(check_moves: bool) -> Callable[[int], None]:
        def run(turn: int) -> None:
            with tempfile.TemporaryDirectory(dir=folder) as name:
                fresh = Boards.load(prepare(parquet, Path(name) / "prepared", check_moves))
                for start in range(0, fresh.num_boards, batch_size):
                    fresh.batch(np.arange(start, min(start + batch_size, fresh.num_boards)), orient=True)

        return run

    batches = compare(
        {
            "prepared arrays, gathered": Way(gather, batch_size),
            "prepared arrays, not oriented": Way(gather_as_it_is, batch_size),
            "Parquet rows, board by board": Way(board_by_board, min(num_naive, batch_size)),
        },
        list(some[1:]),
        "batches",
        warm_up=some[0],
    )
    cold_batches = compare(
        {
            "prepared, moves checked": Way(cold(True), boards.num_boards),
            "prepared, moves not checked": Way(cold(False), boards.num_boards),
            "Parquet rows, board by board": Way(
                lambda _: batch_one_by_one(pq.read_table(for_naive).to_pylist()), num_naive
            ),
        },
        range(repeats),
        "cold",
    )
    tokens = compare(
        {
            "tokenize_fens": Way(lambda _: tokenize_fens(fens), len(fens)),
            "character by character": Way(lambda _: tokenize_one_by_one(fens[:num_naive]), num_naive),
        },
        range(repeats),
        "tokens",
        warm_up=0,
    )
    return {
        "num_boards": boards.num_boards,
        "moves_per_board": boards.num_action_values / boards.num_boards,
        "batch_size": batch_size,
        "batches": batches,
        "cold": cold_batches,
        "tokens": tokens,
    }


def measure_labels(fens: list[str], repeats: int) -> dict | None:
    """Measure Stockfish's labels per second, one search of all moves beside one search per move.

    None if Stockfish is not installed. Raises InputError if it does not work.
    """
    boards = [chess.Board(fen) for fen in fens[:LABELLED_BOARDS]]
    num_moves = sum(board.legal_moves.count() for board in boards)
    try:
        path = find_stockfish()
    except InputError:
        if os.environ.get("STOCKFISH"):
            raise
        return None

    def one_search(_: int) -> None:
        for board in boards:
            label_moves(engine, board, NODES_PER_MOVE)

    def search_per_move(_: int) -> None:
        for board in boards:
            engine.new_game()
            for move in board.legal_moves:
                engine.search(board.fen(), nodes=NODES_PER_MOVE, only=[move.uci()])

    ways = {"one search of all moves": Way(one_search, num_moves)}
    ways["one search per move"] = Way(search_per_move, num_moves)
    try:
        with Stockfish(path) as engine:
            return compare(ways, range(repeats), "labels", warm_up=0)
    except EngineCrash as crash:
        raise InputError(f"{path}: {crash}") from None


def format_data(results: dict) -> str:
    """Lay out the results of `measure_data`, and of `measure_labels` under "labels"."""
    titles = {
        f"batches of {results['batch_size']} boards": "batches",
        f"{results['num_boards']} boards to batches": "cold",
        "tokens": "tokens",
    }
    width = max(len(name) for key in titles.values() for name in (*titles, *results[key]))
    blocks = [format_rows(title, "boards/s", rate_rows(results[key]), width) for title, key in titles.items()]
    labels = results["labels"]
    if labels is None:
        blocks.append("labels: not measured, as Stockfish is not installed")
    else:
        rows = [
            Row(
                name,
                f"{1000 / rate['median']:.2f}",
                f"{1000 / rate['high']:.2f} – {1000 / rate['low']:.2f}",
                rate["times"],
            )
            for name, rate in labels.items()
        ]
        blocks.append(format_rows(f"labels, {NODES_PER_MOVE} nodes a move", "ms a move", rows, width))
    return "\n\n".join([*blocks, f"{results['moves_per_board']:.1f} moves a board"])
