"""Files and folders that exist either whole or not at all, and what tells their contents apart."""

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.errors import InputError


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a path beside `path` to write a file or a folder at; rename it to `path` if the block succeeds.

    If the block raises, what it wrote is removed and `path` is as it was. An earlier file or folder at `path`
    is replaced, so callers that must not overwrite check first. Missing parent folders are made. A device or
    a pipe is yielded itself.
    """
    path = Path(path)
    if _is_device(path):
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
    """Raise InputError if a file cannot or may not be written at `path`; before work that would be lost.

    It is tried out, and nothing is left behind: folders that are missing are not made.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder: name a file in it")
        nearest = next(parent for parent in path.absolute().parents if parent.exists())
        if not nearest.is_dir():
            raise InputError(f"{path}: {nearest} is a file, not a folder: choose another place")
        if path.exists() and not overwrite:
            raise InputError(f"{path} exists: choose another place, or replace it with --overwrite")
        if _is_open_file(path):
            # A rename would replace the name /dev/stdout, and writing to it whatever else the file holds.
            raise InputError(
                f"{path} leads to a file or nowhere here: name the file itself, or pipe it: | cat"
            )
        _try_to_write(path, nearest)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}; choose another file") from error


def _try_to_write(path: Path, folder: Path) -> None:
    """Raise OSError if what is at `path` cannot be written, or no file made in `folder`, which exists."""
    if _is_device(path):
        # Opened and closed again, a pipe would end for its reader.
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return
    if path.exists():
        os.close(os.open(path, os.O_WRONLY))
    # Where the system can, this file never has a name.
    tempfile.TemporaryFile(dir=folder).close()


def _is_device(path: Path) -> bool:
    """Tell whether there is something, such as /dev/null or a pipe, that is neither a file nor a folder."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _is_open_file(path: Path) -> bool:
    """Tell whether this is a name, such as /dev/stdout, of what a process has open, and that is no device."""
    names = (Path("/dev"), Path("/dev/fd").resolve())
    return path.is_symlink() and path.parent.resolve() in names and not _is_device(path)


def remove(path: Path) -> None:
    """Delete a file or a whole folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def digest(paths: Iterable[Path]) -> str:
    """Return sixteen digits that tell the contents of files from others, whatever the files' names."""
    total = hashlib.sha256()
    for path in sorted(paths):
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:16]
