"""Convert a model that DeepMind released with ChessBench into a model folder of this project.

Source: Ruoss et al., "Amortized Planning with Large-Scale Transformers" (arXiv 2402.04494), code
google-deepmind/searchless_chess, weights 9M.zip, 136M.zip and 270M.zip at
https://storage.googleapis.com/searchless_chess/checkpoints/270M.zip.

    python scripts/convert_searchless_chess.py --checkpoint 270M.zip --output runs/deepmind_270m
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm


sys.path.insert(0, str(Path(__file__).parents[1]))

from cli.errors import InputError, command, first_line
from cli.files import atomic_write, check_output
from cli.options import positive_int
from scripts.orbax import ARRAY_METADATA, MANIFEST, read_arrays


if TYPE_CHECKING:
    from models.modeling_value_transformer import ValueTransformerForActionValue


# The first, the default, is an average of the second over the last steps of training.
WEIGHTS = ("params_ema", "params")


def find_parameters(checkpoint: Path, files: Iterable[str], weights: str | None = None) -> str:
    """Return the folder with the arrays of `weights` (None: params_ema) among the `files` of a checkpoint.

    `checkpoint` may be that folder, the folder of a step, or any folder above with a single step in it.
    """
    paths = [PurePosixPath(file) for file in files]
    folders = {path.parent for path in paths if path.name == MANIFEST}
    folders |= {path.parent.parent for path in paths if path.name == ARRAY_METADATA}
    # Orbax also leaves the databases of its processes, in a folder of the merged one.
    folders = {folder for folder in folders if folders.isdisjoint(folder.parents)}
    if not folders:
        raise InputError(f"{checkpoint} holds no checkpoint of Orbax: give a .zip or folder such as 270M")
    names = {folder: folder.name or checkpoint.name for folder in folders}
    if weights is None and folders == {PurePosixPath()}:
        return ""
    found = [str(folder) for folder, name in sorted(names.items()) if name == (weights or WEIGHTS[0])]
    if not found:
        others = ", ".join(sorted(set(names.values())))
        raise InputError(f"{checkpoint} holds no {weights or WEIGHTS[0]}, only {others}: see --weights")
    if len(found) > 1:
        raise InputError(f"{checkpoint} holds several checkpoints: give one of {', '.join(found)} in it")
    return found[0]


def read_checkpoint(
    checkpoint: Path, weights: str | None, scratch: Path
) -> tuple[str, dict[str, np.ndarray]]:
    """Return where the parameters of a folder or .zip were found, and the parameters by name.

    A .zip is unpacked in `scratch` for the time of reading, the chosen parameters alone.
    """
    try:
        if checkpoint.is_dir():
            files = (path.relative_to(checkpoint).as_posix() for path in checkpoint.rglob("*"))
            folder = checkpoint / find_parameters(checkpoint, files, weights)
            return str(folder), read_arrays(folder)
        with zipfile.ZipFile(checkpoint) as archive, tempfile.TemporaryDirectory(dir=scratch) as unpacked:
            found = find_parameters(checkpoint, archive.namelist(), weights)
            members = [name for name in archive.namelist() if PurePosixPath(name).is_relative_to(found)]
            for name in tqdm(members, desc="unpacking", unit=" files", delay=2, leave=False):
                archive.extract(name, unpacked)
            return f"{checkpoint}/{found}", read_arrays(Path(unpacked, found))
    except (FileNotFoundError, PermissionError) as error:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}; see --checkpoint") from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InputError(
            f"{checkpoint} is no .zip or damaged ({first_line(error)}): resume or repeat the download"
        ) from error


def convert_checkpoint(
    checkpoint: Path, output: Path, weights: str | None = None, num_heads: int = 8, overwrite: bool = False
) -> tuple[ValueTransformerForActionValue, str]:
    """Write a checkpoint as a model with its tokenizer to the folder `output`.

    Returns the model, and where its parameters were found. Raises InputError if the checkpoint cannot be
    read, if it is not an action-value model, or if `output` exists.
    """
    if output.is_dir() and overwrite:
        if not (output / "config.json").is_file():
            raise InputError(f"{output} is a folder without a model: choose another folder")
    elif output.exists():
        raise InputError(f"{output} exists: choose another folder, or replace the model with --overwrite")
    else:
        check_output(output, overwrite=False)
    with atomic_write(output) as unfinished:
        unfinished.mkdir()
        source, params = read_checkpoint(checkpoint, weights, unfinished)
        # State-value models have arrays of the same shapes. Only the four last folders are DeepMind's names.
        if any(part.split(".")[0].endswith("state_value") for part in Path(source).resolve().parts[-4:]):
            raise InputError(f"{source} values states, not actions: give an action-value model, as 9M.zip")
        # These import torch, which takes seconds.
        from eval.loading import without_progress_bars
        from models.chess_tokens import ACTIONS
        from models.tokenization_chess import ChessTokenizer
        from scripts.searchless_parameters import convert

        try:
            # The released code trains one-hot; its bins are decoded like those of HL-Gauss.
            model = convert(params, num_heads, value_loss="one_hot")
        except ValueError as error:
            raise InputError(f"{source}: {first_line(error)}; check --checkpoint and --num-heads") from error
        if model.config.num_bins == len(ACTIONS):
            raise InputError(f"{source} predicts moves, not their values: give an action-value model")
        with without_progress_bars():
            model.save_pretrained(unfinished)
        ChessTokenizer(orient=False).save_pretrained(unfinished)
    return model, source


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python scripts/convert_searchless_chess.py",
        description="Convert a chess model of DeepMind's searchless_chess (ChessBench) into a folder that "
        "all commands take as --model. The action-value models are 9M.zip, 136M.zip and 270M.zip at "
        "https://storage.googleapis.com/searchless_chess/checkpoints.",
    )
    add = parser.add_argument
    add(
        "--checkpoint",
        required=True,
        type=Path,
        metavar="PATH",
        help="the .zip as downloaded, or unpacked: 270M, 270M/6400000 or 270M/6400000/params",
    )
    add("--output", required=True, type=Path, metavar="DIR", help="the folder to write the model to")
    add(
        "--weights",
        choices=WEIGHTS,
        help="params_ema (the default), averaged over the last steps of training, or params of the last "
        "step, which DeepMind's puzzles.py and tournament.py load",
    )
    add(
        "--num-heads",
        type=positive_int,
        default=8,
        metavar="N",
        help="attention heads, which do not follow from the weights: 8 in all released models, 4 in models "
        "of DeepMind's train.py (default: 8)",
    )
    add("--overwrite", action="store_true", help="replace the model in the output folder")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    model, source = convert_checkpoint(
        arguments.checkpoint, arguments.output, arguments.weights, arguments.num_heads, arguments.overwrite
    )
    config = model.config
    sizes = f"{config.num_hidden_layers} layers of width {config.hidden_size}, {config.num_bins} bins"
    print(
        f"{arguments.output}: {model.num_parameters() / 1e6:.1f}M parameters, {sizes}, read with "
        f"{config.num_attention_heads} heads from {source}"
    )
    print(f"play against it: python -m eval.chess.play --model {arguments.output} --opponent human")


if __name__ == "__main__":
    command(main)
