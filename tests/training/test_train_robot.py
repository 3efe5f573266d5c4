"""Training a robot as a user does: the command, in a process of its own, on made-up episodes."""

import json
import re
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

from configs.loading import load_config
from data.robot.tasks import INSTRUCTIONS
from tests.support.commands import assert_input_error, run_checked, run_command
from tests.support.robot_data import write_robot_data, write_sentence_encoder
from tests.support.training_runs import TINY, finish, read_losses, run_until, start_processes
from training.tasks import make_task


pytestmark = pytest.mark.slow  # many runs of train.py

TASKS = ("drawer-open-v3", "button-press-topdown-v3")
MT10 = (
    "reach-v3", "push-v3", "pick-place-v3", "door-open-v3", "drawer-open-v3", "drawer-close-v3",
    "button-press-topdown-v3", "peg-insert-side-v3", "window-open-v3", "window-close-v3",
)  # fmt: skip


@pytest.fixture(scope="module")
def episodes(tmp_path_factory) -> Path:
    return write_robot_data(tmp_path_factory.mktemp("robot") / "episodes", TASKS, image_size=32)


@pytest.fixture(scope="module")
def settings(episodes) -> list[str]:
    return [
        "--config=robot_tiny.yaml",
        f"data.train={episodes}",
        *TINY,
        "model.num_action_bins=5",
        "training.steps=12",
        "evaluation.episodes=0",
    ]


@pytest.fixture(scope="module")
def finished_run(settings, tmp_path_factory) -> Path:
    output_dir = tmp_path_factory.mktemp("run") / "run"
    changes = ["evaluation.episodes=1", "evaluation.every=12"]
    printed = run_checked("train", *settings, *changes, f"output_dir={output_dir}")
    (output_dir.parent / "stdout").write_text(printed)
    return output_dir


def test_a_run_leaves_a_model_that_acts_and_knows_its_data(finished_run):
    model = AutoModel.from_pretrained(finished_run / "model", trust_remote_code=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(finished_run / "model")
    inputs = tokenizer(["Open a drawer", "Press a button"], return_tensors="pt", padding=True)
    chosen = model.choose_actions(torch.zeros(2, 1, 39), input_ids=inputs.input_ids)
    assert chosen.actions.shape == (2, 4) and chosen.value.shape == (2, 4, 5)
    facts = json.loads((finished_run / "model/robot.json").read_text())
    assert tuple(facts["tasks"]) == TASKS
    assert facts["instructions"] == [INSTRUCTIONS[task] for task in facts["tasks"]]
    assert facts["data_success_rate"] == pytest.approx(2 / 3)
    rows = [json.loads(line) for line in (finished_run / "metrics.jsonl").read_text().splitlines()]
    evaluations = [row for row in rows if row["kind"] == "eval"]
    assert [row["step"] for row in evaluations] == [0, 12]
    assert all(row["data_success_rate"] == facts["data_success_rate"] for row in evaluations)
    printed = (finished_run.parent / "stdout").read_text()
    assert re.search(r"step  7/12  loss \S+  td \S+  conservative \S+  target \S+ +lr", printed)
    assert "6 episodes of 2 tasks, 22 decisions, success 66.7%" in printed
    card = (finished_run / "model/README.md").read_text()
    assert "success" in card and "“Open a drawer”, “Press a button from the top”" in card


def test_the_example_of_the_card_runs(finished_run, monkeypatch):
    monkeypatch.chdir(finished_run / "model")
    card = (finished_run / "model/README.md").read_text()
    exec(card.partition("```python\n")[2].partition("```")[0], {})


def test_a_killed_run_resumes_to_the_same_losses_and_weights(settings, finished_run, tmp_path):
    """The target network is part of what a checkpoint holds."""
    arguments = [*settings, f"output_dir={tmp_path}/run"]
    assert run_until(arguments, r"step +6/12", signal.SIGKILL).returncode == -9
    run_checked("train", *arguments, "resume=true")
    assert read_losses(tmp_path / "run") == read_losses(finished_run)
    weights = "model/model.safetensors"
    assert (tmp_path / "run" / weights).read_bytes() == (finished_run / weights).read_bytes()


@pytest.fixture(scope="module")
def eight_steps(settings) -> list[str]:
    observation = ["model.history=2", "model.observation=both", "data.image_shift=2"]
    return [*settings, "training.steps=8", "value_loss.name=c51", *observation]


@pytest.fixture(scope="module")
def one_process(eight_steps, tmp_path_factory) -> Path:
    output_dir = tmp_path_factory.mktemp("one") / "run"
    run_checked("train", *eight_steps, f"output_dir={output_dir}")
    return output_dir


@pytest.mark.parametrize("backend", ["alone", "ddp", "zero3", "fsdp2"])
def test_micro_batches_and_processes_change_nothing_but_rounding(eight_steps, one_process, tmp_path, backend):
    arguments = [*eight_steps, f"output_dir={tmp_path}/two"]
    if backend == "alone":
        run_checked("train", *arguments, "training.gradient_accumulation_steps=4")
    else:
        finish(start_processes([*arguments, "training.gradient_accumulation_steps=2"], backend))
    assert read_losses(tmp_path / "two") == pytest.approx(read_losses(one_process), abs=1e-5)
    target = "checkpoints/step_0000008/target.safetensors"
    ours, theirs = load_file(tmp_path / "two" / target), load_file(one_process / target)
    assert max((ours[name] - theirs[name]).abs().max() for name in theirs) < 1e-5


@pytest.mark.parametrize("backend", ["zero3", "fsdp2"])
def test_sharded_weights_act_in_the_simulator(settings, tmp_path, backend):
    changes = ["training.steps=2", "evaluation.episodes=1", f"output_dir={tmp_path}/run"]
    finish(start_processes([*settings, *changes], backend))


@pytest.mark.parametrize(
    "changes",
    [
        ["q_learning.target=n_step", "value_loss.name=mse_sigmoid", "data.only_successes=true"],
        ["q_learning.target=monte_carlo", "value_loss.name=mse", "q_learning.conservative_weight=0"],
        ["q_learning.target=behavior_cloning", "q_learning.conservative=cql", "data.reward_noise=0.1"],
        [
            "model.observation=images",
            "model.image_encoder=resnet18",
            "training.precision=bf16",
            "model.activation_checkpointing=true",
        ],
        ["optimizer.name=muon", "q_learning.monte_carlo_floor=false", "value_loss.name=two_hot"],
    ],
    ids=lambda changes: "-".join(change.split("=")[1] for change in changes),
)
def test_other_targets_losses_and_observations_train_too(settings, tmp_path, changes):
    run_checked("train", *settings, *changes, f"output_dir={tmp_path}/run", "training.steps=3")
    assert len(read_losses(tmp_path / "run")) == 3


def test_a_sentence_encoder_is_saved_with_the_model_and_not_trained(settings, tmp_path):
    encoder = write_sentence_encoder(tmp_path / "encoder")
    changes = [f"model.instruction_encoder={tmp_path}/encoder", "training.steps=3"]
    run_checked("train", *settings, *changes, f"output_dir={tmp_path}/run")
    saved = load_file(tmp_path / "run/model/model.safetensors")
    for name, weight in encoder.state_dict().items():
        assert torch.equal(saved[f"instruction_tokens.encoder.{name}"], weight)


def test_the_large_configuration_has_60m_parameters_and_takes_two_steps(tmp_path):
    folder = write_robot_data(tmp_path / "mt10", MT10, image_size=128, state_size=4)
    changes = [
        f"data.train={folder}",
        "training.steps=2",
        "training.batch_size=2",
        "training.warmup_steps=1",
        "training.ema_decay=0",
        "training.precision=fp32",
        "training.compile=false",
        "evaluation.episodes=0",
        "trackers=[]",
        "log_every=1",
    ]
    printed = run_checked("train", "--config=robot_60m.yaml", *changes, f"output_dir={tmp_path}/run")
    assert re.search(r"^model   (58|59|60|61|62)\.\d+?M parameters", printed, re.MULTILINE)
    assert len(read_losses(tmp_path / "run")) == 2


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        (["data.train=nowhere"], ["nowhere: no such folder: `python -m data.robot.generate"]),
        (["data.train=README.md"], ["README.md"]),
        (["model.num_attention_heads=3"], ["must be a multiple of model.num_attention_heads=3"]),
        (["q_learning.target=behavior_cloning"], ["set q_learning.conservative=cql"]),
        (["data.image_shift=4"], ["set data.image_shift=0, or model.observation=images or both"]),
        (["q_learning.double=true"], ["q_learning.double", "task wordle"]),
        (["value_loss.name=mse", "value_loss.padding=2"], ["padding", "for hl_gauss, not for mse"]),
        (["model.instruction_encoder=nowhere"], ["model.instruction_encoder=nowhere cannot be loaded"]),
    ],
    ids=lambda value: value[-1],
)
def test_bad_settings_give_one_line_and_leave_nothing(settings, tmp_path, changes, parts):
    result = run_command("train", *settings, *changes, f"output_dir={tmp_path}/run", HF_HUB_OFFLINE="1")
    assert_input_error(result, *parts)
    assert not (tmp_path / "run").exists()


def test_resuming_on_other_episodes_is_refused(settings, finished_run, tmp_path):
    shutil.copytree(finished_run, tmp_path / "run")
    other = write_robot_data(tmp_path / "other", TASKS[::-1])
    arguments = [*settings, f"data.train={other}", f"output_dir={tmp_path}/run", "resume=true"]
    assert_input_error(run_command("train", *arguments), "data.train does not hold the examples")


def test_settings_of_the_run_reach_the_model(episodes):
    overrides = [f"data.train={episodes}", "value_loss.name=mse_sigmoid", "output_dir=run"]
    task = make_task(load_config("robot_tiny.yaml", overrides))
    assert task.model.value_loss.num_outputs == 1  # the padding of hl_gauss is left out
    config = task.model.config
    assert (config.state_size, config.image_size, config.num_dimensions) == (39, 0, 4)
    states = task.episodes.states
    torch.testing.assert_close(task.model.state_tokens.mean, torch.from_numpy(states.mean(axis=0)))
