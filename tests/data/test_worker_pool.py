"""Local processes that apply a function to many items: their end."""

import os
import signal
import threading
from concurrent.futures import BrokenExecutor

import pytest
from joblib.externals.loky import get_reusable_executor

from data.worker_pool import map_in_order


def test_processes_end_quietly_with_an_item_whose_submission_was_interrupted(monkeypatch):
    failures: list[object] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    results = map_in_order(abs, range(100), 2)
    assert next(results) == 0
    get_reusable_executor(2, reuse=True).submit(abs, -1)
    results.close()
    assert failures == []


def test_after_a_process_was_killed_the_others_end_quietly():
    results = map_in_order(lambda _: os.getpid(), range(100), 2)
    process = next(results)
    executor = get_reusable_executor(2, reuse=True)
    os.kill(process, signal.SIGKILL)
    with pytest.raises(BrokenExecutor):
        while True:
            executor.submit(int).result()
    results.close()
