"""The exported blocks are those of the model."""

import pytest
import torch

from models.configuration_value_transformer import ValueTransformerConfig
from models.modeling_value_transformer import ValueTransformerForActionValue, ValueTransformerForStateValue
from training.onnx_blocks import for_onnxruntime


SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_bins": 16}


@pytest.mark.parametrize("rotation", [False, True])
@pytest.mark.parametrize(
    ("attention", "tokens_per_action"), [("prefix", 1), ("prefix", 2), ("causal", 1), ("full", 1)]
)
def test_the_exported_blocks_value_actions_as_the_model_does(attention, tokens_per_action, rotation):
    torch.manual_seed(0)
    config = ValueTransformerConfig(
        **SIZES, attention=attention, tokens_per_action=tokens_per_action, board_rotation=rotation
    )
    model = ValueTransformerForActionValue(config).eval()
    boards, actions = torch.randint(31, (2, 77)), torch.randint(1968, (2, 5))
    with torch.no_grad():
        expected, found = model(boards, actions), for_onnxruntime(model, 78)(boards, actions)
    torch.testing.assert_close(found.logits, expected.logits, atol=1e-5, rtol=0)


def test_the_exported_blocks_value_states_as_the_model_does():
    torch.manual_seed(0)
    model = ValueTransformerForStateValue(ValueTransformerConfig(**SIZES, board_rotation=True)).eval()
    boards = torch.randint(31, (2, 77))
    with torch.no_grad():
        expected, found = model(boards), for_onnxruntime(model, None)(boards)
    torch.testing.assert_close(found.logits, expected.logits, atol=1e-5, rtol=0)
