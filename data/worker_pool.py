"""Apply a function to many items in several local processes, with results in the order of the items."""

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future
from contextlib import suppress
from itertools import islice
from typing import Any

from cli.errors import InputError


# At most so many items are taken per process before their results are asked for.
ITEMS_PER_PROCESS = 2


def map_in_order(function: Callable[[Any], Any], items: Iterable[Any], processes: int) -> Generator[Any]:
    """Yield `function(item)` for every item, in order; with one process, in this process.

    An InputError of `function` or `items` is raised after the results of all earlier items. At the end, or
    when the generator is closed, the processes and their children are killed.
    """
    if processes == 1:
        yield from map(function, items)
        return
    # joblib makes semaphores when it is imported, which training does not need and may not be allowed.
    from joblib.externals.loky import get_reusable_executor

    executor = get_reusable_executor(processes, initializer=_watch_parent, initargs=(os.getpid(),))
    submitted = _submit_each(executor, function, items)
    # Workers inherit this: Ctrl-C reaches every process of a terminal, but only this one handles it.
    on_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        waiting = deque(islice(submitted, 1))
    finally:
        signal.signal(signal.SIGINT, on_interrupt)
    try:
        waiting.extend(islice(submitted, ITEMS_PER_PROCESS * processes - 1))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(islice(submitted, 1))
    finally:
        # loky raises a KeyError in its thread if it is shut down before that thread has taken every item,
        # also one whose submission was interrupted. It takes them in order.
        with suppress(BrokenExecutor):  # a process was killed, which the results have reported
            last = executor.submit(int)
            while not (last.running() or last.done()):
                time.sleep(0.001)
        executor.shutdown(kill_workers=True)


def _submit_each(executor: Any, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Future]:
    """Yield the future result of each item, and at the end that of an InputError of `items`."""
    try:
        for item in items:
            yield executor.submit(function, item)
    except InputError as error:
        failed: Future = Future()
        failed.set_exception(error)
        yield failed


def _watch_parent(parent: int) -> None:
    """End this worker soon after its parent was killed; joblib's workers wait for minutes."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
