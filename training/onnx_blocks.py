"""The blocks of a transformer in the form that onnxruntime computes fastest, for export alone.

A mask hides most of the scores of keys of actions, which only their own queries see. Here each action has one
score of its own next to those of the state, and no mask. The scale of scores is part of the query's weights.

Tokens are the first dimension: onnxruntime multiplies the matrices of all heads where they are, and states
and actions can be split without reordering. The two entries that a rotation combines are next to each other,
so one operation rotates all heads. A product that is added to the hidden states is one operation.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from models.transformer_blocks import ValueTransformerBlock


def for_onnxruntime(model: PreTrainedModel, num_states: int | None) -> PreTrainedModel:
    """Return a copy of a model with these blocks. Before its actions it has `num_states` tokens."""
    model = copy.deepcopy(model)
    model.set_attn_implementation("eager")  # for a mask that is added to scores
    if model.config.attention != "prefix" or model.config.tokens_per_action > 1:
        num_states = None
    blocks: Any = model.base_model.blocks
    for layer, block in enumerate(blocks):
        blocks[layer] = ExportedBlock(block, num_states)
    return model


class ExportedBlock(nn.Module):
    """A block without a cache.

    The first `num_states` tokens see each other, and each token after them sees those and itself. None leaves
    the pattern to the mask.
    """

    def __init__(self, block: ValueTransformerBlock, num_states: int | None):
        super().__init__()
        self.attention_norm, self.attention = block.attention_norm, block.attention
        self.feed_forward_norm, self.feed_forward = block.feed_forward_norm, block.feed_forward
        self.head_dim, self.num_states = block.attention.head_dim, num_states
        self.num_heads = block.attention.config.num_attention_heads
        query, key = self.attention.query, self.attention.key
        query.weight = nn.Parameter(query.weight * self.attention.scaling)
        for layer in (query, key):
            halves = layer.weight.unflatten(0, (-1, 2, self.head_dim // 2))
            layer.weight = nn.Parameter(halves.transpose(1, 2).flatten(0, 2))

    def forward(
        self,
        hidden: Tensor,
        mask: Tensor | None,
        rotation: Tensor | None,
        cache: None = None,
        num_kept: int | None = None,
    ) -> Tensor:
        batch, length, width = hidden.shape
        first = 0 if num_kept is None else length - num_kept
        hidden = hidden.transpose(0, 1)
        attended = self._attend(self.attention_norm(hidden), mask, rotation, num_kept)
        rows = hidden[first:].reshape(-1, width)  # (tokens · batch, width)
        rows = torch.addmm(rows, attended.reshape(-1, width), self.attention.output.weight.T)
        normed = self.feed_forward_norm(rows)
        gated = nn.functional.silu(self.feed_forward.gate(normed)) * self.feed_forward.up(normed)
        rows = torch.addmm(rows, gated, self.feed_forward.down.weight.T)
        return rows.reshape(-1, batch, width).transpose(0, 1)

    def _attend(
        self, hidden: Tensor, mask: Tensor | None, rotation: Tensor | None, num_kept: int | None
    ) -> Tensor:
        """Attend with the last `num_kept` tokens (tokens, batch, width), or all, to all.

        Returns (tokens, batch · heads, width of a head).
        """
        length, batch, _ = hidden.shape
        first = 0 if num_kept is None else length - num_kept
        query = self.attention.query(hidden[first:])
        key, value = self.attention.key(hidden), self.attention.value(hidden)
        if rotation is not None:
            query, key = self._rotate(query, rotation[:, :, first:]), self._rotate(key, rotation)
        query, key, value = (
            x.reshape(-1, batch * self.num_heads, self.head_dim) for x in (query, key, value)
        )
        if self.num_states is None:
            scores = _scores(query, key)
            if mask is not None:
                scores = (scores.unflatten(0, (-1, self.num_heads)) + mask[:, :, first:]).flatten(0, 1)
            return _mean(scores.softmax(dim=-1), value)
        sizes = [self.num_states, length - self.num_states]
        (state_keys, key), (state_values, value) = key.split(sizes), value.split(sizes)
        if num_kept is not None:
            return _attend_with_actions(query, state_keys, state_values, key, value)
        state_queries, query = query.split(sizes)
        of_states = _mean(_scores(state_queries, state_keys).softmax(dim=-1), state_values)
        return torch.cat([of_states, _attend_with_actions(query, state_keys, state_values, key, value)])

    def _rotate(self, vectors: Tensor, rotation: Tensor) -> Tensor:
        """Do as `rotate` of models/board_rotation.py, for vectors (tokens, batch, width)."""
        num_alike = self.num_heads // rotation.shape[1]  # heads with the same rotation
        cos, _, _, sin = (
            rotation.expand(vectors.shape[1], -1, -1, -1).permute(2, 0, 1, 3).unsqueeze(3).chunk(4, dim=-1)
        )
        cos, sin = (x.expand(-1, -1, -1, num_alike, -1).flatten(2) for x in (cos, sin))
        return torch.onnx.ops.rotary_embedding(vectors, cos, sin, num_heads=1, interleaved=True)


def _scores(query: Tensor, key: Tensor) -> Tensor:
    """Return the scores of all pairs of tokens, (batch · heads, queries, keys)."""
    return query.transpose(0, 1) @ key.permute(1, 2, 0)


def _mean(probs: Tensor, value: Tensor) -> Tensor:
    """Return the means of values, (queries, batch · heads, width), by probabilities as `_scores` returns."""
    return (probs @ value.transpose(0, 1)).transpose(0, 1)


def _attend_with_actions(
    query: Tensor, state_keys: Tensor, state_values: Tensor, own_keys: Tensor, own_values: Tensor
) -> Tensor:
    own_scores = (query * own_keys).sum(dim=-1, keepdim=True).transpose(0, 1)
    probs = torch.cat([_scores(query, state_keys), own_scores], dim=-1).softmax(dim=-1)
    state_probs, own_probs = probs.split([state_keys.shape[0], 1], dim=-1)
    return _mean(state_probs, state_values) + own_probs.transpose(0, 1) * own_values
