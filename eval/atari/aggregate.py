"""Summarise the results of many games and runs: IQM, optimality gap, performance profile.

    python -m eval.atari.aggregate --method hl_gauss runs/hl_gauss_*/eval.json \\
        --method mse runs/mse_*/eval.json --plot profile.png

Every file is a run, by `python -m eval.atari --json`. With --study the runs are those of a study whose points
are games, such as `python -m studies atari_losses`. Source: Agarwal et al., "Deep Reinforcement Learning at
the Edge of the Statistical Precipice" (arXiv 2108.13264); the numbers are those of their library rliable.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import trim_mean

from cli.errors import InputError, command
from cli.files import check_output
from cli.options import add_json_option, add_seed_option, write_json
from data.atari.scores import SCORES, normalised


REPETITIONS = 2_000  # of the bootstrap
PROFILE_POINTS = 201


def interquartile_mean(scores: np.ndarray) -> float:
    """Return the mean of the middle half of all scores (runs, games)."""
    return float(trim_mean(scores, 0.25, axis=None))


def optimality_gap(scores: np.ndarray) -> float:
    """Return the mean amount by which scores (runs, games) fall short of 1."""
    return float(np.mean(np.maximum(0, 1 - scores)))


def performance_profile(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return the fraction of scores (runs, games) above each threshold: (thresholds,)."""
    return (scores.reshape(-1, 1) > thresholds).mean(0)


METRICS = {
    "iqm": interquartile_mean,
    "optimality_gap": optimality_gap,
    "mean": lambda scores: float(np.mean(scores)),
    "median": lambda scores: float(np.median(scores.mean(0))),  # of games, as in rliable
}


def resample(scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return scores (runs, games) with the runs of each game drawn with replacement."""
    return np.take_along_axis(scores, rng.integers(len(scores), size=scores.shape), axis=0)


def summarise(scores: np.ndarray, thresholds: np.ndarray, seed: int) -> dict:
    """Return each metric of scores (runs, games), and the profile, with 95% bootstrap intervals.

    Intervals are None with a single run of each game.
    """
    summary: dict = {name: {"value": metric(scores), "interval": None} for name, metric in METRICS.items()}
    summary["profile"] = {"value": performance_profile(scores, thresholds).tolist(), "interval": None}
    if len(scores) == 1:
        return summary
    rng = np.random.default_rng(seed)
    samples = [resample(scores, rng) for _ in range(REPETITIONS)]
    functions = METRICS | {"profile": lambda scores: performance_profile(scores, thresholds)}
    for name, function in functions.items():
        found = np.array([function(sample) for sample in samples])
        summary[name]["interval"] = np.quantile(found, [0.025, 0.975], axis=0).tolist()
    return summary


def read_results(paths: list[str], table: Path) -> tuple[np.ndarray, list[str]]:
    """Return the normalised scores (runs, games) in result files, and the names of the games.

    Raises InputError for a file that is no result, for a game without scores to compare with, and if the
    games do not have equally many runs.
    """
    scores: dict[str, list[float]] = {}
    for path in paths:
        try:
            games = json.loads(Path(path).read_bytes())["games"]
            means = {name: (found["mean_return"], name.split(" (")[0]) for name, found in games.items()}
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: is no result of python -m eval.atari --json ({error!r})") from None
        for name, (mean, game) in means.items():
            score = normalised(game, mean, table)
            if score is None:
                raise InputError(
                    f"{path}: {game} is not in {table}: leave it out, or give --scores FILE.csv with columns "
                    "game, random, human"
                )
            scores.setdefault(name, []).append(score)
    counts = {name: len(values) for name, values in scores.items()}
    if len(set(counts.values())) != 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise InputError(f"all games need equally many runs, and at least one: {listed or 'none are given'}")
    return np.array(list(scores.values())).T, list(scores)


def read_study(folder: Path) -> dict[str, tuple[np.ndarray, list[str]]]:
    """Return the scores (seeds, games) of every variant of a study, and the games, which are its points.

    A score of 1 is the mean return of the reference variant in that game, 0 a return of 0. Raises InputError
    for a folder without such results, if the points are not games, and if a cell is missing.
    """
    path = folder / "results.json"
    try:
        results = json.loads(path.read_bytes())
        cells = pd.DataFrame(results["cells"])
        returns = cells.pivot(index="seed", columns=["variant", "point"], values="mean_return")
        reference = returns[results["reference"]].mean()
        points = results["points_title"]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is not the result of a study of Atari ({error!r})") from None
    if points != "game":
        raise InputError(
            f"{path}: across.title is {points!r}, not 'game': give a study whose points are games"
        )
    if returns.isna().any(axis=None):
        raise InputError(f"{path}: a game lacks runs: finish the study, all variants with the same seeds")
    if not (reference > 0).all():
        raise InputError(
            f"{path}: {results['reference']} has no return above 0 in every game to compare with"
        )
    scores = returns.div(reference, level="point")
    return {name: (scores[name].to_numpy(), list(scores[name].columns)) for name in cells["variant"].unique()}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m eval.atari.aggregate",
        description="Summarise human-normalised scores over games and runs: interquartile mean (IQM), "
        "optimality gap, mean and median, with 95% intervals by a bootstrap over the runs of each game, and "
        "performance profiles.",
    )
    add = parser.add_argument
    add(
        "results",
        nargs="*",
        metavar="FILE",
        help="files by python -m eval.atari --json, each from a run, of one or several games",
    )
    add(
        "--method",
        nargs="+",
        action="append",
        default=[],
        metavar=("NAME", "FILE"),
        help="a name and the files of a method; repeat it to compare methods",
    )
    add(
        "--study",
        type=Path,
        metavar="DIR",
        help="the output of a study whose points are games: each variant is a method, and a score of 1 is "
        "the mean return of the reference variant",
    )
    add(
        "--scores",
        type=Path,
        default=SCORES,
        metavar="FILE.csv",
        help="the scores that count 0 and 1: columns game, random, human (default: those of Dopamine)",
    )
    add("--plot", metavar="FILE.png", type=Path, help="also draw the performance profiles")
    add_seed_option(parser, "the bootstrap")
    add_json_option(parser)
    arguments = parser.parse_args()
    arguments.methods = {name: files for name, *files in arguments.method}
    if len(arguments.methods) < len(arguments.method) or not all(arguments.methods.values()):
        parser.error("--method takes a name of its own and at least one file")
    if arguments.results:
        arguments.methods["results"] = arguments.results
    if not arguments.methods and not arguments.study:
        parser.error("give files by python -m eval.atari --json, or --study DIR")
    if arguments.methods and arguments.study:
        parser.error("--study has another scale than files by python -m eval.atari: give one of them")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    for path in filter(None, (arguments.json, arguments.plot)):
        check_output(path, overwrite=True)
    if arguments.study:
        read = read_study(arguments.study)
    else:
        read = {name: read_results(files, arguments.scores) for name, files in arguments.methods.items()}
    highest = max(scores.max() for scores, _ in read.values())
    thresholds = np.linspace(0, max(highest, 1.0), PROFILE_POINTS)
    methods = {}
    print(f"{'method':<20}{'runs':>6}{'games':>7}   " + "".join(f"{name:<30}" for name in METRICS))
    for name, (scores, games) in read.items():
        summary = methods[name] = summarise(scores, thresholds, arguments.seed)
        summary |= {"runs": len(scores), "games": games}
        cells = "".join(f"{_cell(summary[metric]):<30}" for metric in METRICS)
        print(f"{name:<20}{len(scores):>6}{len(games):>7}   {cells}".rstrip())
    if arguments.plot:
        from eval.atari.profile_plot import plot_profiles

        plot_profiles(arguments.plot, thresholds, methods)
    if arguments.json:
        write_json(
            arguments.json,
            {"seed": arguments.seed, "thresholds": thresholds.tolist(), "methods": methods},
        )


def _cell(found: dict) -> str:
    if found["interval"] is None:
        return f"{found['value']:.3f}"
    low, high = found["interval"]
    return f"{found['value']:.3f} ({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    command(main)
