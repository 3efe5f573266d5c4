"""Run the project's commands as a user does."""

import atexit
import multiprocessing
import os
import resource
import runpy
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType

import huggingface_hub.constants
import numpy as np


REPOSITORY = Path(__file__).parents[2]
_LONGEST = 1800  # seconds, of commands that train and measure several models
# A process that has imported the libraries that most commands import for seconds, and forks for each command.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tests.support.preloaded"])


class ForkedCommand:
    """A command in a process that was forked when the libraries were imported; used like subprocess.Popen."""

    def __init__(self, line: list[str], environment: dict[str, str], folder: Path = REPOSITORY):
        self.args = line
        pipes = [multiprocessing.Pipe(duplex=False) for _ in ("stdout", "stderr")]
        ends = [end for _, end in pipes]
        self._process = SERVER.Process(target=_run_line, args=(line, environment, folder, *ends))
        self._process.start()
        for end in ends:
            end.close()
        self.stdout, self.stderr = (os.fdopen(os.dup(reading.fileno())) for reading, _ in pipes)
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Read to the end of the output, also of processes that the command leaves behind."""
        with ThreadPoolExecutor() as pool:
            try:
                printed = tuple(
                    pool.map(lambda pipe: pipe.read(), (self.stdout, self.stderr), timeout=timeout)
                )
                self._process.join(timeout)
            finally:
                self._process.kill()
                self._process.join()
        self.stdout.close()
        self.stderr.close()
        return printed


def start_command(module: str, *arguments: object, **environment: str) -> ForkedCommand:
    """Start `python -m module` in the repository."""
    return ForkedCommand(["-m", module, *map(str, arguments)], os.environ | environment)


def run_command(module: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
    """Run `python -m module` to its end."""
    return _finish(start_command(module, *arguments, **environment))


def run_checked(module: str, *arguments: object, **environment: str) -> str:
    """Run `python -m module`, assert that it succeeds, and return its output."""
    result = run_command(module, *arguments, **environment)
    assert result.returncode == 0, result.stderr
    return result.stdout


def start_code(code: str, *arguments: object, folder: Path, **environment: str) -> ForkedCommand:
    """Start `python -c code` in a folder; it finds this project's modules only if that is the repository."""
    return ForkedCommand(["-c", code, *map(str, arguments)], os.environ | environment, folder)


def run_code(code: str, *arguments: object, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run `python -c code` in a folder to its end."""
    return _finish(start_code(code, *arguments, folder=folder, **environment))


def _finish(process: ForkedCommand) -> subprocess.CompletedProcess:
    stdout, stderr = process.communicate(timeout=_LONGEST)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def free_port() -> int:
    """Return a port of this machine that no program uses."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def _run_line(
    line: list[str],
    environment: dict[str, str],
    folder: Path,
    stdout: Connection,
    stderr: Connection,
) -> None:
    """Be Python with this line, environment, working directory, stdout and stderr."""
    for number, end in ((1, stdout), (2, stderr)):
        os.dup2(end.fileno(), number)
        end.close()
    run_as_main(line, environment, folder)


def run_as_main(line: list[str], environment: dict[str, str], folder: str | Path) -> None:
    """Be Python with this line, `-m module ...`, `-c code ...` or `script.py ...`, and working directory."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    is_script = line[0] not in ("-m", "-c")
    sys.argv = line if is_script else line[1:]
    given = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    # Tests may have added folders, such as that of the code of models.
    libraries = [path for path in sys.path if path.startswith((sys.prefix, sys.base_prefix))]
    sys.path = [str(Path(line[0]).resolve().parent if is_script else folder), *given, *libraries]
    sys.executable = shutil.which("python") or sys.executable  # processes that the command starts fork too
    sys.stdout.reconfigure(write_through="PYTHONUNBUFFERED" in environment)
    _read_hub_settings(environment)
    # Background processes of a shell, such as tests, ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # A new interpreter has its own random numbers, way to start processes, and main module.
    np.random.seed()
    multiprocessing.set_start_method(None, force=True)
    sys.modules["__main__"] = sys.modules["__mp_main__"] = ModuleType("__main__")
    try:
        if is_script:
            runpy.run_path(sys.argv[0], run_name="__main__")
        elif line[0] == "-m":
            runpy._run_module_as_main(sys.argv[0])  # which is all that -m does
        else:
            code, sys.argv[0] = sys.argv[0], "-c"
            exec(code, vars(sys.modules["__main__"]))
    finally:
        atexit._run_exitfuncs()  # which forked processes leave out


def _read_hub_settings(environment: dict[str, str]) -> None:
    """Set the constants that libraries read from the environment when they were imported."""
    if "HF_ENDPOINT" in environment:
        constants = huggingface_hub.constants
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
        constants.ENDPOINT = environment["HF_ENDPOINT"]
        constants.HUGGINGFACE_CO_URL_TEMPLATE = constants.ENDPOINT + template
    for name, value in environment.items():
        for module in list(sys.modules.values()) if name.startswith("HF_") else ():
            constant = vars(module).get(name)
            if isinstance(constant, bool):
                setattr(module, name, value == "1")
            elif isinstance(constant, str | Path):
                setattr(module, name, type(constant)(value))


@contextmanager
def file_size_limit(num_bytes: int) -> Iterator[None]:
    """Let this process write no larger files, as on a full disk; the error is another one."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def assert_input_error(result: subprocess.CompletedProcess, *parts: str) -> None:
    """Assert that a command ended with status 2 and one line on stderr that holds all `parts`.

    On a slow machine there may be progress bars before it.
    """
    assert result.returncode == 2, result.stderr
    lines = [line for line in result.stderr.splitlines() if "%|" not in line]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: "), lines[0]
    for part in parts:
        assert part in lines[0], f"{part!r} is not in {lines[0]}"
