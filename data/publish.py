"""Publish rows, such as chess boards, Wordle games or Atari episodes, as a dataset on the hub, with a card.

    python -m data.publish --data boards.parquet --validation held_out.parquet --repo user/name
    python -m data.publish --data games.parquet --folder dataset

Needs a login with permission to write (`hf auth login` or $HF_TOKEN). All rows are checked first. The Parquet
files are uploaded as they are, since `Dataset.push_to_hub` would drop their metadata, which hold the rule and
the words of Wordle. One commit adds all files, so that nobody sees half a dataset.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import HfApi

from cli.errors import NOT_UTF8, InputError, command
from cli.files import atomic_write, check_output
from data.hub import check_upload, make_repo, uploading
from data.parquet import list_files
from data.robot.episodes import is_lerobot


if TYPE_CHECKING:
    from data.dataset_card import Kind


FOLDERS = ("data", "meta", "videos")  # of a dataset; the last two are those of a LeRobotDataset


def write_dataset(
    folder: Path,
    kind: Kind,
    sources: dict[str, Path],
    *,
    put_file: Callable[[Path, Path], object] = shutil.copyfile,
    **card_settings: Any,
) -> None:
    """Check the rows of each split, print their counts, and fill an empty folder with the card and the files.

    `card_settings` are those of `make_card`. Raises InputError for the first faulty row.
    """
    from data.dataset_card import make_card

    counts = {}
    for split, source in sources.items():
        counts[split] = kind.count(source)
        if kind.is_folder:
            paths = sorted(path for part in FOLDERS for path in (source / part).rglob("*") if path.is_file())
            files = {str(path.relative_to(source)): path for path in paths}
        else:
            paths = list_files(source)
            # Names by which `datasets` and the hub know the splits.
            files = {
                f"data/{split}-{index:05d}-of-{len(paths):05d}.parquet": path
                for index, path in enumerate(paths)
            }
        for name, file in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            put_file(file.absolute(), folder / name)
        size = sum(file.stat().st_size for file in files.values()) / 1e6
        numbers = ", ".join(f"{count} {name}" for name, count in list(counts[split].items())[:2])
        print(f"{split:<11}{numbers}, {size:.1f} MB")
    make_card(kind, counts, **card_settings).save(folder / "README.md")


def push(folder: Path, repo: str, private: bool) -> str:
    """Upload a dataset folder in place of what the repository has; return the address of the repository."""
    api = HfApi()
    with uploading(repo):
        url = make_repo(api, repo, private, "dataset")
        api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            repo_type="dataset",
            commit_message="Publish rows and card",
            # Rows of an earlier version would be read along with the new ones.
            delete_patterns=[f"{part}/*" for part in FOLDERS],
        )
    return url


def check_replaceable(repo: str) -> None:
    """Raise InputError if the repository has a card or rows. A failed upload leaves neither."""
    api = HfApi()
    with uploading(repo):
        if not api.repo_exists(repo, repo_type="dataset"):
            return
        paths = api.list_repo_files(repo, repo_type="dataset")
    if any(path == "README.md" or path.split("/")[0] in FOLDERS for path in paths):
        raise InputError(f"{repo} has a dataset: choose another name, or replace it with --overwrite")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data.publish",
        description="Publish labelled chess boards, Wordle games, recorded Atari episodes or episodes of a "
        "robot as a dataset on the hub: checks every row, writes a card with the meaning of the columns and "
        "counts of the rows, and uploads. Afterwards datasets.load_dataset('user/name') loads it and "
        "data.train=user/name trains on it. If the upload fails, the same command resumes it.",
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="FILE", help="training rows: a Parquet file or a folder")
    add("--validation", type=Path, metavar="FILE", help="held-out rows of the same kind: a file or a folder")
    add("--repo", metavar="USER/NAME", help="the dataset on the hub; created if it does not exist")
    add("--folder", type=Path, help="write the dataset to this folder and upload nothing")
    add("--private", action="store_true", help="only you and your organisation can see it")
    add("--title", help="the heading of the card (default: the name)")
    add("--license", metavar="ID", help="its licence, such as cc0-1.0 or apache-2.0 (default: none)")
    add("--description", type=Path, metavar="FILE.md", help="text for the card: how the rows were made")
    add("--overwrite", action="store_true", help="replace an existing dataset")
    arguments = parser.parse_args()
    if (arguments.repo is None) == (arguments.folder is None):
        parser.error("give --repo USER/NAME to publish, or --folder FOLDER to write")
    if arguments.private and arguments.repo is None:
        parser.error("--private needs --repo")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    sources = {"train": arguments.data}
    if arguments.validation is not None:
        sources["validation"] = arguments.validation
    for source in sources.values():
        if not is_lerobot(source):
            list_files(source)
    from data.dataset_card import find_kind  # imports torch, which takes seconds

    kind = find_kind(sources.values())
    if kind.is_folder and len(sources) > 1:
        raise InputError(
            f"{arguments.data} is a LeRobotDataset, which has no held-out rows: leave out --validation"
        )
    name = arguments.repo or str(arguments.folder)
    card_settings = {
        "name": name,
        "title": arguments.title or Path(name).name,
        "license": arguments.license,
        "description": arguments.description and _read_text(arguments.description),
    }
    if arguments.folder is not None:
        folder = arguments.folder.resolve()
        if folder.exists() and not arguments.overwrite:
            raise InputError(f"{name} exists: choose another folder, or replace it with --overwrite")
        if folder.exists() and not ((folder / "README.md").is_file() and (folder / "data").is_dir()):
            raise InputError(f"{name} is not a dataset that this command wrote: choose another folder")
        check_output(folder / "README.md", overwrite=True)
        with atomic_write(folder) as unfinished:
            unfinished.mkdir()
            write_dataset(unfinished, kind, sources, **card_settings)
        print(f"written: {name}")
    else:
        check_upload(arguments.repo)
        if not arguments.overwrite:
            check_replaceable(arguments.repo)
        with tempfile.TemporaryDirectory(prefix="dataset-") as folder:
            write_dataset(Path(folder), kind, sources, put_file=os.symlink, **card_settings)
            url = push(Path(folder), arguments.repo, arguments.private)
        print(f"published: {url}")


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path} {NOT_UTF8}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


if __name__ == "__main__":
    command(main)
