"""The last layer of every value network, and the value loss that decodes its outputs.

Source: Farebrother et al., "Stop Regressing" (arXiv 2403.03950), section 3.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from .value_losses import ValueLoss, make_value_loss


def value_loss_of(config: PreTrainedConfig) -> ValueLoss:
    """Return the value loss that a model was configured with.

    Reads `value_loss`, `value_min`, `value_max`, `num_bins`, `sigma_ratio`, `sigma`, `support_padding` and
    `match_mean`, the arguments of `make_value_loss`.
    """
    return make_value_loss(
        config.value_loss,
        value_min=config.value_min,
        value_max=config.value_max,
        num_bins=config.num_bins,
        sigma_ratio=config.sigma_ratio,
        sigma=config.sigma,
        padding=config.support_padding,
        match_mean=config.match_mean,
    )


class ValueHead(nn.Linear):
    """A linear layer from hidden states (..., hidden_size) to (..., num_values × num_outputs).

    `num_outputs` is that of the value loss. The single output of mse and mse_sigmoid is computed in float32,
    since autocast would round the value to three digits.
    """

    def __init__(self, hidden_size: int, value_loss: ValueLoss, num_values: int = 1):
        super().__init__(hidden_size, num_values * value_loss.num_outputs)
        self.in_float32 = value_loss.num_outputs == 1

    def forward(self, hidden: Tensor) -> Tensor:
        if not self.in_float32:
            return super().forward(hidden)
        with torch.autocast(hidden.device.type, enabled=False):
            return nn.functional.linear(hidden.float(), self.weight.float(), self.bias.float())
