"""The configuration that travels with a model, made from the configuration of its run."""

from typing import Any

from configs.schema import TransformerSizes, ValueLossConfig
from models.configuration_value_transformer import ValueTransformerConfig


def value_loss_fields(loss: ValueLossConfig) -> dict[str, Any]:
    """Return the fields of a model's configuration that value_loss_of reads (models/value_head.py)."""
    return {
        "value_loss": loss.name,
        "value_min": loss.value_min,
        "value_max": loss.value_max,
        "num_bins": loss.num_bins,
        "sigma_ratio": loss.sigma_ratio,
        "sigma": loss.sigma,
        "support_padding": loss.padding if loss.name == "hl_gauss" else 0.0,
        "match_mean": loss.match_mean,
    }


def transformer_config(sizes: TransformerSizes, loss: ValueLossConfig, **settings) -> ValueTransformerConfig:
    """Return a configuration with the sizes and the value loss of a run; `settings` come on top."""
    return ValueTransformerConfig(**sizes_and_loss(sizes, loss) | settings)


def sizes_and_loss(sizes: TransformerSizes, loss: ValueLossConfig) -> dict:
    """Return the arguments that all configurations of transformers share."""
    return {
        "hidden_size": sizes.hidden_size,
        "intermediate_size": sizes.intermediate_size,
        "num_hidden_layers": sizes.num_hidden_layers,
        "num_attention_heads": sizes.num_attention_heads,
        "position_initializer_range": sizes.position_initializer_range,
        **value_loss_fields(loss),
    }
