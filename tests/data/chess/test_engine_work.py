"""Work with engines in one and in several processes: order, crashes, errors, and nothing left running."""

import functools
import itertools
import os
import subprocess
import threading
import time
from pathlib import Path

import psutil
import pytest

from cli.errors import InputError
from data.chess.engine_work import Skipped, results_in_order
from data.chess.stockfish import EngineCrash


class Program:
    """An engine with its own process, which logs starts and closes in a folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._process = subprocess.Popen(["sleep", "1000"])
        self.note("started")

    def note(self, event: str) -> None:
        with (self.folder / event).open("a") as file:
            file.write(f"{os.getpid()} {self._process.pid}\n")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self.note("closed")


def noted(folder: Path, event: str) -> list[tuple[int, int]]:
    """Return the ids of the worker and of the program."""
    lines = (folder / event).read_text().splitlines()
    return [tuple(map(int, line.split())) for line in lines]


def double(program: Program, number: int) -> int:
    if number < 0:
        raise InputError(f"{number} is negative")
    if number == 3 and not (program.folder / "crashed").exists():
        program.note("crashed")
        raise EngineCrash("it died")
    if number == 13:
        raise EngineCrash("it died")
    time.sleep(0.01)
    return 2 * number


def hang(program: Program, number: int) -> int:
    if number:
        program.note("hanging")
        threading.Event().wait()
    return number


def refuse(folder: Path) -> Program:
    raise InputError("no program here")


def assert_gone(pids: list[int]) -> None:
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=10)
    assert not alive


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_order_and_no_process_stays(processes, tmp_path):
    results = results_in_order(double, range(20), processes, functools.partial(Program, tmp_path))
    skipped = Skipped("it died")
    assert list(results) == [skipped if number == 13 else 2 * number for number in range(20)]
    workers = {worker for worker, _ in noted(tmp_path, "started")} - {os.getpid()}
    assert len(workers) == (processes if processes > 1 else 0)
    # At first, after the crash at 3, and after the three crashes at 13.
    assert len(noted(tmp_path, "started")) >= 4
    assert_gone([program for _, program in noted(tmp_path, "started")])


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_an_input_error_is_raised_after_all_earlier_results(processes, tmp_path):
    def items():
        yield from range(4, 8)
        raise InputError("no more items")

    for numbers, message, expected in (
        (itertools.chain([4, 5, -1], itertools.count(6)), "-1 is negative", [8, 10]),
        (items(), "no more items", [8, 10, 12, 14]),
    ):
        seen = []
        with pytest.raises(InputError, match=message):
            for result in results_in_order(double, numbers, processes, functools.partial(Program, tmp_path)):
                seen.append(result)
        assert seen == expected
    with pytest.raises(InputError, match="no program here"):
        list(results_in_order(double, range(3), processes, functools.partial(refuse, tmp_path)))


def test_closing_in_the_middle_ends_workers_and_engines_without_a_warning(tmp_path, recwarn):
    results = results_in_order(hang, itertools.count(), 2, functools.partial(Program, tmp_path))
    assert next(results) == 0
    # A program that is just being started is left to end by itself, as engines do when their input ends.
    while not (tmp_path / "hanging").exists() or len(noted(tmp_path, "hanging")) < 2:
        time.sleep(0.005)
    results.close()
    assert_gone([pid for pids in noted(tmp_path, "started") for pid in pids])
    assert not recwarn.list
