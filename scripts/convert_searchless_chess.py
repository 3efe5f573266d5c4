"""Convert a model that DeepMind released with ChessBench into the folder that every command here takes.

Source: Ruoss et al., "Amortized Planning with Large-Scale Transformers" (arXiv 2402.04494), whose code is
google-deepmind/searchless_chess; its weights are at
https://storage.googleapis.com/searchless_chess/checkpoints/270M.zip, and 136M.zip and 9M.zip.

    python scripts/convert_searchless_chess.py --checkpoint 270M.zip --output runs/deepmind_270m
"""

import argparse
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from tqdm import tqdm


sys.path.insert(0, str(Path(__file__).parents[1]))

from cli.errors import InputError, command, first_line
from cli.files import atomic_write, check_output
from models.modeling_value_transformer import ValueTransformerForActionValue
from models.tokenization_chess import ACTIONS, BOARD_LENGTH, ChessTokenizer
from scripts.orbax import ARRAY_METADATA, MANIFEST, OrbaxArrays
from scripts.searchless_parameters import convert


# The first is the default: an average of the second over the last steps of training.
WEIGHTS = ("params_ema", "params")
BYTES_AT_ONCE = 1 << 20

# Both have what is needed to walk through folders.
Folder = Path | zipfile.Path


def find_parameters(checkpoint: Folder, weights: str | None = None) -> Folder:
    """Return the folder with the arrays of `weights` (None: params_ema) in a checkpoint.

    `checkpoint` may be that folder itself, the folder of a step, or one with a single step in it. Raises
    InputError if it is none of these, or if it holds several steps.
    """
    folder = checkpoint
    while not _holds_arrays(folder):
        inside = {child.name: child for child in folder.iterdir() if child.is_dir()}
        found = [name for name in WEIGHTS if name in inside]
        if found:
            wanted = weights or WEIGHTS[0]
            if wanted not in found:
                raise InputError(f"{folder} holds no {wanted}: take its other weights, --weights {found[0]}")
            folder = inside[wanted]
            if not _holds_arrays(folder):
                raise InputError(f"{folder} holds no arrays of Orbax: fetch the checkpoint again")
            return folder
        steps = sorted((name for name in inside if name.isdecimal()), key=int)
        if len(steps) > 1:
            raise InputError(f"{folder} holds several steps: choose one of {', '.join(steps)} in it")
        if not steps and len(inside) != 1:
            raise InputError(
                f"{checkpoint} holds no checkpoint (neither {' nor '.join(WEIGHTS)}): name the folder of a "
                "step, such as 270M/6400000"
            )
        folder = inside[steps[0]] if steps else next(iter(inside.values()))
    if weights is not None and weights != folder.name:
        raise InputError(f"{folder} holds one set of weights: leave out --weights {weights}")
    return folder


def _holds_arrays(folder: Folder) -> bool:
    """Tell whether Orbax wrote arrays right here, in a database or in a folder each."""
    return (folder / MANIFEST).is_file() or any(
        (child / ARRAY_METADATA).is_file() for child in folder.iterdir() if child.is_dir()
    )


@contextmanager
def opened_checkpoint(
    checkpoint: Path, weights: str | None, scratch: Path
) -> Iterator[tuple[str, Mapping[str, np.ndarray]]]:
    """Yield where the parameters of a checkpoint were found, and the parameters by their names.

    `checkpoint` is a folder as of `find_parameters`, a .zip of one, of which only what is needed is unpacked
    below `scratch` and removed in the end, or an .npz. Raises InputError if it cannot be read.
    """
    try:
        if checkpoint.is_dir():
            folder = find_parameters(checkpoint, weights)
            yield str(folder), OrbaxArrays(folder)
        elif checkpoint.suffix == ".zip":
            with zipfile.ZipFile(checkpoint) as archive, tempfile.TemporaryDirectory(dir=scratch) as unpacked:
                folder = find_parameters(zipfile.Path(archive), weights)
                unpack(archive, folder.at, Path(unpacked))
                yield str(folder).rstrip("/"), OrbaxArrays(unpacked)
        elif checkpoint.suffix == ".npz":
            if weights is not None:
                raise InputError(f"{checkpoint} holds one set of weights: leave out --weights {weights}")
            with zipfile.ZipFile(checkpoint), np.load(checkpoint) as arrays:
                yield str(checkpoint), arrays
        else:
            raise InputError(f"{checkpoint} is neither a folder nor .zip or .npz: name what you downloaded")
    except FileNotFoundError as error:
        raise InputError(f"{checkpoint}: no such file; name what you downloaded") from error
    except PermissionError as error:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise InputError(
            f"{checkpoint} is damaged or not whole ({first_line(error)}): go on with the download, or fetch "
            "it again"
        ) from error


class ShownReading(Mapping[str, np.ndarray]):
    """Parameters that move a progress bar on whenever one of them is read."""

    def __init__(self, params: Mapping[str, np.ndarray], bar: tqdm):
        self.params, self.bar = params, bar

    def __getitem__(self, name: str) -> np.ndarray:
        array = self.params[name]
        self.bar.update()
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self.params)

    def __len__(self) -> int:
        return len(self.params)


def unpack(archive: zipfile.ZipFile, prefix: str, folder: Path) -> None:
    """Unpack the files of an archive whose names begin with `prefix`, which is left out, into `folder`.

    Raises zipfile.BadZipFile for a file whose checksum is not the archive's.
    """
    members = [item for item in archive.infolist() if item.filename.startswith(prefix) and not item.is_dir()]
    num_bytes = sum(item.file_size for item in members)
    with tqdm(total=num_bytes, desc="unpacking", unit="B", unit_scale=True, delay=2) as bar:
        for item in members:
            path = folder / item.filename.removeprefix(prefix)
            if not path.resolve().is_relative_to(folder.resolve()):
                raise InputError(f"{archive.filename}: {item.filename!r} would be written outside its folder")
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(item) as source, path.open("wb") as target:
                while block := source.read(BYTES_AT_ONCE):
                    target.write(block)
                    bar.update(len(block))


def convert_checkpoint(
    checkpoint: Path, output: Path, weights: str | None = None, num_heads: int = 8, overwrite: bool = False
) -> tuple[ValueTransformerForActionValue, str]:
    """Write a checkpoint as a model with its tokenizer to the folder `output`.

    Returns the model, and where its parameters were found. Raises InputError if it cannot be read, if it is
    not a model that values actions, or if `output` exists.
    """
    _check_output_folder(output, overwrite)
    with atomic_write(output) as unfinished:
        unfinished.mkdir()
        with (
            opened_checkpoint(checkpoint, weights, unfinished) as (source, params),
            tqdm(total=len(params), desc="reading", unit=" arrays", delay=2, leave=False) as bar,
        ):
            _check_values_actions(source)
            try:
                # Its bins are decoded as those of HL-Gauss; the name says what the released code trains.
                model = convert(ShownReading(params, bar), num_heads, value_loss="one_hot")
            except InputError:
                raise
            except ValueError as error:
                raise InputError(
                    f"{source}: {first_line(error)}; check --checkpoint and --num-heads"
                ) from error
        config = model.config
        if config.num_bins == len(ACTIONS):
            raise InputError(f"{source} predicts moves, not their values: take an action-value model")
        # Beside board and action there is the start of the sequence.
        if config.vocab_size != len(ACTIONS) or config.max_position_embeddings < BOARD_LENGTH + 2:
            raise InputError(
                f"{source} reads {config.max_position_embeddings} tokens of a vocabulary of "
                f"{config.vocab_size}, not {BOARD_LENGTH + 2} of {len(ACTIONS)}: take an action-value model"
            )
        model.save_pretrained(unfinished)
        ChessTokenizer(orient=False).save_pretrained(unfinished)
    return model, source


def _check_output_folder(output: Path, overwrite: bool) -> None:
    """Raise InputError if a folder cannot be written, or may not be replaced."""
    if output.is_dir():
        if not overwrite:
            raise InputError(f"{output} exists: choose another place, or replace it with --overwrite")
        if not (output / "config.json").is_file():
            raise InputError(f"{output} is the folder of something else than a model: choose another place")
        check_output(output / "config.json", overwrite=True)
    else:
        check_output(output, overwrite=False)


def _check_values_actions(source: str) -> None:
    """Raise InputError for parameters in a folder named as DeepMind names its models of state values.

    Their arrays have the shapes of action values: only the name tells them apart.
    """
    # Of 9M_state_value.zip/9M_state_value/6400000/params: what lies above is the user's own.
    for part in Path(source).resolve().parts[-4:]:
        if part.removesuffix(".zip").endswith("state_value"):
            raise InputError(f"{source} values states, not actions: take an action-value model, as 9M.zip is")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python scripts/convert_searchless_chess.py",
        description="Convert a chess model of DeepMind's searchless_chess (ChessBench) into the folder that "
        "eval.chess.play, eval.chess.uci and all other commands take as --model. Its action-value models are "
        "https://storage.googleapis.com/searchless_chess/checkpoints/ 9M.zip, 136M.zip and 270M.zip.",
    )
    add = parser.add_argument
    add(
        "--checkpoint",
        required=True,
        type=Path,
        metavar="PATH",
        help="the .zip as downloaded; or unpacked, such as 270M, 270M/6400000 or 270M/6400000/params; or an "
        ".npz of arrays by their Haiku names",
    )
    add("--output", required=True, type=Path, metavar="DIR", help="the folder to write the model to")
    add(
        "--weights",
        choices=WEIGHTS,
        help="params_ema (the default) are averaged over the last steps of training; params, those of the "
        "last step, are what DeepMind's own puzzles.py and tournament.py load",
    )
    add(
        "--num-heads",
        type=int,
        default=8,
        metavar="N",
        help="attention heads, which the weights do not tell: 8 in all released models (8), 4 in those of "
        "DeepMind's train.py",
    )
    add("--overwrite", action="store_true", help="replace the model in the output folder")
    arguments = parser.parse_args()
    if arguments.num_heads < 1:
        parser.error(f"--num-heads must be at least 1, not {arguments.num_heads}")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    model, source = convert_checkpoint(
        arguments.checkpoint, arguments.output, arguments.weights, arguments.num_heads, arguments.overwrite
    )
    config, num_parameters = model.config, sum(parameter.numel() for parameter in model.parameters())
    sizes = f"{config.num_hidden_layers} layers of width {config.hidden_size}, {config.num_bins} bins"
    print(
        f"{arguments.output}: {num_parameters / 1e6:.1f}M parameters, {sizes}, read with "
        f"{config.num_attention_heads} heads from {source}"
    )
    print(f"play against it: python -m eval.chess.play --model {arguments.output} --opponent human")


if __name__ == "__main__":
    command(main)
