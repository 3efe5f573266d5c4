"""Training many models: several at a time, each once, what fails is named, and nothing is left running."""

import fcntl
import os
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from studies.train_runs import TrainingRun, train_runs


@dataclass(frozen=True)
class Scripted(TrainingRun):
    """A run that does something else than training."""

    script: str = ""

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-S", "-c", self.script, str(self.folder)]


FINISH = "import os, sys; os.mkdir(sys.argv[1] + '/model'); print(os.environ['OMP_NUM_THREADS'])"


def run_of(folder: Path, script: str = FINISH) -> Scripted:
    return Scripted(folder, 10, "wordle_tiny.yaml", (), script)


def test_every_run_is_trained_once_and_then_kept(tmp_path, capsys):
    runs = [run_of(tmp_path / name) for name in "abc"]
    for _ in range(2):
        assert train_runs(runs[:2], processes=2, threads=3) == {}
    assert [run.is_finished for run in runs] == [True, True, False]
    assert runs[0].log.read_text() == "3\n" and runs[0].steps_done() == 10
    assert runs[0].seconds() > 0 and runs[2].seconds() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("is trained")[0] for line in sorted(line[3:] for line in lines)] == ["  a ", "  b "]
    assert train_runs(runs, processes=1, threads=1) == {}
    assert runs[2].is_finished and capsys.readouterr().out.startswith("3/3  c is trained, ")


@pytest.mark.parametrize(
    ("script", "line"),
    [
        ("print('started'); print('error: no such file'); print(); raise SystemExit(2)", "no such file"),
        ("raise ValueError('what happened')", "ValueError: what happened"),
        ("raise SystemExit(7)", "ended with status 7"),
        ("pass", "ended with status 0"),
        ("import os; print('step 3', flush=True); os.kill(os.getpid(), 9)", "ended by SIGKILL after: step 3"),
        ("import os; os.kill(os.getpid(), 9)", "ended by SIGKILL"),
        ("print('x' * 1000); raise SystemExit(1)", "x" * 300),
    ],
)
def test_a_failed_run_is_named_with_its_last_line_and_the_others_go_on(tmp_path, capsys, script, line):
    failing, other = run_of(tmp_path / "failing", script), run_of(tmp_path / "other")
    failing.folder.mkdir()
    failing.log.write_text("a line of an earlier time\n")
    assert train_runs([failing, other], processes=1, threads=1) == {"failing": line}
    assert other.is_finished
    assert f"failing failed: {line}\n" in capsys.readouterr().out


def test_as_many_run_at_a_time_as_asked_for(tmp_path):
    # Each waits until it sees another; alone they would wait for ever.
    script = "import os, sys, time, glob\nopen(sys.argv[1] + '/here', 'w')\n"
    script += "while len(glob.glob(sys.argv[1] + '/../*/here')) < 2: time.sleep(0.01)\n" + FINISH
    assert train_runs([run_of(tmp_path / name, script) for name in "ab"], processes=2, threads=1) == {}


def test_a_run_that_another_process_trains_is_waited_for(tmp_path, capsys):
    run = run_of(tmp_path / "a", "raise SystemExit('trained twice')")
    run.folder.mkdir()
    with run.log.open("ab") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        timer = threading.Timer(0.5, (run.folder / "model").mkdir)
        timer.start()
        assert train_runs([run], processes=1, threads=1) == {}
        timer.join()
    assert capsys.readouterr().out == "a is being trained by another process: waiting for it\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupting_has_the_runs_save_what_they_have(tmp_path, monkeypatch, number):
    # What a shell starts in the background ignores SIGINT, and so does what that starts.
    script = "import signal, sys, os, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    script += "def save(*_): open(sys.argv[1] + '/saved', 'w'); sys.exit(143)\n"
    script += "signal.signal(signal.SIGTERM, save)\n"
    script += f"open(sys.argv[1] + '/here', 'w'); os.kill({os.getpid()}, {int(number)})\n"
    script += "time.sleep(600)"
    run = run_of(tmp_path / "a", script)
    handlers = [signal.getsignal(other) for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    before = set(psutil.Process().children())
    with pytest.raises(KeyboardInterrupt):
        train_runs([run], processes=1, threads=1)
    assert (run.folder / "saved").exists() and set(psutil.Process().children()) <= before
    assert handlers == [signal.getsignal(other) for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert run.seconds() > 0


def test_a_second_interruption_does_not_wait(tmp_path):
    script = "import signal, os, time\nfor n in (2, 15): signal.signal(n, signal.SIG_IGN)\n"
    script += f"while True: os.kill({os.getpid()}, 2); time.sleep(1)"
    before = set(psutil.Process().children())
    with pytest.raises(KeyboardInterrupt):
        train_runs([run_of(tmp_path / "a", script)], processes=1, threads=1)
    assert set(psutil.Process().children()) <= before
