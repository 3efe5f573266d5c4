"""The model's own configuration, which travels with it, made from that of a run."""

from configs.schema import Config
from models.configuration_value_transformer import ValueTransformerConfig


def transformer_config(config: Config, **settings) -> ValueTransformerConfig:
    """Return the sizes, attention and value loss of a run; `settings` add to them, or replace some."""
    loss = config.value_loss
    of_run = {
        "hidden_size": config.model.hidden_size,
        "intermediate_size": config.model.intermediate_size,
        "num_hidden_layers": config.model.num_hidden_layers,
        "num_attention_heads": config.model.num_attention_heads,
        "attention": config.model.attention,
        "action_embedding": config.model.action_embedding,
        "tokens_per_action": config.model.tokens_per_action,
        "board_rotation": config.model.board_rotation,
        "position_initializer_range": config.model.position_initializer_range,
        "value_loss": loss.name,
        "value_min": loss.value_min,
        "value_max": loss.value_max,
        "num_bins": loss.num_bins,
        "sigma_ratio": loss.sigma_ratio,
        "sigma": loss.sigma,
        "support_padding": loss.padding,
        "match_mean": loss.match_mean,
    }
    return ValueTransformerConfig(**of_run | settings)
