import functools
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import chess
import psutil
import pyarrow.parquet as pq
import pytest
import ray
from ray.cluster_utils import Cluster

from cli.errors import InputError
from data.chess.annotate import label
from data.chess.engine_work import Skipped
from data.chess.ray_work import ITEMS_PER_CPU, ray_results_in_order
from data.chess.stockfish import EngineCrash, Stockfish, find_stockfish
from tests.support.commands import REPOSITORY, assert_input_error, run_command, start_command
from tests.support.programs import needs


pytestmark = needs("stockfish")


ANNOTATE = "data.chess.annotate"
OBJECT_STORE = 100_000_000


@pytest.fixture(scope="module", autouse=True)
def own_home(tmp_path_factory):
    """Keep the token that Ray makes for its own processes out of the home folder."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def engine_name():
    with Stockfish() as engine:
        return engine.name


@pytest.fixture(scope="module")
def fens(tmp_path_factory):
    """Write a list of 60 positions, each of the first plies of a game."""
    board, fens = chess.Board(), []
    while len(fens) < 60:
        fens.append(board.fen())
        board.push(sorted(board.legal_moves, key=chess.Move.uci)[len(fens) * 7 % board.legal_moves.count()])
        if board.is_game_over():
            board = chess.Board()
            board.push_uci("e2e4")
    path = tmp_path_factory.mktemp("positions") / "fens.txt"
    path.write_text("\n".join(fens))
    return path


@pytest.fixture(scope="module")
def expected(fens, tmp_path_factory):
    """Label the list on this machine, without Ray."""
    output = tmp_path_factory.mktemp("expected") / "boards.parquet"
    result = run_command(ANNOTATE, *arguments(fens, output), "--processes", 1)
    assert result.returncode == 0, result.stderr
    return output.read_bytes()


@pytest.fixture
def two_machines():
    """Start a cluster of two machines with a CPU each, and a third, its head, that does not work."""
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": OBJECT_STORE}
    )
    machines = [cluster.add_node(num_cpus=1, object_store_memory=OBJECT_STORE) for _ in range(2)]
    cluster.wait_for_nodes()
    yield cluster, machines
    ray.shutdown()
    cluster.shutdown()


def arguments(positions, output):
    return ["--positions", positions, "--output", output, "--nodes-per-move", 50]


def other_stockfish(folder: Path) -> Path:
    """Write a program that is Stockfish under another name."""
    program = folder / "other_stockfish"
    program.write_text(f"#!/bin/sh\n{find_stockfish()} | sed -u 's/^id name .*/id name Otherfish 1/'\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


@pytest.mark.slow
def test_ray_gives_the_same_file_as_processes(fens, expected, tmp_path):
    output = tmp_path / "boards.parquet"
    result = run_command(ANNOTATE, *arguments(fens, output), "--ray", "local", "--processes", 2)
    assert result.returncode == 0, result.stderr
    assert output.read_bytes() == expected
    assert "labelling: 100%" in result.stderr
    assert "Ray" not in result.stderr and "WARN" not in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["boards.parquet"]


@pytest.mark.slow
def test_selfplay_on_ray_gives_the_same_file_as_processes(tmp_path):
    outputs = [tmp_path / "processes.parquet", tmp_path / "ray.parquet"]
    for output, more in zip(outputs, ([], ["--ray", "local"]), strict=True):
        selfplay = [*arguments("selfplay", output), "--boards", 10, "--seed", 3, "--processes", 2]
        result = run_command(ANNOTATE, *selfplay, *more)
        assert result.returncode == 0, result.stderr
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


@pytest.mark.slow
def test_a_machine_lost_in_the_middle_changes_nothing(fens, expected, tmp_path, two_machines):
    cluster, machines = two_machines
    output = tmp_path / "boards.parquet"
    process = start_command(ANNOTATE, *arguments(fens, output), "--ray", cluster.address)
    log = tmp_path / "boards.parquet.partial" / "labels.jsonl"
    while not (log.exists() and log.read_bytes().count(b"\n") >= 3):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.002)
    # It is killed, with all its processes.
    cluster.remove_node(machines[0], allow_graceful=False)
    stderr = process.communicate()[1]
    assert process.returncode == 0, stderr
    assert output.read_bytes() == expected


@pytest.mark.slow
def test_what_a_lost_machine_was_doing_is_done_by_others(engine_name, tmp_path, two_machines):
    cluster, machines = two_machines
    doomed = machines[0].node_id
    started = tmp_path / "started"

    def square(engine, item):
        if ray.get_runtime_context().get_node_id() == doomed:
            started.write_text(str(item))
            threading.Event().wait()
        return item**2

    def kill():
        while not started.exists():
            time.sleep(0.01)
        cluster.remove_node(machines[0], allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    with ray_results_in_order(cluster.address, 1, engine_name) as results:
        assert list(results(square, range(40))) == [item**2 for item in range(40)]
    killer.join()


@pytest.mark.slow
def test_results_of_local_ray(engine_name, tmp_path):
    """One Ray for several promises, since it takes seconds to start."""
    crashes = tmp_path / "crashes"
    crashes.mkdir()

    def crash_on_three_and_five(engine, item):
        (crashes / f"{item} {time.monotonic_ns()}").touch()
        num_attempts = len(list(crashes.glob(f"{item} *")))
        if item == 3 or (item == 5 and num_attempts < 3):
            raise EngineCrash("the engine died")
        return item

    def refuse_seven(engine, item):
        if item == 7:
            raise InputError("seven is not liked")
        return item

    def fault(engine, item):
        raise ZeroDivisionError

    def items():
        for item in range(1000):
            taken.append(item)
            yield item

    with ray_results_in_order("local", 2, engine_name) as results:
        # Order, and engines that crash.
        skipped = Skipped("the engine died")
        assert list(results(crash_on_three_and_five, range(8))) == [0, 1, 2, skipped, 4, 5, 6, 7]
        # Bad input is raised here, after all results before it.
        seen = []
        with pytest.raises(InputError, match="seven is not liked"):
            for result in results(refuse_seven, range(20)):
                seen.append(result)
        assert seen == list(range(7))
        # A fault of the program is no result either.
        with pytest.raises(ZeroDivisionError):
            list(results(fault, range(3)))
        # A slow consumer limits the number of items taken.
        taken = []
        slow = results(refuse_seven, (item + 10 for item in items()))
        assert taken == []
        for num_results in range(1, 50):
            assert next(slow) == num_results + 9
            assert len(taken) < num_results + 2 * ITEMS_PER_CPU
        slow.close()
        # Every process has its own engine, and labels are those of `label`.
        fen = chess.STARTING_FEN
        with Stockfish() as engine:
            expected = label(engine, fen, 50)
        assert list(results(functools.partial(label, nodes_per_move=50), [fen] * 3)) == [expected] * 3
        # Ended, Ray leaves no engine behind.
        (worker,) = results(lambda engine, item: engine._process.pid, [0])
        assert psutil.pid_exists(worker)
        suspended = results(lambda engine, item: item, range(100))
        assert next(suspended) == 0
    suspended.close()  # after Ctrl-C between two results too, Ray ends first
    while psutil.pid_exists(worker):
        time.sleep(0.01)


@pytest.mark.slow
def test_a_machine_with_another_engine_is_named(fens, tmp_path):
    output = tmp_path / "boards.parquet"
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": OBJECT_STORE}
    )
    other = {"STOCKFISH": str(other_stockfish(tmp_path))}
    try:
        cluster.add_node(num_cpus=1, object_store_memory=OBJECT_STORE, env_vars=other)
        result = run_command(ANNOTATE, *arguments(fens, output), "--ray", cluster.address)
    finally:
        cluster.shutdown()
    assert result.returncode == 2
    line = result.stderr.splitlines()[-1]
    assert line.startswith("error: machine") and "has Otherfish 1, but this machine has Stockfish" in line
    assert not output.exists()


@pytest.mark.slow
def test_ctrl_c_ends_ray_and_keeps_the_finished_part(fens, expected, tmp_path):
    output = tmp_path / "boards.parquet"
    log = tmp_path / "boards.parquet.partial" / "labels.jsonl"
    process = start_command(ANNOTATE, *arguments(fens, output), "--ray", "local", "--processes", 1)
    while not (log.exists() and log.read_bytes().count(b"\n") >= 3):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    stderr = process.communicate()[1]
    assert process.returncode == 130, stderr
    message = f"interrupted: {log.parent} keeps the finished part; the same command continues"
    assert stderr.splitlines()[-1] == message
    assert "Traceback" not in stderr
    # Without Ray it continues.
    assert run_command(ANNOTATE, *arguments(fens, output), "--processes", 2).returncode == 0
    assert output.read_bytes() == expected
    assert pq.read_table(output).num_rows == 60


@pytest.mark.parametrize(
    "address, message",
    [
        ("127.0.0.1:1", "no answer from there"),
        ("ray://127.0.0.1:1", "no answer from there"),
        ("auto", "Could not find any running Ray instance"),
        ("somewhere", "must be local, auto, HOST:PORT or ray://HOST:PORT"),
        ("127.0.0.1:x", "must be local, auto, HOST:PORT or ray://HOST:PORT"),
        ("127.0.0.1:99999", "no answer from there"),
    ],
)
def test_without_a_cluster_at_the_address_nothing_is_begun(address, message, fens, tmp_path):
    result = run_command(ANNOTATE, *arguments(fens, tmp_path / "boards.parquet"), "--ray", address)
    assert_input_error(result, f"--ray {address}", message)
    assert list(tmp_path.iterdir()) == []


def test_without_the_package_ray_the_error_says_how_to_get_it(fens, tmp_path):
    (tmp_path / "ray.py").write_text("raise ImportError\n")
    command = [*arguments(fens, "boards.parquet"), "--ray", "local"]
    result = subprocess.run(
        [sys.executable, "-m", ANNOTATE, *map(str, command)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{REPOSITORY}"},
        capture_output=True,
        text=True,
    )
    assert_input_error(result, "--ray needs the package ray: pip install ray")
    assert list(tmp_path.glob("boards*")) == []


def test_machines_without_the_repository_import_what_is_sent_to_them(tmp_path):
    for package in ("data", "cli"):
        (tmp_path / package).symlink_to(REPOSITORY / package)
    done = subprocess.run(
        [sys.executable, "-c", "import data.chess.ray_work, data.chess.annotate"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
