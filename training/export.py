"""Export the model of a run as a small folder to keep or pass on, with rounded weights and its card.

    python -m training.export --run runs/chess_9m --output checkpoints/chess_9m

The folder is what every evaluation takes as --model. Rounded weights are another model, if hardly, so that it
is measured itself; the same command with --results then puts what was measured into its card, which is
written anew, so that --results lists everything and --note is given again.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from huggingface_hub import save_torch_state_dict
from safetensors.torch import load_file

from cli.errors import InputError, command
from cli.files import atomic_write, check_output
from cli.options import DTYPES, positive_int
from configs.schema import load_run_config
from training.model_card import add_card, make_card, read_results, shareable_settings
from training.publish import check_run


# An exported folder is known by it, and nothing else is replaced.
SETTINGS = "settings.yaml"
MEGABYTE = 1_000_000


def export(run: Path, output: Path, dtype: torch.dtype, shard_megabytes: int, note: str) -> None:
    """Write the model of a run to the folder `output`, with weights as `dtype` in files of limited size.

    Raises InputError if the run holds no model, or `output` something else than an exported one.
    """
    check_run(run)
    check_replaceable(output)
    check_output(output / SETTINGS, overwrite=True)
    weights = rounded_weights(run / "model", dtype)
    with atomic_write(output) as folder:
        folder.mkdir()
        for file in (run / "model").iterdir():
            if file.is_file() and ".safetensors" not in file.name:
                shutil.copyfile(file, folder / file.name)
        (folder / SETTINGS).write_text(shareable_settings(load_run_config(run)))
        save_torch_state_dict(weights, folder, max_shard_size=int(shard_megabytes * MEGABYTE))
        add_card(run, folder, make_card(run, str(output), [], title=output.resolve().name, note=note))


def add_results(run: Path, output: Path, dtype: torch.dtype, files: Sequence[str], note: str) -> None:
    """Put into the card of an exported model what evaluations of it wrote to `files`.

    Raises InputError if `output` does not hold the weights of the run as `dtype`, or a file tells of others.
    """
    check_run(run)
    if not is_exported(output):
        raise InputError(f"{output} holds no exported model yet: leave --results out at first")
    expected, found = rounded_weights(run / "model", dtype), stored_weights(output)
    same = expected.keys() == found.keys() and all(
        expected[name].dtype == found[name].dtype and torch.equal(expected[name], found[name])
        for name in expected
    )
    if not same:
        raise InputError(
            f"{output} holds other weights than {run}: export them without --results, and measure them"
        )
    results = [result for path in files for result in read_results(path, output)]
    add_card(run, output, make_card(run, str(output), results, title=output.resolve().name, note=note))


def rounded_weights(model: Path, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return the weights of a saved model as `dtype`; tables of whole numbers stay as they are."""
    return {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for name, tensor in stored_weights(model).items()
    }


def stored_weights(model: Path) -> dict[str, torch.Tensor]:
    """Return the weights of a saved model."""
    weights: dict[str, torch.Tensor] = {}
    for file in model.glob("*.safetensors"):
        weights |= load_file(file)
    return weights


def is_exported(output: Path) -> bool:
    """Tell whether a folder holds an exported model."""
    return (output / SETTINGS).is_file() and (output / "config.json").is_file()


def check_replaceable(output: Path) -> None:
    """Raise InputError if something is at `output` that is not an exported model."""
    if output.is_symlink() or (output.exists() and not is_exported(output)):
        raise InputError(f"{output} exists and is no exported model: choose another place")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.export",
        description="Export the model of a run as a folder that every evaluation takes as --model: weights "
        "rounded and in files of limited size, code, tokenizer, licence, settings, and a card. Repeat the "
        "command with --results to put into the card what was measured of it.",
    )
    add = parser.add_argument
    add("--run", required=True, metavar="DIR", help="the output_dir of a finished run")
    add("--output", required=True, metavar="DIR", help="the folder; one that was exported before is replaced")
    add("--dtype", choices=DTYPES, default="bfloat16", help="what weights are rounded to (bfloat16)")
    add("--shard-size", type=positive_int, default=15, metavar="MB", help="most megabytes of a file (15)")
    add(
        "--results",
        nargs="+",
        default=[],
        metavar="FILE",
        help="put into the card what --json of eval.chess.actions, eval.chess.puzzles, eval.chess.elo or "
        "eval.wordle wrote about --output; the card is written again, everything else is unchanged",
    )
    add("--note", default="", help="a sentence for the card: on which machine it was trained, how long")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    run, output, dtype = Path(arguments.run), Path(arguments.output), getattr(torch, arguments.dtype)
    if arguments.results:
        add_results(run, output, dtype, arguments.results, arguments.note)
        print(f"{output / 'README.md'}: the card, with what was measured")
        return
    export(run, output, dtype, arguments.shard_size, arguments.note)
    num_bytes = sum(file.stat().st_size for file in output.iterdir())
    print(f"{output}: {num_bytes / 1e6:.1f} MB, {arguments.dtype}")
    print("its card says nothing of results: measure it, and repeat the command with --results")


if __name__ == "__main__":
    command(main)
