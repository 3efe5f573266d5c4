"""The measures of trained networks of the robot, on networks that have known values of them."""

import pytest
import torch

from configs.loading import load_config, save_config
from studies import robot_networks
from studies.robot_networks import NEW_NETWORK, TrainedNetwork
from tests.support.robot_data import write_robot_data, write_sentence_encoder
from tests.support.training_runs import TINY
from training.tasks import make_task


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A function that makes a finished run, with changed weights, and returns its network."""
    monkeypatch.setattr(robot_networks, "STEPS", 30)
    monkeypatch.setattr(robot_networks, "LEARNING_RATE", 1e-2)
    episodes = write_robot_data(tmp_path / "episodes")

    def make(change, *settings: str) -> TrainedNetwork:
        config = load_config(
            "robot_tiny.yaml",
            [*TINY, f"data.train={episodes}", "model.num_action_bins=5", "output_dir=run", *settings],
        )
        torch.manual_seed(NEW_NETWORK)
        task = make_task(config)
        with torch.no_grad():
            change(task.model)
        task.model.save_pretrained(tmp_path / "run" / "model")
        task.tokenizer.save_pretrained(tmp_path / "run" / "model")
        save_config(config, tmp_path / "run" / "config.yaml")
        return TrainedNetwork(tmp_path / "run" / "model", torch.device("cpu"))

    return make


def test_features_that_span_few_directions_have_that_rank(run):
    def keep_three(model):
        model.norm.weight[3:] = 0

    assert run(keep_three).effective_rank() == 3
    assert run(lambda model: None).effective_rank() > 8


def test_gradients_of_one_decision_agree_and_those_of_few_decisions_less(run):
    few = run(lambda model: None, "training.batch_size=1")
    assert few.gradient_agreement() < 0.9
    few._task.examples.frames = few._task.examples.frames[:1]
    assert few.gradient_agreement() == pytest.approx(1, abs=1e-5)


def test_the_squared_error_has_gradients_in_proportion_to_errors(run):
    """All values are 0.25 and the target is the return, in half of the decisions 0 and in the others 1."""

    def value_all_alike(model):
        model.norm.weight[:] = 0
        model.norm.bias[:] = 1
        model.head.weight[:] = 0.25 / model.config.hidden_size

    network = run(
        value_all_alike,
        "value_loss.name=mse",
        "q_learning.target=monte_carlo",
        "q_learning.discount=1",
        "q_learning.conservative_weight=0",
    )
    returns = torch.cat([batch["returns"] for batch in network._batches()])
    assert set(returns.tolist()) == {0, 1}
    of_successes = 0.75 * returns.sum()
    assert network.success_share() == pytest.approx(
        of_successes / (of_successes + 0.25 * (1 - returns).sum())
    )


def test_the_distance_to_successes_is_that_of_the_best_bin(run):
    def prefer_the_last_bin(model):
        model.norm.weight[:] = 0
        model.norm.bias[:] = 1
        model.head.weight[:] = 0
        model.head.weight[-1] = 1

    network = run(prefer_the_last_bin, "value_loss.name=mse")
    actions = torch.cat([batch["actions"][batch["is_success"]] for batch in network._batches()])
    assert network.distance_to_successes() == pytest.approx((1 - actions).mean())


def test_a_network_that_learns_new_targets_worse_than_a_new_one_has_lost_plasticity(run):
    assert run(lambda model: None).plasticity_loss() == 0

    def end_gradients(model):
        model.norm.weight[:] = 0
        model.head.weight[:] = 0

    assert run(end_gradients).plasticity_loss() > 0.1


def test_a_sentence_encoder_has_no_gradients_and_is_part_of_new_networks(run, tmp_path):
    encoder = write_sentence_encoder(tmp_path / "encoder")
    network = run(lambda model: None, f"model.instruction_encoder={tmp_path}/encoder")
    assert network.gradient_agreement() < 1
    new = network._random_network(NEW_NETWORK).instruction_tokens.encoder
    assert not new.training
    for name, weight in encoder.state_dict().items():
        assert torch.equal(new.state_dict()[name], weight)


def test_new_targets_are_in_the_range_of_values(run):
    """So the measure does not depend on the range."""
    losses = [
        run(lambda model: model.head.weight.zero_(), *settings).plasticity_loss()
        for settings in ((), ("value_loss.value_min=-20", "value_loss.value_max=-10"))
    ]
    assert losses[1] == pytest.approx(losses[0], abs=1e-3)
