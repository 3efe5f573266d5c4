"""Spread work that needs Stockfish over a Ray cluster and return the results in order.

What data/chess/engine_work.py does with the cores of one machine, with those of many. Machines may join and
leave meanwhile; what a lost one was doing is done again by others.

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
from data.chess.engine_work import EngineWorker
from data.chess.stockfish import Stockfish


LOCAL = "local"
# Enough that nobody waits for items while the oldest one takes its time, or is done again.
ITEMS_PER_CPU = 8
# How many machines may be lost with the same item.
MAX_RETRIES = 20
SECONDS_TO_CONNECT = 10.0
SECONDS_TO_CHECK = 120.0
# A machine that joins is given items after so long at most.
SECONDS_BETWEEN_COUNTS = 5.0
# Results are small; Ray would set aside a third of the memory for them.
OBJECT_STORE_BYTES = 100_000_000
PACKAGE = Path(__file__).parents[1]

# The engine of this process, where it is one of Ray's workers.
_worker: EngineWorker | None = None


@contextlib.contextmanager
def ray_results_in_order(
    address: str, processes: int, engine_name: str
) -> Iterator[Callable[[Callable[[Any, Any], Any], Iterable[Any]], Iterator[Any]]]:
    """Connect to a Ray cluster and yield what gives `function(engine, item)` for items, in order.

    `address` is that of a cluster, such as `auto`, `host:6379` or `ray://host:10001`, whose CPUs say how many
    items are worked on at a time; `local` starts Ray on this machine with so many `processes`. Results are as
    those of `engine_work.results_in_order`: a Skipped for an item on which the engine crashes three times,
    and an InputError raised here. ITEMS_PER_CPU items at most, for each CPU, are taken before their results
    are asked for.

    Raises InputError without Ray, without a cluster at the address, and where a machine of it has no
    Stockfish or another one than `engine_name`, since the results depend on it.
    """
    try:
        import ray
    except ImportError as error:
        raise InputError("--ray needs the package ray: pip install ray") from error
    _connect(ray, address, processes)
    try:
        _check_engines(ray, engine_name)
        yield functools.partial(_results, ray, engine_name)
    finally:
        ray.shutdown()


def _connect(ray: Any, address: str, processes: int) -> None:
    settings: dict[str, Any] = {
        # Workers import this package, wherever they are; data files are no part of it.
        "runtime_env": {"py_modules": [str(PACKAGE)], "excludes": ["*.parquet", "*.csv", "__pycache__"]},
        "log_to_driver": False,
        "logging_level": "ERROR",
    }
    if address == LOCAL:
        # Ray reports to its makers unless told not to.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        settings |= {
            "num_cpus": processes,
            "object_store_memory": OBJECT_STORE_BYTES,
            "include_dashboard": False,
        }
    elif address != "auto":
        # Ray itself tries for a minute and then prints pages.
        host, _, port = address.removeprefix("ray://").rpartition(":")
        if not host or not port.isdigit():
            raise InputError(f"--ray {address}: must be local, auto, HOST:PORT or ray://HOST:PORT")
        try:
            socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_CONNECT).close()
        except (OSError, OverflowError) as error:
            raise InputError(
                f"--ray {address}: nobody answers there ({error}): start a cluster with ray start --head"
            ) from error
    try:
        ray.init(address=address, **settings)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(
            f"--ray {address}: Ray cannot be used there ({first_line(error)}): check the address, and that "
            "Ray and Python have the same versions there; if it asks for a token, set RAY_AUTH_MODE=token"
        ) from error


def _check_engines(ray: Any, engine_name: str) -> None:
    """Have every machine start its Stockfish once; raise InputError that names the one where that fails."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
    if not nodes:
        raise InputError("the Ray cluster has no CPUs: add machines to it with ray start --address")
    check = ray.remote(num_cpus=0)(_check_engine)
    checks = {
        check.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
            engine_name
        ): node
        for node in nodes
    }
    for reference, node in checks.items():
        try:
            fault = ray.get(reference, timeout=SECONDS_TO_CHECK)
        except ray.exceptions.RayError as error:
            raise InputError(
                f"machine {node['NodeManagerHostname']} ({node['NodeManagerAddress']}) of the Ray cluster "
                f"cannot work ({_cause(error)}): give it the packages in requirements.txt"
            ) from error
        if fault is not None:
            raise fault


def _cause(error: Exception) -> str:
    """Return the last line of an error of Ray, which tells what happened there."""
    return str(error).strip().splitlines()[-1]


def _check_engine(engine_name: str) -> InputError | None:
    try:
        _start_engine(engine_name).close()
    except InputError as error:
        return error
    return None


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
            f"{machine} has {engine.name}, but here it is {engine_name}: results would differ; install the "
            "same there, or set STOCKFISH to it before ray start"
        )
    return engine


def _results(
    ray: Any, engine_name: str, function: Callable[[Any, Any], Any], items: Iterable[Any]
) -> Iterator[Any]:
    work = ray.remote(num_cpus=1, max_retries=MAX_RETRIES)(_work)
    waiting: deque[Any] = deque()
    counted = num_cpus = 0
    try:
        for item in items:
            if not counted or time.monotonic() > counted + SECONDS_BETWEEN_COUNTS:
                num_cpus = max(1, int(ray.cluster_resources().get("CPU", 0)))
                counted = time.monotonic()
            waiting.append(work.remote(function, engine_name, item))
            while len(waiting) >= ITEMS_PER_CPU * num_cpus:
                yield _result(ray, waiting.popleft())
        while waiting:
            yield _result(ray, waiting.popleft())
    finally:
        for reference in waiting:
            # An engine that is stopped in the middle of an item cannot go on with another.
            ray.cancel(reference, force=True)


def _result(ray: Any, reference: Any) -> Any:
    try:
        result = ray.get(reference)
    except ray.exceptions.RaySystemError as error:
        raise RuntimeError("the Ray cluster failed: its logs tell more") from error
    if isinstance(result, InputError):
        raise result
    return result


def _work(function: Callable[[Any, Any], Any], engine_name: str, item: Any) -> Any:
    """Work on an item in a process of Ray, with the engine that the process keeps for all of them."""
    global _worker
    if _worker is None:
        # It ends when this process does, since its input ends.
        _worker = EngineWorker(functools.partial(_start_engine, engine_name))
    return _worker.result(function, item)
