"""The conversion in plain Python gives the boards of the one that is measured."""

import pyarrow.parquet as pq

from benchmarks.chessbench import convert_in_plain_python, make_shards, run_conversion
from data.chess.chessbench import convert


def test_plain_python_converts_to_the_same_boards(tmp_path):
    bags, num_records = make_shards(tmp_path, 500, 3, seed=0)
    rows = []
    for name, conversion in (("plain", convert_in_plain_python), ("bounded", convert)):
        output = tmp_path / name / "boards.parquet"
        output.parent.mkdir()
        measured = run_conversion(conversion, bags, output)
        assert measured["disk"] >= output.stat().st_size
        rows.append(sorted(pq.read_table(output).to_pylist(), key=lambda row: row["fen"]))
    assert rows[0] == rows[1]
    assert sum(len(row["moves"]) for row in rows[0]) <= num_records
