"""Folders of arrays that are made once from a source, with facts about them in meta.json."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from tokenize import TokenError
from typing import Any, Literal

import numpy as np
from filelock import FileLock

from cli.errors import InputError, first_line
from cli.files import atomic_write, remove
from data.parquet import list_files


META_FILE = "meta.json"
# Raised by numpy.load for damaged files; an empty one is an EOFError, and the last three are of headers.
LOAD_ERRORS = (OSError, ValueError, EOFError, OverflowError, SyntaxError, TokenError)


def make_once(
    folder: Path,
    source: Path,
    kind: str,
    version: int,
    write: Callable[[Path], dict[str, Any]],
    is_enough: Callable[[dict], object] = lambda facts: True,
) -> Path:
    """Write a folder of this kind of arrays unless it is up to date; return it.

    `write` makes the arrays in a folder, and returns facts about them. The folder is up to date if it has
    this version, was made from the same source files, by sizes and modification times, and its facts are
    enough. When several processes call this together, one works and the others wait. Raises InputError for a
    folder that cannot be written or that holds anything else.
    """

    def is_up_to_date() -> bool:
        files, meta = identity_of(source), read_meta(folder, kind)
        return meta.get("version") == version and meta.get("source") == files and bool(is_enough(meta))

    if is_up_to_date():
        return folder
    try:
        with lock_of(folder):
            if not is_up_to_date():
                check_replaceable(folder, kind)
                # Killed processes leave them behind.
                leftover = rf"\.{re.escape(folder.stem)}\.unfinished-\d+{re.escape(folder.suffix)}"
                for path in list(folder.parent.iterdir()):
                    if re.fullmatch(leftover, path.name):
                        remove(path)
                with atomic_write(folder) as unfinished:
                    unfinished.mkdir()
                    # Taken before the source is read, so that the next call notices a change made meanwhile.
                    files = identity_of(source)
                    write_meta(unfinished, kind, version=version, source=files, **write(unfinished))
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror or error}); "
            "set data.prepared_dir (or --folder) to a folder that can"
        ) from None
    return folder


def lock_of(path: Path) -> FileLock:
    """Return the lock of the process that writes `path`, whose folder is made. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    # FileLock may wait forever where it cannot write; touch fails.
    lock.touch()
    return FileLock(lock)


def identity_of(source: Path) -> list[dict]:
    """Return the names, sizes and modification times of the files of a source."""
    stats = [(path.name, path.stat()) for path in list_files(source)]
    return [{"name": name, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns} for name, stat in stats]


def check_replaceable(folder: Path, kind: str) -> None:
    """Raise InputError if a folder holds anything but this kind of arrays."""
    is_empty = folder.is_dir() and not any(folder.iterdir())
    if folder.exists() and not is_empty and not read_meta(folder, kind):
        raise InputError(f"{folder}: exists and holds no {kind}; choose another folder")


def read_meta(folder: Path, kind: str) -> dict:
    """Read the facts about the arrays in `folder`; empty if there are none of this kind."""
    try:
        meta = json.loads((folder / META_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return meta if isinstance(meta, dict) and meta.get("format") == kind else {}


def load_array(path: Path, mode: Literal["r", "c"] = "r") -> np.ndarray:
    """Memory-map an array of a prepared folder; with mode "c", changes of it stay in memory.

    Raises InputError for a damaged file.
    """
    try:
        # As a plain array: the memmap class slows small gathers.
        return np.asarray(np.load(path, mmap_mode=mode))
    except LOAD_ERRORS as error:
        raise damaged(path.parent, error) from None


def damaged(path: Path, error: Exception) -> InputError:
    """Return the error of a prepared folder or file that is damaged."""
    return InputError(f"{path} is damaged ({first_line(error)}): delete it, and it is made again")


def write_meta(folder: Path, kind: str, **facts: Any) -> None:
    """Write the facts that `read_meta` reads."""
    (folder / META_FILE).write_text(json.dumps({"format": kind, **facts}, indent=2) + "\n")
