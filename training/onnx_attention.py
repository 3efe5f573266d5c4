"""Attention in the form that onnxruntime computes fastest, for export alone.

A mask hides most of the scores of keys of actions, which only their own queries see. Here each action has one
score of its own next to those of the state, and no mask. The scale of scores is part of the query's weights,
and a rotation is one operation.
"""

import copy

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from models.transformer_blocks import ValueTransformerAttention


def for_onnxruntime(model: PreTrainedModel, num_states: int | None) -> PreTrainedModel:
    """Return a copy of a model with this attention. Before its actions it has `num_states` tokens."""
    model = copy.deepcopy(model)
    model.set_attn_implementation("eager")  # for a mask that is added to scores
    if model.config.attention != "prefix" or model.config.tokens_per_action > 1:
        num_states = None
    for block in model.blocks:
        block.attention = ExportedAttention(block.attention, num_states)
    return model


class ExportedAttention(nn.Module):
    """The attention of a block, without a cache.

    The first `num_states` tokens see each other, and each token after them sees those and itself. None leaves
    the pattern to the mask.
    """

    def __init__(self, attention: ValueTransformerAttention, num_states: int | None):
        super().__init__()
        self.head_dim, self.num_states = attention.head_dim, num_states
        self.query, self.key, self.value = attention.query, attention.key, attention.value
        self.query.weight = nn.Parameter(attention.query.weight * attention.scaling)
        self.output = attention.output

    def forward(
        self,
        hidden: Tensor,
        mask: Tensor | None,
        rotation: Tensor | None,
        cache: None = None,
        num_kept: int | None = None,
    ) -> Tensor:
        first = 0 if num_kept is None else hidden.shape[1] - num_kept
        query, key, value = (
            layer(tokens).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)  # (batch, heads, tokens, width)
            for layer, tokens in ((self.query, hidden[:, first:]), (self.key, hidden), (self.value, hidden))
        )
        if rotation is not None:
            query, key = _rotate(query, rotation[:, :, first:]), _rotate(key, rotation)
        if self.num_states is None:
            attended = _attend(query, key, value, None if mask is None else mask[:, :, first:])
        else:
            keys, key = key.tensor_split([self.num_states], dim=2)
            values, value = value.tensor_split([self.num_states], dim=2)
            attended = _attend_with_actions(query[:, :, self.num_states - first :], keys, values, key, value)
            if num_kept is None:
                of_states = _attend(query[:, :, : self.num_states], keys, values)
                attended = torch.cat([of_states, attended], dim=2)
        return self.output(attended.transpose(1, 2).flatten(2))


def _rotate(vectors: Tensor, rotation: Tensor) -> Tensor:
    """Do as `rotate` of models/board_rotation.py."""
    cos, _, _, sin = rotation.expand(vectors.shape[0], -1, -1, -1).flatten(0, 1).chunk(4, dim=-1)
    halves = vectors.unflatten(1, (rotation.shape[1], -1)).flatten(0, 1)
    return torch.onnx.ops.rotary_embedding(halves, cos, sin).reshape(vectors.shape)


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    scores = query @ key.transpose(2, 3)
    return (scores if mask is None else scores + mask).softmax(dim=-1) @ value


def _attend_with_actions(
    query: Tensor, state_keys: Tensor, state_values: Tensor, own_keys: Tensor, own_values: Tensor
) -> Tensor:
    own_scores = (query * own_keys).sum(dim=-1, keepdim=True)
    probs = torch.cat([query @ state_keys.transpose(2, 3), own_scores], dim=-1).softmax(dim=-1)
    return probs[..., :-1] @ state_values + probs[..., -1:] * own_values
