"""Legal moves without a label: bounded by the labels of their board, or by CQL's term."""

import pytest
import torch

from configs.loading import load_config
from models import q_learning
from models.value_losses import make_value_loss
from tests.support.commands import run_checked, run_command
from tests.support.random_boards import random_file
from tests.support.training_runs import SAMPLE, TINY, read_losses
from training.unlabelled_moves import bound_loss, conservative_loss


LABELS = torch.tensor([[0.9, 0.5, 0.0, 0.0, 0.0]])
IS_LABELLED = torch.tensor([[True, True, False, False, False]])
IS_UNLABELLED = torch.tensor([[False, False, True, True, False]])  # the last one is padding


@pytest.mark.parametrize("name", ["mse", "hl_gauss"])
def test_only_a_move_above_the_lowest_label_is_trained_and_towards_that_label(name):
    value_loss = make_value_loss(name, value_min=0, value_max=1, num_bins=8)
    # Values of .1, .1, .8, .2 and .8.
    values = torch.tensor([[0.1, 0.1, 0.8, 0.2, 0.8]])
    logits = values[..., None] if name == "mse" else value_loss.targets(values).clamp(min=1e-6).log()
    logits = logits.clone().requires_grad_()
    bound_loss(value_loss, logits, LABELS, IS_LABELLED, IS_UNLABELLED).backward()
    is_trained = logits.grad.abs().sum(-1)[0] > 0
    assert is_trained.tolist() == [False, False, True, False, False]
    after = value_loss.value(logits - 0.1 * logits.grad)[0, 2]
    assert 0.5 < after < value_loss.value(logits)[0, 2]


def test_the_conservative_loss_is_that_of_every_labelled_move_over_all_legal_moves():
    values = torch.rand(1, 5, generator=torch.Generator().manual_seed(0))
    taken = torch.tensor([[0, 1]])
    expected = q_learning.conservative_loss(values[:, None, :4].expand(1, 2, 4), taken, 0.1).sum()
    torch.testing.assert_close(conservative_loss(values, IS_LABELLED, IS_UNLABELLED, 0.1), expected)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["bound", "conservative"])
def test_training_does_not_depend_on_micro_batches(tmp_path, loss):
    random_file(tmp_path / "boards.parquet", 100)
    losses = []
    for num_parts in (1, 2):
        run = tmp_path / f"run_{num_parts}"
        settings = [f"data.train={tmp_path}/boards.parquet", f"unlabelled_moves.loss={loss}", *TINY]
        settings += ["training.steps=3", f"training.gradient_accumulation_steps={num_parts}"]
        settings += ["data.mirror=true", "data.validation=null", f"output_dir={run}"]
        printed = run_checked("train", "--config=chess_tiny.yaml", *settings)
        assert "legal moves without a label" in printed
        losses.append(list(read_losses(run).values()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_boards_whose_moves_all_have_labels_are_warned_of(tmp_path):
    settings = [f"data.train={SAMPLE}", f"data.prepared_dir={tmp_path}/prepared", *TINY]
    settings += ["unlabelled_moves.loss=bound", "training.steps=2", "data.validation=null"]
    result = run_command("train", "--config=chess_tiny.yaml", *settings, f"output_dir={tmp_path}/run")
    assert "warning: unlabelled_moves.loss has no effect: every legal move has a label" in result.stdout


@pytest.mark.parametrize("setting", ["data.example=action", "data.check_moves=false"])
def test_the_loss_needs_boards_and_legal_moves(setting):
    settings = ["unlabelled_moves.loss=bound", setting, "data.train=boards.parquet", "output_dir=out"]
    with pytest.raises(ValueError, match=r"unlabelled_moves\.loss"):
        load_config("chess_tiny.yaml", settings)
