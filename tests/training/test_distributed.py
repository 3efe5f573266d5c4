"""One program, every backend: processes and backends do not change what is learnt, nor what is continued."""

import re
import subprocess
from pathlib import Path

import pytest
from accelerate.utils import DeepSpeedPlugin
from safetensors.torch import load_file

from cli.errors import InputError
from configs.loading import load_config
from tests.support.commands import REPOSITORY, assert_input_error, free_port, run_checked, run_command
from tests.support.training_runs import (
    finish,
    kill_at,
    read_losses,
    read_steps,
    start_launch,
    start_processes,
)
from training.distributed import configure_deepspeed


BACKENDS = {"ddp": "DDP", "zero1": "ZeRO-1", "zero2": "ZeRO-2", "zero3": "ZeRO-3", "fsdp2": "FSDP2"}
NUM_STEPS = 12


@pytest.fixture(scope="module")
def arguments(settings) -> list[str]:
    """A run of two micro-batches a step, whose gradients are clipped, with weight decay."""
    return [
        *settings,
        "optimizer.name=adamw",  # up to rounding: Muon's bfloat16 iterations would amplify it
        "optimizer.weight_decay=0.1",
        "optimizer.max_grad_norm=0.5",
        f"training.steps={NUM_STEPS}",
        "training.gradient_accumulation_steps=2",
        "evaluation.boards=40",
        "checkpoint.every=3",
    ]


def run_alone(arguments: list[str], output_dir: Path) -> Path:
    run_checked("train", *arguments, f"output_dir={output_dir}")
    return output_dir


@pytest.fixture(scope="module")
def one_process(arguments, tmp_path_factory) -> Path:
    return run_alone(arguments, tmp_path_factory.mktemp("one") / "run")


def assert_same_run(run: Path, expected: Path) -> None:
    """Assert equal losses, gradient norms, evaluations of averaged weights, and averaged weights."""
    losses = read_losses(run)
    assert sorted(losses) == list(range(1, NUM_STEPS + 1))
    assert losses == pytest.approx(read_losses(expected), abs=1e-5)
    assert read_steps(run, "grad_norm") == pytest.approx(read_steps(expected, "grad_norm"), abs=1e-4)
    weights, others = (load_file(folder / "model/model.safetensors") for folder in (run, expected))
    assert weights.keys() == others.keys()
    assert max((weights[name] - others[name]).abs().max().item() for name in weights) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_two_processes_learn_what_one_does_also_killed_and_resumed(arguments, one_process, tmp_path, backend):
    arguments = [*arguments, f"output_dir={tmp_path}/run", "resume=true"]
    kill_at(start_processes(arguments, backend), rf"step +7/{NUM_STEPS}")
    assert not (tmp_path / "run/model").exists()
    printed = finish(start_processes(arguments, backend))
    assert f"device  2 × cpu (1 thread), {BACKENDS[backend]}\n" in printed
    assert "continued after step 6\n" in printed
    assert_same_run(tmp_path / "run", one_process)


@pytest.mark.slow
def test_any_backend_on_any_number_of_processes_continues_what_another_began(
    arguments, one_process, tmp_path
):
    arguments = [*arguments, f"output_dir={tmp_path}/run", "resume=true"]
    legs = [("zero1", 2, 0), ("fsdp2", 1, 3), ("zero3", 2, 6)]
    for backend, num_processes, continued in legs:
        last = continued + 4
        kill_at(start_processes(arguments, backend, num_processes), rf"step +{last}/{NUM_STEPS}")
    printed = run_checked("train", *arguments)
    assert "continued after step 9\n" in printed
    assert_same_run(tmp_path / "run", one_process)


@pytest.mark.slow
def test_muon_learns_on_two_processes_what_it_does_on_one(arguments, tmp_path):
    arguments = [*arguments, "optimizer.name=muon", "training.steps=6"]
    alone = read_losses(run_alone(arguments, tmp_path / "alone"))
    for backend in ("ddp", "fsdp2"):
        finish(start_processes([*arguments, f"output_dir={tmp_path / backend}"], backend))
        # It multiplies matrices in bfloat16, in other parts when they are sharded.
        assert read_losses(tmp_path / backend) == pytest.approx(alone, abs=1.5e-3)


@pytest.mark.slow
def test_two_machines_join(arguments, one_process, tmp_path):
    arguments = [*arguments, f"output_dir={tmp_path}/run"]
    place = {"num_machines": 2, "main_process_ip": "127.0.0.1", "main_process_port": free_port()}
    place["mixed_precision"] = "bf16"
    machines = [start_launch(arguments, "ddp", 2, machine_rank=rank, **place) for rank in (0, 1)]
    printed = [process.communicate(timeout=600)[0] for process in machines]
    assert [process.returncode for process in machines] == [0, 0], printed
    assert "warning: accelerate's mixed_precision bf16 has no effect: training.precision=fp32" in printed[0]
    assert_same_run(tmp_path / "run", one_process)


@pytest.mark.slow
def test_machines_that_start_different_commands_are_refused(arguments, tmp_path):
    arguments = [*arguments, f"output_dir={tmp_path}/run"]
    place = {"num_machines": 2, "main_process_ip": "127.0.0.1", "main_process_port": free_port()}
    machines = [
        start_launch([*arguments, f"seed={rank}"], "ddp", 2, machine_rank=rank, **place) for rank in (0, 1)
    ]
    printed = [process.communicate(timeout=300)[0] for process in machines]
    assert all(process.returncode != 0 for process in machines)
    # The launcher that ends first may take the other's process with it, before that has said anything.
    assert any("error: the processes differ in their settings" in text for text in printed)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("difference", [0, 1e-6])
def test_processes_whose_weights_have_come_apart_are_stopped(tmp_path, difference):
    program = tmp_path / "program.py"
    program.write_text(f"""
import torch
from accelerate import Accelerator
from training.sharding import Weights
from training.distributed import check_weights
from training.launcher import ended_at_once

accelerator = Accelerator()
model = torch.nn.Linear(2, 2)
torch.nn.init.ones_(model.weight).data[1, 1] += accelerator.process_index * {difference}
torch.nn.init.zeros_(model.bias)
with ended_at_once():
    check_weights(accelerator, Weights(model), step=1)
""")
    process = start_launch([], program=program)
    printed, _ = process.communicate(timeout=300)
    assert (process.returncode != 0) == (difference > 0), printed
    assert ("the processes have different weights" in printed) == (difference > 0)


@pytest.mark.slow
def test_processes_that_nothing_synchronises_are_refused(arguments, tmp_path):
    """Without a GPU, and not told to use the CPU, accelerate lets each of them train by itself."""
    launch = ["python", "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    command = [*launch, "train.py", *arguments, f"output_dir={tmp_path}/run"]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert result.returncode != 0
    assert "error: several processes were launched, but this accelerate setting does not" in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("variable", ["SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"])
def test_copies_that_know_nothing_of_each_other_are_refused(arguments, tmp_path, variable):
    """`srun -n 8 python train.py` would start eight runs in one output_dir."""
    result = run_command("train", *arguments, f"output_dir={tmp_path}/run", **{variable: "8"})
    assert_input_error(result, "8 copies of this command were started, but only 1 joined")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def tiny_config(arguments, tmp_path):
    overrides = [argument for argument in arguments if not argument.startswith("--")]
    return load_config("chess_tiny.yaml", [*overrides, f"output_dir={tmp_path}"])


def test_deepspeed_gets_the_settings_of_the_run(tiny_config):
    # With that flag transformers would load the models of later tests in shards.
    plugin = DeepSpeedPlugin(zero_stage=3, zero3_init_flag=False)
    configure_deepspeed(plugin, 2, tiny_config)
    given = plugin.deepspeed_config
    assert given["train_micro_batch_size_per_gpu"] == 2  # 8 / (2 processes × 2 micro-batches)
    assert given["gradient_accumulation_steps"] == 2 and given["gradient_clipping"] == 0.5
    # Weights that stay gathered would not show that their shards were averaged.
    assert given["zero_optimization"]["stage3_param_persistence_threshold"] == 0


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"gradient_clipping": 1.0}, "gradient_clipping is 1.0, the run's is 0.5"),
        ({"train_micro_batch_size_per_gpu": 8}, "train_micro_batch_size_per_gpu is 8, the run's is 2"),
        ({"gradient_accumulation_steps": 4}, "gradient_accumulation_steps is 4, the run's is 2"),
        ({"bf16": {"enabled": True}}, "section bf16 would round the weights"),
        ({"fp16": {"enabled": True}}, "section fp16 would round the weights"),
        ({"zero_optimization": {"stage": 0}}, "without ZeRO is DDP"),
    ],
)
def test_other_settings_of_deepspeed_s_own_are_refused(tiny_config, own, message):
    plugin = DeepSpeedPlugin(hf_ds_config={"zero_optimization": {"stage": 2}} | own)
    with pytest.raises(InputError, match=re.escape(message)):
        configure_deepspeed(plugin, 2, tiny_config)


def test_muon_is_refused_under_deepspeed(tiny_config):
    tiny_config.optimizer.name = "muon"
    with pytest.raises(InputError, match=r"optimizer\.name=muon needs full matrices"):
        configure_deepspeed(DeepSpeedPlugin(zero_stage=1), 2, tiny_config)
