"""Spread work that needs Stockfish over a Ray cluster and return the results in order.

The counterpart of data/chess/engine_work.py, which uses one machine. Machines may join and leave meanwhile;
the items of a lost machine are done again by others.

    python -m data.chess.annotate --ray HOST:PORT ...
"""

import contextlib
import functools
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from cli.errors import InputError, first_line
from data.chess.engine_work import work
from data.chess.stockfish import Stockfish


LOCAL = "local"
# Enough that no CPU waits for items while the oldest item takes long, or is done again.
ITEMS_PER_CPU = 8
# Losses of a machine after which an item is tried again.
MAX_RETRIES = 20
SECONDS_TO_CONNECT = 10.0
# A machine that joins is given items after this time at most.
SECONDS_BETWEEN_COUNTS = 5.0
# Results are small; by default Ray would reserve a third of the memory for them.
OBJECT_STORE_BYTES = 100_000_000
ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def ray_results_in_order(
    address: str, processes: int, engine_name: str
) -> Iterator[Callable[[Callable[[Any, Any], Any], Iterable[Any]], Iterator[Any]]]:
    """Connect to a Ray cluster and yield a function like `engine_work.results_in_order`.

    `address` is that of a cluster, `auto`, `host:6379` or `ray://host:10001`, whose CPUs determine how many
    items are worked on at a time; `local` starts Ray on this machine with `processes` CPUs. At most
    ITEMS_PER_CPU items for each CPU are taken before their results are asked for.

    Raises InputError without Ray and without a cluster at the address; results raise it if a machine has no
    Stockfish or another version than `engine_name`, since they depend on it.
    """
    try:
        import ray
    except ImportError as error:
        raise InputError("--ray needs the package ray: pip install ray") from error
    _connect(ray, address, processes)
    try:
        yield functools.partial(_results, ray, engine_name)
    finally:
        ray.shutdown()


def _connect(ray: Any, address: str, processes: int) -> None:
    settings: dict[str, Any] = {
        # Workers import these packages, wherever they are, without their data files.
        "runtime_env": {
            "py_modules": [str(ROOT / "data"), str(ROOT / "cli")],
            "excludes": ["*.parquet", "*.csv", "__pycache__"],
        },
        "log_to_driver": False,
        "logging_level": "ERROR",
    }
    if address == LOCAL:
        # By default Ray sends usage reports.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        settings |= {
            "num_cpus": processes,
            "object_store_memory": OBJECT_STORE_BYTES,
            "include_dashboard": False,
        }
    elif address != "auto":
        # Without this check Ray tries for a minute and then prints pages.
        host, _, port = address.removeprefix("ray://").rpartition(":")
        if not host or not port.isdigit():
            raise InputError(f"--ray {address}: must be local, auto, HOST:PORT or ray://HOST:PORT")
        try:
            socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_CONNECT).close()
        except (OSError, OverflowError) as error:
            raise InputError(
                f"--ray {address}: no answer from there ({error}); start a cluster with ray start --head"
            ) from error
    try:
        ray.init(address=address, **settings)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(
            f"--ray {address}: Ray cannot connect ({first_line(error)}); check the address, and that Ray and "
            "Python have the same versions there; if it asks for a token, set RAY_AUTH_MODE=token"
        ) from error


def _start_engine(engine_name: str) -> Stockfish:
    """Start Stockfish on a machine of the cluster; raise InputError, which names the machine."""
    import ray

    machine = f"machine {socket.gethostname()} ({ray.util.get_node_ip_address()}) of the Ray cluster"
    try:
        engine = Stockfish()
    except InputError as error:
        raise InputError(f"{machine}: {error}") from error
    if engine.name != engine_name:
        engine.close()
        raise InputError(
            f"{machine} has {engine.name}, but this machine has {engine_name}, and results would differ: "
            "install the same there, or set STOCKFISH to it before ray start"
        )
    return engine


def _results(
    ray: Any, engine_name: str, function: Callable[[Any, Any], Any], items: Iterable[Any]
) -> Iterator[Any]:
    # A worker process keeps its engine for all items; the engine ends with it.
    remote = ray.remote(num_cpus=1, max_retries=MAX_RETRIES)(_work)
    waiting: deque[Any] = deque()
    counted, num_cpus = 0.0, 0
    try:
        for item in items:
            if not counted or time.monotonic() > counted + SECONDS_BETWEEN_COUNTS:
                num_cpus = max(1, int(ray.cluster_resources().get("CPU", 0)))
                counted = time.monotonic()
            waiting.append(remote.remote(engine_name, function, item))
            while len(waiting) >= ITEMS_PER_CPU * num_cpus:
                yield _result(ray, waiting.popleft())
        while waiting:
            yield _result(ray, waiting.popleft())
    finally:
        # After Ctrl-C between two results, Ray has ended before, and its work with it.
        for reference in waiting if ray.is_initialized() else ():
            # An engine that is stopped in the middle of an item cannot continue with another.
            ray.cancel(reference, force=True)


def _work(engine_name: str, function: Callable[[Any, Any], Any], item: Any) -> Any:
    try:
        return work(functools.partial(_start_engine, engine_name), function, item)
    except InputError as error:
        return error


def _result(ray: Any, reference: Any) -> Any:
    result = ray.get(reference)
    if isinstance(result, InputError):
        raise result
    return result
