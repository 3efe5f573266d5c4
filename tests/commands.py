"""Run the project's commands as a user does."""

import os
import signal
import subprocess
import sys
from pathlib import Path


REPOSITORY = Path(__file__).parents[1]


def start_command(module: str, *arguments: object, **environment: str) -> subprocess.Popen:
    """Start `python -m module` in the repository."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env=os.environ | environment,
        # A shell makes what it starts in the background deaf to Ctrl-C, tests included.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def run_command(module: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
    """Run `python -m module` to its end."""
    process = start_command(module, *arguments, **environment)
    stdout, stderr = process.communicate(timeout=1800)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def assert_input_error(result: subprocess.CompletedProcess, *parts: str) -> None:
    """Assert that a command ended with status 2 and one line on stderr that holds all `parts`."""
    assert result.returncode == 2, result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    for part in parts:
        assert part in lines[0]
