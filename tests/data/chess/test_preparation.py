"""Preparation: every kind of bad input is named by row, and earlier output is kept."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli.errors import InputError
from data.chess import checked_rows
from data.chess.boards import Boards
from data.chess.preparation import prepare
from tests.support.commands import REPOSITORY, assert_input_error, run_command
from tests.support.random_boards import random_file, random_rows


FEN = "4k3/8/8/8/8/8/4P3/4K3 w - - 0 1"
BAD_ROW = 17
NOBODY = 65534
COMMAND = [sys.executable, "-m", "data.chess.preparation"]

BAD_ROWS = {
    "broken FEN": ("4k3/8/8 w - - 0 1", ["e2e4"], [0.5], "broken FEN '4k3/8/8 w - - 0 1'"),
    "no king": ("8/8/8/8/8/8/4P3/4K3 w - - 0 1", ["e2e4"], [0.5], "impossible position .*no black king"),
    "king can be taken": (
        "4k3/8/8/8/8/8/8/K3R3 w - - 0 1",
        ["e1e8"],
        [0.5],
        "impossible .*not to move is in check",
    ),
    "illegal move": (FEN, ["e2e4", "e2e5"], [0.5, 0.5], f"'e2e5' is not a legal move in {FEN}"),
    "duplicate move": (FEN, ["e2e4", "e2e3", "e2e4"], [0.5] * 3, "'e2e4' is listed twice"),
    "no UCI move": (FEN, ["e2e4", "Kd1"], [0.5, 0.5], "'Kd1' is not a move in UCI notation"),
    "fewer values": (FEN, ["e2e4", "e2e3"], [0.5], "2 moves, but 1 win_probs"),
    "above 1": (FEN, ["e2e4"], [1.5], "win probability 1.5 of 'e2e4' is not between 0 and 1"),
    "below 0": (FEN, ["e2e4"], [-0.25], "win probability -0.25 of 'e2e4'"),
    "NaN": (FEN, ["e2e4"], [float("nan")], "win probability nan of 'e2e4'"),
    "null FEN": (None, ["e2e4"], [0.5], "fen is null"),
    "null moves": (FEN, None, [0.5], "moves is null"),
    "null values": (FEN, ["e2e4"], None, "win_probs is null"),
    "null move": (FEN, [None], [0.5], "a move or a win probability is null"),
    "null value": (FEN, ["e2e4"], [None], "a move or a win probability is null"),
    "no moves": (FEN, [], [], "the board has no moves"),
}


def write_columns(path: Path, rows: list[tuple]) -> None:
    fens, moves, win_probs = (list(column) for column in zip(*rows, strict=True))
    columns = {
        "fen": pa.array(fens, pa.string()),
        "moves": pa.array(moves, pa.list_(pa.string())),
        "win_probs": pa.array(win_probs, pa.list_(pa.float32())),
    }
    pq.write_table(pa.table(columns), path, row_group_size=7)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def leftovers(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


@pytest.mark.parametrize("kind", BAD_ROWS)
def test_a_bad_row_is_named_and_earlier_output_stays(tmp_path, monkeypatch, kind):
    # Small chunks, so that the row's number is not its index in the first chunk.
    monkeypatch.setattr(checked_rows, "ROWS_PER_CHUNK", 5)
    parquet, folder = tmp_path / "boards.parquet", tmp_path / "prepared"
    random_file(parquet, 20)
    prepare(parquet, folder)
    before = contents(folder)

    *bad_row, problem = BAD_ROWS[kind]
    rows = [tuple(row) for row in random_rows(30, seed=1)]
    write_columns(parquet, [*rows[:BAD_ROW], tuple(bad_row), *rows[BAD_ROW:]])
    with pytest.raises(InputError, match=rf"boards\.parquet row {BAD_ROW}: .*{problem}") as raised:
        prepare(parquet, folder)
    assert "\n" not in str(raised.value)
    assert contents(folder) == before
    assert leftovers(tmp_path) == {"boards.parquet", "prepared"}


BAD_FILES = {
    "missing": (lambda path: None, "no such file"),
    "no Parquet": (lambda path: path.write_text("fen,moves\n"), "cannot be read as Parquet"),
    "empty file": (lambda path: path.write_bytes(b""), "cannot be read as Parquet"),
    "folder without shards": (lambda path: path.mkdir(), r"no files that end in"),
    "missing column": (
        lambda path: pq.write_table(pa.table({"fen": [FEN], "moves": [["e2e4"]]}), path),
        "column 'win_probs' is missing, must be list",
    ),
    "wrong type": (
        lambda path: pq.write_table(pa.table({"fen": [FEN], "moves": ["e2e4"], "win_probs": [[0.5]]}), path),
        "column 'moves' is string, must be list",
    ),
    "no rows": (lambda path: pq.write_table(checked_rows.SCHEMA.empty_table(), path), "holds no boards"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_named_and_nothing_is_written(tmp_path, kind):
    make, problem = BAD_FILES[kind]
    parquet = tmp_path / "boards.parquet"
    make(parquet)
    with pytest.raises(InputError, match=rf"boards\.parquet.*: .*{problem}") as raised:
        prepare(parquet)
    assert "\n" not in str(raised.value)
    assert leftovers(tmp_path) <= {"boards.parquet"}


def test_a_damaged_file_is_named_and_nothing_is_written(tmp_path):
    parquet = tmp_path / "boards.parquet"
    random_file(parquet, 500)
    damaged = bytearray(parquet.read_bytes())
    damaged[1000:3000] = bytes(2000)
    parquet.write_bytes(damaged)
    with pytest.raises(InputError, match=r"boards\.parquet: cannot be read after row 0"):
        prepare(parquet)
    assert leftovers(tmp_path) == {"boards.parquet"}


def test_unchecked_moves_are_prepared_again_when_a_check_is_asked_for(tmp_path):
    parquet = tmp_path / "boards.parquet"
    write_columns(parquet, [(FEN, ["e2e5"], [0.5])])
    folder = prepare(parquet, check_moves=False)
    assert folder == tmp_path / "boards.parquet.prepared"
    assert Boards.load(folder).num_boards == 1
    with pytest.raises(InputError, match="row 0: 'e2e5' is not a legal move"):
        prepare(parquet)


def test_preparing_again_happens_only_when_the_source_changed(tmp_path):
    parquet = tmp_path / "boards.parquet"
    random_file(parquet, 20)
    folder = prepare(parquet)
    meta = json.loads((folder / "meta.json").read_text())
    assert (meta["num_boards"], meta["moves_checked"]) == (20, True)
    made = folder.stat().st_ino
    assert prepare(parquet, check_moves=False).stat().st_ino == made

    mapped = Boards.load(folder)
    random_file(parquet, 30, seed=1)
    assert prepare(parquet).stat().st_ino != made
    assert Boards.load(folder).num_boards == 30
    # The replaced arrays can still be read.
    assert mapped.batch(np.arange(20), orient=True)["input_ids"].shape == (20, 77)


def test_shards_are_joined_in_the_order_of_their_names_and_errors_name_the_shard(tmp_path):
    shards = tmp_path / "shards"
    shards.mkdir()
    rows = random_file(shards / "a.parquet", 10) + random_file(shards / "b.parquet", 15, seed=1)
    boards = Boards.load(prepare(shards))
    assert boards.lengths(np.arange(25)).tolist() == [len(row.moves) for row in rows]
    write_columns(shards / "b.parquet", [(FEN, ["e2e5"], [0.5])])
    with pytest.raises(InputError, match=r"b\.parquet row 0: 'e2e5'"):
        prepare(shards)


def test_wide_types_are_read_like_narrow_ones(tmp_path):
    columns = {
        "fen": pa.array([FEN], pa.large_string()),
        "moves": pa.array([["e2e4", "e1d1"]], pa.large_list(pa.large_string())),
        "win_probs": pa.array([[0.5, 0.25]], pa.list_(pa.float64())),
    }
    pq.write_table(pa.table(columns), tmp_path / "boards.parquet")
    boards = Boards.from_parquet(tmp_path / "boards.parquet")
    assert boards.win_probs.tolist() == [0.5, 0.25]
    assert boards.win_probs.dtype == np.float32


@pytest.mark.slow
def test_several_workers_give_the_same_arrays_and_the_same_error(tmp_path, monkeypatch):
    monkeypatch.setattr(checked_rows, "ROWS_PER_CHUNK", 50)
    parquet = tmp_path / "boards.parquet"
    write_columns(parquet, [*(tuple(row) for row in random_rows(500)), (FEN, ["e2e5"], [0.5])])
    chunks = {1: [], 2: []}
    for processes, read in chunks.items():
        with pytest.raises(InputError, match="row 500: 'e2e5' is not a legal move"):
            read.extend(checked_rows.read_chunks(parquet, processes=processes))
    assert len(chunks[1]) == len(chunks[2]) == 10
    for one, two in zip(chunks[1], chunks[2], strict=True):
        for array, same_array in zip(one, two, strict=True):
            np.testing.assert_array_equal(array, same_array)


@pytest.mark.slow
def test_two_commands_at_once_leave_one_whole_folder(tmp_path):
    parquet = tmp_path / "boards.parquet"
    random_file(parquet, 2000)
    running = [
        subprocess.Popen([*COMMAND, parquet], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert all("2,000 boards" in output for output in outputs)
    assert leftovers(tmp_path) == {"boards.parquet", "boards.parquet.prepared"}
    assert Boards.load(tmp_path / "boards.parquet.prepared").num_boards == 2000


@pytest.mark.parametrize("suffix", ["", ".prepared"])
def test_folders_left_by_killed_processes_are_removed(tmp_path, suffix):
    parquet, folder = tmp_path / "boards.parquet", tmp_path / f"[a]{suffix}"
    random_file(parquet, 10)
    for number in (os.getpid(), 1):
        unfinished = tmp_path / f".[a].unfinished-{number}{suffix}"
        unfinished.mkdir()
        (unfinished / "tokens.npy").write_bytes(b"half")
    # Of a file that another process writes.
    (tmp_path / ".[a].unfinished-2.parquet").touch()
    assert Boards.load(prepare(parquet, folder)).num_boards == 10
    assert leftovers(tmp_path) == {"boards.parquet", folder.name, ".[a].unfinished-2.parquet"}


def test_a_folder_that_cannot_be_written_is_named_with_the_remedy(tmp_path):
    parquet = tmp_path / "boards.parquet"
    random_file(parquet, 10)
    # A file as a parent folder stops even root, unlike permissions.
    with pytest.raises(InputError, match=r"cannot be written .*set data\.prepared_dir") as raised:
        prepare(parquet, parquet / "prepared")
    assert "\n" not in str(raised.value)


@pytest.fixture
def own_folder() -> Iterator[Path]:
    """A folder where permissions hold even if root runs the tests."""
    with tempfile.TemporaryDirectory() as name:
        is_root = os.geteuid() == 0
        if is_root:
            os.chown(name, NOBODY, -1)
            os.seteuid(NOBODY)
        try:
            yield Path(name)
        finally:
            if is_root:
                os.seteuid(0)


def test_a_read_only_folder_is_named_with_the_remedy_but_arrays_in_it_are_used(own_folder):
    parquet = own_folder / "boards.parquet"
    random_file(parquet, 10)
    own_folder.chmod(0o500)
    with pytest.raises(InputError, match=r"cannot be written .*set data\.prepared_dir"):
        prepare(parquet)
    own_folder.chmod(0o700)
    folder = prepare(parquet)
    own_folder.chmod(0o500)
    assert prepare(parquet) == folder
    own_folder.chmod(0o700)


def test_a_folder_with_other_things_in_it_is_not_replaced(tmp_path):
    parquet, folder = tmp_path / "boards.parquet", tmp_path / "thesis"
    random_file(parquet, 10)
    folder.mkdir()
    (folder / "chapter1.tex").write_text("years of work")
    with pytest.raises(InputError, match="exists and holds no prepared chess boards"):
        prepare(parquet, folder)
    assert contents(folder) == {"chapter1.tex": b"years of work"}


def test_the_command_exits_with_status_2_and_one_line(tmp_path):
    parquet = tmp_path / "boards.parquet"
    write_columns(parquet, [(FEN, ["e2e5"], [0.5])])
    result = run_command("data.chess.preparation", parquet)
    assert_input_error(result, f"row 0: 'e2e5' is not a legal move in {FEN}")
