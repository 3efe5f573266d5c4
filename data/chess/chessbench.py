"""Convert ChessBench's action values from .bag files to one Parquet row per board.

The files are those of google-deepmind/searchless_chess (arXiv 2402.04494); every record is one (board, move,
win probability), and the records of a board may lie anywhere in any shard.

    python -m data.chess.chessbench action_value-*_data.bag --output boards.parquet
"""

import argparse
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from cli.errors import InputError, command
from cli.files import atomic_write, check_output
from data.chess.bag_records import list_shards, open_bag, read_action_values
from data.chess.record_store import RecordStore, group_by_board
from data.chess.resumable_job import ResumableJob
from data.chess.rows import ROWS_PER_GROUP, SCHEMA
from data.parquet import list_files


MEMORY_LIMIT = 4.0
LEAST_MEMORY = 1.0
# Level 19, as for files that are labelled once and read often, takes longer than all the rest.
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

    With `num_files` the output is a folder of so many Parquet files. The order of the boards is that of
    DuckDB's hash, the same for any memory limit, in gigabytes, and any number of threads; of a move that is
    given twice the first value counts. Work that was cut short is continued, from `<output>.partial`, a
    folder about as large as the input. Raises InputError for files that are missing or damaged.
    """
    shards = [shard for bag in bags for shard in list_shards(bag)]
    lengths = [len(open_bag(shard)) for shard in tqdm(shards, desc="opening", unit=" files", delay=3)]
    with ResumableJob(output, _recorded(shards, lengths, num_files)) as work:
        try:
            with RecordStore(
                work.folder / "records.duckdb", memory_limit, threads or os.cpu_count() or 1
            ) as store:
                _read(shards, lengths, work, store)
                num_boards = _write(output, num_files, work, store)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"{work.folder} keeps the finished part; the same command continues"
            ) from None
        work.remove()
    return num_boards


def _recorded(shards: list[str], lengths: list[int], num_files: int | None) -> dict[str, str | int | None]:
    """Return all that decides the rows."""
    named = "".join(f"{shard} {length}\n" for shard, length in zip(shards, lengths, strict=True))
    digest = hashlib.sha256(named.encode()).hexdigest()
    return {
        "input": f"{len(shards)} files with {sum(lengths)} records",
        "sha256 of names and lengths": digest,
        "files": num_files,
        # Another version may have another hash.
        "DuckDB": duckdb.__version__,
    }


def _read(shards: list[str], lengths: list[int], work: ResumableJob, store: RecordStore) -> None:
    """Take all records into the store; a line of the log says that those of a shard are there."""
    log = work.log("shards")
    num_earlier = sum(lengths[: len(log)])
    with tqdm(
        desc="reading", unit=" records", unit_scale=True, total=sum(lengths), initial=num_earlier
    ) as progress:
        for index in range(len(log), len(shards)):
            # Killed before the next line, the run adds the shard again, which changes nothing.
            store.add(_counted(read_action_values(shards[index]), progress), sum(lengths[:index]))
            log.append(shards[index])


def _counted(batches: Iterable[pa.RecordBatch], progress: tqdm) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch
        progress.update(len(batch))


def _write(output: Path, num_files: int | None, work: ResumableJob, store: RecordStore) -> int:
    with tqdm(desc="grouping", unit=" records", unit_scale=True, total=store.count()) as progress:
        if num_files is None:
            return _write_boards(output, _counted(store.sorted_records(), progress))
        folder = work.folder / "files"
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
    """Write sorted records as rows to a Parquet file, whole or not at all; return the number of rows."""
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
    """Cut tables anew, into groups of ROWS_PER_GROUP rows: the file is then the same however they came."""
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
        description="Gather the action values of ChessBench's .bag files into Parquet, one row per board. "
        "Records pass through a folder beside the output that takes about as much space as they do. Work "
        "that was cut short, even by a crash, goes on when the same command is given again. The rows and "
        "their order are the same whatever the memory limit and the number of threads.",
    )
    add = parser.add_argument
    add(
        "bags",
        nargs="+",
        metavar="SHARD.bag",
        help="action-value files; name@N_data.bag means all N shards of name. Give all shards that may hold "
        "moves of the same boards at once",
    )
    add("--output", required=True, type=Path, help="the Parquet file to write; with --files a folder of them")
    add(
        "--files",
        type=int,
        metavar="N",
        help="write a folder of N Parquet files with about as many boards each, which training takes in "
        "place of one file; those that are whole are kept if the work is cut short",
    )
    add(
        "--memory-limit",
        type=float,
        metavar="GB",
        default=MEMORY_LIMIT,
        help=f"gigabytes of memory to use, at least {LEAST_MEMORY:g}; more is faster ({MEMORY_LIMIT:g})",
    )
    add("--threads", type=int, default=os.cpu_count(), help="threads that sort and group (one per core)")
    add("--overwrite", action="store_true", help="replace the output if it exists")
    arguments = parser.parse_args()
    for name in ("files", "threads"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            parser.error(f"--{name} must be at least 1, not {value}")
    # NaN fails the comparison.
    if not arguments.memory_limit >= LEAST_MEMORY:
        parser.error(f"--memory-limit must be at least {LEAST_MEMORY:g}, not {arguments.memory_limit:g}")
    if arguments.files is not None and arguments.overwrite:
        parser.error("--overwrite replaces a file, never a folder: with --files, delete the folder yourself")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    output: Path = arguments.output
    if arguments.files is None:
        check_output(output, arguments.overwrite)
    elif output.exists():
        raise InputError(f"{output} exists: choose another place for the folder, or delete it")
    else:
        check_output(output / "boards.parquet", overwrite=False)
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
