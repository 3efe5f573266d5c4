"""The Q-Transformer: which token sees which, acting with a cache, its observations, saving and loading."""

import pytest
import torch
from transformers import BertConfig, BertModel

from models.configuration_q_transformer import QTransformerConfig
from models.modeling_q_transformer import QTransformer, bin_actions, nearest_bins
from models.tokenization_robot import instruction_ids, make_instruction_tokenizer
from models.value_losses import VALUE_LOSSES
from tests.support.commands import run_code


SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_dimensions": 3,
    "num_action_bins": 5,
    "num_bins": 7,
    "vocab_size": 12,
    "num_instruction_tokens": 4,
}


def tiny_q_transformer(seed: int = 0, **settings) -> QTransformer:
    torch.manual_seed(seed)
    return QTransformer(QTransformerConfig(**SIZES | settings)).eval()


def random_inputs(model: QTransformer) -> dict[str, torch.Tensor]:
    generator, config = torch.Generator().manual_seed(1), model.config
    inputs = {"input_ids": torch.randint(2, config.vocab_size, (2, 3), generator=generator)}
    if config.state_size:
        inputs["states"] = torch.randn(2, config.history, config.state_size, generator=generator)
    if config.image_size:
        shape = (2, config.history, config.image_size, config.image_size, 3)
        inputs["images"] = torch.randint(0, 256, shape, generator=generator).byte()
    return inputs


OBSERVATIONS = {
    "states": {"state_size": 6},
    "states_of_three_frames": {"state_size": 6, "history": 3},
    "images": {"image_size": 32, "history": 2},
    "both_with_resnet18": {"state_size": 6, "image_size": 32, "image_encoder": "resnet18"},
}


@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_acting_with_a_cache_is_acting_without(observation):
    model = tiny_q_transformer(**OBSERVATIONS[observation])
    inputs = random_inputs(model)
    chosen = model.choose_actions(**inputs)
    with torch.no_grad():
        bins = torch.zeros(2, 0, dtype=torch.long)
        for _ in range(3):
            output = model(**inputs, bins=bins)
            bins = torch.cat([bins, output.value[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(chosen.bins, bins)
    torch.testing.assert_close(chosen.value, output.value, rtol=0, atol=1e-6)
    assert torch.equal(chosen.actions, bin_actions(bins, 5))
    of_chosen = output.logits.gather(2, bins[..., None, None].expand(-1, -1, 1, 7)).squeeze(2)
    torch.testing.assert_close(chosen.probs, of_chosen.softmax(-1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_model_that_has_acted_in_inference_mode_can_be_trained(attention):
    model = tiny_q_transformer(state_size=6)
    model.set_attn_implementation(attention)
    inputs = random_inputs(model)
    with torch.inference_mode():
        model(**inputs, bins=torch.zeros(2, 2, dtype=torch.long))
    # Not every attention saves its mask for the backward pass.
    assert not any(mask.is_inference() for mask in model._masks.values())
    model(**inputs, bins=torch.zeros(2, 2, dtype=torch.long)).value.sum().backward()


def test_a_later_action_token_leaves_earlier_values_bit_equal():
    model = tiny_q_transformer(state_size=6)
    inputs, bins = random_inputs(model), torch.tensor([[1, 2], [3, 0]])
    changed = bins.clone()
    changed[:, 1] = 4
    before, after = (model(**inputs, bins=given).value for given in (bins, changed))
    assert torch.equal(before[:, :2], after[:, :2])
    assert not torch.equal(before[:, 2], after[:, 2])
    changed = bins.clone()
    changed[:, 0] = 4
    after = model(**inputs, bins=changed).value
    assert torch.equal(before[:, :1], after[:, :1])
    assert all(not torch.equal(before[:, i], after[:, i]) for i in (1, 2))


def test_every_part_of_an_observation_changes_all_values():
    model = tiny_q_transformer(state_size=6, image_size=32, history=2)
    inputs, bins = random_inputs(model), torch.tensor([[1, 2], [3, 0]])
    before = model(**inputs, bins=bins).value
    for name, place in (("states", (0, 5)), ("images", (0, 31, 0, 1)), ("input_ids", (2,))):
        changed = {key: tensor.clone() for key, tensor in inputs.items()}
        one = changed[name][(slice(None), *place)]
        changed[name][(slice(None), *place)] = (one + 100) % (11 if name == "input_ids" else 255)
        after = model(**changed, bins=bins).value
        assert (before != after).any(dim=-1).all(), name


def test_tokens_of_the_observation_see_each_other():
    """The keys of the second layer depend on all tokens of the observation."""
    model = tiny_q_transformer(state_size=6)
    inputs = random_inputs(model)
    changed = inputs | {"input_ids": inputs["input_ids"].clone()}
    changed["input_ids"][:, -1] = 1 + (changed["input_ids"][:, -1] + 1) % 11
    before, after = (model(**given, use_cache=True).cache.layers[1].keys for given in (inputs, changed))
    assert (before != after).any(dim=-1).all()


def test_actions_never_reach_the_observation():
    """Its keys and values in every layer are the same with and without the tokens of actions."""
    model = tiny_q_transformer(state_size=6)
    inputs = random_inputs(model)
    caches = [
        model(**inputs, bins=bins, use_cache=True).cache
        for bins in (torch.tensor([[1, 2], [3, 0]]), torch.tensor([[4, 0], [0, 1]]), None)
    ]
    for layer in range(2):
        first, *others = (cache.layers[layer] for cache in caches)
        prefix = slice(model.num_prefix_tokens)
        for other in others:
            torch.testing.assert_close(first.keys[:, :, prefix], other.keys[:, :, prefix], rtol=0, atol=1e-6)
            torch.testing.assert_close(
                first.values[:, :, prefix], other.values[:, :, prefix], rtol=0, atol=1e-6
            )


@pytest.mark.parametrize("name", VALUE_LOSSES)
def test_values_are_decoded_by_the_value_loss(name):
    model = tiny_q_transformer(state_size=6, value_loss=name)
    output = model(**random_inputs(model), bins=torch.tensor([[1, 2], [3, 0]]))
    assert output.logits.shape == (2, 3, 5, model.value_loss.num_outputs)
    assert output.value.shape == (2, 3, 5) and output.value.dtype == torch.float32
    torch.testing.assert_close(output.value, model.value_loss.value(output.logits))
    chosen = model.choose_actions(**random_inputs(model))
    assert (chosen.probs is None) == (model.value_loss.num_outputs == 1)


@pytest.mark.parametrize("name", ["mse", "mse_sigmoid"])
def test_regression_starts_with_outputs_near_0(name):
    model = tiny_q_transformer(state_size=6, value_loss=name)
    assert model(**random_inputs(model)).logits.abs().max() < 0.3


@pytest.mark.slow
def test_a_checkpoint_acts_by_itself(tmp_path):
    """It holds the statistics of states and the tokenizer; another process needs torch and transformers."""
    mean, std = [1.0, -2.0, 3.0, 0.5, 0.0, 9.0], [0.1, 2.0, 1.0, 1.0, 5.0, 0.25]
    model = tiny_q_transformer(state_size=6, state_mean=mean, state_std=std, image_size=32)
    plain = tiny_q_transformer(state_size=6, image_size=32)
    inputs = random_inputs(model)
    states = inputs["states"]
    expected = plain(**inputs | {"states": (states - torch.tensor(mean)) / torch.tensor(std)}).value
    torch.testing.assert_close(model(**inputs).value, expected)
    model.save_pretrained(tmp_path / "model")
    make_instruction_tokenizer(["open a drawer"]).save_pretrained(tmp_path / "model")
    torch.save((inputs, model.choose_actions(**inputs).value), tmp_path / "expected.pt")
    program = """
import sys, torch
from transformers import AutoModel, AutoTokenizer
folder = sys.argv[1]
model = AutoModel.from_pretrained(folder + "/model", trust_remote_code=True).eval()
inputs, value = torch.load(folder + "/expected.pt")
assert torch.equal(model.choose_actions(**inputs).value, value)
assert AutoTokenizer.from_pretrained(folder + "/model")("Open a drawer").input_ids == [4, 2, 3]
assert not any(name.partition(".")[0] == "models" for name in sys.modules)
"""
    environment = {"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"}
    result = run_code(program, tmp_path, folder=tmp_path, **environment)
    assert result.returncode == 0, result.stderr


def test_bins_are_evenly_spaced_from_end_to_end():
    bins = nearest_bins(torch.tensor([-1.0, -0.51, -0.49, 0.0, 0.2, 1.0, 1.1]), 5)
    assert bins.tolist() == [0, 1, 1, 2, 2, 4, 4]
    assert bin_actions(torch.arange(5), 5).tolist() == [-1, -0.5, 0, 0.5, 1]


def test_instructions_may_be_padded_or_not():
    model = tiny_q_transformer(state_size=6)
    inputs = random_inputs(model)
    padded = torch.nn.functional.pad(inputs["input_ids"], (0, 1))
    assert torch.equal(model(**inputs).value, model(**inputs | {"input_ids": padded}).value)


def test_words_that_a_model_does_not_know_are_refused():
    tokenizer = make_instruction_tokenizer(["open a drawer", "Push the button."])
    assert instruction_ids(tokenizer, ["push a drawer", "Open."]).tolist() == [[7, 3, 5], [6, 2, 0]]
    with pytest.raises(
        ValueError, match=r"instruction 'open a window': it knows \., a, button, drawer, open"
    ):
        instruction_ids(tokenizer, ["open a drawer", "open a window"])


def test_a_sentence_encoder_gives_one_frozen_token(tmp_path):
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    encoder = BertModel(BertConfig(vocab_size=12, **sizes))
    model = tiny_q_transformer(state_size=6, instruction_encoder=encoder.config.to_dict()).train()
    inputs = random_inputs(model)
    inputs["input_ids"] = torch.tensor([[3, 4, 0], [3, 4, 5]])
    assert model.instruction_tokens(inputs["input_ids"]).shape == (2, 1, 16)
    before = model(**inputs).value
    assert torch.equal(before, model(**inputs).value)  # without dropout
    changed = torch.tensor([[3, 4, 0, 0], [3, 6, 5, 0]])  # padding changes nothing, and a word does
    after = model(**inputs | {"input_ids": changed}).value
    torch.testing.assert_close(before[0], after[0])
    assert not torch.allclose(before[1], after[1])
    before.sum().backward()
    assert all(weight.grad is None for weight in model.instruction_tokens.encoder.parameters())
    model.save_pretrained(tmp_path)
    loaded = QTransformer.from_pretrained(tmp_path)
    torch.testing.assert_close(loaded(**inputs).value, before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"state_size": 0}, "an observation needs a state or an image"),
        ({"image_size": 40}, "images of a multiple of 16 pixels, not of 40"),
        ({"image_size": 48, "image_encoder": "resnet18"}, "a multiple of 32 pixels, not of 48"),
        ({"image_encoder": "vit"}, "image_encoder must be one of convolutions, resnet18"),
        ({"hidden_size": 15}, "do not divide"),
        ({"state_mean": [0.0]}, "state_mean has 1 numbers, and a state has 6"),
        ({"attention": "causal"}, "attention must be prefix_causal"),
    ],
)
def test_impossible_sizes_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        QTransformerConfig(**SIZES | {"state_size": 6} | settings)


def test_observations_of_other_sizes_are_refused():
    model = tiny_q_transformer(state_size=6, image_size=32)
    inputs = random_inputs(model)
    for name, wrong, message in (
        ("states", torch.zeros(2, 1, 5), r"states of shape \(1, 6\); got \(1, 5\)"),
        ("images", torch.zeros(2, 1, 64, 64, 3), r"images of shape \(1, 32, 32, 3\); got \(1, 64"),
        ("states", None, "reads states, which are missing"),
        ("input_ids", None, "input_ids are missing"),
        ("input_ids", torch.zeros(2, 5, dtype=torch.long), "an instruction of 5 tokens; the model reads 4"),
    ):
        with pytest.raises(ValueError, match=message):
            model(**inputs | {name: wrong})
