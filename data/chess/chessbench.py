"""Convert ChessBench's .bag files to Parquet, one row per board.

The files are those of google-deepmind/searchless_chess (arXiv 2402.04494). A record of action values is one
(board, move, win probability), and the records of one board may be in any shard; a record of state values or
of behavioural cloning is one board (data/chess/state_records.py).

    python -m data.chess.chessbench action_value-*_data.bag --output boards.parquet
    python -m data.chess.chessbench state_value-*_data.bag --output states.parquet
"""

import argparse
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from cli.errors import InputError, command
from cli.files import atomic_write, check_output
from cli.options import positive_int
from data.chess.bag_records import list_shards, open_bag, read_action_values
from data.chess.record_store import RecordStore, group_by_board
from data.chess.resumable_job import ResumableJob
from data.chess.rows import ROWS_PER_GROUP, SCHEMA
from data.chess.state_records import convert_states, schema_of
from data.parquet import list_files


MEMORY_LIMIT = 4.0
LEAST_MEMORY = 1.0
# Level 19 would take longer than everything else.
COMPRESSION = 3


def convert(
    bags: Sequence[str | Path],
    output: Path,
    *,
    num_files: int | None = None,
    memory_limit: float = MEMORY_LIMIT,
    threads: int | None = None,
) -> int:
    """Gather the action values of all `bags` into one row per board, and return the number of boards.

    With `num_files` the output is a folder of that many Parquet files. The boards are sorted by DuckDB's
    hash, for any `memory_limit` (gigabytes) and `threads`; of a repeated move the first value counts. An
    interrupted conversion continues from `<output>.partial`, a folder about as large as the input. Raises
    InputError for files that are missing or damaged.
    """
    shards = [shard for bag in bags for shard in list_shards(bag)]
    lengths = [len(open_bag(shard)) for shard in tqdm(shards, desc="opening", unit=" files", delay=3)]
    threads = threads or os.cpu_count() or 1
    with (
        ResumableJob(output, _arguments_of_output(shards, lengths, num_files)) as job,
        RecordStore(job.folder / "records.duckdb", memory_limit, threads) as store,
    ):
        _read(shards, lengths, job, store)
        return _write(output, num_files, job, store)


def _arguments_of_output(shards: list[str], lengths: list[int], num_files: int | None) -> dict[str, Any]:
    """Return every argument that affects the output, to verify on resume."""
    named = "".join(f"{shard} {length}\n" for shard, length in zip(shards, lengths, strict=True))
    digest = hashlib.sha256(named.encode()).hexdigest()
    return {
        "input": f"{len(shards)} files with {sum(lengths)} records",
        "sha256 of names and lengths": digest,
        "files": num_files,
        # Its hash may differ between versions.
        "DuckDB": duckdb.__version__,
    }


def _read(shards: list[str], lengths: list[int], job: ResumableJob, store: RecordStore) -> None:
    """Add all records to the store; a line of the log says that a shard is complete."""
    log = job.log("shards")
    num_earlier = sum(lengths[: len(log)])
    with tqdm(
        desc="reading", unit=" records", unit_scale=True, total=sum(lengths), initial=num_earlier
    ) as progress:
        for index in range(len(log), len(shards)):
            # If the process is killed before the next line, the shard is added again, which changes nothing.
            store.add(_counted(read_action_values(shards[index]), progress), sum(lengths[:index]))
            log.append(shards[index])


def _counted(batches: Iterable[pa.RecordBatch], progress: tqdm) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch
        progress.update(len(batch))


def _write(output: Path, num_files: int | None, job: ResumableJob, store: RecordStore) -> int:
    with tqdm(desc="grouping", unit=" records", unit_scale=True, total=store.count()) as progress:
        if num_files is None:
            return _write_boards(output, _counted(store.sorted_records(), progress))
        folder = job.folder / "files"
        folder.mkdir(exist_ok=True)
        num_boards = 0
        for part in range(num_files):
            path = folder / f"boards-{part:05d}-of-{num_files:05d}.parquet"
            if path.exists():
                progress.update(store.count(part, num_files))
                num_boards += pq.read_metadata(path).num_rows
            else:
                records = _counted(store.sorted_records(part, num_files), progress)
                num_boards += _write_boards(path, records)
    folder.rename(output)
    return num_boards


def _write_boards(path: Path, records: Iterable[pa.RecordBatch]) -> int:
    """Write sorted records as rows to a Parquet file, atomically; return the number of rows."""
    num_rows = 0
    with (
        atomic_write(path) as unfinished,
        pq.ParquetWriter(unfinished, SCHEMA, compression="zstd", compression_level=COMPRESSION) as writer,
    ):
        for group in _of_equal_length(group_by_board(records)):
            writer.write_table(group, ROWS_PER_GROUP)
            num_rows += len(group)
    return num_rows


def _of_equal_length(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Regroup tables into ROWS_PER_GROUP rows, so that the file does not depend on their sizes."""
    waiting = SCHEMA.empty_table()
    for table in tables:
        waiting = pa.concat_tables([waiting, table])
        while len(waiting) >= ROWS_PER_GROUP:
            yield waiting.slice(0, ROWS_PER_GROUP).combine_chunks()
            waiting = waiting.slice(ROWS_PER_GROUP)
    if len(waiting):
        yield waiting.combine_chunks()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data.chess.chessbench",
        description="Gather the action values of ChessBench's .bag files into Parquet, one row per board; or "
        "convert its state values, or its moves of behavioural cloning, one row per record. "
        "Records pass through a folder next to the output that takes about as much space as they do. After "
        "an interruption or a crash the same command continues. The rows and their order do not depend on "
        "the memory limit and the number of threads.",
    )
    add = parser.add_argument
    add(
        "bags",
        nargs="+",
        metavar="SHARD.bag",
        help="action-value, state-value or behavioral-cloning files; name@N_data.bag means all N shards of "
        "name. Give all shards of action values that may hold moves of the same boards together",
    )
    add("--output", required=True, type=Path, help="the Parquet file to write; with --files a folder of them")
    add(
        "--files",
        type=positive_int,
        metavar="N",
        help="write a folder of N Parquet files of about equal size, which training reads like one file; "
        "complete files are kept after an interruption",
    )
    add(
        "--memory-limit",
        type=float,
        metavar="GB",
        default=MEMORY_LIMIT,
        help=f"gigabytes of memory to group action values, at least {LEAST_MEMORY:g}; more is faster "
        f"(default: {MEMORY_LIMIT:g})",
    )
    add(
        "--threads",
        type=positive_int,
        default=os.cpu_count(),
        metavar="N",
        help="threads that sort and group action values (default: one per core)",
    )
    add("--overwrite", action="store_true", help="replace the output if it exists")
    arguments = parser.parse_args()
    # NaN fails the comparison.
    if not arguments.memory_limit >= LEAST_MEMORY:
        parser.error(f"--memory-limit must be at least {LEAST_MEMORY:g}, not {arguments.memory_limit:g}")
    if arguments.files is not None and arguments.overwrite:
        parser.error("--overwrite replaces a file, not a folder: with --files, delete the folder first")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    output: Path = arguments.output
    if arguments.files is None:
        check_output(output, arguments.overwrite)
    elif output.exists():
        raise InputError(f"{output} exists: choose another folder, or delete it")
    else:
        check_output(output / "boards.parquet", overwrite=False)
    # The first record decides; another kind later is an error.
    schema = schema_of(list_shards(arguments.bags[0])[0])
    if schema is not None:
        num_boards = convert_states(arguments.bags, output, schema, arguments.files)
    else:
        num_boards = convert(
            arguments.bags,
            output,
            num_files=arguments.files,
            memory_limit=arguments.memory_limit,
            threads=arguments.threads,
        )
    files = list_files(output)
    size = sum(path.stat().st_size for path in files)
    print(f"{output}: {num_boards} boards, {size / 1000:.0f} kB")


if __name__ == "__main__":
    command(main)
