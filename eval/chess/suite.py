"""Play a test suite (EPD): the fraction of positions with a right move, and points by theme.

    python -m eval.chess.suite --epd win_at_chess.epd --json suite.json

A line names the best moves (bm) or moves to avoid (am). The Strategic Test Suite (Corbit and Tchekhanov,
2011) also gives points to several moves, in its operations c8 (points) and c9 (moves in UCI).
"""

import argparse
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import chess
import numpy as np
from tabulate import tabulate
from tqdm import tqdm

from cli.errors import InputError, command
from cli.files import check_output
from cli.options import add_batch_size_option, add_json_option, add_model_options, write_json
from data.chess.fen_files import read_epd
from data.text_files import TextSource
from eval.chess.engines import ValueEngine
from eval.intervals import Z_95, mean_and_standard_error, wilson_interval
from eval.model_folder import check_model_folder, model_name


MAX_POINTS = 10  # of a position of the Strategic Test Suite
POSITIONS_AT_ONCE = 1024


class SuitePosition(NamedTuple):
    """A position of a test suite. A move is right if it is in `best`, where there is any, and not in `avoid`.

    `points` are those of moves; None in suites without points.
    """

    theme: str
    board: chess.Board
    best: frozenset[chess.Move]
    avoid: frozenset[chess.Move]
    points: dict[chess.Move, float] | None

    def is_right(self, move: chess.Move) -> bool:
        return (not self.best or move in self.best) and move not in self.avoid


def read_suite(path: str) -> list[SuitePosition]:
    """Read a test suite. The theme of a position is its id without the number.

    Raises InputError for a faulty line, such as one whose operations name an illegal move, or no move.
    """
    positions = []
    for _, where, board, operations in read_epd(TextSource(path)):
        best, avoid = (
            frozenset(
                _read_move(board, move, f"{where}, operation {code}") for move in _words(operations, code)
            )
            for code in ("bm", "am")
        )
        points = _read_points(board, operations, where)
        if points and not best:
            best = frozenset(move for move, value in points.items() if value == max(points.values()))
        if not best and not avoid:
            raise InputError(f"{where} has no move to find: give operations bm, am, or c8 and c9")
        theme = re.sub(r"[\s._#-]*\d+$", "", operations.get("id", "")) or "no id"
        positions.append(SuitePosition(theme, board, best, avoid, points))
    if not positions:
        raise InputError(f"{path} holds no positions: give an EPD file")
    return positions


def _words(operations: dict[str, str], code: str) -> list[str]:
    return operations.get(code, "").replace(",", " ").split()


def _read_move(board: chess.Board, text: str, where: str) -> chess.Move:
    for parse in (board.parse_san, board.parse_uci):
        try:
            if move := parse(text):
                return move
        except ValueError:
            continue
    raise InputError(f"{where}: {text!r} is not legal in {board.fen()}; correct or remove the line")


def _read_points(
    board: chess.Board, operations: dict[str, str], where: str
) -> dict[chess.Move, float] | None:
    points, moves = _words(operations, "c8"), _words(operations, "c9")
    # Other suites use c8 and c9 for comments.
    if not points or not moves or not all(map(str.isdecimal, points)):
        return None
    if len(points) != len(moves):
        raise InputError(
            f"{where}: c8 has {len(points)} numbers of points, but c9 {len(moves)} moves: correct the line"
        )
    read = [_read_move(board, move, f"{where}, operation c9") for move in moves]
    return dict(zip(read, map(float, points), strict=True))


def evaluate_suite(engine: ValueEngine, positions: Sequence[SuitePosition]) -> dict:
    """Return the accuracy with its 95% Wilson interval `low` to `high` and `num_positions`.

    If the suite gives points, also `points`, the mean as a fraction of 10 per position, and
    `points_half_width`, that of its 95% interval, None for one position. `by_theme` has the same numbers for
    every theme.
    """
    moves: list[chess.Move] = []
    with tqdm(total=len(positions), unit="position", disable=None) as bar:
        for start in range(0, len(positions), POSITIONS_AT_ONCE):
            boards = [position.board for position in positions[start : start + POSITIONS_AT_ONCE]]
            moves += [analysis.best_move for analysis in engine.analyse_many(boards)]
            bar.update(len(boards))
    by_theme: dict[str, list[tuple[SuitePosition, chess.Move]]] = defaultdict(list)
    answered = list(zip(positions, moves, strict=True))
    for position, move in answered:
        by_theme[position.theme].append((position, move))
    themes = {theme: _score(by_theme[theme]) for theme in sorted(by_theme)}
    return {**_score(answered), "by_theme": themes}


def _score(answered: Sequence[tuple[SuitePosition, chess.Move]]) -> dict:
    right = sum(position.is_right(move) for position, move in answered)
    low, high = wilson_interval(right, len(answered))
    score = {"accuracy": right / len(answered), "low": low, "high": high, "num_positions": len(answered)}
    points = [position.points.get(move, 0) for position, move in answered if position.points]
    if points:
        mean, error = mean_and_standard_error(np.array(points) / MAX_POINTS)
        score |= {"points": mean, "points_half_width": None if error is None else Z_95 * error}
    return score


def format_table(results: dict) -> str:
    """Lay out the results of `evaluate_suite`."""
    rows = []
    themes = results["by_theme"] if len(results["by_theme"]) > 1 else {}
    for theme, row in [("all", results), *themes.items()]:
        cells = [theme, f"{row['accuracy']:.1%}", f"{row['low']:.1%} – {row['high']:.1%}"]
        if "points" in results:
            cells.append(f"{row['points']:.1%}" if "points" in row else "")
            half_width = row.get("points_half_width")
            cells.append("" if half_width is None else f"± {half_width:.1%}")
        rows.append([*cells, str(row["num_positions"])])
    titles = ["", "right", "95% interval", *["points", ""] * ("points" in results), "positions"]
    alignment = ("left", *["right"] * (len(titles) - 1))
    return tabulate(rows, titles, tablefmt="plain", disable_numparse=True, colalign=alignment)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m eval.chess.suite",
        description="Measure how many positions of a test suite a chess model solves: its move must be one "
        "of the best moves (bm) and none of those to avoid (am). Prints the fraction with 95% intervals, "
        "also by theme, and the points of the Strategic Test Suite.",
    )
    add_model_options(parser)
    add_batch_size_option(parser)
    parser.add_argument(
        "--epd",
        required=True,
        metavar="FILE",
        help="a test suite in EPD, one position per line; also compressed",
    )
    add_json_option(parser)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    if arguments.json:
        check_output(arguments.json, overwrite=True)
    check_model_folder(arguments.model)
    positions = read_suite(arguments.epd)
    # As for puzzles: the model has to find checkmates.
    engine = ValueEngine.from_options(arguments, exact_ends="draws")
    results = evaluate_suite(engine, positions)
    if arguments.json:
        from eval.loading import identify_model  # imports torch

        write_json(
            arguments.json, {"model": identify_model(arguments.model), "epd": arguments.epd, **results}
        )
    print(f"{model_name(arguments.model)} on {results['num_positions']} positions of {arguments.epd}\n")
    print(format_table(results))


if __name__ == "__main__":
    command(main)
