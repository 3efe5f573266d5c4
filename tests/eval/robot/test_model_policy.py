"""A model acts on the newest frames and on the words that it knows."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cli.errors import InputError
from data.robot.metaworld import FPS
from eval.robot.model_policy import FACTS, ModelPolicy
from models.configuration_q_transformer import QTransformerConfig
from models.modeling_q_transformer import QTransformer
from models.tokenization_robot import make_instruction_tokenizer
from tests.support.commands import assert_input_error, run_command
from tests.support.programs import needs


INSTRUCTIONS = ["Open a drawer", "Press a button from the top"]


def make_policy(**settings) -> ModelPolicy:
    torch.manual_seed(0)
    sizes = {"state_size": 39, "hidden_size": 32, "num_hidden_layers": 1, "num_instruction_tokens": 6}
    model = QTransformer(QTransformerConfig(**(sizes | settings))).eval()
    return ModelPolicy(model, make_instruction_tokenizer(INSTRUCTIONS), "corner", FPS)


def observe(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    image = rng.integers(256, size=(16, 16, 3), dtype=np.uint8)
    return {"state": rng.normal(size=39).astype(np.float32), "image": image}


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("robot") / "model"
    policy = make_policy()
    policy.model.save_pretrained(folder)
    policy.tokenizer.save_pretrained(folder)
    facts = {"tasks": ["drawer-open-v3"], "instructions": INSTRUCTIONS[:1], "camera": None, "fps": FPS}
    facts |= {"data_success_rate": 0.25, "data_success": {"Open a drawer": 0.25}}
    (folder / FACTS).write_text(json.dumps(facts))
    return folder


def test_actions_of_many_episodes_are_those_of_each():
    policy = make_policy(image_size=16)
    assert policy.image_size == 16
    histories = [[observe(0)], [observe(1), observe(2)]]
    actions = policy.act(histories, INSTRUCTIONS)
    assert actions.shape == (2, 4) and np.abs(actions).max() <= 1
    for history, instruction, action in zip(histories, INSTRUCTIONS, actions, strict=True):
        np.testing.assert_array_equal(policy.act([history], [instruction]), [action])
    assert policy.chosen.value.shape == (1, 4, 32)


def test_the_first_frame_stands_in_for_those_before_it():
    policy = make_policy(history=3)
    first, second, third, fourth = map(observe, range(4))
    short = policy.act([[first, second]], INSTRUCTIONS[:1])
    value = policy.chosen.value
    np.testing.assert_array_equal(short, policy.act([[first, first, second]], INSTRUCTIONS[:1]))
    np.testing.assert_array_equal(value, policy.chosen.value)
    policy.act([[first, second, third, fourth]], INSTRUCTIONS[:1])
    newest = policy.chosen.value
    policy.act([[second, third, fourth]], INSTRUCTIONS[:1])
    np.testing.assert_array_equal(newest, policy.chosen.value)
    assert (newest != value).any()


def test_unknown_words_and_sizes_are_errors():
    with pytest.raises(InputError, match="does not know all words of the instruction 'Open a window'"):
        make_policy().act([[observe(0)]], ["Open a window"])
    with pytest.raises(InputError, match=r"reads states of 38 numbers .* the simulator has 39 and 4"):
        make_policy(state_size=38)
    with pytest.raises(InputError, match="actions of 7; the simulator has 39 and 4"):
        make_policy(num_dimensions=7)
    model, tokenizer = make_policy(image_size=16).model, make_policy().tokenizer
    with pytest.raises(InputError, match="takes 80 decisions a second, the simulator 27"):
        ModelPolicy(model, tokenizer, "corner", 80)
    with pytest.raises(InputError, match="does not name the camera"):
        ModelPolicy(model, tokenizer, None, FPS)


@needs("renderer")
@pytest.mark.slow
def test_the_command_plays_a_model_next_to_its_data_and_the_scripted_policy(model_folder, tmp_path):
    output, video = tmp_path / "robot.json", tmp_path / "robot.gif"
    arguments = ["--model", model_folder, "--episodes", 2, "--json", output, "--video", video]
    result = run_command("eval.robot", *arguments, "--compare", "policy:scripted:0")
    assert result.returncode == 0, result.stderr
    found = json.loads(output.read_text())
    assert found["tasks"].keys() == {"drawer-open-v3"} and found["num_episodes"] == 2
    assert found["data_success_rate"] == 0.25 and found["success_rate"] == 0
    assert found["references"]["scripted:0"]["success_rate"] == 1
    assert found["comparison"]["only_second_won"] == 2
    assert "25.0%" in result.stdout
    with Image.open(video) as frames:
        assert frames.n_frames == 50 and frames.size == (2 * 270, 160)  # with what the model predicts


@pytest.mark.slow
def test_tasks_whose_instruction_a_model_does_not_know_are_refused(model_folder):
    arguments = ["--tasks", "hammer-v3", "--episodes", 1000]
    for policies in (["--model", model_folder], ["--policy", "random", "--compare", model_folder]):
        result = run_command("eval.robot", *policies, *arguments)
        assert_input_error(result, "does not know all words", "Hammer a screw")
