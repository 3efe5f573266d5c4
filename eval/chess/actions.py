"""Compare the values of moves with labels: best-move agreement, regret, rank correlation, KL, calibration.

    python -m eval.chess.actions --model runs/chess_tiny/model --data boards.parquet --json actions.json

Models of action values, of state values and of moves are measured, without search.
"""

import argparse

import numpy as np
from tabulate import tabulate

from cli.errors import InputError, command
from cli.files import check_output
from cli.options import (
    add_batch_size_option,
    add_json_option,
    add_model_options,
    add_seed_option,
    positive_int,
    write_json,
)
from data.hub import local_files
from data.parquet import list_files
from eval.chess.calibration import plot_reliability
from eval.intervals import Z_95
from eval.model_folder import check_model_folder, model_name


def format_table(results: dict) -> str:
    """Lay out the results of `evaluate_actions`: means with 95% intervals, and the means of random moves."""
    rows = [  # title, key, result of a random choice of moves, format
        ("best-move agreement", "best_move_agreement", results["random_agreement"], ".1%"),
        ("regret (win probability)", "regret", results["random_regret"], ".4f"),
        ("Kendall's τ", "kendall_tau", 0.0, ".3f"),
        ("Kendall's τ as in ChessBench", "kendall_tau_chessbench", None, ".3f"),
        ("mean absolute error", "mae", None, ".4f"),
        ("KL (nats)", "kl", None, ".3f"),
        ("cross-entropy (nats)", "cross_entropy", None, ".3f"),
        ("calibration error", "calibration_error", None, ".4f"),
    ]
    cells = []
    for title, key, chance, style in rows:
        error = results["standard_errors"].get(key)
        numbers = (results[key], None if error is None else Z_95 * error, chance)
        cells.append([title, *("–" if number is None else f"{number:{style}}" for number in numbers)])
    return tabulate(
        cells,
        ["", "model", "± 95%", "random choice"],
        tablefmt="plain",
        disable_numparse=True,
        colalign=("left", "right", "right", "right"),
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m eval.chess.actions",
        description="Compare a chess model's values of moves with labels: how often its best move is one of "
        "the best, the win probability lost by its choices (regret), how well it ranks the moves (Kendall's "
        "τ), the errors of its values (MAE, and KL and cross-entropy in nats) and its calibration, with 95% "
        "intervals, next to the results of a random choice of moves. A model that predicts moves has no "
        "values: its choices and its ranking of the moves are compared.",
    )
    add_model_options(parser)
    add_batch_size_option(parser)
    parser.add_argument(
        "--data",
        required=True,
        metavar="FILE",
        help="labelled boards: a Parquet file, or a folder of them, as data.chess.annotate writes; or a "
        "dataset on the hub, user/name or user/name:SPLIT (default split: validation, or else test)",
    )
    parser.add_argument(
        "--limit", type=positive_int, metavar="N", help="use N boards chosen at random (default: all)"
    )
    add_seed_option(parser, "the choice of boards for --limit")
    parser.add_argument("--plot", metavar="FILE.png", help="also draw a reliability diagram")
    add_json_option(parser)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    for path in filter(None, (arguments.json, arguments.plot)):
        check_output(path, overwrite=True)
    check_model_folder(arguments.model)
    data = local_files(arguments.data, "validation")
    list_files(data)
    # These import torch, which takes seconds.
    from data.chess.boards import Boards
    from eval.chess.action_evaluation import evaluate_actions
    from eval.loading import identify_model, load_model
    from models.modeling_value_transformer import ValueTransformerForMovePrediction

    boards = Boards.from_parquet(data)
    model, tokenizer = load_model(arguments.model, arguments.device, arguments.dtype)
    if arguments.plot and isinstance(model, ValueTransformerForMovePrediction):
        raise InputError(f"{arguments.model} predicts moves, not win probabilities: leave out --plot")
    indices = np.arange(boards.num_boards)
    if arguments.limit is not None and arguments.limit < boards.num_boards:
        indices = np.random.default_rng(arguments.seed).choice(indices, arguments.limit, replace=False)
    results = evaluate_actions(
        model, boards, tokenizer.orient, arguments.batch_size, indices, show_progress=True
    )
    if arguments.json:
        identity = identify_model(arguments.model)
        write_json(arguments.json, {"model": identity, "data": arguments.data, **results})
    if arguments.plot:
        plot_reliability(results["calibration"], arguments.plot, model_name(arguments.model))
    print(f"{model_name(arguments.model)} on {arguments.data}: {results['num_boards']} boards", end="")
    print(f" ({results['num_boards_ranked']} for τ), {results['num_action_values']} action values\n")
    print(format_table(results))


if __name__ == "__main__":
    command(main)
