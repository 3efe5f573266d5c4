"""Local processes that apply a function to many items: their end."""

import threading

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
