"""Runs of train.py that take seconds, as users start, end and launch them."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from tests.support.commands import REPOSITORY, start_command


SAMPLE = REPOSITORY / "data/chess/sample/test_boards.parquet"
# A model that learns for seconds, of either task, in float32; what comes later on a command line counts.
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


def start_launch(
    arguments: list[object],
    backend: str = "ddp",
    num_processes: int = 2,
    program: str | Path = "train.py",
    **options: object,
) -> subprocess.Popen:
    """Start `accelerate launch` with a file of configs/accelerate/ as on a GPU, but on the CPU."""
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", str(num_processes)]
    launch += ["--config_file", f"configs/accelerate/{backend}.yaml"]
    for name, value in ({"main_process_port": 0} | options).items():
        launch += [f"--{name}", str(value)]
    environment = os.environ | ({"ACCELERATE_USE_CPU": "true"} if backend == "ddp" else {})
    return subprocess.Popen(
        [*launch, str(program), *map(str, arguments)],
        cwd=REPOSITORY,
        env=environment | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def kill_at(process: subprocess.Popen, line: str) -> None:
    """Kill a launcher and all it started, as when a machine dies, once a line that matches is printed."""
    for text in process.stdout:
        if re.search(line, text):
            break
    # The launcher first: it would notice its children's end.
    for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
        one.kill()
    process.communicate()
