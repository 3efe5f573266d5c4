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


# The files of settings in a model folder, and what each is of. A tokenizer without its settings would have
# default settings, and might orient boards differently.
MODEL_AND_TOKENIZER = {"config.json": "model", "tokenizer_config.json": "tokenizer"}
MODEL_AND_GAMES = {"config.json": "model", "atari.json": "games"}


def check_model_folder(name: str | Path, files: dict[str, str] = MODEL_AND_TOKENIZER) -> None:
    """Raise InputError unless `name` is a folder with the settings `files`, or a hub id."""
    folder = Path(name)
    if not folder.is_dir():
        if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(name)):
            raise InputError(f"{name}: no such folder; --model takes the folder `model` of a run or a hub id")
        return
    check_model_files(name, folder, files)


def check_model_files(name: str | Path, folder: Path, files: dict[str, str] = MODEL_AND_TOKENIZER) -> None:
    """Raise InputError unless the folder of the model `name` has the settings `files`."""
    inner = folder / "model"
    remedy = f"did you mean {inner}?" if inner.is_dir() else "give the folder `model` that train.py wrote"
    for file, what in files.items():
        if not (folder / file).is_file():
            raise InputError(f"{name} holds no {what} (no {file}): {remedy}")
        try:
            settings = json.loads((folder / file).read_bytes())
        except (OSError, ValueError) as error:
            raise InputError(f"{folder / file} cannot be read: {error}; save the {what} again") from error
        if not isinstance(settings, dict):
            raise InputError(f"{folder / file} holds no JSON object: save the {what} again")
