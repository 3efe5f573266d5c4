"""Parquet files as other programs write them."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli.errors import InputError
from data.chess.boards import Boards
from data.parquet import count_items, list_files


ROW = {"fen": ["8/8/8/8/8/8/k7/2K5 w - - 0 1"], "moves": [["c1d1", "c1d2"]], "win_probs": [[0.5, 0.25]]}
COLUMNS = {
    "plain": (pa.string(), pa.list_(pa.string())),
    "large": (pa.large_string(), pa.large_list(pa.large_string())),
    "view": (pa.string_view(), pa.list_(pa.string_view())),
    "large view": (pa.string_view(), pa.large_list(pa.string_view())),
    "fixed size": (pa.string(), pa.list_(pa.string(), 2)),
    "dictionary": (pa.dictionary(pa.int32(), pa.string()), pa.list_(pa.string())),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_strings_may_have_any_encoding(tmp_path, kind):
    fen, moves = COLUMNS[kind]
    table = pa.table(ROW).cast(pa.schema({"fen": fen, "moves": moves, "win_probs": pa.list_(pa.float64())}))
    pq.write_table(table, tmp_path / "boards.parquet")
    boards = Boards.from_parquet(tmp_path / "boards.parquet")
    assert (boards.num_boards, boards.num_action_values) == (1, 2)


def test_a_folder_has_all_its_parquet_files_but_hidden_ones(tmp_path):
    with pytest.raises(InputError, match=r"no files that end in \.parquet or \.pq"):
        list_files(tmp_path)
    for name in ("b.PARQUET", "a.pq", "c.parquet", ".d.parquet", "README.md"):
        (tmp_path / name).touch()
    assert [path.name for path in list_files(tmp_path)] == ["a.pq", "b.PARQUET", "c.parquet"]


def test_items_of_a_column_are_counted_wherever_it_is(tmp_path):
    table = pa.table({"more": [{"a": 1, "b": [2]}] * 3, "moves": [["c1d1", "c1d2"], ["a2a1"], ["c1c2"]]})
    pq.write_table(table, tmp_path / "boards.parquet", row_group_size=2)
    assert count_items(pq.read_metadata(tmp_path / "boards.parquet"), "moves") == 4


def test_a_value_just_above_one_is_shown_as_it_is(tmp_path):
    pq.write_table(pa.table(ROW | {"win_probs": [[0.5, 1.0000001]]}), tmp_path / "boards.parquet")
    with pytest.raises(InputError, match=r"row 0: win probability 1\.0000001 of 'c1d2' is not between"):
        Boards.from_parquet(tmp_path / "boards.parquet")
