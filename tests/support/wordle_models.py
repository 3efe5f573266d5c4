"""Tiny Wordle agents with random weights."""

import torch

from models.configuration_value_transformer import ValueTransformerConfig
from models.modeling_value_transformer import ValueTransformerForTokenValue
from models.tokenization_wordle import GAME_LENGTH, TOKENS, TOKENS_PER_TURN


def tiny_token_model(seed: int = 0, **settings) -> ValueTransformerForTokenValue:
    """Return a model in evaluation mode; `settings` replace some of its configuration."""
    torch.manual_seed(seed)
    defaults = {
        "vocab_size": len(TOKENS),
        "max_position_embeddings": GAME_LENGTH,
        "position_period": TOKENS_PER_TURN,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "attention": "causal",
        "action_embedding": "table",
        "value_min": -7,
        "num_bins": 11,
    }
    return ValueTransformerForTokenValue(ValueTransformerConfig(**defaults | settings)).eval()
