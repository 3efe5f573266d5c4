"""Rotary positions on the board: attention depends on the offset of two squares, not on the squares."""

import chess
import pytest
import torch

from models.board_rotation import rotate, rotation_of, square_angles
from models.chess_tokens import ACTION_IDS, FIRST_SQUARE
from models.modeling_value_transformer import ValueTransformerForMovePrediction
from tests.models.test_model import random_inputs, small_model


def products(first: str, second: str, width: int = 32) -> torch.Tensor:
    """Products of rotated vectors that stand on two squares, entries of a pair together: (width / 2,)."""
    angles = square_angles(78, width // 2, torch.device("cpu"))
    vectors = torch.randn(2, width, generator=torch.Generator().manual_seed(0))
    turned = []
    for vector, name in zip(vectors, (first, second), strict=True):
        # Rank 8 comes first among the tokens.
        token = 1 + FIRST_SQUARE + chess.square_mirror(chess.parse_square(name))
        turned.append(
            rotate(vector.view(1, 1, 1, -1), rotation_of(angles[token]).view(1, 1, 1, -1)).flatten()
        )
    return torch.stack(turned).prod(dim=0).view(2, -1).sum(dim=0)


@pytest.mark.parametrize("width", [8, 20, 32, 128])
def test_products_depend_on_how_two_squares_lie_to_each_other_alone(width):
    torch.testing.assert_close(products("a1", "c2", width), products("f6", "h7", width))
    torch.testing.assert_close(products("d4", "d8", width), products("h1", "h5", width))
    for other in ("b2", "a2", "b1", "c1", "e1", "h1", "a8", "h8"):
        assert (products("a1", "c2", width) - products("a1", other, width)).abs().max() > 1e-3


def test_every_direction_turns_entries_of_its_own():
    moved_on = {"file": "e4", "rank": "d5", "diagonal": "e5", "anti-diagonal": "e3"}
    same = {
        name: (products("d4", "d4") - products("d4", square)).abs().view(4, 4).amax(dim=0) < 1e-5
        for name, square in moved_on.items()
    }
    # Columns: the entries that turn along files, ranks, and both diagonals.
    assert same["file"].tolist() == [False, True, False, False]
    assert same["rank"].tolist() == [True, False, False, False]
    # Rank 8 comes first among the tokens.
    assert same["diagonal"].tolist() == [False, False, True, False]
    assert same["anti-diagonal"].tolist() == [False, False, False, True]


def test_tokens_that_are_no_squares_are_not_turned():
    angles = square_angles(78, 16, torch.device("cpu"))
    squares = slice(1 + FIRST_SQUARE, 1 + FIRST_SQUARE + 64)
    assert (angles[squares].abs().amax(dim=1) > 0).all()
    angles[squares] = 0
    assert (angles == 0).all()


@pytest.mark.parametrize("num_tokens", [1, 2, 3])
def test_actions_stand_where_they_start_and_where_they_end(num_tokens):
    """The rotation of an action's tokens is that of its squares' tokens."""
    board = small_model(tokens_per_action=num_tokens).board
    squares = square_angles(78, 4, torch.device("cpu"))
    start, end = squares[1 + FIRST_SQUARE + 63 - 3], squares[1 + FIRST_SQUARE + 31 - 3]
    rotation = board.rotation(78, torch.tensor([[ACTION_IDS["e1e5"]]]))
    assert rotation.shape == (1, 2, 78 + num_tokens, 16)
    halves = {1: [(start, end)], 2: [(start, start), (end, end)]}
    halves[3] = [*halves[2], (start, end)]
    for token, (first, second) in enumerate(halves[num_tokens]):
        turned = rotation[0, :, 78 + token]
        assert torch.equal(turned[0], rotation_of(first))
        assert torch.equal(turned[1], rotation_of(second))


def test_one_rotation_turns_the_first_half_of_the_heads_and_one_the_second():
    vectors = torch.randn(3, 4, 5, 8, generator=torch.Generator().manual_seed(0))
    rotation = rotation_of(torch.randn(3, 2, 5, 4, generator=torch.Generator().manual_seed(1)))
    turned = rotate(vectors, rotation)
    for head in range(4):
        alone = rotate(vectors[:, [head]], rotation[:, [head // 2]])
        assert torch.equal(turned[:, [head]], alone)
    torch.testing.assert_close(turned.norm(dim=-1), vectors.norm(dim=-1))


def test_the_rotation_needs_no_weights_and_is_felt():
    turned, plain = small_model(), small_model(board_rotation=False)
    plain.load_state_dict(turned.state_dict(), strict=False)
    assert dict(turned.named_parameters()).keys() == dict(plain.named_parameters()).keys()
    with torch.no_grad():
        assert not torch.allclose(turned(*random_inputs()).logits, plain(*random_inputs()).logits, atol=1e-3)


def test_a_model_of_moves_has_no_rotation_where_the_configuration_has_none():
    turned, plain = (
        small_model(ValueTransformerForMovePrediction, board_rotation=rotates) for rotates in (True, False)
    )
    plain.load_state_dict(turned.state_dict())
    boards, _ = random_inputs()
    assert not torch.allclose(turned(boards).logits, plain(boards).logits, atol=1e-3)


def test_the_rotation_holds_its_angles_in_bfloat16():
    """Angles are computed anew in float32: cast with the weights, they would be off by 0.1."""
    model, (_, actions) = small_model(), random_inputs()
    exact = model.board.rotation(78, actions)
    rounded = model.bfloat16().board.rotation(78, actions)
    assert torch.equal(exact, rounded)
