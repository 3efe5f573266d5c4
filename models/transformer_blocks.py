"""The blocks of all transformers here: attention with a mask, and gated feed-forward layers."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedConfig
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .board_rotation import rotate


class ValueTransformerAttention(nn.Module):
    """Multi-head attention without biases; the mask gives the pattern."""

    def __init__(self, config: PreTrainedConfig, layer: int):
        super().__init__()
        self.config, self.layer = config, layer
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.is_causal = config.attention == "causal"  # read by the kernels where no mask is needed
        self.query = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.key = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.value = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.output = nn.Linear(config.hidden_size, config.hidden_size, bias=False)

    def forward(
        self,
        hidden: Tensor,
        mask: Tensor | None,
        rotation: Tensor | None,
        cache: Cache | None = None,
        num_kept: int | None = None,
    ) -> Tensor:
        """Attend with all tokens (batch, length, width), or with the last `num_kept`, to all.

        A mask may have more columns than there are tokens, if they are False.
        """
        first = 0 if num_kept is None else hidden.shape[1] - num_kept
        asking = hidden[:, first:]
        batch, length, width = asking.shape
        query, key, value = (
            layer(tokens).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)  # (batch, heads, tokens, width)
            for layer, tokens in ((self.query, asking), (self.key, hidden), (self.value, hidden))
        )
        attend: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        device = hidden.device.type
        if device == "cpu" and attend is not eager_attention_forward:
            # The CPU's fused kernel is several times slower backwards in bfloat16 than in float32.
            query, key, value = query.float(), key.float(), value.float()
        if rotation is not None:
            query, key = rotate(query, rotation[:, :, first:]), rotate(key, rotation)
        if cache is not None:
            key, value = cache.update(key, value, self.layer)
        if attend is not eager_attention_forward and (batch == 0 or length == 0):
            attend = eager_attention_forward  # fused kernels may refuse empty tensors
        if mask is not None:
            mask = mask[:, :, mask.shape[2] - length :]
            if padding := mask.shape[3] - key.shape[2]:
                key, value = (nn.functional.pad(x, (0, 0, 0, padding)) for x in (key, value))
        with torch.autocast(device, enabled=torch.is_autocast_enabled(device) and device != "cpu"):
            attended, _ = attend(self, query, key, value, mask, dropout=0.0, scaling=self.scaling)
        return self.output(attended.to(hidden.dtype).reshape(batch, length, width))


def eager_attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scaling: float,
    **kwargs,
) -> tuple[Tensor, Tensor]:
    """Plain attention, which fused kernels must match; heads are dimension 1, and 2 of the result."""
    scores = query @ key.transpose(2, 3) * scaling
    if mask is not None:
        scores = scores + mask
    probs = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    return (probs @ value).transpose(1, 2).contiguous(), probs


class SwiGLU(nn.Module):
    """Gated feed-forward layer: down(silu(gate(x)) · up(x))."""

    def __init__(self, config: PreTrainedConfig):
        super().__init__()
        assert config.intermediate_size is not None, "the configuration sets it"
        self.gate = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.down(nn.functional.silu(self.gate(hidden)) * self.up(hidden))


class ValueTransformerBlock(GradientCheckpointingLayer):
    """Attention, then the feed-forward layer, each on its normalised input and added to it."""

    def __init__(self, config: PreTrainedConfig, layer: int):
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = ValueTransformerAttention(config, layer)
        self.feed_forward_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.feed_forward = SwiGLU(config)

    def forward(
        self,
        hidden: Tensor,
        mask: Tensor | None,
        rotation: Tensor | None,
        cache: Cache | None = None,
        num_kept: int | None = None,
    ) -> Tensor:
        attended = self.attention(self.attention_norm(hidden), mask, rotation, cache, num_kept)
        hidden = hidden[:, hidden.shape[1] - attended.shape[1] :] + attended
        return hidden + self.feed_forward(self.feed_forward_norm(hidden))
