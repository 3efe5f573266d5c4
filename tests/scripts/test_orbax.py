"""Arrays of Orbax checkpoints, as one database and as a folder for each."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorstore

from cli.errors import InputError
from scripts.orbax import read_arrays


FIXTURES = Path(__file__).parents[1] / "fixtures/searchless_chess"
DATABASE = FIXTURES / "orbax/6400000/params"
ARRAYS = {name.replace("//", "."): array for name, array in np.load(FIXTURES / "params.npz").items()}
LARGE = "multi_head_dot_product_attention_1/linear_2.w"


def write_folders(folder: Path, arrays: dict[str, np.ndarray], rows: int | None = None) -> Path:
    """Write a folder for each array, as Orbax did before it had a database, in chunks of `rows` rows."""
    for name, array in arrays.items():
        chunks = (rows or len(array), *array.shape[1:])
        compression = {"compressor": {"id": "gzip", "level": 1}, "fill_value": None}
        metadata = {"shape": array.shape, "chunks": chunks, "dtype": array.dtype.str, **compression}
        store = {"driver": "file", "path": f"{folder / name}/"}
        spec = {"driver": "zarr", "kvstore": store, "metadata": metadata}
        tensorstore.open(spec, create=True).result().write(array).result()
    return folder


def assert_same_arrays(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(found) == sorted(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_a_database_written_by_orbax_holds_the_parameters_by_their_paths():
    assert_same_arrays(read_arrays(DATABASE), ARRAYS)


@pytest.mark.parametrize("rows", [None, 7])
def test_a_folder_for_each_array_is_read_too(tmp_path, rows):
    arrays = ARRAYS | {"zeros/deep.w": np.zeros((9, 2), np.float32)}
    assert_same_arrays(read_arrays(write_folders(tmp_path, arrays, rows)), arrays)


def test_a_missing_chunk_is_an_error_and_not_zeros(tmp_path):
    folder = write_folders(tmp_path, {LARGE: ARRAYS[LARGE]}, rows=8)
    (folder / LARGE / "2.0").unlink()
    with pytest.raises(InputError, match=rf"{LARGE} cannot be read: .*2\.0.* is missing; .*download"):
        read_arrays(folder)


@pytest.mark.parametrize(("file", "size"), [("0.0", 0), ("0.0", -100), (".zarray", -10)])
def test_an_array_with_a_truncated_file_is_an_error_in_one_line(tmp_path, file, size):
    folder = write_folders(tmp_path, {LARGE: ARRAYS[LARGE]})
    path = folder / LARGE / file
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match=f"{LARGE} cannot be read: .*download it again") as error:
        read_arrays(folder)
    assert "\n" not in str(error.value) and "tensorstore_spec" not in str(error.value)


def test_a_database_with_any_file_cut_in_half_is_an_error_or_complete(tmp_path):
    damaged = 0
    for path in sorted(path for path in DATABASE.rglob("*") if path.is_file()):
        folder = shutil.copytree(DATABASE, tmp_path / "copy")
        copy = folder / path.relative_to(DATABASE)
        copy.write_bytes(copy.read_bytes()[: copy.stat().st_size // 2])
        try:
            assert_same_arrays(read_arrays(folder), ARRAYS)
        except InputError as error:
            assert "download it again" in str(error) and "\n" not in str(error)
            damaged += 1
        shutil.rmtree(folder)
    # The manifest, the tree and three files of data; a process's own tree is superseded.
    assert damaged == 5


def test_a_folder_without_arrays_is_an_error(tmp_path):
    with pytest.raises(InputError, match="holds no arrays"):
        read_arrays(tmp_path)


def test_without_tensorstore_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorstore", None)
    with pytest.raises(InputError, match="pip install tensorstore"):
        read_arrays(DATABASE)
