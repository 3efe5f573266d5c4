import os
import signal
import subprocess
import sys

import pytest

from cli.errors import InputError, command
from cli.files import atomic_write, check_output
from tests.support.commands import REPOSITORY


def test_a_file_appears_only_when_the_block_has_succeeded(tmp_path):
    target = tmp_path / "new" / "rows.parquet"
    with atomic_write(target) as unfinished:
        unfinished.write_text("half")
        assert not target.exists()
        assert unfinished.suffix == ".parquet"
    assert target.read_text() == "half"
    assert list(target.parent.iterdir()) == [target]


def test_a_failure_leaves_the_earlier_file_and_nothing_else(tmp_path):
    target = tmp_path / "rows.parquet"
    target.write_text("earlier")
    with pytest.raises(ZeroDivisionError), atomic_write(target) as unfinished:
        unfinished.write_text("half")
        raise ZeroDivisionError
    assert target.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "arrays"
    target.mkdir()
    (target / "old").touch()
    with atomic_write(target) as unfinished:
        unfinished.mkdir()
        (unfinished / "new").touch()
    assert [path.name for path in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_failure_removes_an_unfinished_folder(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic_write(tmp_path / "arrays") as unfinished:
        unfinished.mkdir()
        (unfinished / "half").touch()
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_file_does_not_replace_a_folder(tmp_path):
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "letter").touch()
    with pytest.raises(OSError), atomic_write(folder) as unfinished:
        unfinished.touch()
    assert [path.name for path in tmp_path.iterdir()] == ["documents"]
    assert (folder / "letter").exists()
    with pytest.raises(InputError, match="is a folder"):
        check_output(folder, overwrite=True)
    with pytest.raises(InputError, match="/dev/null is a device or pipe"):
        check_output("/dev/null", overwrite=True)
    with pytest.raises(InputError, match="letter is a file, not a folder"):
        check_output(folder / "letter" / "page", overwrite=True)


def test_looking_whether_a_file_can_be_written_changes_nothing(tmp_path):
    earlier = tmp_path / "earlier.json"
    earlier.write_text("{}")
    before = earlier.stat()
    check_output(earlier, overwrite=True)
    assert (earlier.read_text(), earlier.stat().st_mtime_ns) == ("{}", before.st_mtime_ns)
    check_output(tmp_path / "new" / "folder" / "rows.parquet", overwrite=False)
    assert list(tmp_path.iterdir()) == [earlier]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        # Nobody can write there, also root.
        pytest.param(
            "/proc/rows.json", ".*", marks=pytest.mark.skipif(sys.platform != "linux", reason="Linux")
        ),
        pytest.param("/proc/a/b", ".*", marks=pytest.mark.skipif(sys.platform != "linux", reason="Linux")),
        ("x" * 300, "File name too long"),
    ],
)
def test_a_place_that_cannot_be_written_is_named_with_the_reason(tmp_path, name, reason):
    path = tmp_path / name
    with pytest.raises(InputError, match=f"{path} cannot be written: {reason}; choose another file"):
        check_output(path, overwrite=True)
    assert list(tmp_path.iterdir()) == []


def run_python(*arguments: str, **settings: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments], stderr=subprocess.PIPE, text=True, cwd=REPOSITORY, **settings
    )


@pytest.mark.parametrize("buffering", [(), ("-u",)])
@pytest.mark.parametrize("main", ["lambda: print('short')", "lambda: print('long' * 100_000)"])
def test_a_reader_that_has_read_enough_ends_a_command_quietly(main, buffering):
    read, write = os.pipe()
    os.close(read)
    code = f"import sys; from cli.errors import *; command({main})"
    done = run_python(*buffering, "-c", code, stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_command_can_be_run_with_stdout_closed():
    code = "import os; os.close(1); os.execvp(os.sys.executable, ['python', '-c', os.sys.argv[1]])"
    main = "from cli.errors import command; command(lambda: print('nowhere'))"
    done = run_python("-c", code, main)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_pipe_that_breaks_elsewhere_is_a_fault_of_the_program():
    def main():
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        command(main)


def test_importing_this_project_leaves_interrupts_alone():
    code = "import signal, cli.errors, data, eval\n"
    code += "raise SystemExit(signal.getsignal(2) is signal.default_int_handler)"
    # Where SIGINT is ignored when Python starts, it stays so.
    done = run_python("-c", code, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    assert done.returncode == 1


def test_bad_input_ends_a_command_with_status_2_and_one_line(capsys):
    def main():
        raise InputError("games.pgn game 3: broken; remove it")

    with pytest.raises(SystemExit) as end:
        command(main)
    assert end.value.code == 2
    assert capsys.readouterr().err == "error: games.pgn game 3: broken; remove it\n"


def test_an_error_is_one_line_whatever_input_it_quotes():
    assert (
        str(InputError("puzzles.csv line 4 (id a\nb\r\n): faulty\n"))
        == "puzzles.csv line 4 (id a b ): faulty"
    )


def test_a_full_disk_ends_a_command_with_status_2_and_one_line(capsys):
    def main():
        with open("/dev/full", "w") as file:
            file.write("too much")

    with pytest.raises(SystemExit) as end:
        command(main)
    assert end.value.code == 2
    assert capsys.readouterr().err == "error: no space is left to write: free some space and run again\n"


def test_an_interrupt_ends_a_command_with_status_130_and_one_line(capsys):
    def main():
        raise KeyboardInterrupt("the same command continues")

    with pytest.raises(SystemExit) as end:
        command(main)
    assert end.value.code == 130
    assert capsys.readouterr().err == "interrupted: the same command continues\n"


def test_a_fault_of_the_program_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        command(lambda: 1 // 0)
