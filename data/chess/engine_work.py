"""Spread work that needs an engine over several processes and return the results in order.

Because the order is that of the items, whatever is built from the results is the same for any number of
processes.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

from cli.errors import InputError
from data.chess.stockfish import EngineCrash, Stockfish


ATTEMPTS = 3
SECONDS_TO_END = 5.0


class Skipped(NamedTuple):
    """The result of an item that killed the engine every time."""

    reason: str


class EngineWorker:
    """An engine that is started when it is needed, and anew when it has crashed.

    `start` makes an engine, or whatever else takes its place and has a method `close`.
    """

    def __init__(self, start: Callable[[], Any]) -> None:
        self._start = start
        self._engine = None

    def result(self, function: Callable[[Any, Any], Any], item: Any) -> Any:
        """Return `function(engine, item)`, a Skipped after three crashes, or an InputError that it raised."""
        result = Skipped("never tried")
        for _ in range(ATTEMPTS):
            try:
                self._engine = self._engine or self._start()
                return function(self._engine, item)
            except EngineCrash as crash:
                result = Skipped(str(crash))
                self.close()
            except InputError as error:
                return error
        return result

    def close(self) -> None:
        engine, self._engine = self._engine, None
        if engine:
            engine.close()


def results_in_order(
    function: Callable[[Any, Any], Any],
    items: Iterable[Any],
    processes: int,
    start: Callable[[], Any] = Stockfish,
) -> Iterator[Any]:
    """Yield `function(engine, item)` for every item, in order; every process has an engine of its own.

    `start` makes an engine, or whatever else takes its place and has a method `close`. Both functions must be
    importable by name. Items are taken when a process is free for them. When the engine crashes it is started
    anew and the item tried again; an item on which it crashes three times gives a Skipped. An InputError of
    the function is raised here. Closing the generator ends the processes at once.
    """
    # A forked process would hold its siblings' pipes open and never notice that the parent is gone.
    context = multiprocessing.get_context("spawn")
    workers: dict[Connection, Any] = {}
    try:
        # Ctrl-C reaches every process of a terminal, and it is for the parent alone to end the others.
        on_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
        for _ in range(processes):
            connection, far_end = context.Pipe()
            worker = context.Process(target=_work, args=(far_end, function, start), daemon=True)
            worker.start()
            far_end.close()
            workers[connection] = worker
        signal.signal(signal.SIGINT, on_interrupt)
        yield from _exchange(list(workers), iter(items))
    finally:
        for connection, worker in workers.items():
            connection.close()
            worker.terminate()
        for worker in workers.values():
            worker.join(SECONDS_TO_END)
            worker.kill()
            worker.join()


def _exchange(connections: list[Connection], items: Iterator[Any]) -> Iterator[Any]:
    """Give an item to every connection that is free; yield results as soon as all earlier ones are out."""
    given: dict[Connection, int] = {}
    early: dict[int, Any] = {}
    num_given = num_yielded = 0

    def give(connection: Connection) -> None:
        nonlocal num_given
        try:
            item = next(items)
        except StopIteration:
            return
        connection.send(item)
        given[connection] = num_given
        num_given += 1

    try:
        for connection in connections:
            give(connection)
        while given:
            for connection in wait(list(given)):
                result = connection.recv()
                if isinstance(result, InputError):
                    raise result
                early[given.pop(connection)] = result
                give(connection)
            while num_yielded in early:
                yield early.pop(num_yielded)
                num_yielded += 1
    except (EOFError, ConnectionError) as error:
        raise RuntimeError(
            "a worker process died: its own message is above, or the system ended it"
        ) from error


def _work(connection: Connection, function: Callable[[Any, Any], Any], start: Callable[[], Any]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    worker = EngineWorker(start)
    is_ending = False

    def end(*_: object) -> None:
        nonlocal is_ending
        # Once, lest it break off the closing of the engine below.
        if not is_ending:
            is_ending = True
            sys.exit()

    signal.signal(signal.SIGTERM, end)
    try:
        while True:
            connection.send(worker.result(function, connection.recv()))
    except (EOFError, ConnectionError):
        # The parent wants no more results.
        pass
    finally:
        is_ending = True
        worker.close()


def _end_with_parent() -> None:
    """End this process when the parent is gone, be it by SIGKILL; its engine ends when its input does."""
    multiprocessing.parent_process().join()
    os._exit(1)
