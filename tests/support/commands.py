"""Run the project's commands as a user does."""

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType

import numpy as np


REPOSITORY = Path(__file__).parents[2]
_LONGEST = 1800  # seconds, of commands that train and measure several models
# A process that has imported the libraries that most commands import for seconds, and forks for each command.
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    ["torch", "transformers.modeling_utils", "accelerate", "datasets", "matplotlib.pyplot", "scipy.stats"]
)


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
    """Run `python -m module` to its end: in a new interpreter if it is to have an environment of its own.

    Otherwise a process is forked that has imported the libraries already.
    """
    if environment:
        process = start_command(module, *arguments, **environment)
        stdout, stderr = process.communicate(timeout=_LONGEST)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
    line = ["-m", module, *map(str, arguments)]
    pipes = [multiprocessing.Pipe(duplex=False) for _ in ("stdout", "stderr")]
    ends = [end for _, end in pipes]
    process = _SERVER.Process(target=_run_module, args=(module, line[2:], dict(os.environ), *ends))
    process.start()
    for end in ends:
        end.close()
    with ThreadPoolExecutor() as pool:
        try:
            # To the end of what is written, by processes that the command leaves behind too.
            printed = list(pool.map(_read, [reading for reading, _ in pipes], timeout=_LONGEST))
            process.join(_LONGEST)
        finally:
            process.kill()
            process.join()
    return subprocess.CompletedProcess(line, process.exitcode, *printed)


def _read(reading: Connection) -> str:
    with open(reading.fileno(), closefd=False) as file:
        return file.read()


def _run_module(
    module: str, arguments: list[str], environment: dict[str, str], stdout: Connection, stderr: Connection
) -> None:
    """Be `python -m module` with this environment, stdout and stderr."""
    os.environ.clear()
    os.environ.update(environment)
    for number, end in ((1, stdout), (2, stderr)):
        os.dup2(end.fileno(), number)
        end.close()
    os.chdir(REPOSITORY)
    sys.path.insert(0, str(REPOSITORY))
    sys.argv = [module, *arguments]
    # What a new interpreter has of its own: random numbers, a way to start processes, and a main module.
    np.random.seed()
    multiprocessing.set_start_method(None, force=True)
    sys.modules["__main__"] = sys.modules["__mp_main__"] = ModuleType("__main__")
    try:
        runpy._run_module_as_main(module)  # which is all that -m does
    finally:
        atexit._run_exitfuncs()  # which forked processes leave out


def assert_input_error(result: subprocess.CompletedProcess, *parts: str) -> None:
    """Assert that a command ended with status 2 and one line on stderr that holds all `parts`."""
    assert result.returncode == 2, result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    for part in parts:
        assert part in lines[0]
