"""Solve Lichess puzzles: the fraction whose whole solution the model plays, overall, by rating and by theme.

Source: Ruoss et al. (arXiv 2402.04494), "puzzle accuracy"; puzzles from https://database.lichess.org (CC0).

    python -m eval.chess.puzzles --model runs/chess_tiny/model --puzzles puzzles.csv --json puzzles.json
    python -m eval.chess.puzzles --model runs/chess_tiny/model --puzzles Lichess/chess-puzzles --limit 10000

A puzzle's FEN is the position before the opponent's move. The first move is the opponent's, then every second
one is the solver's and must be the move of the solution; any checkmate also solves a puzzle.
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from tabulate import tabulate
from tqdm import tqdm

from cli.errors import command
from cli.files import check_output
from cli.options import (
    add_batch_size_option,
    add_json_option,
    add_model_options,
    positive_int,
    write_json,
)
from data.chess.puzzles import Puzzle, read_puzzles
from eval.chess.engines import ValueEngine
from eval.intervals import wilson_interval
from eval.model_folder import check_model_folder, model_name


RATING_BAND = 200
PUZZLES_AT_ONCE = 1024


def evaluate_puzzles(engine: ValueEngine, puzzles: Sequence[Puzzle]) -> dict:
    """Return the accuracy with its 95% Wilson interval `low` to `high` and `num_puzzles`.

    `by_rating` has the same four numbers for every band of ratings, such as "1600-1799", and `by_theme` for
    every theme. Puzzles without a rating, or without themes, are left out there.
    """
    solved: list[bool] = []
    with tqdm(total=len(puzzles), unit="puzzle", disable=None) as bar:
        for start in range(0, len(puzzles), PUZZLES_AT_ONCE):
            part = puzzles[start : start + PUZZLES_AT_ONCE]
            solved += _solve(engine, part)
            bar.update(len(part))
            bar.set_postfix(solved=f"{np.mean(solved):.1%}")
    by_rating: dict[int, list[bool]] = defaultdict(list)
    by_theme: dict[str, list[bool]] = defaultdict(list)
    for puzzle, is_solved in zip(puzzles, solved, strict=True):
        if puzzle.rating is not None:
            by_rating[puzzle.rating // RATING_BAND * RATING_BAND].append(is_solved)
        for theme in puzzle.themes:
            by_theme[theme].append(is_solved)
    return {
        **_accuracy(solved),
        "by_rating": {
            f"{low}-{low + RATING_BAND - 1}": _accuracy(by_rating[low]) for low in sorted(by_rating)
        },
        "by_theme": {theme: _accuracy(by_theme[theme]) for theme in sorted(by_theme)},
    }


def _solve(engine: ValueEngine, puzzles: Sequence[Puzzle]) -> list[bool]:
    """Return which puzzles the engine solves; at every ply all puzzles still in play share a batch."""
    boards = [puzzle.board() for puzzle in puzzles]
    solved = [True] * len(puzzles)
    in_play = list(range(len(puzzles)))
    ply = 1
    while in_play:
        analyses = engine.analyse_many([boards[i] for i in in_play])
        continued = []
        for i, analysis in zip(in_play, analyses, strict=True):
            board, solution = boards[i], puzzles[i].moves
            board.push(analysis.best_move)
            if analysis.best_move != solution[ply]:
                solved[i] = board.is_checkmate()
            elif ply + 1 < len(solution):
                board.push(solution[ply + 1])
                continued.append(i)
        in_play = continued
        ply += 2
    return solved


def _accuracy(solved: Sequence[bool]) -> dict[str, float | int]:
    low, high = wilson_interval(sum(solved), len(solved))
    return {"accuracy": sum(solved) / len(solved), "low": low, "high": high, "num_puzzles": len(solved)}


def format_table(results: dict) -> str:
    """Lay out the results of `evaluate_puzzles`; themes are sorted by their number of puzzles."""
    themes = sorted(results["by_theme"].items(), key=lambda item: -item[1]["num_puzzles"])
    groups = {"all": [("", results)], "rating": results["by_rating"].items(), "theme": themes}
    rows = [
        (
            "" if index else group,
            name,
            f"{row['accuracy']:.1%}",
            f"{row['low']:.1%} – {row['high']:.1%}",
            str(row["num_puzzles"]),
        )
        for group, members in groups.items()
        for index, (name, row) in enumerate(members)
    ]
    return tabulate(
        rows,
        ["", "", "solved", "95% interval", "puzzles"],
        tablefmt="plain",
        disable_numparse=True,
        colalign=("left", "left", "right", "right", "right"),
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m eval.chess.puzzles",
        description="Measure the fraction of Lichess puzzles that a chess model solves: it must find every "
        "move of the solution, or a checkmate. Prints the accuracy with 95% intervals, also by rating and by "
        "theme.",
    )
    add_model_options(parser)
    add_batch_size_option(parser)
    parser.add_argument(
        "--puzzles",
        required=True,
        metavar="FILE",
        help="puzzles of Lichess or ChessBench: CSV, also compressed, or Parquet; or a dataset on the hub, "
        "such as Lichess/chess-puzzles; data/chess/sample/puzzles.csv has some",
    )
    parser.add_argument(
        "--limit", type=positive_int, metavar="N", help="use the first N puzzles (default: all)"
    )
    add_json_option(parser)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    if arguments.json:
        check_output(arguments.json, overwrite=True)
    check_model_folder(arguments.model)
    puzzles = read_puzzles(arguments.puzzles, arguments.limit)
    # As in ChessBench: the network has to find checkmates, but cannot know repetitions, which the rules find
    # in the games of ChessBench's puzzles.
    engine = ValueEngine.from_options(arguments, exact_ends="draws")
    results = evaluate_puzzles(engine, puzzles)
    if arguments.json:
        from eval.loading import identify_model  # imports torch

        identity = identify_model(arguments.model)
        write_json(arguments.json, {"model": identity, "puzzles": arguments.puzzles, **results})
    print(f"{model_name(arguments.model)} on {results['num_puzzles']} puzzles of {arguments.puzzles}\n")
    print(format_table(results))


if __name__ == "__main__":
    command(main)
