"""Runs of train.py that take seconds, as users start, end and launch them."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

from tests.support.commands import REPOSITORY, ForkedCommand, free_port, start_command


# The parent of the processes that it starts, which that of the tests' own `accelerate` is not.
REAL_LAUNCHER = (sys.executable, "-m", "accelerate.commands.launch")
SAMPLE = REPOSITORY / "data/chess/sample/test_boards.parquet"
# A model of either task that trains in seconds, in float32; later settings on a command line override these.
TINY = [
    "model.hidden_size=16",
    "model.num_hidden_layers=1",
    "model.num_attention_heads=2",
    "value_loss.num_bins=16",
    "training.batch_size=8",
    "training.gradient_accumulation_steps=1",
    "training.warmup_steps=2",
    "training.precision=fp32",
    "checkpoint.every=4",
    "log_every=1",
    "trackers=[]",
]


def tiny_settings(prepared: Path) -> list[str]:
    """Return the arguments of a tiny chess model in float32, on 500 boards that are prepared once."""
    return [
        "--config=chess_tiny.yaml",
        f"data.train={SAMPLE}",
        f"data.validation={SAMPLE}",
        f"data.prepared_dir={prepared}",
        *TINY,
        "training.steps=40",
        "evaluation.every=10",
    ]


def read_steps(output_dir: Path, key: str) -> dict[int, float]:
    """Return a metric of every training step, each of which has to be there once."""
    rows = [json.loads(line) for line in (output_dir / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if row["kind"] == "train"]
    assert len({row["step"] for row in steps}) == len(steps)
    return {row["step"]: row[key] for row in steps}


def read_losses(output_dir: Path) -> dict[int, float]:
    return read_steps(output_dir, "loss")


def run_until(arguments: list[object], line: str, number: signal.Signals) -> subprocess.CompletedProcess:
    """Start a run and send it a signal once it prints a line that matches."""
    process = start_command("train", *arguments)
    printed = []
    for text in process.stdout:
        printed.append(text)
        if re.search(line, text):
            process.send_signal(number)
            break
    rest, errors = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, "".join(printed) + rest, errors)


def launch_line(
    arguments: list[object], backend: str, num_processes: int, program: str | Path, **options: object
) -> list[str]:
    """Return the arguments of `accelerate launch` with a file of configs/accelerate/."""
    line = ["--num_processes", num_processes, "--config_file", f"configs/accelerate/{backend}.yaml"]
    for name, value in ({"main_process_port": 0} | options).items():
        line += [f"--{name}", value]
    return list(map(str, [*line, program, *arguments]))


def start_launch(
    arguments: list[object],
    backend: str = "ddp",
    num_processes: int = 2,
    program: str | Path = "train.py",
    launcher: Sequence[str] = ("accelerate", "launch"),
    **options: object,
) -> subprocess.Popen:
    """Start `accelerate launch` as on a GPU, but on the CPU."""
    line = launch_line(arguments, backend, num_processes, program, **options)
    environment = os.environ | ({"ACCELERATE_USE_CPU": "true"} if backend == "ddp" else {})
    return subprocess.Popen(
        [*launcher, *line],
        cwd=REPOSITORY,
        env=environment | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def start_launch_of_parent(arguments: list[object], backend: str, num_processes: int) -> ForkedCommand:
    """Start `accelerate launch` in a session of its own, as the parent of the processes that it starts.

    Those of `start_launch` are forked by a server instead.
    """
    code = "import os; os.setsid(); from accelerate.commands.launch import main; main()"
    _, _, path = os.environ["PATH"].partition(os.pathsep)  # without the Python that forks
    environment = os.environ | {"PATH": path, "ACCELERATE_USE_CPU": "true"}
    return ForkedCommand(
        ["-c", code, *launch_line(arguments, backend, num_processes, "train.py")], environment
    )


def start_processes(arguments: list[object], backend: str, num_processes: int = 2) -> list[ForkedCommand]:
    """Start train.py in the environments that `start_launch` would, without launcher and new interpreters."""
    parsed = launch_command_parser().parse_args(launch_line(arguments, backend, num_processes, "train.py"))
    parsed, _, _ = _validate_launch_command(parsed)
    if parsed.use_deepspeed:
        parsed.deepspeed_fields_from_accelerate_config = ""
        _, environment = prepare_deepspeed_cmd_env(parsed)
    else:
        environment = prepare_multi_gpu_env(parsed)
    if backend == "ddp":
        environment["ACCELERATE_USE_CPU"] = "true"
    environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "GROUP_WORLD_SIZE": "1"}
    environment["WORLD_SIZE"] = environment["LOCAL_WORLD_SIZE"] = str(num_processes)
    line = list(map(str, arguments))
    return [
        ForkedCommand(["-m", "train", *line], environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(num_processes)
    ]


def kill_at(processes: list[ForkedCommand], line: str) -> None:
    """Kill all processes, as when a machine dies, once the first prints a line that matches."""
    for text in processes[0].stdout:
        if re.search(line, text):
            break
    for process in processes:
        process.kill()
    for process in processes:
        process.communicate()


def finish(processes: list[ForkedCommand]) -> str:
    """Wait until all processes have succeeded; return the output of the first."""
    with ThreadPoolExecutor() as pool:
        printed = list(pool.map(lambda process: process.communicate(timeout=300), processes))
    assert not any(process.returncode for process in processes), printed
    return printed[0][0]
