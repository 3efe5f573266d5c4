"""Train many models, each in a process of its own, several at a time.

Finished runs are kept and interrupted ones continue from their newest checkpoint, so the same call completes
what an earlier one began.
"""

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from cli.errors import InputError
from training.run_log import read_metrics


POLL_SECONDS = 0.5
MAX_LINE_LENGTH = 300


@dataclass(frozen=True)
class Run:
    """A process that trains in `folder` for `num_steps` steps and leaves `result` when it has finished."""

    folder: Path
    command: tuple[str, ...]
    result: Path
    num_steps: int

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def is_finished(self) -> bool:
        return self.result.exists()

    def steps_done(self) -> int:
        if self.is_finished:
            return self.num_steps
        return max((row["step"] for row in read_metrics(self.folder / "metrics.jsonl")), default=0)


def train_runs(runs: Sequence[Run], processes: int, threads: int) -> dict[str, str]:
    """Train the unfinished runs; return the last line of each run that failed, by its name.

    `processes` runs train at a time, with `threads` threads each. On Ctrl-C, SIGTERM and SIGHUP they save
    checkpoints and end, before KeyboardInterrupt is raised with how to continue.
    """
    waiting = [run for run in runs if not run.is_finished]
    print(
        f"{len(runs)} cells, {len(runs) - len(waiting)} of them trained already; "
        f"logs are in {runs[0].folder.parent}/*/train.log",
        flush=True,
    )
    running: dict[Run, subprocess.Popen] = {}
    failures: dict[str, str] = {}
    bar = tqdm(total=sum(run.num_steps for run in runs), unit=" steps", desc="training", disable=None)
    bar.update(sum(run.steps_done() for run in runs))
    with bar, _ended_on_interrupt(runs, running):
        while waiting or running:
            while waiting and len(running) < processes:
                run = waiting.pop(0)
                running[run] = _start(run, threads)
            time.sleep(POLL_SECONDS)
            for run, process in list(running.items()):
                if process.poll() is None:
                    continue
                del running[run]
                if run.is_finished:
                    tqdm.write(
                        f"{len(runs) - len(waiting) - len(running)}/{len(runs)}  {run.name} is trained"
                    )
                else:
                    failures[run.name] = _last_line(run, process.returncode)
                    tqdm.write(f"{run.name} failed: {failures[run.name]}")
            bar.update(sum(run.steps_done() for run in runs) - bar.n)
    return failures


def _start(run: Run, threads: int) -> subprocess.Popen:
    run.folder.mkdir(parents=True, exist_ok=True)
    with (run.folder / "train.log").open("a") as log:
        try:
            # The process inherits the lock, and holds it even if this process is killed.
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"{run.folder} is in use by another process: wait for it, or end it") from None
        return subprocess.Popen(
            run.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            start_new_session=True,  # Ctrl-C in the terminal reaches this process alone
        )


def _last_line(run: Run, status: int) -> str:
    """Return the last line that a failed run printed, with the signal that ended it, if any."""
    lines = (run.folder / "train.log").read_text(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "no output").removeprefix(
        "error: "
    )
    ended = f"ended by {signal.Signals(-status).name} after: " if status < 0 else ""
    return f"{ended}{last}"[:MAX_LINE_LENGTH]


@contextmanager
def _ended_on_interrupt(runs: Sequence[Run], running: dict[Run, subprocess.Popen]) -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into KeyboardInterrupt; if the block raises, end the running processes."""
    numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]
    handlers = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    except BaseException as error:
        # A shell makes its background processes ignore SIGINT.
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()
        if isinstance(error, KeyboardInterrupt):
            num_trained = sum(run.is_finished for run in runs)
            raise KeyboardInterrupt(
                f"{num_trained} of {len(runs)} cells are trained; the same command continues"
            ) from None
        raise
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
