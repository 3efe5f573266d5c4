"""Read the arrays of an Orbax checkpoint with tensorstore, without Orbax and JAX.

    arrays = read_arrays("270M/6400000/params_ema")
    arrays["linear_1.w"]

Source: https://orbax.readthedocs.io/en/latest/guides/checkpoint/checkpoint_format.html. Every array is a zarr
whose name is its path in the tree of parameters, joined with dots. All are in one OCDBT database or, in older
checkpoints, in a folder each.
"""

from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from cli.errors import InputError, first_line


MANIFEST = "manifest.ocdbt"
ARRAY_METADATA = ".zarray"
REMEDY = "the checkpoint is damaged or incomplete: download it again"


def read_arrays(folder: str | Path) -> dict[str, np.ndarray]:
    """Read all arrays of a folder by name.

    Raises InputError if tensorstore is not installed, and for a folder or an array that cannot be read.
    """
    folder = Path(folder)
    try:
        import tensorstore
    except ImportError as error:
        raise InputError("Orbax checkpoints are read with tensorstore: pip install tensorstore") from error
    files = {"driver": "file", "path": f"{folder.resolve()}/"}
    is_database = (folder / MANIFEST).is_file()
    store: dict[str, Any] = {"driver": "ocdbt", "base": files} if is_database else files
    suffix = "/" + ARRAY_METADATA
    arrays: dict[str, np.ndarray] = {}
    name = "the list of arrays"
    try:
        keys = [key.decode() for key in tensorstore.KvStore.open(store).result().list().result()]
        names = sorted(key.removesuffix(suffix) for key in keys if key.endswith(suffix))
        for name in tqdm(names, desc="reading", unit=" arrays", delay=2, leave=False):
            kvstore = {**store, "path": store.get("path", "") + name + "/"}
            # Without the last setting a missing chunk would be read as zeros.
            spec = {"driver": "zarr", "kvstore": kvstore, "fill_missing_data_reads": False}
            arrays[name] = tensorstore.open(spec, open=True).result().read().result()
    except ValueError as error:
        # Without the locations in tensorstore's source code.
        reason = first_line(error).split(" [")[0]
        raise InputError(f"{folder}: {name} cannot be read: {reason}; {REMEDY}") from error
    if not arrays:
        raise InputError(f"{folder} holds no arrays: {REMEDY}")
    return arrays
