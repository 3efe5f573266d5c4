"""Convert ChessBench's state values and moves of behavioural cloning: one Parquet row per record."""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
from tqdm import tqdm

from cli.errors import InputError
from data.chess.bag_records import list_shards, open_bag, read_bag
from data.chess.rows import FAST_COMPRESSION, ROWS_PER_GROUP, boards_file
from data.parquet import write_tables
from data.resumable_job import ResumableJob


def convert_states(
    bags: Sequence[str | Path], output: Path, schema: pa.Schema, num_files: int | None = None
) -> int:
    """Write the records of `bags` as rows of `schema`, in order, and return their number.

    With `num_files` the output is a folder of that many Parquet files, each with the records of some shards.
    An interrupted conversion to a folder keeps complete files. Raises InputError for files that are missing,
    damaged or of another kind, and if there are fewer shards than files.
    """
    shards = [shard for bag in bags for shard in list_shards(bag)]
    if num_files is not None and num_files > len(shards):
        raise InputError(f"--files {num_files}: there are {len(shards)} shards, and no file can hold less")
    lengths = [len(open_bag(shard)) for shard in tqdm(shards, desc="opening", unit=" files", delay=3)]
    bar = functools.partial(tqdm, desc="converting", unit=" records", unit_scale=True, total=sum(lengths))
    if num_files is None:
        with bar() as progress:
            _write(shards, output, schema, progress)
        return sum(lengths)
    counts = [f"{shard} {length}" for shard, length in zip(shards, lengths, strict=True)]
    starts = [part * len(shards) // num_files for part in range(num_files + 1)]
    with ResumableJob(output, {"input": counts, "files": num_files}) as job:
        folder, log = job.folder / "files", job.log("files")
        folder.mkdir(exist_ok=True)
        with bar(initial=sum(lengths[: starts[len(log)]])) as progress:
            for part in range(len(log), num_files):
                path = folder / boards_file(part, num_files)
                _write(shards[starts[part] : starts[part + 1]], path, schema, progress)
                log.append(path.name)
        folder.rename(output)
    return sum(lengths)


def _write(shards: Sequence[str], path: Path, schema: pa.Schema, progress: tqdm) -> None:
    write_tables(path, _read(shards, schema, progress), schema, ROWS_PER_GROUP, FAST_COMPRESSION)


def _read(shards: Sequence[str], schema: pa.Schema, progress: tqdm) -> Iterator[pa.Table]:
    for shard in shards:
        for batch in read_bag(shard, schema):
            yield pa.Table.from_batches([batch])
            progress.update(len(batch))
