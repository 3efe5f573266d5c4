"""ChessBench's state values and moves of behavioural cloning, as data.chess.chessbench converts them."""

import json
import struct
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from cli.errors import InputError
from data.chess.bag_records import ACTION_VALUES, RECORDS_PER_BATCH, schema_of
from data.chess.preparation import prepare
from data.chess.rows import PLAYED_MOVES, STATE_VALUES
from data.chess.state_records import convert_states
from data.chess.states import StateExamples
from tests.data.chess.test_chessbench import write_bag
from tests.support.commands import assert_input_error, run_command


FIXTURES = Path(__file__).parents[2] / "fixtures/chessbench"
FEN = "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1"
BAGS = {"state_value": "state_value_data.bag", "move": "behavioral_cloning_data.bag"}


def state_value(win_prob: float, fen: str = FEN) -> bytes:
    return _string(fen) + struct.pack(">d", win_prob)


def played_move(move: str, fen: str = FEN) -> bytes:
    return _string(fen) + move.encode()


def _string(text: str) -> bytes:
    length = bytes([len(text)]) if len(text) < 128 else bytes([len(text) & 127 | 128, len(text) >> 7])
    return length + text.encode()


@pytest.mark.slow
@pytest.mark.parametrize("target", BAGS)
def test_the_records_of_chessbench_become_rows_that_training_reads(target, tmp_path):
    expected = [json.loads(line) for line in (FIXTURES / "expected.jsonl").read_text().splitlines()]
    result = run_command(
        "data.chess.chessbench", FIXTURES / BAGS[target], "--output", tmp_path / "rows.parquet"
    )
    assert result.returncode == 0, result.stderr
    assert "40 boards" in result.stdout
    rows = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert [row["fen"] for row in rows] == [board["fen"] for board in expected]
    for row, board in zip(rows, expected, strict=True):
        best = max(board["win_probs"])
        if target == "state_value":
            assert row["win_prob"] == np.float32(best)
        else:
            assert board["win_probs"][board["moves"].index(row["move"])] == best
    folder = prepare(tmp_path / "rows.parquet", target=target)
    assert StateExamples.load(folder, target, orient=False).batch(np.arange(40))["input_ids"].tolist() == [
        board["tokens"] for board in expected
    ]


GOOD = {STATE_VALUES: state_value(0.25), PLAYED_MOVES: played_move("e2e4")}
DAMAGED = [
    (STATE_VALUES, state_value(1.5)),
    (STATE_VALUES, state_value(float("nan"))),
    (STATE_VALUES, state_value(0.5)[:-1]),
    (STATE_VALUES, state_value(0.5) + b"\0"),
    (STATE_VALUES, played_move("e2e4")),
    (STATE_VALUES, b""),
    (PLAYED_MOVES, played_move("e2e9")),
    (PLAYED_MOVES, played_move("")),
    (PLAYED_MOVES, played_move("e2e4").replace(b"w KQ", b"\xe9 KQ")),
    (PLAYED_MOVES, state_value(0.5)),
    (PLAYED_MOVES, b"\x80"),
]


@pytest.mark.parametrize(("schema", "record"), DAMAGED)
def test_a_damaged_record_is_named_and_nothing_is_written(schema, record, tmp_path):
    good = GOOD[schema]
    bag = write_bag(tmp_path / "damaged.bag", [good, good, record, good])
    with pytest.raises(InputError, match=r"damaged\.bag record 2 is damaged or of another kind"):
        convert_states([bag], tmp_path / "rows.parquet", schema)
    assert [path.name for path in tmp_path.iterdir()] == ["damaged.bag"]


@pytest.mark.parametrize("schema", [STATE_VALUES, PLAYED_MOVES], ids=["state_value", "move"])
def test_records_decode_alike_together_and_alone(schema, tmp_path):
    """A long FEN makes its batch be decoded record by record."""
    make = state_value if schema == STATE_VALUES else played_move
    labels = [0.0, 0.3, 1.0] if schema == STATE_VALUES else ["e2e4", "a7a8q", "b1c3"]
    usual = [make(label) for label in labels]
    one = write_bag(tmp_path / "usual.bag", usual)
    other = write_bag(tmp_path / "long.bag", [*usual, make(labels[0], "x" * 130)])
    convert_states([one], tmp_path / "usual.parquet", schema)
    convert_states([other], tmp_path / "long.parquet", schema)
    rows = pq.read_table(tmp_path / "long.parquet")
    assert rows.slice(0, 3).equals(pq.read_table(tmp_path / "usual.parquet"))
    assert rows["fen"][3].as_py() == "x" * 130


def test_files_hold_the_records_of_the_shards_in_order(tmp_path):
    shards = [
        write_bag(tmp_path / f"s-{shard:05d}-of-00005.bag", [state_value(shard / 10)] * (1 + shard))
        for shard in range(5)
    ]
    folder = tmp_path / "rows"
    line = [tmp_path / "s@5.bag", "--output", folder, "--files", 2]
    assert run_command("data.chess.chessbench", *line).returncode == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "boards-00000-of-00002.parquet",
        "boards-00001-of-00002.parquet",
    ]
    values = pq.read_table(folder)["win_prob"].to_numpy()
    np.testing.assert_array_equal(values, np.repeat(np.arange(5) / 10, np.arange(1, 6)).astype(np.float32))
    too_many = run_command("data.chess.chessbench", shards[0], "--output", tmp_path / "no", "--files", 2)
    assert_input_error(too_many, "--files 2: there are 1 shards")


def test_when_a_damaged_shard_is_corrected_the_files_before_it_are_kept(tmp_path):
    good = [state_value(shard / 10) for shard in range(3)]
    shards = [write_bag(tmp_path / f"{shard}.bag", [good[shard]] * 2) for shard in range(3)]
    write_bag(shards[2], [good[2], state_value(1.5)])
    output = tmp_path / "rows"
    with pytest.raises(InputError, match=r"2\.bag record 1 is damaged"):
        convert_states(shards, output, STATE_VALUES, num_files=3)
    kept = [path.stat().st_ino for path in sorted((tmp_path / "rows.partial/files").iterdir())]
    write_bag(shards[2], [good[2]] * 2)
    convert_states(shards, output, STATE_VALUES, num_files=3)
    assert len(kept) == 2
    assert [path.stat().st_ino for path in sorted(output.iterdir())][:2] == kept
    values = pq.read_table(output)["win_prob"].to_numpy()
    np.testing.assert_array_equal(values, np.repeat(np.arange(3) / 10, 2).astype(np.float32))


def test_the_first_record_says_what_a_bag_holds(tmp_path):
    assert schema_of(FIXTURES / "action_value_data.bag") == ACTION_VALUES
    assert schema_of(FIXTURES / BAGS["state_value"]) == STATE_VALUES
    assert schema_of(FIXTURES / BAGS["move"]) == PLAYED_MOVES
    mixed = [FIXTURES / BAGS["state_value"], FIXTURES / "action_value_data.bag"]
    result = run_command("data.chess.chessbench", *mixed, "--output", tmp_path / "rows.parquet")
    assert result.returncode == 2
    assert "action_value_data.bag record 0 is damaged or of another kind" in result.stderr


def test_many_records_need_several_batches(tmp_path):
    number = RECORDS_PER_BATCH + 10
    bag = write_bag(tmp_path / "many.bag", [played_move("e2e4")] * number)
    assert convert_states([bag], tmp_path / "rows.parquet", PLAYED_MOVES) == number
    assert pq.read_metadata(tmp_path / "rows.parquet").num_rows == number
