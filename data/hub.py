"""Datasets on the hub in the place of local files: fetched once, checked, and kept.

    python train.py --config chess_9m.yaml data.train=user/name data.validation=user/name
    python -m eval.chess.actions --model runs/chess_9m/model --data user/name@v1:test

A name is `user/name`, and may go on with @ and a revision (branch, tag or commit), and with : and a split.
What is there locally goes first. The files of a split lie in the hub's own cache; a folder of links to them,
and beside it the arrays that training makes of them, in $XDG_CACHE_HOME/stop-regressing/hub (by default under
~/.cache), by repository, commit and split.
"""

import errno
import glob
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock
from huggingface_hub import (
    HfApi,
    RepoFile,
    get_cached_repo_tree,
    hf_hub_download,
    metadata_load,
    snapshot_download,
)
from huggingface_hub.errors import (
    CachedRepoTreeNotFoundError,
    GatedRepoError,
    HFValidationError,
    HTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
)
from huggingface_hub.utils import tqdm as hub_tqdm
from tqdm import tqdm
from yaml import YAMLError

from cli.errors import InputError, first_line
from cli.files import atomic_write, remove
from data.hub_splits import SplitError, choose_files


HUB_NAME = re.compile(r"(?P<repo>\w[\w.-]*/[\w.-]+)(@(?P<revision>[\w./-]+))?(:(?P<split>\w+))?")
CARD = "README.md"
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class HubName(NamedTuple):
    """A dataset on the hub, as people type it."""

    repo: str
    revision: str | None
    split: str | None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return self.repo + revision + (f":{self.split}" if self.split else "")


def read_name(source: str | Path) -> HubName | None:
    """Return what a name of the hub's says; None if there is such a file or folder, or it cannot be one."""
    match = HUB_NAME.fullmatch(str(source))
    if match is None or Path(source).exists() or Path(source).suffix == ".parquet":
        return None
    return HubName(match["repo"], match["revision"], match["split"])


def pin(source: str) -> str:
    """Return the name with the commit that its revision now stands for; a local path as it is.

    Without the hub, that is the commit of the last time. Raises InputError if there is no such dataset.
    """
    name = read_name(source)
    return source if name is None else str(name._replace(revision=_resolve(name)))


def local_files(source: str | Path, split: str) -> Path:
    """Return a folder of the Parquet files of a split, fetched if they are not there.

    `split` is taken unless the name has one of its own; validation stands for test where there is none. When
    several processes call this at once, one fetches and the others wait. Every file is compared once with the
    hash that the hub lists. A local file, or a local folder with *.parquet in it, is returned as it is; any
    other local folder is taken for a dataset laid out as on the hub. Raises InputError if the dataset cannot
    be had, has no such split, or arrives damaged.
    """
    name = read_name(source)
    if name is None:
        return _local_split(Path(source), split)
    commit, split = _resolve(name), name.split or split
    folder = cache_folder() / name.repo.replace("/", "--") / commit / split
    if not _is_whole(folder):
        with _locked(folder):
            if not _is_whole(folder):
                _link(folder, _fetch(name, commit, split))
    return folder


def cache_folder() -> Path:
    """Return where the links and the arrays of all datasets are kept."""
    # The specification of $XDG_CACHE_HOME takes an empty one for one that is not set.
    folder = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(folder).resolve() / "stop-regressing" / "hub"


def is_intact(file: Path, entry: RepoFile) -> bool:
    """Tell whether a local file has the size and the hash that the hub lists."""
    if file.stat().st_size != entry.size:
        return False
    with file.open("rb") as content:
        if entry.lfs is not None:
            return hashlib.file_digest(content, "sha256").hexdigest() == entry.lfs.sha256
        # What is small is kept in git itself, under git's hash.
        blob = hashlib.sha1(b"blob %d\0" % entry.size + content.read())
        return blob.hexdigest() == entry.blob_id


def list_repo(repo: str, revision: str) -> dict[str, RepoFile]:
    """Return the files of a dataset on the hub by their paths."""
    entries = HfApi().list_repo_tree(repo, repo_type="dataset", revision=revision, recursive=True)
    return {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}


def _local_split(source: Path, split: str) -> Path:
    paths = [path.relative_to(source).as_posix() for path in source.glob("*/*.parquet")]
    if not paths or any(source.glob("[!.]*.parquet")):
        return source
    card = _read_card(source, source / CARD) if (source / CARD).is_file() else {}
    files = {path: (source / path).resolve() for path in _choose(source, paths, card, split)}
    place = hashlib.sha256(str(source.resolve()).encode()).hexdigest()[:16]
    folder = cache_folder() / "local" / f"{source.resolve().name}-{place}" / split
    with _locked(folder):
        if not folder.is_dir() or {link.resolve() for link in folder.iterdir()} != set(files.values()):
            _link(folder, files)
    return folder


def _is_whole(folder: Path) -> bool:
    """Tell whether the files behind the links are there: the hub's cache may have been emptied."""
    return folder.is_dir() and all(link.exists() for link in folder.iterdir())


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder of links, after making its parents."""
    lock = folder.with_name(f".{folder.name}.lock")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Where nothing can be written FileLock may wait for ever; touch fails.
        lock.touch()
    except OSError as error:
        raise InputError(
            f"{folder.parent}: cannot be written ({error.strerror}); set XDG_CACHE_HOME to a place that can"
        ) from None
    with FileLock(lock):
        yield


def _link(folder: Path, files: dict[str, Path]) -> None:
    """Fill a folder with links to files, which have their paths in the dataset as names."""
    with atomic_write(folder) as unfinished:
        # A killed process may have had the same id and left this behind.
        remove(unfinished)
        unfinished.mkdir()
        for path, file in files.items():
            (unfinished / path.replace("/", "--")).symlink_to(file)


def _resolve(name: HubName) -> str:
    with _errors_in_one_line(name):
        return HfApi().resolve_revision(name.repo, repo_type="dataset", revision=name.revision).resolved


def _fetch(name: HubName, commit: str, split: str) -> dict[str, Path]:
    """Download the files of a split, where they are not in the hub's cache; return where they are."""
    with _errors_in_one_line(name):
        entries = _list_at(name.repo, commit)
        card = {}
        if CARD in entries:
            card = _read_card(name, hf_hub_download(name.repo, CARD, repo_type="dataset", revision=commit))
        chosen = _choose(name, entries, card, split)
        snapshot = snapshot_download(
            name.repo,
            repo_type="dataset",
            revision=commit,
            allow_patterns=[glob.escape(path) for path in chosen],
            tqdm_class=_Bar,
        )
    files = {path: Path(snapshot, path).resolve() for path in chosen}
    # The hub's client compares sizes alone. The bar appears only where it takes longer than a few seconds.
    for path, file in tqdm(files.items(), unit=" files", desc=f"checking {name}", delay=3):
        if not is_intact(file, entries[path]):
            file.unlink()
            Path(snapshot, path).unlink(missing_ok=True)
            raise InputError(f"{name}: {path} arrived damaged: call again, and it is fetched anew")
    return files


def _list_at(repo: str, commit: str) -> dict[str, RepoFile]:
    try:
        # What was listed with an earlier download: without a connection, there is nothing else.
        return {e.path: e for e in get_cached_repo_tree(repo, repo_type="dataset", revision=commit)}
    except CachedRepoTreeNotFoundError:
        return list_repo(repo, commit)


def _choose(source: HubName | Path, paths: Iterable[str], card: dict, split: str) -> list[str]:
    try:
        return choose_files(paths, card.get("configs"), split)
    except SplitError as error:
        raise InputError(f"{source}: {error}") from None


def _read_card(source: HubName | Path, readme: str | Path) -> dict:
    try:
        return metadata_load(readme) or {}
    except (ValueError, YAMLError):
        raise InputError(f"{source}: the first lines of its card, {CARD}, are no valid YAML") from None


class _Bar(hub_tqdm):
    """A bar of the hub's client that, like its others, appears only on a terminal."""

    def __init__(self, *arguments: Any, **settings: Any):
        super().__init__(*arguments, **({"disable": None} | settings))


@contextmanager
def _errors_in_one_line(name: HubName) -> Iterator[None]:
    """Raise InputError for what may go wrong between here and the hub."""
    try:
        yield
    except GatedRepoError:
        raise InputError(
            f"{name}: the dataset is given on request: ask on its page, and log in with `hf auth login`"
        ) from None
    except RepositoryNotFoundError:
        raise InputError(
            f"{name}: no such file or folder here, and no such dataset on the hub, unless it is private: "
            "then log in with `hf auth login`"
        ) from None
    except RevisionNotFoundError:
        raise InputError(f"{name}: the dataset has no revision {name.revision}") from None
    except HFValidationError as error:
        reason = first_line(error)
        raise InputError(f"{name}: no such file or folder, and no name of a dataset ({reason})") from None
    except RevisionResolutionError as error:
        reason = first_line(error.__cause__)
        raise InputError(
            f"{name}: no such file or folder here, and the hub cannot be asked ({reason})"
        ) from None
    except (HTTPError, OSError) as error:
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            raise
        raise InputError(
            f"{name}: cannot be fetched ({first_line(error)}): call again, and files that have come are kept"
        ) from None
