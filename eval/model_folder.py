"""The folders of trained models: their names, checks and files, without importing torch."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from cli.errors import InputError, first_line
from cli.files import digest


TORCH_FILES = ("*.json", "*.safetensors")
ONNX_FILES = ("*.json", "onnx/*.onnx")
ONNX_NAMES = ("model.onnx", "model_fp16.onnx")  # in float32, and with weights in float16


def model_name(name: str | Path) -> str:
    """Return the name to show for a model: its hub id, or the name of its folder without the path to it.

    The folder `model` of a run has the name of the run.
    """
    folder = Path(name).resolve()
    if not folder.is_dir():
        return str(name)
    return (folder.parent.name if folder.name == "model" else "") or folder.name


# Required files of settings in a model folder, and the word for each in errors. A tokenizer without its
# settings would have default settings, and might orient boards differently.
MODEL_AND_TOKENIZER = {"config.json": "model", "tokenizer_config.json": "tokenizer"}
MODEL_AND_GAMES = {"config.json": "model", "atari.json": "games"}


def check_model_folder(name: str | Path, files: dict[str, str] = MODEL_AND_TOKENIZER) -> None:
    """Raise InputError unless `name` is a folder with the settings `files`, or a hub id."""
    folder = Path(name)
    if not folder.is_dir():
        if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(name)):
            raise InputError(f"{name}: no such folder: give the folder `model` of a run, or a hub id")
        return
    check_model_files(name, folder, files)


def check_model_files(name: str | Path, folder: Path, files: dict[str, str]) -> None:
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


def local_folder(
    name: str | Path, files: dict[str, str] = MODEL_AND_TOKENIZER, patterns: Sequence[str] = TORCH_FILES
) -> Path:
    """Return the folder of a model with the settings `files`.

    If `name` is an id on the hub, the files that match `patterns` are downloaded. Without a network, it is
    the folder of the last download. Raises InputError if there is no such model.
    """
    check_model_folder(name, files)
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HTTPError, RevisionResolutionError

    from data.hub import TerminalBar

    try:
        # transformers would ask six times for half a minute, with ten lines of warnings.
        commit = HfApi().resolve_revision(str(name)).resolved
        folder = snapshot_download(
            str(name), revision=commit, allow_patterns=list(patterns), tqdm_class=TerminalBar
        )
    except RevisionResolutionError as error:
        reason = error.__cause__ or error
        raise InputError(
            f"{name}: no such folder, and the hub cannot be reached ({reason}); check name and network"
        ) from error
    except (HTTPError, OSError, ValueError) as error:
        raise InputError(
            f"{name} is neither a folder nor a model on the hub: {first_line(error)}; "
            "check the name and the network"
        ) from error
    check_model_files(name, Path(folder), files)
    return Path(folder)


def onnx_file(name: str | Path) -> Path:
    """Return the ONNX file of a model, in float32, or in float16 if there is no other.

    Raises InputError if there is no such model, or no file.
    """
    folder = local_folder(name, patterns=ONNX_FILES)
    files = [folder / "onnx" / file for file in ONNX_NAMES]
    found = [file for file in files if file.is_file()]
    if not found:
        raise InputError(
            f"{name} has no onnx/{ONNX_NAMES[0]} and no onnx/{ONNX_NAMES[1]}: publish it with --onnx, or "
            "leave out --runtime onnx"
        )
    return found[0]


def model_digest(folder: Path) -> str:
    """Return eight hexadecimal digits that identify the configuration and the weights in a folder."""
    return digest([*folder.glob("*.json"), *folder.glob("*.safetensors")])[:8]


def identify_onnx(name: str | Path) -> str:
    """Return a model's name with the digest of its ONNX file, such as chess_tiny#1a2b3c4d."""
    return f"{model_name(name)}#{digest([onnx_file(name)])[:8]}"
