"""Boards mirrored left to right: the same game, with twice the examples."""

import chess
import numpy as np
import pytest

from data.chess.boards import Boards
from data.chess.examples import BoardExamples, MirroredBoardExamples
from models.chess_tokens import (
    ACTION_IDS,
    ACTION_PADDING,
    can_castle,
    flip_actions,
    flip_tokens,
    tokenize_fens,
)
from tests.support.random_boards import random_file


@pytest.fixture(scope="module")
def rows_and_boards(tmp_path_factory):
    parquet = tmp_path_factory.mktemp("boards") / "boards.parquet"
    rows = random_file(parquet, 400)
    return rows, Boards.from_parquet(parquet)


def flipped(fen: str) -> chess.Board:
    """The mirror image by python-chess."""
    board = chess.Board(fen)
    image = board.transform(chess.flip_horizontal)
    image.ep_square = None if board.ep_square is None else board.ep_square ^ 7
    return image


def test_the_mirror_image_has_the_mirrored_moves(rows_and_boards):
    rows, _ = rows_and_boards
    without_castling = [row for row in rows if chess.Board(row.fen).castling_rights == 0]
    assert len(without_castling) > 100
    assert any(chess.Board(row.fen).ep_square for row in without_castling)
    assert any(move.endswith("b") for row in without_castling for move in row.moves)
    for row in without_castling:
        image = flipped(row.fen)
        np.testing.assert_array_equal(
            flip_tokens(tokenize_fens([row.fen])), tokenize_fens([image.fen(en_passant="fen")])
        )
        moves = np.array([ACTION_IDS[move.uci()] for move in chess.Board(row.fen).legal_moves])
        legal = {ACTION_IDS[move.uci()] for move in image.legal_moves}
        assert set(flip_actions(moves).tolist()) == legal


def test_mirroring_twice_is_the_identity():
    actions = np.array([*range(1968), ACTION_PADDING])
    np.testing.assert_array_equal(flip_actions(flip_actions(actions)), actions)
    assert flip_actions(actions)[-1] == ACTION_PADDING


def test_a_right_to_castle_is_seen_on_either_side():
    rights = {"KQkq": True, "q": True, "K": True, "-": False}
    fens = [f"r3k2r/8/8/8/8/8/8/R3K2R w {right} - 0 1" for right in rights]
    assert can_castle(tokenize_fens(fens)).tolist() == list(rights.values())


@pytest.mark.parametrize("orient", [True, False])
def test_every_board_appears_unchanged_and_mirrored_if_it_has_no_castling_rights(rows_and_boards, orient):
    _, boards = rows_and_boards
    plain, mirrored = BoardExamples(boards, orient), MirroredBoardExamples(boards, orient)
    number = boards.num_boards
    assert len(mirrored) == 2 * number
    indices = np.arange(number)
    np.testing.assert_array_equal(mirrored.num_values(indices + number), plain.num_values(indices))
    expected, own, image = plain.batch(indices), mirrored.batch(indices), mirrored.batch(indices + number)
    for name in expected:
        np.testing.assert_array_equal(own[name], expected[name])
    np.testing.assert_array_equal(image["win_probs"], expected["win_probs"])
    castles = can_castle(expected["input_ids"])
    assert 0 < castles.sum() < number
    np.testing.assert_array_equal(image["input_ids"][castles], expected["input_ids"][castles])
    np.testing.assert_array_equal(image["action_ids"][castles], expected["action_ids"][castles])
    turned = flip_tokens(expected["input_ids"][~castles])
    np.testing.assert_array_equal(image["input_ids"][~castles], turned)
    np.testing.assert_array_equal(
        image["action_ids"][~castles], flip_actions(expected["action_ids"][~castles])
    )


def test_a_batch_may_mix_both(rows_and_boards):
    _, boards = rows_and_boards
    examples = MirroredBoardExamples(boards, True)
    number = boards.num_boards
    mixed = examples.batch(np.array([3, number + 3, 5]))
    for row, index in enumerate([3, number + 3, 5]):
        alone = examples.batch(np.array([index]))
        np.testing.assert_array_equal(mixed["input_ids"][row], alone["input_ids"][0])
        length = alone["action_ids"].shape[1]
        np.testing.assert_array_equal(mixed["action_ids"][row, :length], alone["action_ids"][0])
