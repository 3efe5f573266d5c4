"""Files and folders that are written completely or not at all, and digests of their contents."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.errors import InputError, writing


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a path next to `path` to write a file or a folder at; rename it to `path` if the block succeeds.

    If the block raises, what it wrote is removed and `path` is unchanged. An existing file or folder at
    `path` is replaced. Missing parent folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last because some writers choose a format or a compression by it.
    unfinished = path.with_name(f".{path.stem}.unfinished-{os.getpid()}{path.suffix}")
    try:
        with writing(path):
            yield unfinished
        if path.is_dir() and unfinished.is_dir():
            # A rename cannot replace a folder that is not empty.
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
    """Raise InputError if a file cannot or must not be written at `path`; call it before long work.

    Nothing is left behind: missing folders are not made.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            what = "folder" if path.is_dir() else "device or pipe"
            raise InputError(f"{path} is a {what}: give the path of a file")
        nearest = next(parent for parent in path.absolute().parents if parent.exists())
        if not nearest.is_dir():
            raise InputError(f"{path}: {nearest} is a file, not a folder: choose another path")
        if path.exists():
            if not overwrite:
                raise InputError(f"{path} exists: choose another path, or replace it with --overwrite")
            path.open("ab").close()
        tempfile.TemporaryFile(dir=nearest).close()
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}; choose another file") from error


def remove(path: Path) -> None:
    """Delete a file or a whole folder, if it exists."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def digest(paths: Iterable[Path]) -> str:
    """Return 16 hexadecimal digits that identify the contents of files, whatever their names."""
    total = hashlib.sha256()
    for path in sorted(paths):
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:16]
