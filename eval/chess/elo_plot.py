"""The figure of a tournament: the score against every opponent, and the curve of the fitted rating."""

import textwrap
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from cli.files import atomic_write
from eval.chess.ratings import Rating, difference, expected_score


TITLE_WIDTH = 80  # characters of 10 points


def plot_scores(results: dict, rating: Rating, path: Path, player: str) -> None:
    """Draw the results of eval.chess.elo as a PNG, with 95% intervals."""
    rows = results["opponents"]
    ratings = np.array([row["rating"] for row in rows])
    scores = np.array([row["score"] for row in rows])
    intervals = np.array([difference(row["pentanomial"])[1:] for row in rows])  # (rows, 2)
    known = [*ratings, *filter(np.isfinite, rating)]
    grid = np.linspace(min(known) - 150, max(known) + 150, 400)
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    axis = figure.add_subplot()
    # An infinite rating, after only losses or only wins, has a curve of 0 or 1.
    axis.plot(grid, expected_score(rating.elo - grid), color="C0", label=str(rating))
    bounds = expected_score(rating.low - grid), expected_score(rating.high - grid)
    axis.fill_between(grid, *bounds, color="C0", alpha=0.15, lw=0, label="95% interval")
    errors = np.abs(expected_score(intervals).T - scores)  # (2, rows)
    axis.errorbar(ratings, scores, errors, fmt="o", color="C1", ms=5, capsize=3, label="score (95%)")
    for row in rows:
        point, offset = (row["rating"], row["score"]), (5, 6)
        axis.annotate(
            str(row["num_games"]), point, offset, textcoords="offset points", fontsize=8, color="0.4"
        )
    axis.axhline(0.5, color="0.6", lw=0.8, ls=":")
    axis.set(
        xlabel="opponent's rating (Elo); next to each point its number of games",
        ylabel="points per game",
        xlim=(grid[0], grid[-1]),
        ylim=(-0.03, 1.07),
    )
    title = textwrap.fill(f"{player}, {results['num_games']} games", TITLE_WIDTH, break_on_hyphens=False)
    # The name of a folder can contain dollar signs.
    axis.set_title(title, fontsize=10, parse_math=False)
    axis.grid(alpha=0.3)
    figure.legend(frameon=False, loc="outside lower center", ncols=3)
    with atomic_write(path) as unfinished:
        figure.savefig(unfinished, dpi=120)
