"""Chess for the value transformer: the squares of each move, and rotary positions on the board.

The tokens of a state are BOS, the side to move, 64 squares, … (models/chess_tokens.py).
"""

import torch
from torch import Tensor, nn

from .board_rotation import rotation_of, square_angles
from .chess_tokens import ACTION_SQUARES
from .configuration_value_transformer import ValueTransformerConfig


class ChessEmbedding(nn.Module):
    """Maps moves to the state tokens of their squares, and tokens to rotations by square. No parameters."""

    action_squares: Tensor  # (num_actions, 2), indices among the board tokens

    def __init__(self, config: ValueTransformerConfig):
        super().__init__()
        self.tokens_per_action = config.tokens_per_action
        self.num_angles = config.hidden_size // config.num_attention_heads // 2
        # Saved with the weights: a buffer that is not saved comes back from the meta device as garbage.
        self.register_buffer("action_squares", torch.from_numpy(ACTION_SQUARES))

    def action_positions(self, action_ids: Tensor) -> Tensor:
        """Return the positions of the start and end square, (batch, num_actions, 2), BOS being at 0."""
        return self.action_squares[action_ids.clamp(min=0)] + 1

    def rotation(self, num_states: int, action_ids: Tensor | None = None) -> Tensor:
        """Return the rotation of every token, (batch, 2, tokens, 2 × head width), see `rotate`.

        Without actions it is the same for all states and heads, (1, 1, tokens, 2 × head width).
        An action's token has the rotation of its start square in the first half of the heads, and of its end
        square in the second half. With several tokens per action the first has the start square in all heads,
        and the second the end square.
        """
        table = rotation_of(square_angles(num_states, self.num_angles, self.action_squares.device))
        if action_ids is None:
            return table[None, None]
        start, end = self.action_positions(action_ids).unbind(-1)  # (batch, actions)
        halves = [(start, end)] if self.tokens_per_action == 1 else [(start, start), (end, end)]
        halves += [(start, end)] * (self.tokens_per_action - len(halves))
        squares = torch.stack([torch.stack(pair) for pair in halves], dim=-1)
        squares = squares.transpose(0, 1).flatten(2)  # (batch, 2, tokens of all actions)
        states = table[None, None].expand(squares.shape[0], 2, -1, -1)
        return torch.cat([states, table[squares]], dim=2)
