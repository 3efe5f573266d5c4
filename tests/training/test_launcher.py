"""accelerate's launcher: its options that have no effect, and its report of an error."""

from pathlib import Path

import pytest
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from cli.errors import report
from tests.support.commands import REPOSITORY, run_command
from tests.support.training_runs import REAL_LAUNCHER, start_launch


@pytest.fixture
def program(tmp_path) -> Path:
    """A program that prints the warnings of a run of chess_tiny.yaml with two micro-batches in bfloat16."""
    path = tmp_path / "program.py"
    path.write_text(f"""
import sys
sys.path.insert(0, {str(REPOSITORY)!r})
from configs.loading import load_config
from training.launcher import overruled_options

print(*overruled_options(load_config("chess_tiny.yaml", ["training.precision=bf16"])), sep="\\n")
""")
    return path


@pytest.mark.slow
def test_options_of_accelerate_that_the_settings_overrule_are_named(program):
    options = {"mixed_precision": "fp16", "gradient_accumulation_steps": 4, "gradient_clipping": 1}
    process = start_launch([], "one_device", 1, program, REAL_LAUNCHER, **options)
    printed, _ = process.communicate(timeout=300)
    assert printed.splitlines() == [
        "accelerate's mixed_precision fp16 has no effect: training.precision=bf16 decides",
        "accelerate's gradient_accumulation_steps 4 has no effect: "
        "training.gradient_accumulation_steps=2 decides",
    ]


def test_a_launch_without_options_does_not_warn(program):
    result = run_command("accelerate.commands.launch", program)
    assert result.stdout == "\n", result.stderr


def test_the_report_of_the_launcher_ends_with_the_error(tmp_path, monkeypatch, capsys):
    path = tmp_path / "error.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(path))
    report("error: training.stps is unknown")
    assert capsys.readouterr().err == "error: training.stps is unknown\n"
    failure = ProcessFailure(local_rank=0, pid=1, exitcode=2, error_file=str(path))
    last = str(ChildFailedError("train.py", {0: failure})).splitlines()[-2]
    assert last.endswith(" error: training.stps is unknown")


@pytest.mark.slow
def test_several_processes_end_with_the_error(tmp_path):
    process = start_launch(["--config=chess_tiny.yaml", f"output_dir={tmp_path}/run", "training.stps=3"])
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "error: command line: training.stps" in printed.splitlines()[-2], printed
