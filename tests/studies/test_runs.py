"""The runner: every run is trained once, failures are named, and nothing is left running."""

import fcntl
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from cli.errors import InputError
from studies.runs import Run, train_runs


FINISH = "import os, sys; os.mkdir(sys.argv[1] + '/model'); print(os.environ['OMP_NUM_THREADS'])"


def run_of(folder: Path, script: str = FINISH) -> Run:
    """Return a run of a script, which is given its folder."""
    return Run(folder, (sys.executable, "-S", "-c", script, str(folder)), folder / "model", 10)


def test_every_run_is_trained_once_and_then_kept(tmp_path, capsys):
    runs = [run_of(tmp_path / name) for name in "abc"]
    for _ in range(2):
        assert train_runs(runs[:2], processes=2, threads=3) == {}
    assert [run.is_finished for run in runs] == [True, True, False]
    assert (runs[0].folder / "train.log").read_text() == "3\n" and runs[0].steps_done() == 10
    printed = capsys.readouterr().out
    assert "2 cells, 0 of them trained already" in printed and "2 cells, 2 of them trained already" in printed
    assert printed.count("is trained\n") == 2
    assert train_runs(runs, processes=1, threads=1) == {}
    assert "3/3  c is trained\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("script", "line"),
    [
        ("print('started'); print('error: no such file'); print(); raise SystemExit(2)", "no such file"),
        ("raise ValueError('too wide')", "ValueError: too wide"),
        ("raise SystemExit(7)", "no output"),
        ("import os; print('step 3', flush=True); os.kill(os.getpid(), 9)", "ended by SIGKILL after: step 3"),
        ("print('x' * 1000); raise SystemExit(1)", "x" * 300),
    ],
)
def test_a_failed_run_is_named_with_its_last_line_and_the_others_continue(tmp_path, capsys, script, line):
    failing, other = run_of(tmp_path / "failing", script), run_of(tmp_path / "other")
    assert train_runs([failing, other], processes=1, threads=1) == {"failing": line}
    assert other.is_finished
    assert f"failing failed: {line}\n" in capsys.readouterr().out


def test_as_many_run_at_a_time_as_asked_for(tmp_path):
    # Each waits for the other; one alone would never end.
    script = "import os, sys, time, glob\nopen(sys.argv[1] + '/here', 'w')\n"
    script += "while len(glob.glob(sys.argv[1] + '/../*/here')) < 2: time.sleep(0.01)\n" + FINISH
    assert train_runs([run_of(tmp_path / name, script) for name in "ab"], processes=2, threads=1) == {}


def test_a_run_of_another_process_is_left_alone(tmp_path):
    run = run_of(tmp_path / "a", "raise SystemExit('trained twice')")
    run.folder.mkdir()
    with (run.folder / "train.log").open("a") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="a is in use by another process"):
            train_runs([run], processes=1, threads=1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_on_a_signal_the_runs_save_and_end(tmp_path, number):
    # A shell makes its background processes ignore SIGINT.
    script = "import signal, sys, os, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    script += "def save(*_): open(sys.argv[1] + '/saved', 'w'); sys.exit(143)\n"
    script += f"signal.signal(signal.SIGTERM, save)\nos.kill({os.getpid()}, {int(number)})\ntime.sleep(600)"
    run = run_of(tmp_path / "a", script)
    handlers = [signal.getsignal(other) for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    before = set(psutil.Process().children())
    with pytest.raises(KeyboardInterrupt, match="0 of 1 cells are trained; the same command continues"):
        train_runs([run], processes=1, threads=1)
    assert (run.folder / "saved").exists() and set(psutil.Process().children()) <= before
    assert handlers == [signal.getsignal(other) for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
