import json
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import bagz
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli.errors import InputError
from data.chess import chessbench, record_store
from data.chess.bag_records import ACTION_VALUES, RECORDS_PER_BATCH, decode_record, open_bag, read_bag
from data.chess.chessbench import convert
from data.chess.record_store import RecordStore, group_by_board
from tests.support.commands import REPOSITORY, assert_input_error, run_command, start_command


FIXTURES = Path(__file__).parents[2] / "fixtures" / "chessbench"
BAG = FIXTURES / "action_value_data.bag"
CHESSBENCH = "data.chess.chessbench"


@pytest.fixture(scope="module")
def expected():
    """Read the expected rows."""
    return [json.loads(line) for line in (FIXTURES / "expected.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Write 20 shards, 30,000 records of 3,000 boards, most of whose moves are given several times."""
    rng = random.Random(0)
    folder = tmp_path_factory.mktemp("many")
    for shard in range(20):
        records = []
        for _ in range(1500):
            board = rng.randrange(3000)
            move = rng.choice(["a2a3", "b7b8q", "b7b8n", "e1g1"])
            records.append((f"8/8/8/8/8/8/8/8 w - - 0 {board}", move, rng.random()))
        write_bag(folder / f"many-{shard:05d}-of-00020_data.bag", records)
    return folder


@pytest.fixture(scope="module")
def gathered(many):
    """Gather them in the plainest way: rows by board."""
    boards = {}
    for path in sorted(many.glob("*.bag")):
        for fen, move, win_prob in (decode_record(record, ACTION_VALUES) for record in open_bag(path)):
            boards.setdefault(fen, {}).setdefault(move, np.float32(win_prob).item())
    return {fen: sorted(moves.items()) for fen, moves in boards.items()}


def write_bag(path, records):
    writer = bagz.Writer(str(path))
    for record in records:
        writer.write(record if isinstance(record, bytes) else action_value(*record))
    writer.close()
    return path


def action_value(fen, move, win_prob):
    return bytes([len(fen)]) + fen.encode() + bytes([len(move)]) + move.encode() + struct.pack(">d", win_prob)


def moves_by_board(path):
    return {
        row["fen"]: list(zip(row["moves"], row["win_probs"], strict=True))
        for row in pq.read_table(path).to_pylist()
    }


def test_of_a_move_given_twice_the_first_value_counts(many, gathered, tmp_path):
    convert([many / "many@20_data.bag"], tmp_path / "boards.parquet")
    assert moves_by_board(tmp_path / "boards.parquet") == gathered


def test_rows_of_other_jobs_are_gathered_whatever_the_case_of_their_suffix(tmp_path):
    rows = {"fen": ["8/8/8/8/8/8/k7/2K5 w - - 0 1"], "moves": [["c1d1", "c1d2"]], "win_probs": [[0.5, 0.25]]}
    pq.write_table(pa.table(rows), tmp_path / "part.PQ")
    convert([tmp_path / "part.PQ"], tmp_path / "boards.parquet")
    assert pq.read_table(tmp_path / "boards.parquet").to_pydict() == rows


@pytest.mark.parametrize("memory_limit, threads", [(0.03, 1), (0.002, 2)])
def test_memory_and_threads_change_nothing_in_the_file(memory_limit, threads, many, tmp_path, monkeypatch):
    # So little memory gives many inserts and ranges, but DuckDB itself needs more to work at all.
    monkeypatch.setattr(record_store, "DUCKDB_FRACTION", max(0.5, 0.05 / memory_limit))
    monkeypatch.setattr(record_store, "BYTES_TO_SORT", 10_000)
    monkeypatch.setattr(chessbench, "ROWS_PER_GROUP", 700)
    bags = [many / "many@20_data.bag"]
    convert(bags, tmp_path / "first.parquet", memory_limit=4.0, threads=1)
    convert(bags, tmp_path / "second.parquet", memory_limit=memory_limit, threads=threads)
    assert (tmp_path / "first.parquet").read_bytes() == (tmp_path / "second.parquet").read_bytes()


@pytest.mark.parametrize("records_per_batch", [1, 7, 1000])
def test_boards_are_whole_wherever_batches_end(records_per_batch, many, gathered, tmp_path):
    with RecordStore(tmp_path / "records.duckdb", 1.0, threads=1) as store:
        store.add(read_bag(many / "many-00000-of-00020_data.bag", ACTION_VALUES), 0)
        records = pa.Table.from_batches(store.sorted_records())
    tables = list(group_by_board(records.to_batches(records_per_batch)))
    fens = [fen for table in tables for fen in table["fen"].to_pylist()]
    assert len(fens) == len(set(fens)) > 1000
    assert pa.concat_tables(tables).equals(pa.concat_tables(group_by_board(records.to_batches())))


def test_records_added_again_change_nothing(many, tmp_path):
    shards = sorted(many.glob("*.bag"))[:2]
    boards = []
    for number, order in enumerate([(0, 1), (0, 0, 1), (1, 0, 1)]):
        with RecordStore(tmp_path / f"{number}.duckdb", 1.0, threads=1) as store:
            for shard in order:
                store.add(read_bag(shards[shard], ACTION_VALUES), 1500 * shard)
            boards.append(pa.concat_tables(group_by_board(store.sorted_records())))
    assert boards[0].equals(boards[1]) and boards[0].equals(boards[2])


def test_files_hold_the_rows_of_one_file_in_its_order(many, tmp_path):
    bags = [many / "many@20_data.bag"]
    one, folder = tmp_path / "boards.parquet", tmp_path / "boards"
    num_boards = convert(bags, one)
    result = run_command(CHESSBENCH, *bags, "--output", folder, "--files", 3)
    assert result.returncode == 0, result.stderr
    files = sorted(folder.iterdir())
    assert [path.name for path in files] == [f"boards-0000{part}-of-00003.parquet" for part in range(3)]
    tables = [pq.read_table(path) for path in files]
    assert all(len(table) > 0.3 * num_boards for table in tables)
    assert pa.concat_tables(tables).equals(pq.read_table(one))
    assert {path.name for path in tmp_path.iterdir()} == {"boards.parquet", "boards"}

    again = run_command(CHESSBENCH, *bags, "--output", folder, "--files", 3)
    assert_input_error(again, f"{folder} exists")


def test_all_action_values_of_a_board_make_one_row_with_float32_win_probabilities(expected, tmp_path):
    output = tmp_path / "boards.parquet"
    result = run_command(CHESSBENCH, BAG, "--output", output)
    assert result.returncode == 0, result.stderr
    assert "40 boards" in result.stdout
    rows = pq.read_table(output).to_pylist()
    by_fen = {row["fen"]: row for row in rows}
    assert len(rows) == len(by_fen) == len(expected)
    for board in expected:
        assert by_fen[board["fen"]]["moves"] == board["moves"]
        assert by_fen[board["fen"]]["win_probs"] == np.float32(board["win_probs"]).tolist()
    assert [path.name for path in tmp_path.iterdir()] == ["boards.parquet"]


@pytest.mark.parametrize("num_bytes", [1, 40_000])
def test_a_truncated_file_is_an_error_and_leaves_earlier_output_alone(num_bytes, tmp_path):
    output = tmp_path / "boards.parquet"
    output.write_text("earlier")
    truncated = tmp_path / "truncated_data.bag"
    truncated.write_bytes(BAG.read_bytes()[:-num_bytes])
    result = run_command(CHESSBENCH, BAG, truncated, "--output", output, "--overwrite")
    assert_input_error(result, f"{truncated} is truncated")
    assert output.read_text() == "earlier"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["boards.parquet", "truncated_data.bag"]


def test_a_damaged_record_is_named(tmp_path):
    damaged = tmp_path / "damaged_data.bag"
    content = bytearray(BAG.read_bytes())
    start = sum(len(record) for record in open_bag(BAG).read_range(0, 7))
    content[start : start + 10] = b"\xff" * 10
    damaged.write_bytes(content)
    result = run_command(CHESSBENCH, BAG, damaged, "--output", tmp_path / "boards.parquet")
    assert result.returncode == 2
    assert f"error: {damaged} record 7 is damaged" in result.stderr.splitlines()[-1]


def test_records_of_another_kind_are_refused():
    with pytest.raises(InputError, match="record 0 is damaged or of another kind"):
        list(read_bag(FIXTURES / "state_value_data.bag", ACTION_VALUES))


GOOD = action_value("8/8/8/8/8/8/8/8 w - - 0 1", "a7a8q", 0.25)
DAMAGED = [
    b"",
    b"\x02",
    b"\x80",
    b"\x02ab",
    b"\xff" * 40,
    GOOD[:-1],
    GOOD + b"\x00",
    GOOD[1:],
    GOOD.replace(b"a7a8q", b"a7a9q"),
    GOOD.replace(b"\x05a7a8q", b"\x00"),
    GOOD.replace(b"\x05a7a8q", b"\x04a7a8q"),
    GOOD.replace(b"\x05a7a8q", b"\x06a7a8qq"),
    GOOD.replace(b"a7a8q", b"a7a8\xe9"),
    GOOD.replace(b"w - -", b"w \xe9 -"),
    GOOD.replace(b"w - -", "w é-".encode()),
    action_value("8/8/8/8/8/8/8/8 w - - 0 1", "a7a8q", float("nan")),
    action_value("8/8/8/8/8/8/8/8 w - - 0 1", "a7a8q", -1e-9),
    action_value("8/8/8/8/8/8/8/8 w - - 0 1", "a7a8q", 1.0000000001),
]


@pytest.mark.parametrize("record", DAMAGED)
def test_batches_refuse_what_single_records_refuse(record, tmp_path):
    with pytest.raises((ValueError, IndexError, struct.error)):
        decode_record(record, ACTION_VALUES)
    write_bag(tmp_path / "damaged.bag", [GOOD, GOOD, record, GOOD])
    with pytest.raises(InputError, match=r"damaged\.bag record 2 is damaged"):
        list(read_bag(tmp_path / "damaged.bag", ACTION_VALUES))


def test_batches_say_what_single_records_say(many, tmp_path):
    long_fen = b"\x80\x01" + b"x" * 128 + b"\x04e2e4" + struct.pack(">d", 1.0)
    short_fen = action_value("", "e2e4", 0.0)
    records = [GOOD, long_fen, short_fen, *(GOOD for _ in range(RECORDS_PER_BATCH)), short_fen]
    write_bag(tmp_path / "odd.bag", records)
    for path in (tmp_path / "odd.bag", BAG, many / "many-00003-of-00020_data.bag"):
        batches = list(read_bag(path, ACTION_VALUES))
        rows = [tuple(row.values()) for batch in batches for row in batch.to_pylist()]
        singly = (decode_record(record, ACTION_VALUES) for record in open_bag(path))
        assert rows == [(fen, move, np.float32(win_prob).item()) for fen, move, win_prob in singly]


def test_an_existing_output_is_replaced_only_on_request(tmp_path):
    output = tmp_path / "boards.parquet"
    output.write_text("earlier")
    assert_input_error(run_command(CHESSBENCH, BAG, "--output", output), "--overwrite")
    assert output.read_text() == "earlier"


def test_missing_and_empty_files_are_errors(tmp_path):
    missing, empty = tmp_path / "missing.bag", tmp_path / "empty.bag"
    empty.touch()
    with pytest.raises(InputError, match="no such file"):
        open_bag(missing)
    with pytest.raises(InputError, match="holds no records"):
        open_bag(empty)


@pytest.mark.parametrize(
    ("bag", "message"),
    [
        ("none.bag", "none.bag: no such file"),
        ("none.parquet", "none.parquet: no such file"),
        ("none@0_data.bag", "none@0_data.bag: no such file"),
        ("", "is a folder: give the files in it, as in {folder}/*.bag"),
        (BAG, "{folder}/boards.parquet.partial is a file, not a folder"),
    ],
)
def test_bad_paths_are_refused_in_one_line(bag, message, tmp_path):
    (tmp_path / "boards.parquet.partial").touch()
    result = run_command(CHESSBENCH, tmp_path / bag, "--output", tmp_path / "boards.parquet")
    assert_input_error(result, message.format(folder=tmp_path))


def run_that_stops(many, output, with_signal):
    """Convert 200 shards, each given several times; send a signal when a few are read."""
    process = start_command(CHESSBENCH, *[many / "many@20_data.bag"] * 10, "--output", output)
    log = output.parent / f"{output.name}.partial" / "shards.jsonl"
    while not (log.exists() and log.read_bytes().count(b"\n") >= 3):
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(with_signal)
    stderr = process.communicate()[1]
    assert not output.exists()
    return log, stderr, process.returncode


@pytest.mark.slow
@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_run_continues(with_signal, many, tmp_path):
    output = tmp_path / "boards.parquet"
    log, stderr, status = run_that_stops(many, output, with_signal)
    assert 3 <= log.read_bytes().count(b"\n") < 200
    if with_signal == signal.SIGINT:
        assert status == 130
        message = f"interrupted: {log.parent} keeps the finished part; the same command continues"
        assert stderr.splitlines()[-1] == message
    other = run_command(CHESSBENCH, many / "many@20_data.bag", "--output", output)
    assert_input_error(other, "other arguments", "input was 200 files with 300000 records")
    again = run_command(CHESSBENCH, *[many / "many@20_data.bag"] * 10, "--output", output)
    assert again.returncode == 0, again.stderr
    convert([many / "many@20_data.bag"], tmp_path / "whole.parquet")
    assert output.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["boards.parquet", "whole.parquet"]


def test_when_a_damaged_shard_is_fetched_again_those_before_it_are_not_read_again(many, tmp_path):
    shards = tmp_path / "shards"
    shutil.copytree(many, shards)
    damaged = shards / "many-00013-of-00020_data.bag"
    good = damaged.read_bytes()
    damaged.write_bytes(b"\xff" * 100 + good[100:])
    bags, output = [shards / "many@20_data.bag"], tmp_path / "boards.parquet"
    with pytest.raises(InputError, match=f"{damaged} record 0 is damaged"):
        convert(bags, output)
    damaged.write_bytes(good)
    # Were it read again, it would be an error.
    first = shards / "many-00000-of-00020_data.bag"
    first.write_bytes(b"\xff" * 100 + first.read_bytes()[100:])
    convert(bags, output)
    convert([many / "many@20_data.bag"], tmp_path / "whole.parquet")
    assert output.read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_a_finished_file_of_a_folder_is_kept(many, tmp_path):
    bags, output = [many / "many@20_data.bag"], tmp_path / "boards"
    output.write_text("in the way of the folder")
    with pytest.raises(NotADirectoryError):
        convert(bags, output, num_files=3)
    finished = sorted((tmp_path / "boards.partial" / "files").iterdir())
    assert len(finished) == 3
    finished[1].unlink()
    output.unlink()
    kept = [finished[part].stat().st_ino for part in (0, 2)]
    convert(bags, output, num_files=3)
    files = sorted(output.iterdir())
    assert [files[part].stat().st_ino for part in (0, 2)] == kept
    convert(bags, tmp_path / "whole.parquet")
    tables = [pq.read_table(path) for path in files]
    assert pa.concat_tables(tables).equals(pq.read_table(tmp_path / "whole.parquet"))


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_partial_results_are_kept(many, tmp_path):
    """A limit on the size of files simulates a full disk."""
    output = tmp_path / "boards.parquet"
    command = [sys.executable, "-m", CHESSBENCH, str(many / "many@20_data.bag"), "--output", str(output)]
    limited = ["sh", "-c", 'ulimit -f 600; exec "$@"', "sh", *command]
    result = subprocess.run(limited, cwd=REPOSITORY, capture_output=True, text=True)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    message = result.stderr.splitlines()[-1]
    assert message.startswith(f"error: {output}.partial/records.duckdb: ")
    assert "File too large: free space on the disk" in message
    assert not output.exists()
    again = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    convert([many / "many@20_data.bag"], tmp_path / "whole.parquet")
    assert output.read_bytes() == (tmp_path / "whole.parquet").read_bytes()


@pytest.mark.parametrize(
    "wrong",
    [
        ("--files", 0),
        ("--threads", 0),
        *(("--memory-limit", number) for number in (0.1, "nan", "inf", 64e9)),
    ],
)
def test_invalid_numbers_are_refused(wrong, tmp_path):
    result = run_command(CHESSBENCH, BAG, "--output", tmp_path / "boards.parquet", *wrong)
    assert result.returncode == 2
    assert wrong[0] in result.stderr.splitlines()[-1]
