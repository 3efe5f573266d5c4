"""Converted positions in folders of Parquet files, part by part, and without repeated positions."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cli.files import atomic_write
from data.chess.lichess_rows import Converted
from data.chess.rows import FAST_COMPRESSION, ROWS_PER_GROUP
from data.parquet import count_items, write_tables


# The hashes of this many positions are compared at a time, within about a gigabyte.
HASHES_AT_A_TIME = 1 << 24


class Parts:
    """The rows of action values, and `with_states` those of state values, in a folder of work in progress.

    Part i is a Parquet file in `folder`/actions, one in `folder`/states and the hashes of its positions.
    """

    def __init__(self, folder: Path, with_states: bool) -> None:
        self.actions, self.states = folder / "actions", folder / "states"
        self._hashes = folder / "hashes"
        self._kinds = ("actions", "states") if with_states else ("actions",)
        for path in (self._hashes, *(folder / kind for kind in self._kinds)):
            path.mkdir(exist_ok=True)

    def write(self, part: int, converted: Sequence[Converted]) -> None:
        """Write a part, or replace it."""
        for kind in self._kinds:
            _write(self._path(kind, part), pa.concat_tables([getattr(block, kind) for block in converted]))
        with atomic_write(self._hashes_of(part)) as unfinished:
            np.save(unfinished, np.concatenate([block.hashes for block in converted]))

    def drop_repeated(self, num_parts: int) -> int:
        """Remove all positions but the first of every repeated one; return how many."""
        hashes = [np.load(self._hashes_of(part), mmap_mode="r") for part in range(num_parts)]
        is_first = _find_first(hashes)
        ends = np.cumsum([len(of_part) for of_part in hashes])
        for part, is_kept in enumerate(np.split(is_first, ends[:-1])):
            for kind in () if is_kept.all() else self._kinds:
                rows = pq.read_table(self._path(kind, part))
                # A run that was interrupted here may have done it.
                if len(rows) == len(is_kept):
                    _write(self._path(kind, part), rows.filter(pa.array(is_kept)))
        return int(len(is_first) - is_first.sum())

    def count_action_values(self) -> int:
        return sum(count_items(pq.read_metadata(path), "moves") for path in self.actions.iterdir())

    def save_states(self, folder: Path) -> None:
        """Write the state values to a folder, which may be on another disk."""
        with atomic_write(folder) as unfinished:
            unfinished.mkdir()
            for path in self.states.iterdir():
                try:
                    os.link(path, unfinished / path.name)
                except OSError:
                    shutil.copyfile(path, unfinished / path.name)

    def _path(self, kind: str, part: int) -> Path:
        return self._hashes.with_name(kind) / f"positions-{part:05d}.parquet"

    def _hashes_of(self, part: int) -> Path:
        return self._hashes / f"{part:05d}.npy"


def _write(path: Path, rows: pa.Table) -> None:
    write_tables(path, [rows], rows.schema, ROWS_PER_GROUP, FAST_COMPRESSION)


def _find_first(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Return whether each hash is its first occurrence: (n,) bool."""
    offsets = np.cumsum([0, *map(len, parts)])
    is_first = np.zeros(offsets[-1], dtype=bool)
    num_groups = np.uint64(1 + offsets[-1] // HASHES_AT_A_TIME)
    for group in range(int(num_groups)):
        members = [np.flatnonzero(part % num_groups == group) for part in parts]
        hashes = np.concatenate([part[some] for part, some in zip(parts, members, strict=True)])
        indices = np.concatenate([some + first for some, first in zip(members, offsets, strict=False)])
        is_first[indices[np.unique(hashes, return_index=True)[1]]] = True
    return is_first
