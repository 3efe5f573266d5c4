"""Convert google-deepmind/searchless_chess weights to a ValueTransformerForActionValue.

Source: Ruoss et al., "Amortized Planning with Large-Scale Transformers" (arXiv 2402.04494) and its code.
Parameters have their Haiku names: module path, "/" and parameter. `scripts/convert_searchless_chess.py` reads
them from the released files and saves the model.
"""

import re

import numpy as np
import torch

from models.configuration_value_transformer import ValueTransformerConfig
from models.modeling_value_transformer import ValueTransformerForActionValue


def convert(
    params: dict[str, np.ndarray], num_attention_heads: int = 8, **config
) -> ValueTransformerForActionValue:
    """Return the model with the weights of `params`, by names such as "linear_1//w" or "linear_1.w".

    Arrays are removed from `params` as they are converted, to save memory. Sizes follow from the arrays; the
    number of heads does not, and is 8 in all released models. `config` holds further settings of
    ValueTransformerConfig, such as the value loss if it is not HL-Gauss on [0, 1]. Raises ValueError for
    missing, unexpected or misshapen parameters, and for a number of heads that does not divide the width.
    """
    names = {re.sub(r"//|\.", "/", name): name for name in params}
    state = {}

    def take(target: str, source: str, transpose: bool = False) -> None:
        if source not in names:
            raise ValueError(f"not a searchless_chess checkpoint: parameter {source!r} is missing")
        array = np.asarray(params.pop(names.pop(source)), dtype=np.float32)
        state[target] = torch.from_numpy(np.ascontiguousarray(array.T if transpose else array))

    def numbered(name: str, number: int) -> str:
        return f"{name}_{number}" if number else name

    num_layers = sum(name.startswith("multi_head_dot_product_attention") for name in names) // 4
    if not num_layers:
        raise ValueError("not a searchless_chess checkpoint: it has no layers")
    take("model.token_embedding.weight", "embed/embeddings")
    take("model.position_embedding.weight", "embed_1/embeddings")
    for layer in range(num_layers):
        block = f"model.blocks.{layer}"
        for part, norm in enumerate(("attention_norm", "feed_forward_norm")):
            take(f"{block}.{norm}.weight", f"{numbered('layer_norm', 2 * layer + part)}/scale")
            take(f"{block}.{norm}.bias", f"{numbered('layer_norm', 2 * layer + part)}/offset")
        attention = numbered("multi_head_dot_product_attention", layer)
        for part, name in enumerate(("query", "key", "value", "output")):
            source = f"{attention}/{numbered('linear', part)}/w"
            take(f"{block}.attention.{name}.weight", source, transpose=True)
        for part, name in enumerate(("gate", "up", "down")):
            source = f"{numbered('linear', 3 * layer + part)}/w"
            take(f"{block}.feed_forward.{name}.weight", source, transpose=True)
    take("model.norm.weight", f"{numbered('layer_norm', 2 * num_layers)}/scale")
    take("model.norm.bias", f"{numbered('layer_norm', 2 * num_layers)}/offset")
    take("head.weight", f"{numbered('linear', 3 * num_layers)}/w", transpose=True)
    take("head.bias", f"{numbered('linear', 3 * num_layers)}/b")
    if names:
        unexpected = ", ".join(sorted(names))
        raise ValueError(f"not a searchless_chess checkpoint: unexpected parameters {unexpected}")

    vocab_size, hidden_size = state["model.token_embedding.weight"].shape
    settings = {
        "vocab_size": vocab_size,
        "max_position_embeddings": len(state["model.position_embedding.weight"]),
        "hidden_size": hidden_size,
        "intermediate_size": len(state["model.blocks.0.feed_forward.gate.weight"]),
        "num_hidden_layers": num_layers,
        "num_attention_heads": num_attention_heads,
        "attention": "full",
        "action_embedding": "table",
        "num_bins": len(state["head.bias"]),
    }
    # On the meta device the model allocates nothing and takes the arrays as they are.
    with torch.device("meta"):
        model = ValueTransformerForActionValue(ValueTransformerConfig(**settings | config))
    try:
        model.load_state_dict(state, assign=True)
    except RuntimeError as error:
        # The first line of torch's message does not name the mismatch.
        mismatch = str(error).splitlines()[1].strip()
        raise ValueError(f"not a searchless_chess checkpoint: {mismatch}") from error
    return model.eval()
