"""Rotary positions on a chess board: attention depends on the relative position of squares.

Sources: Su et al., "RoFormer" (arXiv 2104.09864); Heo et al., "Rotary Position Embedding for Vision
Transformer" (arXiv 2403.13298), for more than one dimension.

Every two entries of a query or key are rotated by an angle that grows along files, ranks or one of the two
diagonals, so that their product depends on the distance of two squares in that direction. In heads of 32
entries or more the angles per square are evenly spaced up to π/2, and the slowest distinguishes all distances
along files and ranks.
"""

import math

import torch
from torch import Tensor

from .chess_tokens import FIRST_SQUARE


NUM_DIRECTIONS = 4
FASTEST = math.pi / 2


def square_angles(num_positions: int, num_angles: int, device: torch.device) -> Tensor:
    """Return the angles of the first tokens of BOS, board, …, (num_positions, num_angles) float32.

    Squares count from the middle of the board; other tokens have angle 0.
    """
    squares = torch.arange(64, device=device)
    file, rank = squares % 8 - 3.5, squares // 8 - 3.5
    # Copying a list of numbers to a GPU would synchronise with it.
    distances = torch.stack([file, rank, file + rank, file - rank], dim=-1)  # (64, 4)
    num_speeds = -(-num_angles // NUM_DIRECTIONS)
    speeds = FASTEST * torch.arange(1, num_speeds + 1, device=device) / max(num_speeds, 4)
    angles = (speeds[:, None] * distances[:, None]).flatten(1)[:, :num_angles]  # (64, num_angles)
    first = 1 + FIRST_SQUARE
    padding = (0, 0, first, max(0, num_positions - first - 64))
    return torch.nn.functional.pad(angles, padding)[:num_positions]


def rotation_of(angles: Tensor) -> Tensor:
    """Return the rotation by angles (..., d/2) for `rotate`: (..., 2d), two factors per entry."""
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([cos, cos, -sin, sin], dim=-1)


def rotate(vectors: Tensor, rotation: Tensor) -> Tensor:
    """Rotate vectors (batch, heads, tokens, d): entries i and i + d/2 by angle i of the rotation.

    `rotation` (batch or 1, 1 or 2, tokens, 2d) is the same for all heads, or one for each half of them.
    """
    halves = vectors.unflatten(1, (rotation.shape[1], -1))  # (batch, 1 or 2, heads of each, tokens, d)
    own, others = rotation.unsqueeze(2).chunk(2, dim=-1)
    partners = halves.roll(vectors.shape[-1] // 2, dims=-1)
    return torch.addcmul(halves * own, partners, others).flatten(1, 2).to(vectors.dtype)
