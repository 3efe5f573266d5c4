"""Spread work that needs an engine over several processes and return the results in order.

The order is that of the items, so the results do not depend on the number of processes.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from data.chess.stockfish import EngineCrash, Stockfish
from data.worker_pool import map_in_order


ATTEMPTS = 3

# The engine of this process.
_engine: Any = None


class Skipped(NamedTuple):
    """The result of an item on which the engine crashed at each attempt."""

    reason: str


def results_in_order(
    function: Callable[[Any, Any], Any],
    items: Iterable[Any],
    processes: int,
    start: Callable[[], Any] = Stockfish,
) -> Iterator[Any]:
    """Yield `function(engine, item)` for every item, in order; every process has its own engine.

    `start` makes the engine, any object with a method `close`. When the engine crashes it is started again
    and the item tried again; an item on which it crashes three times gives a Skipped. Items, errors and the
    end of the processes are as in `map_in_order`.
    """
    try:
        yield from map_in_order(functools.partial(work, start, function), items, processes)
    finally:
        _close()


def work(start: Callable[[], Any], function: Callable[[Any, Any], Any], item: Any) -> Any:
    """Return `function(engine, item)` with the engine of this process, or Skipped after three crashes."""
    global _engine
    for _ in range(ATTEMPTS):
        try:
            _engine = _engine or start()
            return function(_engine, item)
        except EngineCrash as crash:
            reason = str(crash)
            _close()
    return Skipped(reason)


def _close() -> None:
    global _engine
    engine, _engine = _engine, None
    if engine:
        engine.close()
