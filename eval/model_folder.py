"""The names of trained models, checked and as they are printed, without importing torch."""

import json
import re
from pathlib import Path

from cli.errors import InputError


def model_name(name: str | Path) -> str:
    """Return the name to show for a model: its hub id, or the name of its folder without the path to it.

    The folder `model` of a run has the name of the run.
    """
    folder = Path(name).resolve()
    if not folder.is_dir():
        return str(name)
    return (folder.parent.name if folder.name == "model" else "") or folder.name


def check_model_folder(name: str | Path) -> None:
    """Raise InputError unless `name` is a folder with a model's and a tokenizer's settings, or a hub id."""
    folder = Path(name)
    if not folder.is_dir():
        if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(name)):
            raise InputError(f"{name}: no such folder; --model takes the folder `model` of a run or a hub id")
        return
    check_model_files(name, folder)


def check_model_files(name: str | Path, folder: Path) -> None:
    """Raise InputError unless the folder of the model `name` has a model's and a tokenizer's settings."""
    inner = folder / "model"
    remedy = f"did you mean {inner}?" if inner.is_dir() else "give the folder `model` that train.py wrote"
    # Without its settings the tokenizer would have default settings, and might orient boards differently.
    for file, what in (("config.json", "model"), ("tokenizer_config.json", "tokenizer")):
        if not (folder / file).is_file():
            raise InputError(f"{name} holds no {what} (no {file}): {remedy}")
        try:
            settings = json.loads((folder / file).read_bytes())
        except (OSError, ValueError) as error:
            raise InputError(f"{folder / file} cannot be read: {error}; save the {what} again") from error
        if not isinstance(settings, dict):
            raise InputError(f"{folder / file} holds no JSON object: save the {what} again")
