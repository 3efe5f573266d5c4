"""Convolutional networks that predict a distribution over returns for every action, from pixels.

Sources: Farebrother et al., "Stop Regressing" (arXiv 2403.03950), section 4.1; the networks are those of
models/convolutions.py. Weights are initialised as in Dopamine.

    model = AutoModel.from_pretrained(folder, trust_remote_code=True)
    output = model(pixels)                      # (batch, 4, 84, 84) uint8: four frames, the newest last
    output.value                                # (batch, num_actions), expected return
    output.logits                               # (batch, num_actions, num_bins), its distribution
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from .configuration_value_convnet import ValueConvNetConfig
from .convolutions import (
    ConvBlock,
    DenseBlock,
    ImpalaStack,
    ResNetBlock,
    ResNetStem,
    SoftMoE,
    SpatialEmbedding,
)
from .value_head import ValueHead, value_loss_of


# The blocks of each stage.
RESNETS = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
}


@dataclass
class ConvNetOutput(ModelOutput):
    """The prediction for every action.

    logits: (batch, num_actions, num_outputs). value: (batch, num_actions) float32, the expected return, −∞
    for actions that the game does not have.
    """

    logits: Tensor | None = None
    value: Tensor | None = None


class ValueConvNet(PreTrainedModel):
    """Q(s, ·) of a game, or of several games with a head each."""

    config_class = ValueConvNetConfig
    main_input_name = "pixels"
    supports_gradient_checkpointing = True

    def __init__(self, config: ValueConvNetConfig):
        super().__init__(config)
        self.value_loss = value_loss_of(config)
        self.num_games, self.max_actions = len(config.games), max(config.num_actions)
        blocks, num_features = make_blocks(config)
        self.blocks = nn.ModuleList(blocks)
        self.head = ValueHead(num_features, self.value_loss, self.num_games * self.max_actions)
        self.post_init()
        # FSDP shards these one by one, and expects to find each class.
        self._no_split_modules = {type(block).__name__ for block in blocks if list(block.parameters())}

    @can_return_tuple
    def forward(self, pixels: Tensor, game: Tensor | None = None) -> ConvNetOutput:
        """Value all actions in observations (batch, channels, height, width), of any integer or float type.

        `game` (batch,) are indices into the games of the configuration, by default the first.
        """
        hidden = pixels.float() / self.config.pixel_max
        for block in self.blocks:
            hidden = block(hidden)
        logits = self.head(hidden.flatten(1))
        if self.num_games == 1:
            logits = logits.view(-1, self.max_actions, self.value_loss.num_outputs)
        else:
            logits = logits.view(-1, self.num_games, self.max_actions, self.value_loss.num_outputs)
            game = torch.zeros(len(pixels), dtype=torch.long, device=pixels.device) if game is None else game
            logits = logits[torch.arange(len(pixels), device=pixels.device), game]
        value = self.value_loss.value(logits)
        if self.num_games > 1 and min(self.config.num_actions) < self.max_actions:
            num_actions = torch.tensor(self.config.num_actions, device=pixels.device)[game, None]
            absent = torch.arange(self.max_actions, device=pixels.device) >= num_actions
            value = value.masked_fill(absent, -torch.inf)
        return ConvNetOutput(logits=logits, value=value)

    def get_input_embeddings(self) -> None:
        """Return None: pixels have no embeddings."""

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Conv2d):
            receptive_field = math.prod(module.weight.shape[2:])
            out_features, in_features = (size * receptive_field for size in module.weight.shape[:2])
            self._init_matrix(module.weight, in_features, out_features)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.GroupNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, SpatialEmbedding):
            init.ones_(module.embedding)
        elif isinstance(module, SoftMoE):
            # flax's lecun_normal, which counts the channels among the receptive field.
            channels, num_experts, _ = module.phi.shape
            std = (channels * num_experts) ** -0.5 / 0.87962566  # of the Gaussian before it is cut at 2σ
            init.trunc_normal_(module.phi, std=std, a=-2 * std, b=2 * std)
            for weight, bias in ((module.up, module.up_bias), (module.down, module.down_bias)):
                self._init_matrix(weight, *weight.shape[1:])
                init.zeros_(bias)

    def _init_matrix(self, weight: Tensor, in_features: int, out_features: int) -> None:
        """Xavier's uniform distribution for mse; for distributions the variance is 1 / (√3 in_features)."""
        if self.value_loss.num_outputs == 1:
            limit = math.sqrt(6 / (in_features + out_features))
        else:
            limit = math.sqrt(math.sqrt(3) / in_features)
        init.uniform_(weight, -limit, limit)


def make_blocks(config: ValueConvNetConfig) -> tuple[list[nn.Module], int]:
    """Return the layers before the head, in order, and the number of features that they put out."""
    channels, height, width = config.input_shape
    blocks: list[nn.Module] = []
    if config.architecture == "minatar":
        blocks = [ConvBlock(channels, 16, 3, 1, same=False)]
        channels, height, width = 16, height - 2, width - 2
    elif config.architecture == "nature":
        blocks = [ConvBlock(channels, 32, 8, 4), ConvBlock(32, 64, 4, 2), ConvBlock(64, 64, 3, 1)]
        channels, height, width = 64, math.ceil(height / 8), math.ceil(width / 8)
    elif config.architecture == "impala":
        for out_channels in (16, 32, 32):
            blocks.append(ImpalaStack(channels, out_channels))
            channels, height, width = out_channels, math.ceil(height / 2), math.ceil(width / 2)
        blocks.append(nn.ReLU())
        if config.num_experts:
            blocks.append(SoftMoE(channels, height * width, config.num_experts, config.hidden_size))
            return blocks, channels * height * width
    else:
        blocks = [ResNetStem(channels, 64)]
        channels, height, width = 64, math.ceil(height / 4), math.ceil(width / 4)
        bottleneck = config.architecture in ("resnet50", "resnet101")
        # The last stage keeps its size: at 84 × 84 the networks then have as many parameters as the paper's.
        stages = zip(RESNETS[config.architecture], (64, 128, 256, 512), (1, 2, 2, 1), strict=True)
        for num_blocks, stage_width, first_stride in stages:
            for number in range(num_blocks):
                stride = 1 if number else first_stride
                blocks.append(ResNetBlock(channels, stage_width, stride, bottleneck))
                channels = 4 * stage_width if bottleneck else stage_width
                height, width = math.ceil(height / stride), math.ceil(width / stride)
        blocks.append(SpatialEmbedding(channels, height, width))
    blocks.append(DenseBlock(channels * height * width, config.hidden_size))
    return blocks, config.hidden_size


ValueConvNet.register_for_auto_class("AutoModel")
