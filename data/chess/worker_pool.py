"""Apply a function to many items in several local processes, with results in the order of the items."""

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from cli.errors import InputError


def map_in_order(function: Callable[[Any], Any], items: Iterable[Any], processes: int) -> Iterator[Any]:
    """Yield `function(item)` for every item, in order; with one process, in this process.

    Items are taken when a process is free for them. An InputError of `function` or `items` is raised after
    the results of all earlier items. At the end, or when the generator is closed, the processes and their
    children are killed.
    """
    if processes == 1:
        yield from map(function, items)
        return
    # joblib makes semaphores when it is imported, which training does not need and may not be allowed.
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    pool = Parallel(
        processes,
        return_as="generator",
        batch_size=1,
        max_nbytes=None,  # arrays are sent through pipes, not through files
        initializer=_watch_parent,
        initargs=(os.getpid(),),
    )
    # Workers inherit this: Ctrl-C reaches every process of a terminal, but only this one handles it.
    on_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        results = pool(delayed(_result)(function, item) for item in _with_error_as_item(items))
    finally:
        signal.signal(signal.SIGINT, on_interrupt)
    try:
        for result in results:
            if isinstance(result, InputError):
                raise result
            yield result
    finally:
        with warnings.catch_warnings():
            # joblib warns of unused results, which are normal with endless items.
            warnings.filterwarnings("ignore", message=".*adjusting the input task iterator")
            results.close()
        get_reusable_executor(reuse=True).shutdown(kill_workers=True)


def _with_error_as_item(items: Iterable[Any]) -> Iterator[Any]:
    try:
        yield from items
    except InputError as error:
        yield error


def _result(function: Callable[[Any], Any], item: Any) -> Any:
    """Return the result, or the InputError: joblib would raise it before earlier results."""
    try:
        return item if isinstance(item, InputError) else function(item)
    except InputError as error:
        return error


def _watch_parent(parent: int) -> None:
    """End this worker soon after its parent was killed; joblib's workers wait for minutes."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
