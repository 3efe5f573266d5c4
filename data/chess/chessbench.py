"""Convert ChessBench's .bag files to Parquet, one row per board.

The files are those of google-deepmind/searchless_chess (arXiv 2402.04494). A record of action values is one
(board, move, win probability), and the records of one board may be in any shard; a record of state values or
of behavioural cloning is one board (data/chess/state_records.py).

    python -m data.chess.chessbench --download 20 --output runs/chessbench
    python -m data.chess.chessbench action_value-*_data.bag --output boards.parquet
    python -m data.chess.chessbench state_value-*_data.bag --output states.parquet
"""

import argparse
import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from cli.errors import InputError, command
from cli.files import check_output
from cli.options import positive_int
from data.chess.bag_records import ACTION_VALUES, list_shards, open_bag, read_bag, schema_of
from data.chess.chessbench_download import (
    ADDRESS,
    DISK_FACTOR,
    NUM_SHARDS,
    PUZZLES,
    TEST_FOLDER,
    RemoteFile,
    check_space,
    fetch_all,
    find_files,
    parse_download,
    save_puzzles,
)
from data.chess.record_store import MAX_RANGES, RecordStore, group_by_board
from data.chess.rows import FAST_COMPRESSION, MADE_BY, ROWS_PER_GROUP, SCHEMA, boards_file
from data.chess.state_records import convert_states
from data.parquet import (
    count_items,
    is_parquet,
    list_files,
    open_file,
    parquet_files,
    read_batches,
    write_tables,
)
from data.resumable_job import ResumableJob


MEMORY_LIMIT = 4.0
LEAST_MEMORY, MOST_MEMORY = 1.0, 100_000.0  # gigabytes; DuckDB refuses 2**64 bytes
# Records are numbered in the order of the shards. No shard has this many records.
NUMBERS_PER_SHARD = 2**32


def convert(
    bags: Sequence[str | Path],
    output: Path,
    *,
    num_files: int | None = None,
    memory_limit: float = MEMORY_LIMIT,
    threads: int = 1,
) -> int:
    """Gather the action values of all `bags` into one row per board, and return the number of boards.

    With `num_files` the output is a folder of that many Parquet files. The boards are sorted by DuckDB's
    hash, for any `memory_limit` (gigabytes) and `threads`; of a repeated move the first value counts. An
    interrupted conversion continues from `<output>.partial`, a folder about as large as the input. A bag may
    also be a Parquet file of rows that was converted from other shards. Raises InputError for files that are
    missing or damaged.
    """
    shards = [shard for bag in bags for shard in list_shards(bag)]
    lengths = [_count_records(shard) for shard in tqdm(shards, desc="opening", unit=" files", delay=3)]
    with (
        ResumableJob(output, _arguments_of_output(shards, lengths, num_files)) as job,
        RecordStore(job.folder / "records.duckdb", memory_limit, threads) as store,
    ):
        _read(shards, lengths, job, store)
        return _write(output, num_files, job, store)


def convert_downloads(
    files: Sequence[RemoteFile],
    output: Path,
    *,
    num_files: int,
    memory_limit: float,
    threads: int,
) -> int:
    """Convert files on a server as `convert` does; at most two are on disk at a time."""
    arguments = {
        "shards": f"{files[0].name} to {files[-1].name}",
        "files": num_files,
        "DuckDB": duckdb.__version__,
    }
    with (
        ResumableJob(output, arguments) as job,
        RecordStore(job.folder / "records.duckdb", memory_limit, threads) as store,
    ):
        log = job.log("shards")
        with contextlib.closing(fetch_all(files, job.folder, num_done=len(log))) as paths:
            for path in paths:
                store.add(read_bag(path, ACTION_VALUES), len(log) * NUMBERS_PER_SHARD)
                log.append(path.name)
                path.unlink()
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
            records = _counted(_read_records(shards[index]), progress)
            store.add(records, index * NUMBERS_PER_SHARD)
            log.append(shards[index])


def _count_records(path: str) -> int:
    if not is_parquet(path):
        return len(open_bag(path))
    return count_items(open_file(Path(path), SCHEMA, MADE_BY).metadata, "moves")


def _read_records(path: str) -> Iterator[pa.RecordBatch]:
    """Yield the action values of a .bag file, or of a Parquet file of rows."""
    if not is_parquet(path):
        yield from read_bag(path, ACTION_VALUES)
        return
    file = open_file(Path(path), SCHEMA, MADE_BY)
    for _, rows in read_batches(Path(path), file, SCHEMA.names, ROWS_PER_GROUP):
        fens = rows["fen"].take(pc.list_parent_indices(rows["moves"]))
        columns = [fens, rows["moves"].flatten(), rows["win_probs"].flatten()]
        yield pa.RecordBatch.from_arrays(columns, schema=ACTION_VALUES)


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
            path = folder / boards_file(part, num_files)
            if path.exists():
                progress.update(store.count(part, num_files))
                num_boards += pq.read_metadata(path).num_rows
            else:
                records = _counted(store.sorted_records(part, num_files), progress)
                num_boards += _write_boards(path, records)
    if output.exists():
        # It has the test set or the puzzles.
        for path in output.iterdir():
            path.rename(folder / path.name)
        output.rmdir()
    folder.rename(output)
    return num_boards


def _write_boards(path: Path, records: Iterable[pa.RecordBatch]) -> int:
    """Write sorted records as rows to a Parquet file, atomically; return the number of rows."""
    groups = _of_equal_length(group_by_board(records))
    return write_tables(path, groups, SCHEMA, ROWS_PER_GROUP, FAST_COMPRESSION)


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
        description="Convert ChessBench's .bag files into Parquet, or download them and do the same. Action "
        "values are gathered into one row per board; state values, and moves of behavioural cloning, become "
        "one row per record. Records pass through a folder next to the output that takes about as much space "
        "as they do. After an interruption or a crash the same command continues. The rows and their order "
        "do not depend on the memory limit and the number of threads.",
    )
    add = parser.add_argument
    add(
        "bags",
        nargs="*",
        metavar="SHARD.bag",
        help="action-value, state-value or behavioral-cloning files; name@N_data.bag means all N shards of "
        "name. Give all shards of action values that may hold moves of the same boards together, or gather "
        "the Parquet files of several conversions in a second one",
    )
    add(
        "--download",
        type=parse_download,
        metavar="WHAT",
        help=f"download into the folder OUTPUT: the first so many of the {NUM_SHARDS} training shards (0.57 "
        "GB each on average) and the test set (0.15 GB); the shards of a range such as 20-39; only the test "
        "set (test); or the 10,000 puzzles (puzzles)",
    )
    add(
        "--address",
        metavar="URL",
        default=ADDRESS,
        help="the folder with ChessBench's files on a server (default: %(default)s)",
    )
    add(
        "--output",
        required=True,
        type=Path,
        help="the Parquet file to write; with --files and --download a folder of them",
    )
    add(
        "--files",
        type=positive_int,
        metavar="N",
        help="write a folder of N Parquet files of about equal size, which training reads like one file; "
        f"complete files are kept after an interruption (default of --download: one per shard, up to "
        f"{MAX_RANGES})",
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
    if bool(arguments.bags) == bool(arguments.download):
        parser.error("give either files, SHARD.bag, or --download")
    # NaN fails the comparison.
    if not LEAST_MEMORY <= arguments.memory_limit <= MOST_MEMORY:
        parser.error(
            f"--memory-limit must be from {LEAST_MEMORY:g} to {MOST_MEMORY:g} gigabytes, "
            f"not {arguments.memory_limit:g}"
        )
    if (arguments.files is not None or arguments.download) and arguments.overwrite:
        parser.error(
            "--overwrite replaces a file, not a folder: with --files and --download, delete the folder first"
        )
    return arguments


def main() -> None:
    arguments = parse_arguments()
    output: Path = arguments.output
    if arguments.download:
        download(arguments)
        return
    if arguments.files is None:
        check_output(output, arguments.overwrite)
    elif output.exists():
        raise InputError(f"{output} exists: choose another folder, or delete it")
    else:
        check_output(output / "boards.parquet", overwrite=False)
    # The first record decides; another kind later is an error. Parquet files have action values.
    first = list_shards(arguments.bags[0])[0]
    schema = ACTION_VALUES if is_parquet(first) else schema_of(first)
    if schema != ACTION_VALUES:
        num_boards = convert_states(arguments.bags, output, schema, arguments.files)
    else:
        num_boards = convert(
            arguments.bags,
            output,
            num_files=arguments.files,
            memory_limit=arguments.memory_limit,
            threads=arguments.threads,
        )
    report_boards(output, num_boards)


def download(arguments: argparse.Namespace) -> None:
    """Download training boards, test boards or puzzles to their paths in the folder `--output`."""
    output: Path = arguments.output.resolve()
    check_output(output / "boards.parquet", overwrite=False)
    # The test set that came with an interrupted download of training shards is complete.
    targets = {output / name: paths for name, paths in arguments.download.items()}
    if len(targets) > 1 and (output / TEST_FOLDER).exists():
        del targets[output / TEST_FOLDER]
    for target in targets:
        if target.is_file() or (target.is_dir() and parquet_files(target)):
            raise InputError(f"{target} exists: choose another --output, or delete it")
    files = {target: find_files(arguments.address, paths) for target, paths in targets.items()}
    sizes = sorted(file.size for found in files.values() for file in found)
    num_bytes = int(DISK_FACTOR * sum(sizes)) + sum(sizes[-2:])
    partial = [target.with_name(f"{target.name}.partial") for target in targets]
    done = [path for folder in partial for path in folder.rglob("*") if path.is_file()]
    check_space(output, num_bytes - sum(path.stat().st_size for path in done))
    for target, found in files.items():
        if target.name == PUZZLES:
            save_puzzles(found, target)
            print(target)
        else:
            num_files = arguments.files or min(len(found), MAX_RANGES)
            num_boards = convert_downloads(
                found,
                target,
                num_files=num_files,
                memory_limit=arguments.memory_limit,
                threads=arguments.threads,
            )
            report_boards(target, num_boards)


def report_boards(output: Path, num_boards: int) -> None:
    size = sum(path.stat().st_size for path in list_files(output))
    print(f"{output}: {num_boards} boards, {size / 1000:.0f} kB")


if __name__ == "__main__":
    command(main)
