"""Publish chess boards or Wordle games as a dataset of the hub, with a card; `datasets` and training read it.

    python -m data.publish --data boards.parquet --validation held_out.parquet --repo user/name
    python -m data.publish --data games.parquet --folder dataset

Needs a login, `hf auth login` or $HF_TOKEN, that may write. Rows are checked first, and what is published
appears as a whole. A file of up to 256 MB is published as it is, a larger one in several, since whatever is
cut off in the middle of a file begins that file again, for whoever fetches it.
"""

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import HfApi
from tqdm import tqdm

from cli.errors import InputError, command, first_line
from cli.files import atomic_write
from data.dataset_card import GAME_METADATA, Kind, Split, dataset_card, find_kind
from data.hub import is_intact, list_repo
from data.hub_uploads import check_upload, make_repo, uploading
from data.parquet import list_files, open_file, read_batches


MAX_FILE_BYTES = 256_000_000
# What the hub's pages and streaming read at once, uncompressed.
MAX_GROUP_BYTES = 100_000_000
ROWS_PER_GROUP = 16_384


def write_dataset(
    folder: Path,
    kind: Kind,
    sources: dict[str, Path],
    *,
    name: str,
    title: str,
    license: str | None = None,
    description: str | None = None,
    check_moves: bool = True,
    link: bool = False,
) -> list[Split]:
    """Check the rows of each split's source, and write card and files to `folder`, which must be empty.

    With `link`, files that are fine as they are get links instead of copies. Raises InputError for the first
    faulty row.
    """
    facts = {split: kind.measure(source, check_moves) for split, source in sources.items()}
    place = os.symlink if link else shutil.copyfile
    splits = [
        Split.of_files(split, facts[split], _write_files(source, kind, folder / "data", split, place))
        for split, source in sources.items()
    ]
    card = dataset_card(
        kind,
        splits,
        name=name,
        title=title,
        license=license,
        description=description,
        moves_checked=check_moves,
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
    return splits


def push(folder: Path, repo: str, private: bool, overwrite: bool) -> str:
    """Upload a dataset folder; return the address of the dataset.

    Raises InputError if the dataset exists with other contents and is not to be replaced, if it is public and
    should be private, or if the upload fails.
    """
    api = HfApi()
    with uploading(repo):
        url = make_repo(api, repo, private, "dataset")
        if not overwrite:
            _check_replaceable(folder, repo)
        api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            repo_type="dataset",
            commit_message="Publish rows and card",
            # Files of an earlier version would be read along with the new ones.
            delete_patterns="data/*",
        )
    return url


def _check_replaceable(folder: Path, repo: str) -> None:
    """Raise InputError if the dataset on the hub has other rows, or another card, than those in `folder`."""
    for path, entry in list_repo(repo, "main").items():
        file = folder / path
        is_data = path == "README.md" or path.startswith("data/")
        if is_data and not (file.exists() and is_intact(file, entry)):
            raise InputError(
                f"{repo} exists, with another {path}: choose another name, or replace it with --overwrite"
            )


def _write_files(
    source: Path, kind: Kind, folder: Path, split: str, place: Callable[[Path, Path], object]
) -> list[Path]:
    """Put the rows of a source into files that are named and numbered as `datasets` does; return those."""
    folder.mkdir(exist_ok=True)
    written: list[Path] = []
    for path in list_files(source):
        file = open_file(path, kind.schema, kind.made_by)
        if file.metadata.num_rows == 0:
            continue
        if _is_fine(path, file, kind.schema):
            written.append(folder / f"{split}-{len(written):05d}.parquet")
            place(path.absolute(), written[-1])
        else:
            written += _rewrite(path, file, kind.schema, folder, split, len(written))
    return [
        unnumbered.rename(unnumbered.with_name(f"{unnumbered.stem}-of-{len(written):05d}.parquet"))
        for unnumbered in written
    ]


def _is_fine(path: Path, file: pq.ParquetFile, schema: pa.Schema) -> bool:
    """Tell whether a file has the very columns of `schema`, and pieces of a size that is easy to read."""
    found = file.schema_arrow
    groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
    return (
        (found.names, found.types) == (schema.names, schema.types)
        and path.stat().st_size <= MAX_FILE_BYTES
        and max(group.total_byte_size for group in groups) <= MAX_GROUP_BYTES
    )


def _rewrite(
    path: Path, file: pq.ParquetFile, schema: pa.Schema, folder: Path, split: str, first: int
) -> list[Path]:
    """Write the rows of a file, with the columns of `schema` alone, to files of at most about 256 MB."""
    metadata = {
        key: value for key, value in (file.schema_arrow.metadata or {}).items() if key == GAME_METADATA
    }
    schema = schema.with_metadata(metadata)
    num_rows, done = file.metadata.num_rows, 0
    rows_per_file = -(-num_rows // -(-path.stat().st_size // MAX_FILE_BYTES))
    batches = read_batches(path, file, schema.names, ROWS_PER_GROUP)
    written: list[Path] = []
    with tqdm(
        total=num_rows, unit=" rows", unit_scale=True, desc=f"writing {path.name}", delay=3
    ) as progress:
        while done < num_rows:
            written.append(folder / f"{split}-{first + len(written):05d}.parquet")
            end = min(done + rows_per_file, num_rows)
            with pq.ParquetWriter(written[-1], schema, compression="zstd", compression_level=9) as writer:
                while done < end:
                    _, batch = next(batches)
                    rows = pa.Table.from_batches([batch.select(schema.names)])
                    writer.write_table(rows.cast(schema))
                    done += len(batch)
                    progress.update(len(batch))
    return written


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data.publish",
        description="Publish labelled chess boards, or Wordle games, as a dataset on the hub: checks every "
        "row, writes a card with what the columns mean and what was counted, and uploads. Afterwards "
        "datasets.load_dataset('user/name') loads it and data.train=user/name trains on it. If an upload "
        "fails, the same command goes on.",
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="FILE", help="a Parquet file, or a folder, to train on")
    add("--validation", type=Path, metavar="FILE", help="held-out rows of the same kind: a file or a folder")
    add("--repo", metavar="USER/NAME", help="the dataset on the hub; made if it does not exist")
    add("--folder", type=Path, help="write the dataset here instead, and upload nothing")
    add("--private", action="store_true", help="nobody but you and your organisation can see it")
    add("--title", help="the heading of the card (the name)")
    add("--license", metavar="ID", help="its licence, such as cc0-1.0 or apache-2.0 (none is named)")
    add("--description", type=Path, metavar="FILE.md", help="text for the card: how the rows were made")
    add(
        "--check-moves",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="check that every move of a board is legal, most of the work (default: yes)",
    )
    add("--overwrite", action="store_true", help="replace what is there and differs")
    arguments = parser.parse_args()
    if (arguments.repo is None) == (arguments.folder is None):
        parser.error("give --repo USER/NAME to publish, or --folder FOLDER to write")
    if arguments.private and arguments.repo is None:
        parser.error("--private is for --repo")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    sources = {"train": arguments.data}
    if arguments.validation is not None:
        sources["validation"] = arguments.validation
    kind, *others = map(find_kind, sources.values())
    if any(other is not kind for other in others):
        raise InputError(
            f"{arguments.validation}: its rows are of another kind than those of {arguments.data}"
        )
    name = arguments.repo or str(arguments.folder)
    settings = {
        "name": name,
        "title": arguments.title or Path(name).name,
        "license": arguments.license,
        "description": _read_description(arguments.description),
        "check_moves": arguments.check_moves,
    }
    if arguments.folder is not None:
        if arguments.folder.exists() and not arguments.overwrite:
            raise InputError(f"{name} exists: choose another place, or replace it with --overwrite")
        with atomic_write(arguments.folder) as unfinished:
            unfinished.mkdir()
            splits = write_dataset(unfinished, kind, sources, **settings)
        place = name
    else:
        check_upload(arguments.repo)
        with tempfile.TemporaryDirectory(prefix="dataset-") as temporary:
            splits = write_dataset(Path(temporary), kind, sources, link=True, **settings)
            place = push(Path(temporary), arguments.repo, arguments.private, arguments.overwrite)
    for split in splits:
        counts = ", ".join(f"{number} {what}" for what, number in list(split.facts.items())[:2])
        print(f"{split.name:<11}{counts}, {split.num_files} files, {split.num_file_bytes / 1e6:.1f} MB")
    print(f"published: {place}" if arguments.repo else f"written: {place}")


def _read_description(path: Path | None) -> str | None:
    try:
        return path and path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({first_line(error)})") from None


if __name__ == "__main__":
    command(main)
