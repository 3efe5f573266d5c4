"""Every speed figure of chess beside a naive baseline, as tables: training, play, data, value losses.

    python -m benchmarks

All ways do the same work in one run, in turns, so that whatever else the machine does hits all of them alike:
trust the ratios more than the seconds.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

import chess
import pyarrow.parquet as pq
import torch

from benchmarks.ceiling import matrix_product_rate
from benchmarks.data_path import format_data, measure_data, measure_labels, read_some_boards
from benchmarks.losses import measure_losses
from benchmarks.play_speed import format_play, measure_play
from benchmarks.timing import format_rows, rate_rows
from benchmarks.training import format_training, measure_training
from cli.errors import InputError, command
from cli.files import check_output
from cli.hardware import describe_hardware
from cli.options import DTYPES, add_json_option, positive_int, seed_number, write_json
from data.chess.boards import Boards
from data.chess.preparation import prepare
from data.hub import local_files
from eval.loading import choose_device, load_model
from models.configuration_value_transformer import ValueTransformerConfig
from models.modeling_value_transformer import ValueTransformerForActionValue
from models.tokenization_chess import ChessTokenizer


# Width, layers and heads of the paper's models; speed does not depend on the weights.
SIZES = {"9m": (256, 8, 8), "137m": (1024, 8, 8), "270m": (1024, 16, 8)}
SECTIONS = ("training", "play", "data", "losses")
SAMPLE = Path(__file__).parents[1] / "data" / "chess" / "sample"
# Enough work to keep a device busy, without making one wait: boards of a training step, tokens of a
# micro-batch, boards of a batch from the data path, values of the losses.
SCALES = {"cpu": (128, 4096, 1024, 8192), "cuda": (1024, 32768, 1024, 65536)}
MOST_BOARDS = 20_000  # of --data; more would take longer and tell no more
BATCH_SIZES = (1, 4, 16, 64, 256, 1024)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure what training, play, data and value losses cost, each beside a naive way to do "
        "the same, in turns. Boards are those of the sample in this repository.",
    )
    add = parser.add_argument
    add("sections", nargs="*", metavar="SECTION", help=f"what to measure: {' '.join(SECTIONS)} (all)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--size", choices=SIZES, default="9m", help="a model of this size with random weights (9m)"
    )
    what.add_argument("--model", metavar="DIR", help="a trained model instead")
    add("--device", default="auto", help="cpu, cuda, cuda:1, ... (the GPU if there is one)")
    add("--threads", type=positive_int, metavar="N", help="threads of torch (as many as it takes by itself)")
    add("--dtype", choices=DTYPES, default="float32", help="precision of the weights in play (float32)")
    add("--precision", choices=("bf16", "fp32"), default="bf16", help="of training: bf16 autocast or fp32")
    add(
        "--compile",
        action=argparse.BooleanOptionalAction,
        help="measure the model under torch.compile too (on a GPU)",
    )
    add("--boards", type=positive_int, default=16, metavar="N", help="boards that are played (16)")
    add(
        "--batch-sizes",
        type=positive_int,
        nargs="+",
        default=BATCH_SIZES,
        metavar="N",
        help=f"boards valued together ({' '.join(map(str, BATCH_SIZES))})",
    )
    add(
        "--train-boards",
        type=positive_int,
        metavar="N",
        help=f"boards of a training step ({SCALES['cpu'][0]}, on a GPU {SCALES['cuda'][0]})",
    )
    add(
        "--train-tokens",
        type=positive_int,
        metavar="N",
        help=f"tokens of a micro-batch ({SCALES['cpu'][1]}, on a GPU {SCALES['cuda'][1]})",
    )
    add(
        "--data",
        metavar="FILE",
        help=f"Parquet file of boards for training steps and the data path; its first {MOST_BOARDS} are used",
    )
    add("--repeats", type=positive_int, default=3, metavar="N", help="rounds, in which all take turns (3)")
    add("--seed", type=seed_number, default=0, help="draws boards and weights (0)")
    add_json_option(parser)
    arguments = parser.parse_intermixed_args()
    unknown = [name for name in arguments.sections if name not in SECTIONS]
    if unknown:
        parser.error(f"{unknown[0]!r} is no section: choose from {', '.join(SECTIONS)}")
    arguments.sections = arguments.sections or list(SECTIONS)
    return arguments


def main() -> None:
    arguments = parse_arguments()
    if arguments.json:
        check_output(arguments.json, overwrite=True)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    started = time.perf_counter()
    data = local_files(arguments.data or str(SAMPLE / "train_boards.parquet"), "train")
    fens = pq.read_table(SAMPLE / "test_boards.parquet", columns=["fen"])["fen"].to_pylist()
    if arguments.boards > len(fens):
        raise InputError(f"--boards {arguments.boards}: the sample has {len(fens)}; give no more than that")
    boards = [chess.Board(fen) for fen in random.Random(arguments.seed).sample(fens, arguments.boards)]
    model, tokenizer = make_model(arguments)
    device = model.device
    compile = device.type == "cuda" if arguments.compile is None else arguments.compile
    train_boards, train_tokens, batch_size, num_values = SCALES["cuda" if device.type == "cuda" else "cpu"]
    train_boards = arguments.train_boards or train_boards
    results = {
        "command": " ".join(sys.argv[1:]),
        "model": arguments.model or arguments.size,
        "num_parameters": model.num_parameters(),
        **describe_hardware(device),
        "threads": torch.get_num_threads(),
        "seed": arguments.seed,
        "repeats": arguments.repeats,
    }
    print(
        f"{results['num_parameters'] / 1e6:.1f}M parameters, {results['device']}, {results['threads']} "
        f"threads, torch {results['torch']}; medians of {arguments.repeats} rounds, seed {arguments.seed}"
    )

    def show(text: str) -> None:
        print(f"\n{text}", flush=True)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parquet = folder / "boards.parquet"
        pq.write_table(read_some_boards(data, MOST_BOARDS), parquet)
        if "training" in arguments.sections:
            loaded = Boards.load(prepare(parquet, folder / "for-training"))
            if train_boards > loaded.num_boards:
                raise InputError(
                    f"--train-boards {train_boards}: there are {loaded.num_boards}; give no more than that"
                )
            dtype = torch.bfloat16 if arguments.precision == "bf16" else torch.float32
            ceiling = results["matrix_products_per_second"] = matrix_product_rate(device, dtype)
            tokens = arguments.train_tokens or train_tokens
            try:
                results["training"] = measure_training(
                    model,
                    loaded,
                    batch_size=train_boards,
                    tokens=tokens,
                    precision=arguments.precision,
                    repeats=arguments.repeats,
                    compile=compile,
                    ceiling=ceiling,
                    seed=arguments.seed,
                )
            except torch.OutOfMemoryError:
                raise InputError(
                    f"micro-batches of {tokens:,} tokens do not fit in the memory of {device}: lower "
                    "--train-tokens, or measure a smaller --size"
                ) from None
            show(
                f"{train_boards} boards, {results['training']['num_action_values']} moves, "
                f"{arguments.precision}; matrix products: {ceiling / 1e12:.2f} TFLOP/s\n"
                f"{format_training(results['training'])}"
            )
        if "data" in arguments.sections:
            results["data"] = measure_data(parquet, folder, batch_size, arguments.repeats, arguments.seed)
            results["data"]["labels"] = measure_labels(fens, arguments.repeats)
            show(format_data(results["data"]))
    if "play" in arguments.sections:
        played = model.to(getattr(torch, arguments.dtype))
        results["play"] = measure_play(
            played, tokenizer, boards, arguments.batch_sizes, arguments.repeats, compile
        )
        results["play"]["dtype"] = arguments.dtype
        show(f"{results['play']['mean_legal_moves']:.1f} legal moves a board, {arguments.dtype}")
        print(format_play(results["play"]))
    if "losses" in arguments.sections:
        num_bins = model.config.num_bins
        results["losses"] = measure_losses(device, num_values, num_bins, arguments.repeats, arguments.seed)
        width = max(map(len, results["losses"]))
        title = f"{num_values} values, {num_bins} bins"
        show(format_rows(title, "values/s", rate_rows(results["losses"]), max(width, len(title))))
    results["seconds"] = time.perf_counter() - started
    show(f"took {results['seconds']:.0f} s")
    if arguments.json:
        write_json(arguments.json, results)


def make_model(arguments: argparse.Namespace) -> tuple[ValueTransformerForActionValue, ChessTokenizer]:
    """Load a model, or make one with random weights, in float32."""
    if arguments.model:
        return load_model(arguments.model, arguments.device, "float32")
    device = choose_device(arguments.device)
    torch.manual_seed(arguments.seed)
    hidden_size, num_layers, num_heads = SIZES[arguments.size]
    config = ValueTransformerConfig(
        hidden_size=hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        board_rotation=True,
    )
    return ValueTransformerForActionValue(config).to(device), ChessTokenizer()


if __name__ == "__main__":
    command(main)
