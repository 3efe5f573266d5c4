"""What data costs on its way to the model, and before: labels, preparation, batches, tokens.

Naive ways do the same for one board after the other with dictionaries and lists.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import chess
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from data.chess.boards import Boards
from data.chess.preparation import prepare
from data.chess.rows import SCHEMA
from data.chess.stockfish import Stockfish, label_moves
from data.command_line import InputError
from eval.timing import Way, compare
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
        text += clock.ljust(3, ".") + number.ljust(3, ".")
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


def measure_data(parquet: Path, batch_size: int, repeats: int, seed: int) -> dict[str, dict]:
    """Measure boards per second: batches from prepared arrays, preparation, and tokens alone."""
    table = pq.read_table(parquet, schema=SCHEMA)
    fens = table["fen"].to_pylist()
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as name:
        boards = Boards.load(prepare(parquet, Path(name) / "prepared"))
        some = rng.integers(boards.num_boards, size=(repeats + 1, batch_size))
        num_naive = min(batch_size, NAIVE_BOARDS)

        def prepared(indices: np.ndarray) -> None:
            batch = boards.batch(indices, orient=True)
            {name: torch.from_numpy(array) for name, array in batch.items()}

        def prepared_plain(indices: np.ndarray) -> None:
            boards.batch(indices, orient=False)

        def naive(indices: np.ndarray) -> None:
            batch_one_by_one(table.take(pa.array(indices[:num_naive])).to_pylist())

        batches = compare(
            {
                "prepared arrays, gathered": Way(prepared, batch_size),
                "prepared arrays, not oriented": Way(prepared_plain, batch_size),
                "Parquet rows, board by board": Way(naive, num_naive),
            },
            list(some[1:]),
            "batches",
            warm_up=some[0],
        )
        cold = compare(
            {
                f"preparation, moves {'' if check else 'not '}checked": Way(
                    _preparation(parquet, Path(name), check), boards.num_boards
                )
                for check in (True, False)
            },
            range(min(repeats, 3)),
            "preparation",
        )
        moves_per_board = boards.num_action_values / boards.num_boards
    tokens = compare(
        {
            "tokenize_fens": Way(lambda _: tokenize_fens(fens), len(fens)),
            "character by character": Way(
                lambda _: tokenize_one_by_one(fens[:NAIVE_BOARDS]), len(fens[:NAIVE_BOARDS])
            ),
        },
        range(repeats),
        "tokens",
        warm_up=0,
    )
    return {
        "moves_per_board": moves_per_board,
        "batch_size": batch_size,
        "batches": batches,
        "preparation": cold,
        "tokens": tokens,
    }


def _preparation(parquet: Path, folder: Path, check: bool) -> Callable[[int], Path]:
    # Into a new folder each time, since what is there already is not made again.
    return lambda turn: prepare(parquet, folder / f"cold-{check}-{turn}", check_moves=check)


def measure_labels(fens: list[str], repeats: int) -> dict | None:
    """Measure Stockfish's labels per second, one search of all moves beside one search per move.

    None without Stockfish.
    """
    boards = [chess.Board(fen) for fen in fens[:LABELLED_BOARDS]]
    num_moves = sum(board.legal_moves.count() for board in boards)
    try:
        engine = Stockfish()
    except InputError:
        return None
    with engine:

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
        return compare(ways, range(repeats), "labels", warm_up=0)
