"""The script for Slurm, with stand-ins for Slurm's commands that start two nodes on this machine."""

import os
import re
import signal
import subprocess

import pytest

from tests.support.commands import REPOSITORY, run_checked
from tests.support.training_runs import read_losses


NUM_STEPS = 30
STAND_INS = {
    # Starts the step on both nodes, and ends it when it fails on one.
    "srun": """
        while [[ $1 == --* ]]; do shift; done
        for node in 0 1; do SLURM_NODEID=$node "$@" & launchers+=($!); done
        echo "${launchers[@]}" > "$FOLDER/launchers"
        for launcher in "${launchers[@]}"; do
            wait -n || { status=$?; kill -TERM "${launchers[@]}" 2> /dev/null; }
        done
        exit "${status:-0}"
    """,
    "scancel": """
        echo "scancel $*" >> "$FOLDER/calls"
        kill -TERM $(cat "$FOLDER/launchers")
    """,
    "scontrol": """
        echo "scontrol $*" >> "$FOLDER/calls"
        [[ $1 == requeue ]] || printf '127.0.0.1\\nsecond.invalid\\n'
    """,
}


@pytest.fixture
def slurm(tmp_path) -> dict[str, str]:
    """Return what Slurm puts into the environment of a job on two nodes, with the stand-ins first on PATH."""
    for name, script in STAND_INS.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash{script}")
        path.chmod(0o755)
    job = {"JOB_ID": "9551", "JOB_NODELIST": "node[1-2]", "NNODES": "2", "GPUS_ON_NODE": "1"}
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    return {"PATH": path, "FOLDER": str(tmp_path)} | {f"SLURM_{name}": value for name, value in job.items()}


def start_job(arguments: list[str], environment: dict[str, str]) -> subprocess.Popen:
    return subprocess.Popen(
        ["bash", "scripts/slurm.sh", *arguments],
        cwd=REPOSITORY,
        env=os.environ | environment | {"ACCELERATE_USE_CPU": "true", "PYTHONFAULTHANDLER": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish_job(job: subprocess.Popen) -> str:
    """Return what the job prints until it ends; fail with that, and where all processes are, if it hangs."""
    try:
        return job.communicate(timeout=300)[0]
    except subprocess.TimeoutExpired:
        os.killpg(job.pid, signal.SIGABRT)
        pytest.fail(f"the job hangs; it printed {job.communicate()[0]}")


@pytest.mark.slow
def test_a_job_whose_time_is_up_saves_is_requeued_and_ends_as_one_process_would(settings, slurm, tmp_path):
    arguments = [*settings, "optimizer.name=adamw", f"training.steps={NUM_STEPS}"]
    arguments += ["evaluation.boards=40", "checkpoint.every=1000"]
    run_checked("train", *arguments, f"output_dir={tmp_path}/alone")

    arguments.append(f"output_dir={tmp_path}/run")
    job = start_job(arguments, slurm)
    for line in job.stdout:
        if line.startswith("step  5/"):
            job.send_signal(signal.SIGUSR1)
            break
    printed = finish_job(job)
    assert "and saved; resume=true continues\n" in printed
    assert (tmp_path / "calls").read_text().splitlines() == [
        "scontrol show hostnames node[1-2]",
        "scancel --signal=TERM 9551",
        "scontrol requeue 9551",
    ]
    assert not (tmp_path / "run/model").exists()

    job = start_job(arguments, slurm)
    printed = finish_job(job)
    assert job.returncode == 0, printed
    assert (
        re.search(r"device  2 × cpu \(\d+ threads?\), DDP\n", printed) and "continued after step" in printed
    )
    losses = read_losses(tmp_path / "run")
    assert sorted(losses) == list(range(1, NUM_STEPS + 1))
    assert losses == pytest.approx(read_losses(tmp_path / "alone"), abs=1e-5)
