"""Datasets on disk or on the hub: names and paths become local Parquet files; shared parts of uploads.

    python train.py --config chess_9m.yaml data.train=user/name data.validation=user/name
    python -m eval.chess.actions --model runs/chess_9m/model --data user/name@v1:test

A name is `user/name`, optionally followed by @ and a revision (branch, tag or commit), and by : and a split.
A local file or folder with that name takes precedence. The library `datasets` decides which files belong to a
split. Downloaded files are in the hub's own cache; $XDG_CACHE_HOME/stop-regressing/hub (default: in ~/.cache)
has a folder of links to the files of each split, and next to it the arrays that training prepares from them.
"""

import glob
import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock
from huggingface_hub import HfApi, get_token, snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
)
from huggingface_hub.utils import tqdm as hub_tqdm
from huggingface_hub.utils import validate_repo_id
from yaml import YAMLError

from cli.errors import NO_SPACE, InputError, first_line
from cli.files import atomic_write
from cli.terminal import is_main_process
from data.parquet import is_parquet, parquet_files
from data.prepared_folder import lock_of


HUB_NAME = re.compile(r"(?P<repo>\w[\w.-]*/[\w.-]+)(@(?P<revision>[\w./-]+))?(:(?P<split>\w+))?")
NOT_LOGGED_IN = "this machine is not logged in to the hub: run `hf auth login`, or set HF_TOKEN"


class HubName(NamedTuple):
    """A dataset on the hub, as people type it."""

    repo: str
    revision: str | None
    split: str | None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return self.repo + revision + (f":{self.split}" if self.split else "")


def is_hub_id(name: str) -> bool:
    """Return whether `name` is a valid id of a repository, such as user/name."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return "/" in name


def read_name(source: str | Path) -> HubName | None:
    """Parse the name of a dataset on the hub; None if it is a local path."""
    match = HUB_NAME.fullmatch(str(source))
    if match is None or Path(source).exists() or is_parquet(source):
        return None
    return HubName(match["repo"], match["revision"], match["split"]) if is_hub_id(match["repo"]) else None


def pin(source: str) -> str:
    """Return the name of a dataset with its revision replaced by the current commit; a local path as it is.

    Without a connection it is the commit of the last download. Raises InputError if there is no such dataset.
    """
    name = read_name(source)
    return source if name is None else str(name._replace(revision=_resolve(name)))


def local_files(source: str | Path, split: str) -> Path:
    """Return a local Parquet file, or a folder of them, with the rows of a split; download what is missing.

    A split in the name takes precedence over `split`, and test is used where there is no validation split. A
    local file, or a local folder with Parquet files in it, is returned as it is; a folder that `save_to_disk`
    of the library `datasets` wrote is converted once; any other local folder is a dataset with splits, as on
    the hub. When several processes call this at once, one downloads and the others wait. Raises InputError if
    the dataset or its split cannot be found or downloaded.
    """
    name = read_name(source)
    if name is not None:
        commit, split = _resolve(name), name.split or split
        folder = cache_folder() / name.repo.replace("/", "--") / commit / split
        return _link_once(folder, lambda: _download(name, commit, split))
    source = Path(source)
    if not source.is_dir() or parquet_files(source):
        return source
    splits = _saved_splits(source)
    if splits:
        saved = splits[_choose_split(source, splits, split)]
        with _reading_saved(saved):
            fingerprint = json.loads((saved / "state.json").read_text())["_fingerprint"]
        folder = cache_folder() / "local" / f"{source.resolve().name}-{fingerprint}"
        return _link_once(folder, lambda: _convert(saved, folder.with_name(f"{folder.name}.parquet")))
    names = (path.relative_to(source).as_posix() for path in source.rglob("*"))
    paths = sorted(map(Path, _find_files(source, source.resolve(), split, names)))
    files = {path.relative_to(source.resolve()).as_posix(): path for path in paths}
    # Other files get another folder, so that a change of the dataset shows.
    key = hashlib.sha256(str(paths).encode()).hexdigest()[:16]
    return _link_once(cache_folder() / "local" / f"{source.resolve().name}-{split}-{key}", lambda: files)


def local_snapshot(source: str | Path, patterns: list[str]) -> Path:
    """Return a local folder as it is, or one with those files of a dataset on the hub that match `patterns`.

    Raises InputError if the folder does not exist, or the dataset cannot be downloaded.
    """
    name = read_name(source)
    if name is None:
        if not Path(source).is_dir():
            raise InputError(f"{source}: no such folder, and no name of a dataset on the hub")
        return Path(source)
    commit = _resolve(name)
    with downloading(name):
        HfApi().dataset_info(name.repo, revision=commit)
        return Path(
            snapshot_download(
                name.repo,
                repo_type="dataset",
                revision=commit,
                allow_patterns=patterns,
                tqdm_class=TerminalBar,
            )
        )


def remote_files(source: str, split: str) -> list[str]:
    """Return the hf:// paths of the Parquet files of a split on the hub, to read them without a copy.

    A split in the name takes precedence. Raises InputError as `local_files` does.
    """
    name = read_name(source)
    assert name is not None, "a local path has no remote files"
    commit = _resolve(name)
    with downloading(name):
        return _find_files(name, name.repo, name.split or split, _list_names(name, commit), commit)


def cache_folder() -> Path:
    """Return this project's cache folder."""
    # By its specification an empty XDG_CACHE_HOME is equivalent to an unset one.
    folder = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(folder).resolve() / "stop-regressing" / "hub"


def _resolve(name: HubName) -> str:
    """Return the commit of a revision."""
    with downloading(name):
        return HfApi().resolve_revision(name.repo, repo_type="dataset", revision=name.revision).resolved


def _download(name: HubName, commit: str, split: str) -> dict[str, Path]:
    """Download those files of a split that are not in the hub's cache; return all by their path there."""
    with downloading(name):
        files = _find_files(name, name.repo, split, _list_names(name, commit), commit)
        paths = [file.partition(f"@{commit}/")[2] for file in files]
        patterns = [glob.escape(path) for path in paths]
        snapshot = snapshot_download(
            name.repo, repo_type="dataset", revision=commit, allow_patterns=patterns, tqdm_class=TerminalBar
        )
    return {path: Path(snapshot, path) for path in paths}


def _list_names(name: HubName, commit: str) -> list[str]:
    """List the files of a dataset on the hub. Its errors are clearer than those of `datasets`."""
    return [file.rfilename for file in HfApi().dataset_info(name.repo, revision=commit).siblings or ()]


def _find_files(
    source: HubName | Path, repo: str | Path, split: str, names: Iterable[str], commit: str | None = None
) -> list[str]:
    """Return the paths, local or hf://, of the Parquet files of a split; `names` are those of all files."""
    from datasets import load_dataset_builder  # takes a second; not needed for files in the cache

    left_out = sorted(name for name in names if is_parquet(name) and not name.endswith(".parquet"))
    if left_out and is_main_process():
        listed = ", ".join(left_out[:3]) + (", …" if len(left_out) > 3 else "")
        print(
            f"warning: {source}: files left out: {len(left_out)} ({listed}); names in splits must end "
            "in .parquet",
            file=sys.stderr,
        )
    try:
        data_files = load_dataset_builder(str(repo), revision=commit).config.data_files or {}
    except YAMLError:
        raise InputError(f"{source}: the metadata at the top of its README.md are not valid YAML") from None
    except (ValueError, FileNotFoundError) as error:
        raise InputError(f"{source}: cannot be loaded as a dataset ({first_line(error)})") from None
    splits = {str(found): list(files) for found, files in data_files.items()}
    files = splits[_choose_split(source, splits, split)]
    for file in files:
        if not is_parquet(file):
            raise InputError(f"{source}: {Path(file).name} is not a Parquet file; only those can be read")
    return files


def _choose_split(source: HubName | Path, splits: Collection[str], split: str) -> str:
    if split == "validation" and split not in splits and "test" in splits:
        return "test"
    if split not in splits:
        is_local = isinstance(source, Path)
        remedy = "give the path of one, a file or a folder" if is_local else "name one, as in user/name:train"
        raise InputError(f"{source} has no split {split}, but {', '.join(splits)}: {remedy}")
    return split


def _saved_splits(folder: Path) -> dict[str, Path]:
    """Return the folders, by split, that `save_to_disk` wrote; a dataset without splits serves as each."""
    if (folder / "state.json").is_file():
        return dict.fromkeys(("train", "validation", "test"), folder)
    if not (folder / "dataset_dict.json").is_file():
        return {}
    with _reading_saved(folder):
        names = list(json.loads((folder / "dataset_dict.json").read_text())["splits"])
    return {name: folder / name for name in names}


def _convert(saved: Path, parquet: Path) -> dict[str, Path]:
    """Write a dataset of `save_to_disk` as Parquet."""
    from datasets import load_from_disk

    with atomic_write(parquet) as unfinished, _reading_saved(saved):
        load_from_disk(saved).to_parquet(unfinished)
    return {parquet.name: parquet}


@contextmanager
def _reading_saved(folder: Path) -> Iterator[None]:
    """Raise InputError for missing or damaged files of `save_to_disk`."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            raise
        raise InputError(
            f"{folder} is damaged or was not written by save_to_disk ({first_line(error)}): save it again"
        ) from None


def _link_once(folder: Path, find_files: Callable[[], dict[str, Path]]) -> Path:
    """Fill `folder` with links to the files that `find_files` returns, unless they exist; return `folder`."""
    if _is_complete(folder):
        return folder
    with cache_lock(folder):
        if not _is_complete(folder):
            files = find_files()
            with atomic_write(folder) as unfinished:
                unfinished.mkdir()
                for path, file in files.items():
                    (unfinished / path.replace("/", "--")).symlink_to(file)
    return folder


def cache_lock(path: Path) -> FileLock:
    """Return the lock of the process that writes a path in the cache, whose folder is made."""
    try:
        return lock_of(path)
    except OSError as error:
        raise InputError(
            f"{path.parent} cannot be written ({error.strerror}): set XDG_CACHE_HOME to another folder"
        ) from None


def _is_complete(folder: Path) -> bool:
    """Return whether the files behind the links exist: the hub's cache may have been emptied."""
    return folder.is_dir() and all(link.exists() for link in folder.iterdir())


class TerminalBar(hub_tqdm):
    """A progress bar that appears only on a terminal."""

    def __init__(self, *arguments: Any, **settings: Any):
        super().__init__(*arguments, **({"disable": None} | settings))


@contextmanager
def downloading(name: HubName) -> Iterator[None]:
    """Raise InputError for errors of the hub and of the network."""
    try:
        yield
    except RepositoryNotFoundError:
        raise InputError(
            f"{name}: no such file or folder, and no such dataset on the hub; if it is private or gated, "
            "request access on its page and run `hf auth login`"
        ) from None
    except RevisionNotFoundError:
        raise InputError(f"{name}: the dataset has no revision {name.revision}") from None
    except RevisionResolutionError as error:
        raise InputError(f"{name}: no such file or folder; {first_line(error)}") from None
    except (HTTPError, OSError) as error:
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            raise
        raise InputError(
            f"{name}: download failed ({first_line(error)}); run the command again to resume it"
        ) from None


def check_upload(repo: str) -> None:
    """Raise InputError if `repo` is not a valid hub id, or if there is no login; call it before long work."""
    if not is_hub_id(repo):
        raise InputError(f"--repo {repo} is not a hub id: use the form user/name")
    if get_token() is None:
        raise InputError(NOT_LOGGED_IN)


def make_repo(api: HfApi, repo: str, private: bool, repo_type: str | None = None) -> str:
    """Create a repository unless it exists; return its address. A Space is static.

    Raises InputError if it exists and is public although `private` is wanted.
    """
    sdk = "static" if repo_type == "space" else None
    url = api.create_repo(repo, repo_type=repo_type, private=private or None, space_sdk=sdk, exist_ok=True)
    if private and not api.repo_info(repo, repo_type=repo_type).private:
        raise InputError(f"{repo} exists and is public: make it private in its settings, or choose another")
    return str(url)


@contextmanager
def uploading(repo: str) -> Iterator[None]:
    """Raise InputError for errors of the hub and of the network."""
    try:
        yield
    except InputError:
        raise
    # ValueError: refused metadata; RuntimeError: hf_xet.
    except (OSError, HTTPError, ValueError, RuntimeError) as error:
        raise InputError(f"upload to {repo} failed: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if status == 401:
        return "the hub does not accept the token; run `hf auth login` again"
    if status == 403:
        return "the token may not write there; use another (`hf auth login`), or choose another name"
    reason = first_line(error)
    if isinstance(error, HTTPError) and status is None:
        reason = f"the hub cannot be reached ({reason})"
    return f"{reason}; run the command again to resume it"
