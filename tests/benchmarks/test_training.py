"""Training steps are the steps of a run, and their operations are those of the matrix products."""

import pytest
import torch

from benchmarks.training import MOVES_PER_BOARD, PHASES, TrainingStep, alternatives_of, phases_of
from configs.loading import load_config
from tests.support.training_runs import SAMPLE, TINY


@pytest.fixture
def step(tmp_path):
    """Make a training step of a tiny chess model."""

    def make(*overrides: str) -> TrainingStep:
        settings = [f"data.train={SAMPLE}", f"data.prepared_dir={tmp_path}/prepared", *TINY, *overrides]
        return TrainingStep(load_config("chess_tiny.yaml", settings), torch.device("cpu"))

    return make


def weights_after(step: TrainingStep) -> torch.Tensor:
    step.run()
    return torch.cat([parameter.detach().flatten() for parameter in step.model.parameters()])


def test_micro_batches_do_not_change_a_step(step):
    whole = step()
    before = torch.cat([parameter.detach().flatten() for parameter in whole.model.parameters()])
    after = weights_after(whole)
    assert (after - before).abs().max() > 1e-3
    split = weights_after(step("training.gradient_accumulation_steps=4"))
    torch.testing.assert_close(after, split, rtol=0, atol=2e-4)


@pytest.mark.parametrize("attention", ["prefix", "full"])
def test_operations_are_those_of_the_matrix_products(step, attention):
    taken = step(f"model.attention={attention}", "training.batch_size=2")
    config = taken.model.config
    (batch,) = taken.micro_batches
    boards, actions = batch["action_ids"].shape
    sequences, length, read = boards, 78 + actions, actions  # tokens that the head reads
    if attention == "full":
        sequences, length, read = taken.num_values, 78 + 1, 1
    width, layers, bins = config.hidden_size, config.num_hidden_layers, config.num_bins
    keys_and_values = layers * length * 2 * width**2
    asking = (layers - 1) * length + read  # the last block leaves out the other tokens
    # Queries, outputs and the feed-forward layer; scores, and weighted values.
    per_asking = 2 * width**2 + 3 * width * config.intermediate_size + 2 * width * length
    products = sequences * (keys_and_values + asking * per_asking) + boards * actions * width * bins
    # A product is two operations, and the backward pass takes twice as many as the forward pass.
    assert taken.count_operations() == 3 * 2 * products
    assert all(parameter.grad is None for parameter in taken.model.parameters())


def test_phases_are_those_of_a_step(step):
    seconds = phases_of(step("training.gradient_accumulation_steps=2"))
    assert tuple(seconds) == PHASES and min(seconds.values()) > 0


def test_one_sequence_per_move_trains_on_about_as_many_values(step):
    config = load_config("chess_tiny.yaml", ["training.batch_size=64", "data.mirror=true"])
    overrides = alternatives_of(config)["one sequence per move (full attention)"]
    full = step(*overrides)
    assert full.num_values == 64 * MOVES_PER_BOARD
    assert all(batch["action_ids"].shape == (32, 1) for batch in full.micro_batches)


def test_only_alternatives_that_differ_are_compared():
    def names(name: str, *overrides: str) -> list[str]:
        return list(alternatives_of(load_config(name, list(overrides))))

    full, one_hot = "one sequence per move (full attention)", "one_hot, cross-entropy on one bin"
    assert names("chess_tiny.yaml") == ["as configured", full, one_hot]
    assert names("chess_tiny.yaml", "training.compile=true")[-1] == "not compiled"
    assert names("chess_tiny.yaml", "value_loss.name=one_hot") == ["as configured", full]
    assert names("chessbench_9m.yaml", "data.train=boards.parquet")[0] == "as configured"
    assert full not in names("chessbench_9m.yaml", "data.train=boards.parquet")
    assert names("wordle_tiny.yaml") == ["as configured", one_hot]
