"""Files and folders that exist either whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data.command_line import InputError


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Yield a path beside `path` to write a file or a folder at; rename it to `path` if the block succeeds.

    If the block raises, what it wrote is removed and `path` is as it was. An earlier file or folder at `path`
    is replaced, so callers that must not overwrite check first. Missing parent folders are made. A device or
    a pipe is yielded itself.
    """
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        # A rename would put a file in the place of /dev/stdout.
        yield path
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last because some writers choose a format or a compression by it.
    unfinished = path.with_name(f".{path.stem}.unfinished-{os.getpid()}{path.suffix}")
    try:
        yield unfinished
        if path.is_dir() and unfinished.is_dir():
            # A rename cannot replace a folder that has something in it.
            replaced = path.with_name(f".{path.name}.replaced-{os.getpid()}")
            path.rename(replaced)
            unfinished.rename(path)
            shutil.rmtree(replaced)
        else:
            unfinished.replace(path)
    except BaseException:
        remove(unfinished)
        raise


def check_output(path: str | Path, overwrite: bool) -> None:
    """Raise InputError if a file cannot or may not be written at `path`; before work that would be lost."""
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a file in it")
    nearest = next(parent for parent in path.absolute().parents if parent.exists())
    if not nearest.is_dir():
        raise InputError(f"{path}: {nearest} is a file, not a folder: choose another place")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists: choose another place, or replace it with --overwrite")


def remove(path: Path) -> None:
    """Delete a file or a whole folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
