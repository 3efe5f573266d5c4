"""Export the model of a run as a small folder to keep or pass on, with rounded weights and its card.

    python -m eval.export --run runs/chess_9m --output checkpoints/chess_9m

The folder is what every evaluation takes as --model. Rounded weights are another model, if hardly, so that it
is measured itself, and what was measured put into its card by the same command with --results.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from huggingface_hub import save_torch_state_dict
from safetensors.torch import load_file

from data.command_line import InputError, command
from data.files import written_whole
from eval.model_card import Result, add_card, make_card, read_results
from eval.options import DTYPES, positive_int
from eval.publish import check_run


# An exported folder is known by it, and nothing else is replaced.
SETTINGS = "settings.yaml"
MEGABYTE = 1_000_000


def export(
    run: Path, output: Path, dtype: torch.dtype, shard_megabytes: int, results: Sequence[Result], note: str
) -> None:
    """Write the model of a run to the folder `output`, with weights as `dtype` in files of limited size.

    Raises InputError if the run holds no model, or `output` something else than an exported one.
    """
    check_run(run)
    check_replaceable(output)
    weights = {}
    for file in (run / "model").glob("*.safetensors"):
        weights |= load_file(file)
    # Tables of whole numbers stay as they are.
    weights = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in weights.items()
    }
    card = make_card(run, str(output), results, title=output.resolve().name, note=note)
    with written_whole(output) as folder:
        folder.mkdir()
        for file in (run / "model").iterdir():
            if file.is_file() and ".safetensors" not in file.name:
                shutil.copyfile(file, folder / file.name)
        shutil.copyfile(run / "config.yaml", folder / SETTINGS)
        save_torch_state_dict(weights, folder, max_shard_size=int(shard_megabytes * MEGABYTE))
        add_card(run, folder, card)


def check_replaceable(output: Path) -> None:
    """Raise InputError if something is at `output` that is not an exported model."""
    is_exported = (output / SETTINGS).is_file() and (output / "config.json").is_file()
    if output.is_symlink() or (output.exists() and not is_exported):
        raise InputError(f"{output} exists and is no exported model: choose another place")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m eval.export",
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
        help="what --json of eval.actions, eval.puzzles, eval.elo or eval.wordle wrote about --output",
    )
    add("--note", default="", help="a sentence for the card: on which machine it was trained, and how long")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    run, output = Path(arguments.run), Path(arguments.output)
    check_run(run)
    results = [result for path in arguments.results for result in read_results(path, output)]
    dtype = getattr(torch, arguments.dtype)
    export(run, output, dtype, arguments.shard_size, results, arguments.note)
    num_bytes = sum(file.stat().st_size for file in output.rglob("*"))
    print(f"{output}: {num_bytes / 1e6:.1f} MB, {arguments.dtype}")
    if not results:
        print("its card says nothing of results: measure it, and repeat this with --results")


if __name__ == "__main__":
    command(main)
