"""The picture of a tournament: the score against every opponent, and the curve of the fitted rating."""

import textwrap
from pathlib import Path

import numpy as np

from cli.files import atomic_write
from eval.chess.ratings import difference, expected_score


# In characters of 10 points; a path is followed by eight that tell a model from others at the same place.
TITLE_WIDTH, PATH_WIDTH = 80, 70


def plot_scores(results: dict, path: Path, player: str) -> None:
    """Draw what `eval.chess.elo.summarise` returned, as a PNG, with 95% intervals."""
    import matplotlib

    matplotlib.use("Agg")  # no window, also where there is a screen
    from matplotlib import pyplot as plt

    rows = results["opponents"]
    ratings = np.array([row["rating"] for row in rows])
    scores = np.array([row["score"] for row in rows])
    intervals = [difference(row["pentanomial"]) for row in rows]
    bounds = np.array(
        [[expected_score(each.low), expected_score(each.high)] for each in intervals]
    )  # (rows, 2)
    figure, axis = plt.subplots(figsize=(8, 4.8), layout="constrained")
    known = [value for value in (results["elo"], results["low"], results["high"]) if value is not None]
    grid = np.linspace(min([*known, ratings.min()]) - 150, max([*known, ratings.max()]) + 150, 400)
    low = expected_score(results["low"] - grid) if results["low"] is not None else np.zeros_like(grid)
    high = expected_score(results["high"] - grid) if results["high"] is not None else np.ones_like(grid)
    if results["elo"] is not None:
        axis.plot(grid, expected_score(results["elo"] - grid), color="C0", label=f"Elo {results['elo']:z.0f}")
    else:
        # After losses alone, or wins alone, all that is known is how far the curve may lie.
        axis.plot(grid, high if results["low"] is None else low, color="C0", ls="--", label="bound")
    axis.fill_between(grid, low, high, color="C0", alpha=0.15, lw=0, label=f"95%: {_interval(results)}")
    errors = np.abs(bounds.T - scores)
    axis.errorbar(
        ratings, scores, errors, fmt="o", color="C1", ms=5, capsize=3, label="score against an opponent"
    )
    for rating, score, row in zip(ratings, scores, rows, strict=True):
        axis.annotate(
            str(row["num_games"]),
            (rating, score),
            (5, 6),
            textcoords="offset points",
            fontsize=8,
            color="0.4",
        )
    axis.axhline(0.5, color="0.6", lw=0.8, ls=":")
    axis.set(
        xlabel="opponent's rating (Elo); beside each point its number of games",
        ylabel="points per game",
        xlim=(grid[0], grid[-1]),
        ylim=(-0.03, 1.07),
    )
    # A path may hold dollar signs, which are not meant as a formula.
    axis.set_title(_title(player, results["num_games"]), fontsize=10, parse_math=False)
    axis.grid(alpha=0.3)
    # Inside it would cover some of the error bars, wherever they are.
    figure.legend(frameon=False, loc="outside lower center", ncols=3)
    with atomic_write(path) as unfinished:
        figure.savefig(unfinished, dpi=120)
    plt.close(figure)


def _title(player: str, num_games: int) -> str:
    """Return the title in lines that fit; of a long path the end tells more than the folders before it."""
    path, sign, rest = player.rpartition("#")
    if len(path) > PATH_WIDTH:
        path = f"…{path[1 - PATH_WIDTH :]}"
    return textwrap.fill(f"{path}{sign}{rest}, {num_games} games", TITLE_WIDTH, break_on_hyphens=False)


def _interval(results: dict) -> str:
    low, high = results["low"], results["high"]
    if low is None or high is None:
        return f"below {high:z.0f}" if low is None else f"above {low:z.0f}"
    return f"{low:z.0f} to {high:z.0f}"
