"""Tokens of a robot's observation: states, images and instructions as vectors of a transformer's width."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from .configuration_q_transformer import IMAGE_ENCODERS, QTransformerConfig


class StateTokens(nn.Module):
    """A linear layer from the normalised states of all frames to a few tokens."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: QTransformerConfig):
        super().__init__()
        self.num_tokens = config.num_state_tokens
        # The configuration has the numbers: QTransformer._init_weights copies them.
        self.register_buffer("mean", torch.zeros(config.state_size), persistent=False)
        self.register_buffer("std", torch.ones(config.state_size), persistent=False)
        width = config.num_state_tokens * config.hidden_size
        self.embedding = nn.Linear(config.history * config.state_size, width)

    def forward(self, states: Tensor) -> Tensor:
        """Return the tokens (batch, num_state_tokens, width) of states (batch, history, state_size)."""
        normalised = (states.float() - self.mean) / self.std
        return self.embedding(normalised.flatten(1)).unflatten(1, (self.num_tokens, -1))


class ImageTokens(nn.Module):
    """A convolutional network over every frame; each cell of its last feature map is a token.

    There is no batch normalisation: the statistics of a batch would leak between frames, and differ between
    training and acting.
    """

    def __init__(self, config: QTransformerConfig):
        super().__init__()
        self.network: nn.Sequential
        if config.image_encoder == "resnet18":
            self.network, num_channels = _resnet18(), 512
        else:
            self.network, num_channels = _strided_convolutions(), 64
        self.num_tokens = config.history * (config.image_size // IMAGE_ENCODERS[config.image_encoder]) ** 2
        self.projection = nn.Linear(num_channels, config.hidden_size)

    def forward(self, images: Tensor) -> Tensor:
        """Return the tokens of images (batch, history, height, width, 3) uint8: (batch, tokens, width)."""
        pixels = images.flatten(0, 1).permute(0, 3, 1, 2).float() / 127.5 - 1
        cells = self.network(pixels).flatten(2).transpose(1, 2)  # (frames, cells, channels)
        return self.projection(cells).unflatten(0, images.shape[:2]).flatten(1, 2)


def _strided_convolutions() -> nn.Sequential:
    """Four convolutions that halve the size each."""
    widths = (3, 16, 32, 64, 64)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Conv2d(inputs, outputs, kernel_size=4, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*layers)


def _resnet18() -> nn.Sequential:
    """The trunk of ResNet-18 (He et al., arXiv 1512.03385) with group normalisation."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, kernel_size=7, stride=2, padding=3, bias=False),
        nn.GroupNorm(32, 64),
        nn.ReLU(),
        nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
    ]
    for inputs, outputs, stride in ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)):
        layers += [_ResidualBlock(inputs, outputs, stride), _ResidualBlock(outputs, outputs, 1)]
    return nn.Sequential(*layers)


class _ResidualBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False),
            nn.GroupNorm(32, outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, kernel_size=3, padding=1, bias=False),
            nn.GroupNorm(32, outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False),
                nn.GroupNorm(32, outputs),
            )

    def forward(self, features: Tensor) -> Tensor:
        return torch.relu(self.shortcut(features) + self.residual(features))


class WordTokens(nn.Embedding):
    """One token for every word of an instruction; padding is a word of its own."""

    def __init__(self, config: QTransformerConfig):
        super().__init__(config.vocab_size, config.hidden_size)
        self.num_tokens, self.padding = config.num_instruction_tokens, config.pad_token_id

    def forward(self, input_ids: Tensor) -> Tensor:
        """Return the tokens (batch, num_instruction_tokens, width) of words (batch, at most so many)."""
        missing = self.num_tokens - input_ids.shape[1]
        if missing < 0:
            raise ValueError(
                f"an instruction of {input_ids.shape[1]} tokens; the model reads {self.num_tokens}"
            )
        return super().forward(nn.functional.pad(input_ids, (0, missing), value=self.padding))


class SentenceToken(nn.Module):
    """One token for an instruction: the mean of the last hidden states of a frozen encoder, projected."""

    num_tokens = 1

    def __init__(self, config: QTransformerConfig):
        super().__init__()
        assert config.instruction_encoder is not None, "the configuration names the encoder"
        settings = dict(config.instruction_encoder)
        encoder_config = AutoConfig.for_model(settings.pop("model_type"), **settings)
        self.encoder = AutoModel.from_config(encoder_config).requires_grad_(False)
        self.padding = config.pad_token_id
        self.projection = nn.Linear(encoder_config.hidden_size, config.hidden_size)

    def train(self, mode: bool = True):
        super().train(mode)
        self.encoder.eval()  # without dropout, so that an instruction always is the same token
        return self

    def forward(self, input_ids: Tensor) -> Tensor:
        """Return the tokens (batch, 1, width) of instructions (batch, length); each is encoded once."""
        different, which = input_ids.unique(dim=0, return_inverse=True)
        is_word = different != self.padding
        with torch.no_grad():
            hidden = self.encoder(input_ids=different, attention_mask=is_word.long()).last_hidden_state
        weights = is_word[..., None] / is_word.sum(dim=1, keepdim=True)[..., None]
        return self.projection((hidden * weights).sum(dim=1))[which][:, None]
