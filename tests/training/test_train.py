"""Training as a user runs it: the command, in a process of its own, on tiny settings."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from cli.errors import InputError
from cli.files import remove
from configs.loading import load_config
from configs.schema import OptimizerConfig, TrainingConfig
from eval.loading import load_model
from models.configuration_value_transformer import ValueTransformerConfig
from models.modeling_value_transformer import ValueTransformerForActionValue
from tests.support.commands import REPOSITORY, assert_input_error, run_checked, run_command
from tests.support.programs import needs
from tests.support.training_runs import SAMPLE, read_losses, run_until, start_launch_of_parent
from training.optimization import EMA, learning_rate_at, make_optimizers
from training.run_log import RunLog, read_metrics
from training.sharding import Weights
from training.tasks import make_task


ATTENTION = ("query", "key", "value", "output")
# All losses, with an optimiser for comparisons up to rounding.
ADAMW = ["optimizer.name=adamw", "training.steps=12", "ranking_loss.weight=0.3"]
MATRICES = [f"attention.{name}" for name in ATTENTION] + [f"feed_forward.{n}" for n in ("gate", "up", "down")]


def test_the_learning_rate_rises_and_falls_as_configured():
    def rates(decay: str, final: float = 0.0, decay_steps: int | None = None) -> list[float]:
        config = TrainingConfig(
            steps=8, warmup_steps=4, decay=decay, decay_steps=decay_steps, final_learning_rate=final
        )
        return [learning_rate_at(step, config) for step in range(1, 9)]

    assert rates("constant") == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]
    assert rates("linear") == [0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25, 0]
    assert rates("cosine")[4:] == pytest.approx([0.853553, 0.5, 0.146447, 0], abs=1e-6)
    assert rates("linear", final=0.2)[4:] == pytest.approx([0.8, 0.6, 0.4, 0.2])
    assert rates("linear", decay_steps=2) == [0.25, 0.5, 0.75, 1, 1, 1, 0.5, 0]


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_muon_gets_the_matrices_of_the_blocks_and_adamw_the_rest(name):
    config = ValueTransformerConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2)
    model = ValueTransformerForActionValue(config)
    optimizers = make_optimizers(model, OptimizerConfig(name=name, weight_decay=0.1))
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert sorted(names[id(p)] for group in groups for p in group["params"]) == sorted(names.values())
    decayed = {names[id(p)] for group in groups if group["weight_decay"] for p in group["params"]}
    assert decayed == {f"model.blocks.{layer}.{matrix}.weight" for layer in range(2) for matrix in MATRICES}
    if name == "muon":
        muon = optimizers[0].param_groups[0]["params"]
        assert isinstance(optimizers[0], torch.optim.Muon) and {names[id(p)] for p in muon} == decayed


def test_the_average_follows_the_weights_and_is_applied_for_a_while():
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    average = EMA(Weights(model), decay=0.5)
    expected = 0.0
    for step in range(1, 30):
        torch.nn.init.constant_(model.weight, step)
        average.update(step)
        decay = min(0.5, step / (step + 10))
        expected = decay * expected + (1 - decay) * step
        with average.applied():
            assert model.weight.item() == pytest.approx(expected)
        assert model.weight.item() == step


@pytest.mark.parametrize("config", ["chess_tiny.yaml", "wordle_tiny.yaml"])
@pytest.mark.parametrize("is_on", [True, False])
def test_activations_are_recomputed_if_asked_for(config, is_on):
    task = make_task(load_config(config, ["data.train=x", f"model.activation_checkpointing={is_on}"]))
    assert task.model.is_activation_checkpointing == is_on


@pytest.fixture(scope="module")
def finished_run(settings, tmp_path_factory) -> Path:
    output_dir = tmp_path_factory.mktemp("run") / "run"
    result = run_command("train", *settings, f"output_dir={output_dir}", "trackers=[tensorboard]")
    assert result.returncode == 0, result.stderr
    assert "Writing model shards" not in result.stderr  # a bar that is left behind
    (output_dir.parent / "stdout").write_text(result.stdout)
    return output_dir


def test_a_run_leaves_model_checkpoints_configuration_metrics_and_curves(finished_run):
    names = {path.name for path in finished_run.iterdir()}
    assert names == {"model", "checkpoints", "config.yaml", "metrics.jsonl", "curves.png", "tensorboard"}
    assert sorted(p.name for p in (finished_run / "checkpoints").iterdir()) == [
        "step_0000036",
        "step_0000040",
    ]
    assert list(read_losses(finished_run)) == list(range(1, 41))
    model, tokenizer = load_model(finished_run / "model", "cpu")
    assert model.config.hidden_size == 16 and tokenizer.orient
    printed = (finished_run.parent / "stdout").read_text()
    pattern = r"step  7/40  loss \d+\.\d{4}  kl \d+\.\d{4}  lr \S+ +\S+ action-values/s  eta .+"
    assert re.search(pattern, printed) and re.search(
        r"^device  1 × cpu \(\d+ threads?\)$", printed, re.MULTILINE
    )


def test_the_averaged_weights_are_saved(finished_run):
    model, _ = load_model(finished_run / "model", "cpu")
    last = finished_run / "checkpoints/step_0000040"
    averages, raw = load_file(last / "average.safetensors"), load_file(last / "model.safetensors")
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, averages[name])
        assert not torch.equal(parameter, raw[name])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)]
)
def test_a_run_that_was_stopped_resumes_to_the_same_losses(settings, finished_run, tmp_path, number, status):
    arguments = [*settings, f"output_dir={tmp_path}/run"]
    stopped = run_until(arguments, r"step +5/40", number)
    assert stopped.returncode == status
    assert "Traceback" not in stopped.stderr
    if number != signal.SIGKILL:
        assert stopped.stderr.startswith("interrupted: saving after this step;")
        assert re.search(r"interrupted after step \d+ and saved; resume=true continues", stopped.stdout)
    assert not (tmp_path / "run/model").exists()
    printed = run_checked("train", *arguments, "resume=true")
    assert re.search(r"continued after step \d+", printed)
    assert read_losses(tmp_path / "run") == read_losses(finished_run)
    weights = "model/model.safetensors"
    assert (tmp_path / "run" / weights).read_bytes() == (finished_run / weights).read_bytes()


@pytest.fixture(scope="module")
def adamw_losses(settings, tmp_path_factory) -> dict[int, float]:
    """For comparisons up to rounding: Muon's bfloat16 iterations would amplify it."""
    output_dir = tmp_path_factory.mktemp("adamw") / "run"
    run_checked("train", *settings, f"output_dir={output_dir}", *ADAMW)
    return read_losses(output_dir)


@pytest.mark.slow
@pytest.mark.parametrize("num_processes", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_whose_launcher_was_stopped_saves_too(settings, tmp_path, number, num_processes):
    """SIGTERM reaches the launcher alone, Ctrl-C all processes of the terminal."""
    arguments = [f"output_dir={tmp_path}/run", "training.steps=100000", "evaluation.every=100000"]
    backend = "one_device" if num_processes == 1 else "ddp"
    line = [*settings, *arguments, "checkpoint.every=100000"]
    process = start_launch_of_parent(line, backend, num_processes)
    for text in process.stdout:
        if re.search(r"step +5/", text):
            process.send_signal(number) if number == signal.SIGTERM else os.killpg(process.pid, number)
            break
    rest, _ = process.communicate()  # when the last process has ended
    assert re.search(r"interrupted after step \d+ and saved", rest)
    assert list((tmp_path / "run/checkpoints").glob("step_*"))


@pytest.mark.slow
def test_micro_batches_change_nothing_but_rounding(settings, adamw_losses, tmp_path):
    changes = [*ADAMW, "training.gradient_accumulation_steps=4"]
    run_checked("train", *settings, f"output_dir={tmp_path}/run", *changes)
    assert read_losses(tmp_path / "run") == pytest.approx(adamw_losses, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        [
            "value_loss.name=mse",
            "optimizer.name=adamw",
            "training.decay=cosine",
            "training.ema_decay=0",
        ],
        ["model.attention=causal", "value_loss.name=two_hot", "training.precision=bf16"],
        ["model.activation_checkpointing=true", "value_loss.match_mean=true", "training.decay=constant"],
    ],
    ids=["mse-adamw", "causal-bf16", "checkpointing"],
)
def test_other_settings_train_too(settings, tmp_path, changes):
    run_checked("train", *settings, f"output_dir={tmp_path}/run", "training.steps=4", *changes)
    assert len(read_losses(tmp_path / "run")) == 4


def test_a_loss_that_is_not_finite_ends_the_run(settings, tmp_path):
    changes = ["optimizer.name=adamw", "optimizer.learning_rate=1e30", "training.warmup_steps=0"]
    changes += ["log_every=1000"]
    result = run_command("train", *settings, f"output_dir={tmp_path}/run", *changes)
    assert result.returncode == 1
    assert re.fullmatch(r"the loss is nan at step 4: lower optimizer.learning_rate.*\n", result.stderr)
    assert not list(tmp_path.glob("run/checkpoints/*"))


def test_chessbench_recipe_trains_on_single_actions(settings, tmp_path):
    sizes = [setting for setting in settings if not setting.startswith("--config")]
    arguments = ["--config=chessbench_9m.yaml", *sizes, f"output_dir={tmp_path}/run", "training.steps=4"]
    run_checked("train", *arguments, "evaluation.boards=20")
    model, tokenizer = load_model(tmp_path / "run/model", "cpu")
    assert (model.config.attention, model.config.action_embedding, tokenizer.orient) == (
        "full",
        "table",
        False,
    )


@needs("compiler")
@pytest.mark.slow
def test_compiled_training_gives_the_same_losses(settings, adamw_losses, tmp_path):
    changes = [*ADAMW, "training.compile=true", "data.validation=null"]
    run_checked("train", *settings, f"output_dir={tmp_path}/run", *changes)
    assert read_losses(tmp_path / "run") == pytest.approx(adamw_losses, abs=1e-4)


def test_a_new_run_does_not_overwrite_an_old_one(settings, finished_run):
    before = (finished_run / "metrics.jsonl").read_bytes()
    result = run_command("train", *settings, f"output_dir={finished_run}")
    assert_input_error(result, "already holds a run", "resume=true")
    assert (finished_run / "metrics.jsonl").read_bytes() == before


def test_resuming_with_other_settings_is_refused_with_the_differences(settings, finished_run):
    result = run_command(
        "train", *settings, f"output_dir={finished_run}", "resume=true", "training.batch_size=16", "seed=1"
    )
    assert_input_error(result, "seed: 0, now 1", "training.batch_size: 8, now 16")


def test_a_damaged_line_of_the_log_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n{"st\xff\n{"step": 2}\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl line 2 is damaged"):
        read_metrics(tmp_path / "metrics.jsonl")


def test_the_log_keeps_what_came_before_the_checkpoint(tmp_path):
    rows = [{"step": step, "kind": kind} for kind in ("eval", "train") for step in (0, 1, 2)]
    for first_step, kept in ((1, [row for row in rows if row["step"] <= 1]), (0, [])):
        (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        RunLog(tmp_path, first_step, 2, task=None, accelerator=None)
        assert read_metrics(tmp_path / "metrics.jsonl") == kept


def test_a_metric_without_a_value_is_left_out(tmp_path, capsys):
    accelerator = SimpleNamespace(log=lambda values, step: None)
    log = RunLog(tmp_path, 0, 2, task=SimpleNamespace(unit="values"), accelerator=accelerator)
    metrics = {"play_return": math.nan, "out_of_support": 0.0}
    log.step(1, 0.5, metrics, grad_norm=1.0, learning_rate=0.1)
    assert "nan" not in capsys.readouterr().out.lower()
    (row,) = read_metrics(tmp_path / "metrics.jsonl")
    assert row["loss"] == 0.5 and row.keys() >= {"out_of_support", "grad_norm"}
    assert "play_return" not in row


@pytest.mark.slow
def test_the_first_step_is_logged_whatever_the_interval(settings, tmp_path):
    changes = ["training.steps=7", "log_every=5", "checkpoint.every=100", "evaluation.boards=20"]
    run_checked("train", *settings, f"output_dir={tmp_path}/run", *changes)
    assert list(read_losses(tmp_path / "run")) == [1, 5, 7]


@pytest.mark.slow
def test_a_run_with_a_constant_learning_rate_gets_more_steps_to_the_same_bits(settings, tmp_path):
    arguments = [*settings, "training.decay=constant", "evaluation.every=100"]
    commands = {"whole": [["training.steps=8"]], "parts": [["training.steps=4"], ["training.steps=8"]]}
    for name, parts in commands.items():
        for part in parts:
            line = [*arguments, *part, f"output_dir={tmp_path / name}", "resume=true"]
            printed = run_checked("train", *line)
    assert "continued after step 4\n" in printed
    assert read_losses(tmp_path / "parts") == read_losses(tmp_path / "whole")
    weights = "model/model.safetensors"
    assert (tmp_path / "parts" / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()


@pytest.mark.slow
def test_a_run_that_ended_before_its_first_checkpoint_starts_again(settings, tmp_path):
    arguments = [*settings, f"output_dir={tmp_path}/run", "evaluation.boards=20"]
    long = ["training.steps=100000", "checkpoint.every=100000", "evaluation.every=100000"]
    stopped = run_until([*arguments, *long], r"step +1/", signal.SIGKILL)
    assert stopped.returncode == -signal.SIGKILL and (tmp_path / "run/metrics.jsonl").exists()
    printed = run_checked("train", *arguments, "training.steps=3")
    assert f"output  {tmp_path}/run, started again: the run there had no checkpoint yet\n" in printed
    assert list(read_losses(tmp_path / "run")) == [1, 2, 3]


@pytest.mark.slow
def test_resuming_on_other_boards_is_refused(settings, finished_run, tmp_path):
    shutil.copytree(finished_run, tmp_path / "run")
    changes = [f"data.train={SAMPLE.parent}/train_boards.parquet", f"data.prepared_dir={tmp_path}/prepared"]
    result = run_command("train", *settings, *changes, f"output_dir={tmp_path}/run", "resume=true")
    assert_input_error(result, "data.train does not hold the examples")


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        (["training.stps=3"], ["training.stps", "Did you mean: 'steps'?"]),
        (["training.batch_size=9"], ["training.batch_size", "multiple of 2"]),
        (["data.train=nowhere.parquet"], ["nowhere.parquet", "no such file"]),
        (["value_loss.value_max=0"], ["value_min must be below value_max"]),
        (["trackers=[mlflow]"], ["mlflow is not installed: pip install mlflow"]),
    ],
    ids=lambda value: value[0],
)
def test_bad_settings_give_one_line_and_leave_nothing(settings, tmp_path, changes, parts):
    arguments = [*settings, f"output_dir={tmp_path}/run", "training.gradient_accumulation_steps=2", *changes]
    assert_input_error(run_command("train", *arguments), *parts)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_chess_tiny_learns_to_choose_and_rank_moves():
    """The main job of the README, with 30 of its 800 steps."""
    output_dir = REPOSITORY / "runs/test_chess_tiny"
    remove(output_dir)
    line = ["train.py", "--config", "chess_tiny.yaml", f"output_dir={output_dir}", "training.steps=30"]
    command = ["python", *line, "evaluation.boards=250"]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in (output_dir / "metrics.jsonl").read_text().splitlines()]
    first, *_, last = (row for row in rows if row["kind"] == "eval")
    assert last["kl"] < 0.9 * first["kl"]
    assert last["best_move_agreement"] >= 1.5 * last["random_agreement"]
    assert last["kendall_tau"] > 0.1
    remove(output_dir)
