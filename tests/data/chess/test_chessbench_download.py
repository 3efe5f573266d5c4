"""ChessBench by name: downloads, their verification, and the files that stay after a failure."""

import argparse
import re
import sys
from collections import namedtuple

import pyarrow.parquet as pq
import pytest

from cli.errors import InputError
from data.chess import chessbench, chessbench_download
from data.chess.chessbench import convert
from data.chess.chessbench_download import fetch_all, find_files, parse_download
from tests.data.chess.test_chessbench import CHESSBENCH, FIXTURES, action_value, moves_by_board, write_bag
from tests.support.commands import file_size_limit, start_command
from tests.support.file_server import FileServer


TEST = "test/action_value_data.bag"
NUM_SHARDS = 5


def shard(index: int) -> str:
    return f"train/action_value-{index:05d}-of-02148_data.bag"


@pytest.fixture(scope="module")
def bags(tmp_path_factory):
    """Write shards with moves of the same boards, of which every third is in two shards."""
    folder = tmp_path_factory.mktemp("bags")
    moves = ["a2a3", "b7b8q", "e1g1", "h7h8n"]
    for index in range(NUM_SHARDS):
        records = [
            action_value(f"8/8/8/8/8/8/8/8 w - - 0 {board}", move, (board + index) / 1000)
            for board in range(400)
            for number, move in enumerate(moves)
            if number == index or (board % 3 == 0 and number == index - 1)
        ]
        write_bag(folder / f"{index}.bag", records)
    return [folder / f"{index}.bag" for index in range(NUM_SHARDS)]


@pytest.fixture
def server(bags):
    files = {shard(index): bag.read_bytes() for index, bag in enumerate(bags)}
    files[TEST] = (FIXTURES / "action_value_data.bag").read_bytes()
    files["puzzles.csv"] = b"PuzzleId,Rating,PGN,Solution,FEN,Moves\n" * 50
    with FileServer(files) as server:
        yield server


def run(monkeypatch, server, *arguments) -> None:
    """Run the command in this process."""
    line = ["chessbench", "--address", server.url, *map(str, arguments)]
    monkeypatch.setattr(sys, "argv", line)
    monkeypatch.setattr(chessbench_download, "RETRIES", 0)
    chessbench.main()


def test_shards_and_the_test_set_become_a_folder_that_training_takes(
    server, bags, tmp_path, monkeypatch, capsys
):
    output = tmp_path / "chessbench"
    run(monkeypatch, server, "--download", "3", "--output", output)
    reports = capsys.readouterr().out.splitlines()
    assert reports[0].startswith(f"{output}/test: 40 boards")
    assert reports[1].startswith(f"{output}: 400 boards")
    convert(bags[:3], tmp_path / "converted", num_files=3)
    files = sorted(path for path in output.iterdir() if path.is_file())
    assert [path.read_bytes() for path in files] == [
        path.read_bytes() for path in sorted((tmp_path / "converted").iterdir())
    ]
    assert pq.read_table(output / "test").num_rows == 40
    assert {path.name for path in tmp_path.iterdir()} == {"chessbench", "converted"}
    assert sorted(server.downloads) == [(path, 0) for path in (TEST, shard(0), shard(1), shard(2))]


def test_a_download_that_breaks_off_continues_at_its_byte(server, tmp_path, monkeypatch):
    server.cuts = [1000, 0x300]
    run(monkeypatch, server, "--download", "0-1", "--output", tmp_path / "boards")
    starts = [first for path, first in server.downloads if path == shard(0)]
    assert starts == [0, 1000, 1000 + 0x300]


def test_an_interrupted_command_downloads_only_the_rest(server, bags, tmp_path, monkeypatch):
    output, missing = tmp_path / "boards", server.files.pop(shard(2))
    arguments = ("--download", "1-3", "--output", output)
    with pytest.raises(InputError, match=f"{re.escape(shard(2))} cannot be found .404 Not Found."):
        run(monkeypatch, server, *arguments)
    assert not list(tmp_path.iterdir())
    server.files[shard(2)] = missing
    # Shard 1 is stored, and of shard 2 there are 500 bytes.
    server.cuts = [10**6, 500, 0]
    with pytest.raises(InputError, match=r"download failed after 500 of .* the same command continues"):
        run(monkeypatch, server, *arguments)
    server.downloads.clear()
    run(monkeypatch, server, *arguments)
    assert server.downloads == [(shard(2), 500), (shard(3), 0)]
    convert(bags[1:4], tmp_path / "whole", num_files=3)
    assert moves_by_board(output) == moves_by_board(tmp_path / "whole")


def test_wrong_bytes_are_refused_and_the_shards_before_them_are_kept(server, tmp_path, monkeypatch):
    output = tmp_path / "boards"
    server.wrong = {shard(1)}
    with pytest.raises(InputError, match=f"{re.escape(shard(1))}: .* size and checksum"):
        run(monkeypatch, server, "--download", "0-1", "--output", output)
    assert not output.exists()
    server.wrong = set()
    server.downloads.clear()
    run(monkeypatch, server, "--download", "0-1", "--output", output)
    assert server.downloads == [(shard(1), 0)]


@pytest.mark.parametrize("fault", ["knows_ranges", "sends_checksums"])
def test_a_plain_server_of_files_is_enough(fault, server, tmp_path, monkeypatch, capsys):
    setattr(server, fault, False)
    server.cuts = [1000]
    run(monkeypatch, server, "--download", "0-0", "--output", tmp_path / "boards")
    assert pq.read_table(tmp_path / "boards").num_rows == 400
    assert ("only the sizes of files are verified" in capsys.readouterr().err) == (fault == "sends_checksums")


def test_the_next_shard_is_downloaded_while_one_is_used_and_no_more(server, tmp_path):
    files = find_files(server.url, [shard(index) for index in range(4)])
    paths = fetch_all(files, tmp_path)
    first = next(paths)
    assert first.read_bytes() == server.files[shard(0)]
    paths.close()
    assert {path for path, _ in server.downloads} <= {shard(0), shard(1)}


def test_a_full_disk_is_named_before_anything_is_downloaded(server, tmp_path, monkeypatch):
    usage = namedtuple("usage", ["free"])
    monkeypatch.setattr(chessbench_download.shutil, "disk_usage", lambda path: usage(1000))
    with pytest.raises(InputError, match=r"boards would need 0\.0 GB more, and .* has 0\.0 GB free"):
        run(monkeypatch, server, "--download", "2", "--output", tmp_path / "boards")
    assert not server.downloads and not list(tmp_path.iterdir())


def test_what_an_interrupted_download_has_on_disk_needs_no_more_space(server, tmp_path, monkeypatch):
    kept = tmp_path / "boards/test.partial/kept"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(bytes(3 * len(server.files[TEST])))
    usage = namedtuple("usage", ["free"])
    monkeypatch.setattr(chessbench_download.shutil, "disk_usage", lambda path: usage(1000))
    run(monkeypatch, server, "--download", "test", "--output", tmp_path / "boards")
    assert pq.read_table(tmp_path / "boards/test").num_rows == 40


@pytest.mark.parametrize("full_at", ["download", "conversion"])
def test_a_disk_that_fills_up_keeps_what_was_downloaded(full_at, server, bags, tmp_path, monkeypatch):
    output, size = tmp_path / "boards", len(server.files[shard(0)])
    arguments = ("--download", "0-0", "--output", output)
    limit = 15_000 if full_at == "download" else size
    with file_size_limit(limit), pytest.raises((OSError, InputError), match="File too large") as error:
        run(monkeypatch, server, *arguments)
    assert f"{output}.partial/" in str(error.value)
    server.downloads.clear()
    run(monkeypatch, server, *arguments)
    assert server.downloads == ([(shard(0), limit)] if limit < size else [])
    convert(bags[:1], tmp_path / "whole", num_files=1)
    (file,), (whole,) = output.iterdir(), (tmp_path / "whole").iterdir()
    assert file.read_bytes() == whole.read_bytes()


def test_without_a_network_there_is_one_line(server, tmp_path, monkeypatch):
    server.url = "http://127.0.0.1:9/data"
    with pytest.raises(InputError, match=r"cannot be found .ConnectionError.: try again when online"):
        run(monkeypatch, server, "--download", "2", "--output", tmp_path / "boards")


def test_the_test_set_and_the_puzzles_join_the_training_boards(server, tmp_path, monkeypatch):
    output = tmp_path / "chessbench"
    run(monkeypatch, server, "--download", "puzzles", "--output", output)
    run(monkeypatch, server, "--download", "test", "--output", output)
    run(monkeypatch, server, "--download", "2", "--output", output)
    assert (output / "puzzles.csv").read_bytes() == server.files["puzzles.csv"]
    assert [path for path, _ in server.downloads].count(TEST) == 1
    names = {path.name for path in output.iterdir()}
    assert names == {"boards-00000-of-00002.parquet", "boards-00001-of-00002.parquet", "test", "puzzles.csv"}
    for repeated in ("puzzles", "test", "2"):
        with pytest.raises(InputError, match="exists: choose another --output"):
            run(monkeypatch, server, "--download", repeated, "--output", output)


def test_a_download_into_the_working_folder(server, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run(monkeypatch, server, "--download", "1", "--output", ".")
    assert {path.name for path in (tmp_path / "here").iterdir()} == {"boards-00000-of-00001.parquet", "test"}


def test_jobs_at_the_same_time_with_a_range_of_shards_each_make_the_files_of_one_job(
    server, bags, tmp_path, monkeypatch
):
    parts = tmp_path / "parts"
    jobs = [
        start_command(
            CHESSBENCH,
            *("--address", server.url, "--download", shards, "--files", 3, "--output", parts / shards),
        )
        for shards in ("0-1", "2-4")
    ]
    for job in jobs:
        _, errors = job.communicate(timeout=60)
        assert job.returncode == 0, errors
    convert(bags, tmp_path / "whole", num_files=3)
    for whole in sorted((tmp_path / "whole").iterdir()):
        joined = tmp_path / whole.name
        run(monkeypatch, server, *sorted(parts.glob(f"*/{whole.name}")), "--output", joined)
        assert joined.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("text", ["0", "2149", "5-3", "2147-2148", "-1", "all", "1.5", ""])
def test_what_cannot_be_downloaded_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="neither test nor puzzles"):
        parse_download(text)
