"""Which files of a dataset's repository are a split: those that its card lists, else by their names.

The rules are those of the library `datasets`, for Parquet files.
"""

import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatch
from pathlib import PurePosixPath
from typing import Any


KEYWORDS = {
    "train": {"train", "training"},
    "validation": {"validation", "valid", "val", "dev"},
    "test": {"test", "testing", "eval", "evaluation"},
}
SHARD = re.compile(r"data/(\w+)-\d{5}-of-\d{5}.*\.parquet")
LAYOUT = "data/train-*.parquet and so on, or a card whose `configs` say what is where"

Splits = dict[str, list[str]]


class SplitError(ValueError):
    """What keeps a split from being found, and the remedy, in one line."""


def choose_files(paths: Iterable[str], configs: Any, split: str) -> list[str]:
    """Return the Parquet files of a split, sorted; `configs` are those of the card, or None.

    For "validation", a dataset without one gives its test split. Raises SplitError.
    """
    parquet = sorted(path for path in paths if path.endswith(".parquet") and not _is_hidden(path))
    if not parquet:
        raise SplitError(f"the repository has no Parquet files: expected {LAYOUT}")
    splits = _listed_splits(parquet, configs) or _named_splits(parquet)
    if split == "validation" and split not in splits:
        split = "test" if "test" in splits else split
    if split not in splits:
        found = ", ".join(splits)
        raise SplitError(f"has no split {split}, but {found}: name one, as in user/name:{next(iter(splits))}")
    return splits[split]


def _is_hidden(path: str) -> bool:
    return any(part.startswith((".", "__")) for part in PurePosixPath(path).parts)


def _listed_splits(paths: list[str], configs: Any) -> Splits:
    """Return the files that the card lists; nothing if it lists none."""
    if configs is None:
        return {}
    try:
        named = {config.get("config_name", "default"): config for config in configs}
        default = [name for name, config in named.items() if config.get("default") or name == "default"]
        if len(named) > 1 and not default:
            raise SplitError(
                f"has {len(named)} configurations ({', '.join(named)}), none of them the default"
            )
        data_files = named[default[0] if default else next(iter(named))].get("data_files")
        if data_files is None:
            return {}
        if isinstance(data_files, str) or isinstance(data_files[0], str):
            data_files = [{"split": "train", "path": data_files}]  # the only split has no name
        patterns = {entry["split"]: entry["path"] for entry in data_files}
        patterns = {
            split: [path] if isinstance(path, str) else list(path) for split, path in patterns.items()
        }
        splits = {
            split: [path for path in paths if any(fnmatch(path, pattern) for pattern in some)]
            for split, some in patterns.items()
        }
    except (TypeError, KeyError, IndexError, AttributeError, StopIteration):
        raise SplitError(f"its card's `configs` are not understood: expected {LAYOUT}") from None
    for split, files in splits.items():
        if not files:
            raise SplitError(f"its card lists no Parquet files that exist for {split}: {patterns[split]}")
    return splits


def _named_splits(paths: list[str]) -> Splits:
    """Group files by the first of these that says anything: number of shards, folders, names."""

    def of_shard(path: str) -> str | None:
        match = SHARD.fullmatch(path)
        return match and match[1]

    def of_folder(path: str) -> str | None:
        return _keyword(PurePosixPath(path).parts[:-1])

    def of_name(path: str) -> str | None:
        return _keyword([PurePosixPath(path).name])

    return _group(paths, of_shard) or _group(paths, of_folder) or _group(paths, of_name) or {"train": paths}


def _group(paths: list[str], split_of: Callable[[str], str | None]) -> Splits:
    splits: Splits = {}
    for path in paths:
        if split := split_of(path):
            splits.setdefault(split, []).append(path)
    return splits


def _keyword(parts: Iterable[str]) -> str | None:
    """Return the split that a word of some names stands for."""
    words = {word for part in parts for word in re.split(r"[-._ \d]+", part)}
    return next((split for split, keywords in KEYWORDS.items() if words & keywords), None)
