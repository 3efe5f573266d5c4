"""Checkpoints can be trusted: whatever ends a run, the next one continues from the newest that is whole."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.support.commands import assert_input_error, run_checked, run_command, start_command
from tests.support.training_runs import read_losses, start_processes
from training.checkpoints import Interruption, find_damage
from training.run_folder import list_checkpoints


@pytest.fixture(scope="module")
def arguments(settings) -> list[str]:
    return [*settings, "training.steps=12", "evaluation.every=100"]


@pytest.fixture(scope="module")
def whole_run(arguments, tmp_path_factory) -> Path:
    output_dir = tmp_path_factory.mktemp("whole") / "run"
    run_checked("train", *arguments, f"output_dir={output_dir}", "checkpoint.keep=3")
    return output_dir


def names(output_dir: Path) -> list[str]:
    return sorted(path.name for path in (output_dir / "checkpoints").iterdir())


@pytest.mark.slow
def test_checkpoints_hold_what_their_checksums_say(whole_run):
    assert names(whole_run) == ["step_0000004", "step_0000008", "step_0000012"]
    for checkpoint in list_checkpoints(whole_run):
        assert sorted(path.name for path in checkpoint.iterdir()) == [
            "SHA256SUMS",
            "average.safetensors",
            "model.safetensors",
            "optimizer.safetensors",
            "state.json",
        ]
        assert find_damage(checkpoint) is None
        subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=checkpoint, check=True)


def truncate(checkpoint: Path) -> None:
    os.truncate(checkpoint / "model.safetensors", 1000)


def flip_a_bit(checkpoint: Path) -> None:
    content = bytearray((checkpoint / "optimizer.safetensors").read_bytes())
    content[-1] ^= 1
    (checkpoint / "optimizer.safetensors").write_bytes(content)


def delete_a_file(checkpoint: Path) -> None:
    (checkpoint / "average.safetensors").unlink()


def delete_the_sums(checkpoint: Path) -> None:
    (checkpoint / "SHA256SUMS").unlink()


def cut_the_sums(checkpoint: Path) -> None:
    sums = (checkpoint / "SHA256SUMS").read_text().splitlines(keepends=True)
    (checkpoint / "SHA256SUMS").write_text("".join(sums[:-1]))


def empty_the_sums(checkpoint: Path) -> None:
    (checkpoint / "SHA256SUMS").write_text("")


def garble_the_sums(checkpoint: Path) -> None:
    (checkpoint / "SHA256SUMS").write_bytes(b"\xff\x00")


@pytest.mark.parametrize(
    "damage",
    [truncate, flip_a_bit, delete_a_file, delete_the_sums, cut_the_sums, empty_the_sums, garble_the_sums],
)
def test_any_damage_is_found(whole_run, tmp_path, damage):
    checkpoint = tmp_path / "step_0000008"
    shutil.copytree(whole_run / "checkpoints/step_0000008", checkpoint)
    assert find_damage(checkpoint) is None
    damage(checkpoint)
    assert find_damage(checkpoint)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_used(arguments, whole_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole_run, run)
    shutil.rmtree(run / "model")
    truncate(run / "checkpoints/step_0000012")
    flip_a_bit(run / "checkpoints/step_0000008")
    printed = run_checked("train", *arguments, f"output_dir={run}", "resume=true", "checkpoint.keep=3")
    assert "step_0000012 is damaged (model.safetensors has changed): now" in printed
    assert "step_0000008 is damaged (optimizer.safetensors has changed): now" in printed
    assert "continued after step 4" in printed
    assert names(run) == [
        "step_0000004",
        "step_0000008",
        "step_0000008.damaged",
        "step_0000012",
        "step_0000012.damaged",
    ]
    assert read_losses(run) == read_losses(whole_run)
    weights = "model/model.safetensors"
    assert (run / weights).read_bytes() == (whole_run / weights).read_bytes()


def test_a_run_whose_checkpoints_are_all_damaged_does_not_begin_again(arguments, whole_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole_run, run)
    for checkpoint in list_checkpoints(run):
        truncate(checkpoint)
    log = (run / "metrics.jsonl").read_bytes()
    result = run_command("train", *arguments, f"output_dir={run}", "resume=true")
    assert_input_error(result, "all checkpoints of", "are damaged", "output_dir=FOLDER starts another run")
    again = run_command("train", *arguments, f"output_dir={run}", "resume=true")
    assert again.returncode == 2, "the second time, too"
    assert (run / "metrics.jsonl").read_bytes() == log and (run / "model").exists()


@pytest.mark.parametrize(("is_launched", "num_signals"), [(False, 1), (True, 2)])
def test_ctrl_c_ends_at_once_after_it_was_recorded(monkeypatch, is_launched, num_signals):
    """torch's launcher passes Ctrl-C on to its processes, so that they get it twice."""
    if is_launched:
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    interruption = Interruption()
    try:
        for _ in range(num_signals):
            assert signal.getsignal(signal.SIGINT) == interruption._record
            os.kill(os.getpid(), signal.SIGINT)
            assert interruption.signal == signal.SIGINT
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
    finally:
        interruption.restore()


@pytest.mark.slow
def test_a_run_killed_while_it_saves_loses_nothing_that_was_saved(arguments, tmp_path):
    """Killed when a checkpoint is half written, it still comes to its end, and to the same losses."""
    slow = [*arguments, "model.hidden_size=256", "checkpoint.every=1", "training.steps=6"]
    slow += ["evaluation.boards=8"]
    run_checked("train", *slow, f"output_dir={tmp_path}/whole")
    run = tmp_path / "run"
    process = start_command("train", *slow, f"output_dir={run}", "checkpoint.keep=10")
    while process.poll() is None and not (
        list_checkpoints(run) and list(run.glob("checkpoints/.step_*.unfinished"))
    ):
        pass
    process.kill()
    process.communicate()
    assert list(run.glob("checkpoints/.step_*.unfinished")), "it was killed in the middle of a checkpoint"
    assert all(find_damage(checkpoint) is None for checkpoint in list_checkpoints(run))
    printed = run_checked("train", *slow, f"output_dir={run}", "resume=true", "checkpoint.keep=10")
    assert re.search(r"continued after step [1-6]\n", printed)
    assert read_losses(run) == read_losses(tmp_path / "whole")
    assert not list(run.glob("checkpoints/.*"))


def with_room_for_files_of(num_bytes: int, *arguments: object) -> subprocess.CompletedProcess:
    """Run training where no file can grow beyond so many bytes, as on a disk that is full."""
    process = start_command("train", *arguments)
    psutil.Process(process.pid).rlimit(psutil.RLIMIT_FSIZE, (num_bytes, num_bytes))
    stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


@pytest.mark.slow
def test_a_full_disk_ends_the_run_and_leaves_the_earlier_checkpoints(arguments, whole_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole_run, run)
    shutil.rmtree(run / "model")
    shutil.rmtree(run / "checkpoints/step_0000012")
    largest = (run / "checkpoints/step_0000008/optimizer.safetensors").stat().st_size
    command = [*arguments, f"output_dir={run}", "resume=true", "checkpoint.keep=3"]
    result = with_room_for_files_of(largest - 1, *command)
    assert_input_error(result, "step_0000012 cannot be written", "earlier checkpoints are unchanged")
    assert names(run) == ["step_0000004", "step_0000008"] and not (run / "model").exists()
    assert all(find_damage(checkpoint) is None for checkpoint in list_checkpoints(run))
    # Where not even a line can be written, the run's settings are not lost either.
    full = with_room_for_files_of(1, *command)
    assert_input_error(full, "no space is left")
    run_checked("train", *command)
    assert read_losses(run) == read_losses(whole_run)


@pytest.mark.slow
def test_a_full_disk_ends_all_processes(arguments, whole_run, tmp_path):
    run = tmp_path / "run"
    # A file stands where the folder of checkpoints would be made, which fails for the main process alone.
    processes = start_processes([*arguments, f"output_dir={run}", "checkpoint.every=12"], "ddp")
    for line in processes[0].stdout:
        if "step  1/12" in line:
            (run / "checkpoints").write_text("")
            break
    errors = "".join(process.communicate(timeout=300)[1] for process in processes)
    assert all(process.returncode != 0 for process in processes)
    assert len(re.findall(r"error: .*step_0000012 cannot be written", errors)) == 1
    assert not (run / "model").exists()


@pytest.mark.slow
def test_the_newest_and_those_of_every_so_many_steps_are_kept(arguments, tmp_path):
    changes = ["checkpoint.every=2", "checkpoint.keep=2", "checkpoint.keep_every=4"]
    run_checked("train", *arguments, f"output_dir={tmp_path}/run", *changes)
    assert names(tmp_path / "run") == ["step_0000004", "step_0000008", "step_0000010", "step_0000012"]
