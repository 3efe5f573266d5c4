"""Boards as arrays: the same as an obvious reading of each row, oriented, and in batches."""

import chess
import numpy as np
import pytest

from cli.errors import InputError
from data.chess.boards import Boards
from data.chess.legality import ImpossibleBoard, find_legal_actions
from data.chess.preparation import prepare
from models.chess_tokens import ACTION_IDS, ACTIONS, CHARACTERS, tokenize_fens
from tests.support.random_boards import random_file


@pytest.fixture(scope="module")
def rows_and_boards(tmp_path_factory):
    parquet = tmp_path_factory.mktemp("boards") / "boards.parquet"
    rows = random_file(parquet, 400)
    return rows, Boards.from_parquet(parquet)


def spell_out(fen: str) -> str:
    """A FEN as ChessBench's 77 characters, by way of python-chess's board."""
    board = chess.Board(fen)
    squares = [board.piece_at(chess.square(file, rank)) for rank in range(7, -1, -1) for file in range(8)]
    _, side, castling, en_passant, clock, number = fen.split()
    return (
        side
        + "".join(piece.symbol() if piece else "." for piece in squares)
        + castling.replace("-", "").ljust(4, ".")
        + en_passant.replace("-", "").ljust(2, ".")
        + clock.ljust(3, ".")
        + number.ljust(3, ".")
    )


def test_arrays_equal_a_slow_reading_of_each_row(rows_and_boards):
    rows, boards = rows_and_boards
    assert boards.num_boards == len(rows)
    assert boards.num_action_values == sum(len(row.moves) for row in rows)
    assert boards.lengths(np.arange(len(rows))).tolist() == [len(row.moves) for row in rows]
    for index, row in enumerate(rows):
        assert "".join(CHARACTERS[token] for token in boards.tokens[index]) == spell_out(row.fen)
        part = slice(boards.offsets[index], boards.offsets[index + 1])
        assert [ACTIONS[action] for action in boards.actions[part]] == row.moves
        np.testing.assert_array_equal(boards.win_probs[part], np.float32(row.win_probs))


def test_memory_mapped_boards_equal_those_in_memory(tmp_path):
    parquet = tmp_path / "boards.parquet"
    random_file(parquet, 200)
    in_memory, mapped = Boards.from_parquet(parquet), Boards.load(prepare(parquet))
    for name in ("tokens", "actions", "win_probs", "offsets", "unlabelled", "unlabelled_offsets"):
        in_memory_array, mapped_array = getattr(in_memory, name), getattr(mapped, name)
        np.testing.assert_array_equal(in_memory_array, mapped_array)
        assert in_memory_array.dtype == mapped_array.dtype
        assert isinstance(mapped_array.base, np.memmap)


@pytest.mark.parametrize("pad_multiple", [1, 8])
def test_batch_equals_a_naive_loop(rows_and_boards, pad_multiple):
    rows, boards = rows_and_boards
    indices = np.random.default_rng(1).integers(len(rows), size=50)
    batch = boards.batch(indices, orient=False, pad_multiple=pad_multiple)
    most = max(len(rows[index].moves) for index in indices)
    num_actions = most + -most % pad_multiple
    assert batch["action_ids"].shape == batch["win_probs"].shape == (50, num_actions)
    assert [batch[name].dtype for name in ("input_ids", "action_ids", "win_probs")] == [
        np.int64,
        np.int64,
        np.float32,
    ]
    for position, index in enumerate(indices):
        row, padding = rows[index], num_actions - len(rows[index].moves)
        assert "".join(CHARACTERS[token] for token in batch["input_ids"][position]) == spell_out(row.fen)
        assert batch["action_ids"][position].tolist() == [ACTION_IDS[m] for m in row.moves] + [-100] * padding
        np.testing.assert_array_equal(
            batch["win_probs"][position], np.float32(row.win_probs + [0.0] * padding)
        )


@pytest.mark.parametrize("pad_multiple", [1, 8])
def test_legal_moves_without_a_label_follow_the_labelled_ones(rows_and_boards, pad_multiple):
    rows, boards = rows_and_boards
    indices = np.random.default_rng(1).integers(len(rows), size=50)
    labelled = boards.batch(indices, orient=False)
    batch = boards.batch(indices, orient=False, pad_multiple=pad_multiple, with_unlabelled=True)
    lengths = boards.lengths(indices, with_unlabelled=True)
    assert batch["action_ids"].shape[1] == -(-lengths.max() // pad_multiple) * pad_multiple
    for position, index in enumerate(indices):
        actions, win_probs = batch["action_ids"][position], batch["win_probs"][position]
        num_labelled, length = len(rows[index].moves), lengths[position]
        np.testing.assert_array_equal(actions[:num_labelled], labelled["action_ids"][position, :num_labelled])
        np.testing.assert_array_equal(
            win_probs[:num_labelled], labelled["win_probs"][position, :num_labelled]
        )
        others = {move.uci() for move in chess.Board(rows[index].fen).legal_moves} - set(rows[index].moves)
        assert {ACTIONS[action] for action in actions[num_labelled:length]} == others
        assert length == num_labelled + len(others)
        assert np.isnan(win_probs[num_labelled:length]).all()
        assert (actions[length:] == -100).all() and (win_probs[length:] == 0).all()


def test_oriented_batch_is_the_mirrored_board_where_black_moves(rows_and_boards):
    rows, boards = rows_and_boards
    indices = np.arange(200)
    batch = boards.batch(indices, orient=True)
    for index in indices:
        board = chess.Board(rows[index].fen)
        moves = [chess.Move.from_uci(move) for move in rows[index].moves]
        if board.turn == chess.BLACK:
            mirrored = board.mirror()
            mirrored.fullmove_number = board.fullmove_number
            board = mirrored
            moves = [
                chess.Move(chess.square_mirror(m.from_square), chess.square_mirror(m.to_square), m.promotion)
                for m in moves
            ]
        shown = "".join(CHARACTERS[token] for token in batch["input_ids"][index])
        assert shown == spell_out(board.fen(en_passant="fen"))
        action_ids = batch["action_ids"][index]
        assert [ACTIONS[action] for action in action_ids[action_ids >= 0]] == [m.uci() for m in moves]
        np.testing.assert_array_equal(
            batch["win_probs"][index][action_ids >= 0], np.float32(rows[index].win_probs)
        )


@pytest.mark.parametrize("orient", [False, True])
def test_pairs_are_the_moves_of_a_batch_one_by_one(rows_and_boards, orient):
    _, boards = rows_and_boards
    pairs = boards.pairs(np.arange(boards.num_action_values), orient)
    batch = boards.batch(np.arange(boards.num_boards), orient)
    board, action = np.nonzero(batch["action_ids"] >= 0)
    assert pairs["action_ids"].shape == pairs["win_probs"].shape == (boards.num_action_values, 1)
    np.testing.assert_array_equal(pairs["input_ids"], batch["input_ids"][board])
    np.testing.assert_array_equal(pairs["action_ids"][:, 0], batch["action_ids"][board, action])
    np.testing.assert_array_equal(pairs["win_probs"][:, 0], batch["win_probs"][board, action])


def test_a_folder_that_was_not_prepared_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no prepared boards"):
        Boards.load(tmp_path)


def test_legal_actions_are_those_of_python_chess(rows_and_boards):
    rows, boards = rows_and_boards
    fens = [
        "r3k2r/8/8/8/8/8/8/R3K2R w KQkq - 0 1",
        "r3k2r/8/8/8/8/8/8/R3K2R b Kq - 0 1",
        "8/8/8/8/k2Pp2Q/8/8/3K4 b - d3 0 1",  # taking en passant would uncover the king
        "4k3/8/8/3pP3/8/8/8/4K3 w - d6 0 2",
        "1n2k3/P7/8/8/8/8/8/4K3 w - - 0 1",
        "4k3/8/8/8/4r3/8/3N4/4K3 w - - 0 1",
        "7k/5Q2/6K1/8/8/8/8/8 b - - 0 1",  # stalemate
    ]
    legal = find_legal_actions(np.concatenate([boards.tokens, tokenize_fens(fens)]))
    for fen, of_board in zip([row.fen for row in rows] + fens, legal, strict=True):
        expected = {move.uci() for move in chess.Board(fen).legal_moves}
        assert {ACTIONS[action] for action in np.flatnonzero(of_board)} == expected


def test_an_impossible_board_is_named():
    fens = [chess.STARTING_FEN, "8/8/8/8/8/8/8/4K3 w - - 0 1"]
    with pytest.raises(ImpossibleBoard) as raised:
        find_legal_actions(tokenize_fens(fens))
    assert (raised.value.index, raised.value.reason) == (1, "no black king")
