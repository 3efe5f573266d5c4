"""Fixtures of several test files, and the environment of all tests.

Fixtures import what needs torch: it takes seconds, and the process that spreads the tests has no use for it.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import groupby
from pathlib import Path

import pytest

from cli.options import SHIPPED_MODEL
from tests.support.commands import run_checked
from tests.support.forked_python import forked_programs
from tests.support.hub_server import TOKEN, HubServer
from tests.support.programs import missing_programs
from training.npm_packages import PACKAGES, package_folder


OF_THE_USER = package_folder()  # before tests change the environment


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let each of two processes, which get a half of the list, start with its slow tests."""
    halves: tuple[list[pytest.Item], list[pytest.Item]] = ([], [])
    for number, (_, tests) in enumerate(groupby(items, key=lambda item: item.path)):
        halves[number % 2].extend(tests)
    for half in halves:
        half.sort(key=lambda item: item.get_closest_marker("slow") is None)
    items[:] = halves[0] + halves[1]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the programs that are missing, because the tests that run them did not."""
    if missing := missing_programs():
        line = f"not installed: {', '.join(missing)}; docs/install.md says how to install these programs"
        terminalreporter.write_line(line, yellow=True)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory) -> Iterator[None]:
    """Keep the caches of commands out of the home folder, also in processes that tests start."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def own_python(tmp_path_factory) -> Iterator[None]:
    """Let scripts find the Python of the tests, and accelerate, where no environment is activated."""
    folder = tmp_path_factory.mktemp("bin")
    forked = forked_programs(folder) if sys.platform == "linux" else nullcontext()
    with pytest.MonkeyPatch.context() as environment, forked:
        path = [str(folder), str(Path(sys.executable).parent), os.environ["PATH"]]
        environment.setenv("PATH", os.pathsep.join(path))
        yield


@pytest.fixture(scope="session", autouse=True)
def one_thread_each() -> Iterator[None]:
    """Tests that run side by side take a thread each, and so do the commands that they start."""
    with pytest.MonkeyPatch.context() as environment:
        if "PYTEST_XDIST_WORKER" in os.environ:
            import torch

            environment.setenv("OMP_NUM_THREADS", "1")
            environment.setenv("OMP_WAIT_POLICY", "PASSIVE")  # for runs of accelerate, which take all cores
            torch.set_num_threads(1)
        yield


@pytest.fixture(scope="session", autouse=True)
def heard_signals() -> None:
    """Handle signals as at a terminal: background processes of a shell, and of nohup, ignore some."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def settings(tmp_path_factory) -> list[str]:
    """Arguments of train.py for a run of seconds."""
    from tests.support.training_runs import tiny_settings

    return tiny_settings(tmp_path_factory.mktemp("prepared") / "boards")


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> Path:
    """Save a tiny chess model with its tokenizer; for reading alone, as all tests share it."""
    from models.tokenization_chess import ChessTokenizer
    from tests.eval.chess.test_engines import tiny_model

    folder = tmp_path_factory.mktemp("run") / "model"
    tiny_model().save_pretrained(folder)
    ChessTokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def npm_tarballs(own_cache, tmp_path_factory) -> None:
    """Put the tarballs of npm, the user's or those of its registry, where the publishing command keeps them.

    Without either the tests are skipped, except in continuous integration.
    """
    package_folder().mkdir(parents=True)
    kept = [OF_THE_USER / package.tarball for package in PACKAGES]
    if all(tarball.is_file() for tarball in kept):
        for tarball in kept:
            shutil.copy(tarball, package_folder())
        return
    names = [f"{package.name}@{package.version}" for package in PACKAGES]
    missing, retries = (pytest.fail, 2) if "CI" in os.environ else (pytest.skip, 0)
    command = [
        "npm",
        "pack",
        "--silent",
        f"--fetch-retries={retries}",
        "--pack-destination",
        package_folder(),
    ]
    packed = subprocess.run([*command, *names], stdout=subprocess.DEVNULL, cwd=tmp_path_factory.mktemp("npm"))
    if packed.returncode:
        missing(f"npm cannot download {' '.join(names)}: docs/install.md says how to do without its registry")


@pytest.fixture(scope="session")
def shipped_space(npm_tarballs, tmp_path_factory) -> Path:
    """The page of the model in the repository, for browsers; for reading alone."""
    from training.space import publish_space

    folder = tmp_path_factory.mktemp("space") / "page"
    publish_space(SHIPPED_MODEL, str(folder))
    return folder


@pytest.fixture(scope="session")
def model_hub(tmp_path_factory) -> Iterator[HubServer]:
    """A hub on this machine, which the model of `pushed_run` is on."""
    with HubServer(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


@pytest.fixture
def own_hub(tmp_path, monkeypatch) -> Iterator[HubServer]:
    """A hub without anything, for a test that breaks it; this process uses it too."""
    with HubServer(tmp_path / "hub") as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


@pytest.fixture(scope="session")
def pushed_run(settings, model_hub, tmp_path_factory) -> Path:
    """A run that pushed its model and its checkpoints; for reading alone."""
    from tests.support.pushed_run import EIGHT_STEPS, REPO

    output_dir = tmp_path_factory.mktemp("runs") / "tiny"
    arguments = [*settings, *EIGHT_STEPS, "evaluation.boards=50", f"output_dir={output_dir}"]
    arguments += [f"push_to_hub={REPO}", "push_checkpoints=true"]
    printed = run_checked("train", *arguments, **model_hub.environment)
    assert printed.splitlines()[-1] == f"published: {model_hub.url}/{REPO}"
    return output_dir


@pytest.fixture
def copied_run(pushed_run, tmp_path) -> Path:
    return Path(shutil.copytree(pushed_run, tmp_path / "tiny"))
