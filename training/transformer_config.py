"""The configuration that travels with a transformer, made from the configuration of its run."""

from configs.schema import TransformerSizes, ValueLossConfig
from models.configuration_value_transformer import ValueTransformerConfig


def transformer_config(sizes: TransformerSizes, loss: ValueLossConfig, **settings) -> ValueTransformerConfig:
    """Return a configuration with the sizes and the value loss of a run; `settings` come on top."""
    from_run = {
        "hidden_size": sizes.hidden_size,
        "intermediate_size": sizes.intermediate_size,
        "num_hidden_layers": sizes.num_hidden_layers,
        "num_attention_heads": sizes.num_attention_heads,
        "position_initializer_range": sizes.position_initializer_range,
        "value_loss": loss.name,
        "value_min": loss.value_min,
        "value_max": loss.value_max,
        "num_bins": loss.num_bins,
        "sigma_ratio": loss.sigma_ratio,
        "sigma": loss.sigma,
        "support_padding": loss.padding,
        "match_mean": loss.match_mean,
    }
    return ValueTransformerConfig(**from_run | settings)
