"""Blocks of convolutional value networks: padding as in flax, IMPALA's stacks, SoftMoE, and ResNets.

Sources: Mnih et al., "Human-level control through deep reinforcement learning" (2015); Espeholt et al.,
IMPALA (arXiv 1802.01561); Obando-Ceron et al., "Mixtures of Experts Unlock Parameter Scaling for Deep RL"
(arXiv 2402.08609); Kumar et al., "Offline Q-Learning on Diverse Multi-Task Data" (arXiv 2211.15144) for
ResNets with group normalisation and learned spatial embeddings. All pad as flax's SAME does.
"""

import math

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer


def same_padding(size: int, kernel_size: int, stride: int) -> tuple[int, int]:
    """Return the padding before and after, such that ⌈size / stride⌉ outputs remain; the odd one is after."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel_size - size, 0)
    return total // 2, total - total // 2


def pad_same(pixels: Tensor, kernel_size: int, stride: int, value: float = 0.0) -> Tensor:
    """Pad the last two dimensions of pixels (..., height, width) as flax's SAME does."""
    sides = [same_padding(size, kernel_size, stride) for size in pixels.shape[-2:]]
    return nn.functional.pad(pixels, (*sides[1], *sides[0]), value=value)


class SameConv(nn.Conv2d):
    """A convolution with flax's SAME padding, which differs from torch's if it is odd."""

    def forward(self, pixels: Tensor) -> Tensor:
        size, stride = self.kernel_size[0], self.stride[0]
        (top, bottom), (left, right) = (same_padding(side, size, stride) for side in pixels.shape[-2:])
        if (top, left) == (bottom, right):
            return nn.functional.conv2d(pixels, self.weight, self.bias, stride, (top, left))
        return super().forward(pad_same(pixels, size, stride))


class ConvBlock(GradientCheckpointingLayer):
    """A convolution and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, same: bool = True):
        super().__init__()
        kind = SameConv if same else nn.Conv2d
        self.conv = kind(in_channels, out_channels, kernel_size, stride)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.conv(pixels).relu()


class DenseBlock(GradientCheckpointingLayer):
    """A linear layer from all features (batch, ...) of an example, and ReLU."""

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(features.flatten(1)).relu()


class ImpalaStack(GradientCheckpointingLayer):
    """Convolution, max-pooling to half the size, and two residual blocks."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = SameConv(in_channels, out_channels, 3)
        self.first = nn.ModuleList(SameConv(out_channels, out_channels, 3) for _ in range(2))
        self.second = nn.ModuleList(SameConv(out_channels, out_channels, 3) for _ in range(2))

    def forward(self, pixels: Tensor) -> Tensor:
        hidden = max_pool(self.conv(pixels))
        for first, second in zip(self.first, self.second, strict=True):
            hidden = hidden + second(first(hidden.relu()).relu())
        return hidden


def max_pool(pixels: Tensor) -> Tensor:
    """Pool over 3 × 3 with stride 2 and SAME padding."""
    return nn.functional.max_pool2d(pad_same(pixels, 3, 2, value=-torch.inf), 3, 2)


class SoftMoE(GradientCheckpointingLayer):
    """A soft mixture of experts over the positions of a feature map, in place of a dense layer.

    A token x_t is the vector of channels at a position. With Φ (channels, experts, slots), D the softmax of
    xΦ over tokens and C that over all slots, slot j of expert e reads Σ_t D_tej x_t, and token t becomes
    Σ_ej C_tej f_e(slot ej). Experts f_e are two linear layers with ReLU between them. Returns all tokens of
    an example as one vector, (batch, tokens × channels).
    """

    def __init__(self, channels: int, num_tokens: int, num_experts: int, expert_size: int):
        super().__init__()
        num_slots = math.ceil(num_tokens / num_experts)
        self.phi = nn.Parameter(torch.empty(channels, num_experts, num_slots))
        self.up = nn.Parameter(torch.empty(num_experts, channels, expert_size))
        self.up_bias = nn.Parameter(torch.empty(num_experts, 1, expert_size))
        self.down = nn.Parameter(torch.empty(num_experts, expert_size, channels))
        self.down_bias = nn.Parameter(torch.empty(num_experts, 1, channels))

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = pixels.flatten(2).transpose(1, 2)  # (batch, tokens, channels)
        logits = torch.einsum("btc,ces->btes", tokens, self.phi)
        dispatch = logits.softmax(dim=1)
        combine = logits.flatten(2).softmax(dim=-1).view_as(logits)
        slots = torch.einsum("btes,btc->besc", dispatch, tokens)
        hidden = torch.relu(slots @ self.up + self.up_bias)  # (batch, experts, slots, expert_size)
        experts = hidden @ self.down + self.down_bias
        return torch.einsum("btes,besc->btc", combine, experts).flatten(1)


class NormConv(nn.Module):
    """A convolution without bias, and group normalisation."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1):
        super().__init__()
        self.conv = SameConv(in_channels, out_channels, kernel_size, stride, bias=False)
        self.norm = nn.GroupNorm(32, out_channels)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.norm(self.conv(pixels))


class ResNetStem(GradientCheckpointingLayer):
    """A convolution of 7 × 7 and max-pooling, each to half the size."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = NormConv(in_channels, out_channels, 7, 2)

    def forward(self, pixels: Tensor) -> Tensor:
        return max_pool(self.conv(pixels).relu())


class ResNetBlock(GradientCheckpointingLayer):
    """A residual block: two convolutions of 3 × 3, or with `bottleneck` one between two of 1 × 1."""

    def __init__(self, in_channels: int, width: int, stride: int, bottleneck: bool):
        super().__init__()
        out_channels = 4 * width if bottleneck else width
        if bottleneck:
            sizes = [(in_channels, width, 1, 1), (width, width, 3, stride), (width, out_channels, 1, 1)]
        else:
            sizes = [(in_channels, width, 3, stride), (width, width, 3, 1)]
        self.convs = nn.ModuleList(NormConv(*size) for size in sizes)
        is_same = in_channels == out_channels and stride == 1
        self.shortcut = nn.Identity() if is_same else NormConv(in_channels, out_channels, 1, stride)

    def forward(self, pixels: Tensor) -> Tensor:
        hidden = pixels
        for number, conv in enumerate(self.convs):
            hidden = conv(hidden.relu() if number else hidden)
        return (hidden + self.shortcut(pixels)).relu()


class SpatialEmbedding(GradientCheckpointingLayer):
    """Features (batch, channels, height, width) times a learned map of the same size."""

    def __init__(self, channels: int, height: int, width: int):
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(channels, height, width))

    def forward(self, features: Tensor) -> Tensor:
        return features * self.embedding
