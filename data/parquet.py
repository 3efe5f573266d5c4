"""Find, open, read and write Parquet files of rows; faulty files raise errors of one line."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from cli.errors import InputError, first_line
from cli.files import atomic_write


ANY_SCHEMA = pa.schema([])
SUFFIXES = (".parquet", ".pq")  # in capitals too
ROWS_PER_BATCH = 4096  # of those that are read one by one
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list, pa.types.is_list_view)


class RowFault(Exception):
    """The index of a faulty row in its batch, and the fault."""

    def __init__(self, row: int, problem: str):
        super().__init__(row, problem)
        self.row, self.problem = int(row), problem


def list_files(source: str | Path) -> list[Path]:
    """List the Parquet files of a source, a file or a folder. Raises InputError if there are none."""
    source = Path(source)
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    files = parquet_files(source) if source.is_dir() else [source]
    if not files:
        raise InputError(f"{source}: the folder has no files that end in {' or '.join(SUFFIXES)}")
    return files


def parquet_files(folder: Path) -> list[Path]:
    """List the Parquet files of a folder in order. Hidden ones are skipped: they are still being written."""
    return sorted(path for path in folder.iterdir() if is_parquet(path) and not path.name.startswith("."))


def files_of_chunks(folder: Path) -> list[Path]:
    """List the Parquet files in the folders chunk-* of a LeRobotDataset, in order."""
    return [path for chunk in sorted(folder.glob("chunk-*")) for path in parquet_files(chunk)]


def is_parquet(path: str | Path) -> bool:
    """Return whether a file has the name of a Parquet file."""
    return str(path).lower().endswith(SUFFIXES)


def open_file(
    path: Path, schema: pa.Schema = ANY_SCHEMA, made_by: str = "", opened: BinaryIO | None = None
) -> pq.ParquetFile:
    """Open a Parquet file and check that it has the columns of `schema`.

    More columns, and other widths of numbers and offsets, are allowed. `opened` is the content of a file that
    is not on this machine. Raises InputError for other files; its remedy is `made_by`, the commands that
    write such files.
    """
    try:
        file = pq.ParquetFile(opened or path)
        found = file.schema_arrow
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as Parquet ({first_line(error)}): make it again") from None
    for expected in schema:
        kind = found.field(expected.name).type if found.names.count(expected.name) == 1 else "missing"
        if kind == "missing" or not _is_like(_plain(kind), expected.type):
            raise InputError(
                f"{path}: column {expected.name!r} is {kind}, must be {expected.type}; "
                f"{made_by} write{'' if ' and ' in made_by else 's'} such files"
            )
    return file


def count_items(file: pq.FileMetaData, column: str) -> int:
    """Return the number of items in a column of lists, from the metadata; an empty list counts as one."""
    leaves = [file.schema.column(index).path.partition(".")[0] for index in range(file.num_columns)]
    groups = map(file.row_group, range(file.num_row_groups))
    return sum(group.column(leaves.index(column)).num_values for group in groups)


def read_batches(
    path: Path, file: pq.ParquetFile, columns: list[str], num_rows: int
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield batches of up to `num_rows` rows, each with the index of its first row.

    Dictionaries, views and lists of any kind become plain columns. Raises InputError where the file is
    damaged.
    """
    batches = file.iter_batches(num_rows, columns=columns)
    first_row = 0
    while True:
        try:
            batch = next(batches, None)
            if batch is not None:
                # pyarrow checks only on request that strings are UTF-8.
                batch.validate(full=True)
                batch = batch.cast(pa.schema([field.with_type(_plain(field.type)) for field in batch.schema]))
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path}: cannot be read after row {first_row} ({first_line(error)})") from None
        if batch is None:
            break
        yield first_row, batch
        first_row += len(batch)
    if first_row != file.metadata.num_rows:
        raise InputError(f"{path}: damaged: {first_row} of {file.metadata.num_rows} rows can be read")


def read_rows(
    source: str | Path, schema: pa.Schema, made_by: str, optional: Sequence[str] = ()
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows of a file or a folder, each with its location for messages.

    They have the columns of `schema`, and the `optional` ones where a file has them.
    """
    for path in list_files(source):
        file = open_file(path, schema, made_by)
        columns = schema.names + [name for name in optional if name in file.schema_arrow.names]
        for first_row, batch in read_batches(path, file, columns, ROWS_PER_BATCH):
            for number, row in enumerate(batch.to_pylist(), first_row):
                yield f"{path} row {number}", row


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Read a Parquet file. Raises InputError if it is damaged, or lacks one of `columns`."""
    try:
        table = open_file(path).read(columns)
        table.validate(full=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({first_line(error)}): make the dataset again") from None
    if missing := set(columns or ()) - set(table.column_names):
        raise InputError(f"{path}: column {min(missing)!r} is missing: make the dataset again")
    return table


def write_tables(
    path: str | Path,
    tables: Iterable[pa.Table],
    schema: pa.Schema,
    rows_per_group: int,
    compression_level: int | None = None,
) -> int:
    """Write tables of a schema to a Parquet file, atomically; return the number of rows."""
    num_rows = 0
    with (
        atomic_write(path) as unfinished,
        pq.ParquetWriter(
            unfinished, schema, compression="zstd", compression_level=compression_level
        ) as writer,
    ):
        for table in tables:
            writer.write_table(table, rows_per_group)
            num_rows += len(table)
    return num_rows


def _plain(kind: pa.DataType) -> pa.DataType:
    """Return the type without the dictionaries, views and kinds of lists that other programs write."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if any(is_kind(kind) for is_kind in _LISTS):
        return pa.list_(_plain(kind.value_type))
    return pa.string() if pa.types.is_string_view(kind) else kind


def _is_like(found: pa.DataType, expected: pa.DataType) -> bool:
    """Return whether a column can be read as `expected`: other widths of numbers and offsets can."""
    if pa.types.is_list(expected):
        return pa.types.is_list(found) and _is_like(found.value_type, expected.value_type)
    if pa.types.is_floating(expected):
        return pa.types.is_floating(found) or pa.types.is_integer(found)
    for is_kind in (pa.types.is_boolean, pa.types.is_integer):
        if is_kind(expected):
            return is_kind(found)
    if pa.types.is_binary(expected):
        return pa.types.is_binary(found) or pa.types.is_large_binary(found)
    return pa.types.is_string(found) or pa.types.is_large_string(found)
