"""Train many models, each in a process of its own, several at a time.

What is finished is kept, and what was interrupted goes on from its newest checkpoint, so the same call again
completes what one before began. Ctrl-C has the runs save what they have.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from cli.errors import InputError
from configs.schema import Config, differences, load_run_config
from data.hub import pin
from training.run_folder import list_checkpoints
from training.run_log import format_seconds, read_metrics


REPOSITORY = Path(__file__).parents[1]
TRAIN = REPOSITORY / "train.py"
POLL_SECONDS = 0.2
POLLS_PER_REFRESH = 5
LONGEST_LINE = 300


@dataclass(frozen=True)
class Run:
    """A process that trains and leaves something in its folder; `num_steps` is how much it has to do."""

    folder: Path
    num_steps: int

    @property
    def command(self) -> list[str]:
        raise NotImplementedError

    @property
    def result(self) -> Path:
        """Return what a finished run leaves, written whole after the last step."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def is_finished(self) -> bool:
        return self.result.exists()

    @property
    def log(self) -> Path:
        return self.folder / "train.log"

    def steps_done(self) -> int:
        """Return the last step that was logged."""
        if self.is_finished:
            return self.num_steps
        return max((row["step"] for row in read_metrics(self.folder / "metrics.jsonl")), default=0)

    def seconds(self) -> float:
        """Return how long it has been trained, start of the process and evaluations included."""
        return sum(session["seconds"] for session in self.sessions())

    def sessions(self) -> list[dict]:
        """Return a row for every process that trained it: its seconds, status, threads and neighbours."""
        return read_metrics(self.folder / "sessions.jsonl")

    def add_session(self, session: dict) -> None:
        with (self.folder / "sessions.jsonl").open("a") as file:
            file.write(json.dumps(session) + "\n")

    def check_folder(self) -> None:
        """Raise InputError if something else is in the place of the folder."""
        if not self.folder.is_dir() and (self.folder.exists() or self.folder.is_symlink()):
            raise InputError(f"{self.folder} is not a folder, which a run needs: remove it")


@dataclass(frozen=True)
class TrainingRun(Run):
    """A run of train.py: its configuration, and its settings as key=value; its folder is its `output_dir`."""

    config: str
    settings: tuple[str, ...]

    @property
    def result(self) -> Path:
        return self.folder / "model"

    @property
    def command(self) -> list[str]:
        settings = [*self.settings, f"output_dir={self.folder}", "resume=true"]
        return [sys.executable, str(TRAIN), "--config", self.config, *settings]

    def check(self, config: Config) -> None:
        """Raise InputError if the folder holds a run started with other settings than these, or is none."""
        self.check_folder()
        if not self.is_finished and not list_checkpoints(self.folder):
            return
        changed = differences(config, self.folder / "config.yaml")
        # A run that goes on may find its data elsewhere, and checks what it holds; a finished one does not.
        trained_on = load_run_config(self.folder).data.train
        if self.is_finished and trained_on != pin(config.data.train):
            changed.append(f"data.train: {trained_on}, now {pin(config.data.train)}")
        if changed:
            raise InputError(
                f"{self.folder} was trained with other settings: {'; '.join(changed)}: choose another place, "
                "or delete it"
            )


class _Training:
    """A process that trains. Raises BlockingIOError if another one does."""

    def __init__(self, run: Run, processes: int, threads: int):
        self.run, self.started = run, time.perf_counter()
        self.shared_with = {"processes": processes, "threads": threads}
        run.folder.mkdir(parents=True, exist_ok=True)
        with run.log.open("ab") as log:
            # The process inherits the lock and holds it for as long as it lives, also after we were killed.
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.log_start = log.tell()
            self.process = subprocess.Popen(
                run.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"OMP_NUM_THREADS": str(threads)},
                # Ctrl-C in the terminal is for us; a second signal would end it without saving.
                start_new_session=True,
            )

    def ended(self) -> bool:
        """Tell whether the process has ended, and note how long it took."""
        if self.process.poll() is None:
            return False
        seconds = round(time.perf_counter() - self.started, 3)
        self.run.add_session({"seconds": seconds, "status": self.process.returncode} | self.shared_with)
        return True

    def failure(self) -> str:
        """Return the last line that the process wrote, or its status if it wrote none."""
        with self.run.log.open("rb") as log:
            log.seek(self.log_start)
            lines = log.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "").removeprefix("error: ")
        if self.process.returncode < 0:
            name = signal.Signals(-self.process.returncode).name
            last = f"ended by {name}" + (f" after: {last}" if last else "")
        return (last or f"ended with status {self.process.returncode}")[:LONGEST_LINE]


def train_runs(runs: Sequence[Run], processes: int, threads: int) -> dict[str, str]:
    """Train the runs that are not finished, with a progress bar; return the last lines of those that failed.

    `processes` are trained at a time, with so many `threads` each. Raises KeyboardInterrupt when it is
    interrupted, after the runs have saved what they have.
    """
    waiting = deque(run for run in runs if not run.is_finished)
    running: list[_Training] = []
    failures: dict[str, str] = {}
    is_elsewhere: set[str] = set()
    num_polls = 0
    with (
        _noted_signals() as interruptions,
        _ended_with_us(running),
        tqdm(
            total=sum(run.num_steps for run in runs),
            initial=sum(run.steps_done() for run in runs),
            unit=" steps",
            desc="training",
            disable=None,
        ) as bar,
    ):
        while waiting or running:
            for _ in range(len(waiting)):
                if len(running) == processes:
                    break
                run = waiting.popleft()
                if run.is_finished:
                    continue
                try:
                    running.append(_Training(run, processes, threads))
                except BlockingIOError:
                    # Its process outlived the one that started it.
                    if run.name not in is_elsewhere:
                        tqdm.write(f"{run.name} is being trained by another process: waiting for it")
                        is_elsewhere.add(run.name)
                    waiting.append(run)
            time.sleep(POLL_SECONDS)
            if interruptions:
                raise KeyboardInterrupt
            for training in [training for training in running if training.ended()]:
                running.remove(training)
                run = training.run
                if run.is_finished:
                    num_ended = len(runs) - len(waiting) - len(running)
                    took = format_seconds(run.seconds())
                    tqdm.write(f"{num_ended}/{len(runs)}  {run.name} is trained, {took}")
                else:
                    failures[run.name] = training.failure()
                    tqdm.write(f"{run.name} failed: {failures[run.name]}")
            num_polls += 1
            if num_polls % POLLS_PER_REFRESH == 0 or not running:
                bar.update(sum(run.steps_done() for run in runs) - bar.n)
    return failures


@contextmanager
def _ended_with_us(running: list[_Training]) -> Iterator[None]:
    """Have the processes save and end if the block does not come to its end."""
    try:
        yield
    except BaseException:
        # Not SIGINT, to which what a shell starts in the background is deaf.
        for training in running:
            training.process.terminate()
        try:
            for training in running:
                training.process.wait()
        finally:
            for training in running:
                training.process.kill()
            for training in running:
                training.process.wait()
                training.ended()
        raise


@contextmanager
def _noted_signals() -> Iterator[list[int]]:
    """Note Ctrl-C, SIGTERM and the end of the terminal in a list; a second one raises KeyboardInterrupt.

    Raised at once, the first could come between the start of a process and knowing of it. Signals that are
    ignored stay so.
    """
    noted: list[int] = []

    def note(number: int, frame: object) -> None:
        noted.append(number)
        if len(noted) > 1:
            raise KeyboardInterrupt

    earlier = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        for number, handler in earlier.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, note)
        yield noted
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
