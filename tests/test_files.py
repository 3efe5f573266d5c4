import pytest

from data.command_line import InputError, command
from data.files import check_output, written_whole


def test_a_file_appears_only_when_the_block_has_succeeded(tmp_path):
    target = tmp_path / "new" / "rows.parquet"
    with written_whole(target) as unfinished:
        unfinished.write_text("half")
        assert not target.exists()
        assert unfinished.suffix == ".parquet"
    assert target.read_text() == "half"
    assert list(target.parent.iterdir()) == [target]


def test_a_failure_leaves_the_earlier_file_and_nothing_else(tmp_path):
    target = tmp_path / "rows.parquet"
    target.write_text("earlier")
    with pytest.raises(ZeroDivisionError), written_whole(target) as unfinished:
        unfinished.write_text("half")
        raise ZeroDivisionError
    assert target.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "arrays"
    target.mkdir()
    (target / "old").touch()
    with written_whole(target) as unfinished:
        unfinished.mkdir()
        (unfinished / "new").touch()
    assert [path.name for path in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_failure_removes_an_unfinished_folder(tmp_path):
    with pytest.raises(ZeroDivisionError), written_whole(tmp_path / "arrays") as unfinished:
        unfinished.mkdir()
        (unfinished / "half").touch()
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_file_does_not_replace_a_folder(tmp_path):
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "letter").touch()
    with pytest.raises(OSError), written_whole(folder) as unfinished:
        unfinished.touch()
    assert [path.name for path in tmp_path.iterdir()] == ["documents"]
    assert (folder / "letter").exists()
    with pytest.raises(InputError, match="is a folder"):
        check_output(folder, overwrite=True)
    with pytest.raises(InputError, match="letter is a file, not a folder"):
        check_output(folder / "letter" / "page", overwrite=True)


def test_bad_input_ends_a_command_with_status_2_and_one_line(capsys):
    def main():
        raise InputError("games.pgn game 3: broken; remove it")

    with pytest.raises(SystemExit) as end:
        command(main)
    assert end.value.code == 2
    assert capsys.readouterr().err == "error: games.pgn game 3: broken; remove it\n"


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


def test_device_is_written_to_and_not_replaced(tmp_path):
    path = tmp_path / "results.json"
    path.symlink_to("/dev/null")
    with written_whole(path) as unfinished:
        unfinished.write_text("{}")
    assert path.is_symlink()
    assert [child.name for child in tmp_path.iterdir()] == ["results.json"]
