"""Read the arrays of an Orbax checkpoint; that takes tensorstore alone, neither Orbax nor JAX.

    arrays = OrbaxArrays("270M/6400000/params_ema")
    arrays["linear_1.w"]

Source: https://orbax.readthedocs.io/en/latest/guides/checkpoint/checkpoint_format.html. Every array is a zarr
whose name is its path in the tree of parameters, joined with dots. They lie together in one OCDBT database,
or, in older checkpoints, in a folder each.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cli.errors import InputError, first_line


MANIFEST = "manifest.ocdbt"
ARRAY_METADATA = ".zarray"
REMEDY = "the checkpoint is damaged or incomplete: fetch it again"


class OrbaxArrays(Mapping[str, np.ndarray]):
    """The arrays in a folder by name; each is read whenever it is asked for.

    Raises InputError if tensorstore is not installed, and for a folder or an array that cannot be read.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        try:
            import tensorstore
        except ImportError as error:
            raise InputError(
                "Orbax checkpoints are read with tensorstore: pip install tensorstore"
            ) from error
        self._tensorstore = tensorstore
        files = {"driver": "file", "path": f"{self.folder.resolve()}/"}
        is_database = (self.folder / MANIFEST).is_file()
        self._store: dict[str, Any] = {"driver": "ocdbt", "base": files} if is_database else files
        try:
            keys = [key.decode() for key in tensorstore.KvStore.open(self._store).result().list().result()]
        except ValueError as error:
            raise InputError(f"{self.folder} cannot be read: {_reason(error)}; {REMEDY}") from error
        suffix = "/" + ARRAY_METADATA
        self._names = sorted(key.removesuffix(suffix) for key in keys if key.endswith(suffix))
        if not self._names:
            raise InputError(f"{self.folder} holds no arrays: {REMEDY}")

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        path = self._store.get("path", "") + name + "/"
        # A chunk that is missing would be read as zeros.
        spec = {"driver": "zarr", "kvstore": {**self._store, "path": path}, "fill_missing_data_reads": False}
        try:
            return self._tensorstore.open(spec, open=True).result().read().result()
        except ValueError as error:
            raise InputError(f"{self.folder}: {name} cannot be read: {_reason(error)}; {REMEDY}") from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _reason(error: ValueError) -> str:
    """Return what tensorstore says was wrong, without the places in its source code and the specification."""
    return first_line(error).split(" [")[0]
