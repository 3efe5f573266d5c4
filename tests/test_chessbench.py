import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from data.chess.chessbench import (
    decode_action_value,
    decode_behavioral_cloning,
    decode_state_value,
    gather_boards,
    read_records,
)
from data.command_line import InputError
from tests.commands import REPOSITORY, assert_input_error, run_command


FIXTURES = Path(__file__).parent / "fixtures" / "chessbench"
ACTION_VALUES = FIXTURES / "action_value_data.bag"
CHESSBENCH = "data.chess.chessbench"


@pytest.fixture(scope="module")
def expected():
    """Read what the records say, by board."""
    return [json.loads(line) for line in (FIXTURES / "expected.jsonl").read_text().splitlines()]


def gather(*paths, folder, **settings):
    return {row.fen: row for row in gather_boards(paths, folder, **settings)}


def test_all_action_values_of_a_board_make_one_row(expected, tmp_path):
    rows = gather(ACTION_VALUES, folder=tmp_path)
    assert len(rows) == len(expected)
    for board in expected:
        assert rows[board["fen"]].moves == board["moves"]
        assert rows[board["fen"]].win_probs == board["win_probs"]


def test_boards_scattered_over_shards_are_put_together(expected, tmp_path):
    shards = sorted(FIXTURES.glob("action_value-*.bag"))
    assert len(shards) == 3
    rows = gather(*shards, folder=tmp_path)
    by_fen = {board["fen"]: board for board in expected}
    scattered = [row for row in rows.values() if row.moves == by_fen[row.fen]["moves"]]
    assert len(scattered) >= len(rows) - 1
    assert all(row.win_probs == by_fen[row.fen]["win_probs"] for row in scattered)
    assert gather(FIXTURES / "action_value@3_data.bag", folder=tmp_path) == rows


def test_an_input_larger_than_memory_gives_the_same_rows(tmp_path):
    rows = gather(ACTION_VALUES, folder=tmp_path)
    assert gather(ACTION_VALUES, folder=tmp_path, records_in_memory=100) == rows
    assert list(tmp_path.iterdir()) == []


def test_state_values_and_behavioural_cloning_agree_with_the_best_action(expected):
    state_values = list(read_records(FIXTURES / "state_value_data.bag", decode_state_value))
    choices = list(read_records(FIXTURES / "behavioral_cloning_data.bag", decode_behavioral_cloning))
    assert len(state_values) == len(choices) == len(expected)
    for board, state_value, choice in zip(expected, state_values, choices, strict=True):
        assert state_value == (board["fen"], max(board["win_probs"]))
        assert choice.fen == board["fen"]
        assert board["win_probs"][board["moves"].index(choice.move)] == state_value.win_prob


def test_the_command_writes_float32_win_probabilities(expected, tmp_path):
    output = tmp_path / "boards.parquet"
    result = run_command(CHESSBENCH, ACTION_VALUES, "--output", output)
    assert result.returncode == 0, result.stderr
    assert "40 boards" in result.stdout
    rows = pq.read_table(output).to_pylist()
    assert [row["fen"] for row in rows] == [board["fen"] for board in expected]
    for row, board in zip(rows, expected, strict=True):
        assert row["win_probs"] == np.float32(board["win_probs"]).tolist()
    assert [path.name for path in tmp_path.iterdir()] == ["boards.parquet"]


@pytest.mark.parametrize("num_bytes", [1, 8, 1000, 40_000])
def test_a_truncated_file_is_an_error_and_leaves_earlier_output_alone(num_bytes, tmp_path):
    output = tmp_path / "boards.parquet"
    output.write_text("earlier")
    truncated = tmp_path / "truncated_data.bag"
    truncated.write_bytes(ACTION_VALUES.read_bytes()[:-num_bytes])
    result = run_command(CHESSBENCH, ACTION_VALUES, truncated, "--output", output, "--overwrite")
    assert_input_error(result, f"{truncated} is cut off")
    assert output.read_text() == "earlier"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["boards.parquet", "truncated_data.bag"]


def test_a_damaged_record_is_named(tmp_path):
    damaged = tmp_path / "damaged_data.bag"
    content = bytearray(ACTION_VALUES.read_bytes())
    records = list(read_records(ACTION_VALUES, bytes))
    start = sum(len(record) for record in records[:7])
    content[start : start + 10] = b"\xff" * 10
    damaged.write_bytes(content)
    with pytest.raises(InputError, match=f"{damaged} record 7 is damaged"):
        list(read_records(damaged, decode_action_value))


def test_records_of_another_kind_are_refused():
    with pytest.raises(InputError, match="record 0 is damaged or of another kind"):
        list(read_records(FIXTURES / "state_value_data.bag", decode_action_value))


@pytest.mark.parametrize("win_prob", [b"\x40" + bytes(7), b"\x7f\xf8" + bytes(6)])
def test_values_that_are_no_probability_are_refused(win_prob):
    record = b"\x02ab\x04e2e4"
    assert decode_action_value(record + bytes(8)) == ("ab", "e2e4", 0.0)
    with pytest.raises(ValueError, match="not a win probability"):
        decode_action_value(record + win_prob)


def test_an_existing_output_is_replaced_only_on_request(tmp_path):
    output = tmp_path / "boards.parquet"
    output.write_text("earlier")
    assert_input_error(run_command(CHESSBENCH, ACTION_VALUES, "--output", output), "--overwrite")
    assert output.read_text() == "earlier"


def test_missing_and_empty_files_are_errors(tmp_path):
    missing, empty = tmp_path / "missing.bag", tmp_path / "empty.bag"
    empty.touch()
    with pytest.raises(InputError, match="no such file"):
        list(read_records(missing, decode_action_value))
    with pytest.raises(InputError, match="holds no records"):
        list(read_records(empty, decode_action_value))


def test_without_the_package_bagz_the_error_says_how_to_get_it(tmp_path):
    shutil.copytree(
        REPOSITORY / "data", tmp_path / "data", ignore=shutil.ignore_patterns("sample", "*.partial")
    )
    (tmp_path / "bagz.py").write_text("raise ImportError\n")
    result = subprocess.run(
        [sys.executable, "-m", CHESSBENCH, str(ACTION_VALUES), "--output", "boards.parquet"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert_input_error(result, "pip install bagz")
