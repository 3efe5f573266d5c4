"""The convolutional networks: parity with flax and the released SoftMoE, sizes, initial weights, loading."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from models.configuration_value_convnet import ValueConvNetConfig
from models.convolutions import SameConv, SoftMoE, max_pool
from models.modeling_value_convnet import ValueConvNet, make_blocks


FIXTURES = Path(__file__).parents[1] / "fixtures/atari"
SOFTMOE = ["experts1_tokens121_width32", "experts2_tokens121_width32", "experts4_tokens25_width8"]


def channels_first(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array).permute(0, 3, 1, 2)


def make_network(**settings) -> ValueConvNet:
    torch.manual_seed(0)
    return ValueConvNet(ValueConvNetConfig(**settings))


def random_pixels(*shape: int) -> torch.Tensor:
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("name", "stride"), [("nature1", 4), ("nature2", 2), ("nature3", 1), ("impala", 1)])
def test_convolutions_pad_as_flax_does(name, stride):
    cases = np.load(FIXTURES / "flax_same_padding.npz")
    kernel = torch.from_numpy(cases[f"{name}|kernel"]).permute(3, 2, 0, 1)
    conv = SameConv(kernel.shape[1], kernel.shape[0], kernel.shape[2], stride)
    conv.load_state_dict({"weight": kernel, "bias": torch.from_numpy(cases[f"{name}|bias"])})
    found = conv(channels_first(cases[f"{name}|x"]))
    torch.testing.assert_close(found, channels_first(cases[f"{name}|y"]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [84, 42, 21])
def test_pooling_pads_as_flax_does(size):
    cases = np.load(FIXTURES / "flax_same_padding.npz")
    found = max_pool(channels_first(cases[f"max_pool{size}|x"]))
    assert torch.equal(found, channels_first(cases[f"max_pool{size}|y"]))


@pytest.mark.parametrize("name", SOFTMOE)
def test_soft_mixture_of_experts_is_the_released_one(name):
    cases = np.load(FIXTURES / "softmoe.npz")
    tokens = torch.from_numpy(cases[f"{name}|x"])
    num_tokens, channels = tokens.shape
    weights = {
        key: torch.from_numpy(cases[f"{name}|params/{path}"])
        for key, path in (
            ("phi", "phi_weights"),
            ("up", "module/Dense_0/kernel"),
            ("up_bias", "module/Dense_0/bias"),
            ("down", "module/Dense_1/kernel"),
            ("down_bias", "module/Dense_1/bias"),
        )
    }
    weights |= {key: bias[:, None] for key, bias in weights.items() if key.endswith("bias")}
    num_experts, _, expert_size = weights["up"].shape
    layer = SoftMoE(channels, num_tokens, num_experts, expert_size)
    layer.load_state_dict(weights)
    side = math.isqrt(num_tokens)
    found = layer(tokens.T.reshape(1, channels, side, side)).reshape(num_tokens, channels)
    torch.testing.assert_close(found, torch.from_numpy(cases[f"{name}|y"]), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("settings", "millions"),
    [
        ({"architecture": "nature", "value_loss": "mse"}, 4.05),
        ({"architecture": "nature", "value_loss": "c51"}, 4.51),
        ({"architecture": "impala", "num_experts": 8, "value_loss": "mse"}, 0.44),
        ({"architecture": "impala", "num_experts": 8}, 3.92),
    ],
)
def test_networks_with_18_actions_have_the_sizes_of_the_papers(settings, millions):
    assert sum(p.numel() for p in make_network(**settings).parameters()) / 1e6 == pytest.approx(
        millions, abs=0.005
    )


@pytest.mark.parametrize(
    ("architecture", "millions"), [("resnet34", 31), ("resnet50", 61), ("resnet101", 80)]
)
def test_residual_networks_without_heads_have_the_sizes_of_the_paper(architecture, millions):
    with torch.device("meta"):
        blocks, _ = make_blocks(ValueConvNetConfig(architecture=architecture))
    found = sum(parameter.numel() for block in blocks for parameter in block.parameters())
    assert round(found / 1e6) == millions


@pytest.mark.parametrize("num_experts", [1, 2, 4, 8])
def test_experts_share_the_slots_of_all_positions(num_experts):
    network = make_network(architecture="impala", num_experts=num_experts, value_loss="mse")
    assert network.blocks[-1].phi.shape == (32, num_experts, {1: 121, 2: 61, 4: 31, 8: 16}[num_experts])


@pytest.mark.parametrize("value_loss", ["mse", "hl_gauss"])
def test_initial_weights_are_those_of_dopamine(value_loss):
    network = make_network(value_loss=value_loss)
    for weight, in_features, out_features in (
        (network.blocks[1].conv.weight, 16 * 32, 16 * 64),
        (network.blocks[3].linear.weight, 7744, 512),
    ):
        limit = math.sqrt(6 / (in_features + out_features) if value_loss == "mse" else 3**0.5 / in_features)
        assert weight.abs().max() <= limit and weight.detach().std() == pytest.approx(
            limit / 3**0.5, rel=0.02
        )
    assert not any(p.any() for name, p in network.named_parameters() if name.endswith("bias"))


def test_values_are_read_from_pixels_of_any_architecture():
    for settings in (
        {"architecture": "nature"},
        {"architecture": "impala", "num_experts": 2},
        {"architecture": "resnet18"},
        {"architecture": "minatar", "input_shape": (4, 10, 10), "pixel_max": 1, "hidden_size": 128},
    ):
        network = make_network(num_actions=[6], **settings)
        output = network(random_pixels(3, *network.config.input_shape))
        assert output.logits.shape == (3, 6, 51)
        torch.testing.assert_close(output.value, network.value_loss.value(output.logits))


def test_every_game_has_its_own_head_and_actions():
    settings = {"input_shape": (4, 42, 42), "games": ["pong", "breakout"], "num_actions": [6, 4]}
    network = make_network(**settings)
    pixels = random_pixels(1, 4, 42, 42).expand(3, -1, -1, -1)
    value = network(pixels, game=torch.tensor([0, 1, 0])).value
    assert torch.equal(value[0], value[2]) and not torch.equal(value[0, :4], value[1, :4])
    assert value[:2].isfinite().tolist() == [[True] * 6, [True] * 4 + [False] * 2]
    value[1].logsumexp(-1).backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_checkpointing_of_activations_changes_no_gradient():
    gradients = []
    for is_checkpointed in (False, True):
        network = make_network(architecture="impala", input_shape=(4, 42, 42))
        if is_checkpointed:
            network.activation_checkpointing_enable()
        network.train()
        network(random_pixels(2, 4, 42, 42)).logits.square().sum().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"architecture": "vgg"}, "architecture must be one of minatar, nature"),
        ({"num_experts": 4}, "num_experts is for impala, not for nature"),
        ({"games": ["pong", "breakout"]}, "2 games, but 1 numbers of actions"),
    ],
)
def test_incompatible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ValueConvNetConfig(**settings)
