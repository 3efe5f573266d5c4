"""Fit a scaling law to a study of sizes: what larger networks and longer trainings would give.

    python -m studies chess_scaling --output runs/chess_scaling
    python -m studies.scaling runs/chess_scaling

The variants of the study are sizes of the network. For N parameters after D examples the law is

    L = E + A / N^α + B / D^β

fitted to the evaluations during training; where more is better, L is 1 − the measure. With the time of an
example, k · N^γ, the law gives the best size for a time of training. Source: Hoffmann et al., "Training
Compute-Optimal Large Language Models" (arXiv 2203.15556), approach 3, which fits log L with a Huber loss.
scaling.md and scaling.json go to the folder of the study.
"""

import argparse
import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

from cli.errors import InputError, command
from cli.files import atomic_write, check_output
from cli.options import write_json
from studies.probes import read_cells


FILES = ("scaling.json", "scaling.md")
FIRST = 1 / 8  # of the examples of a run: earlier evaluations, close to the warm-up, are left out
HUBER = 1e-3  # larger residuals of log L count linearly
EXPONENTS = (0.1, 0.3, 0.6, 1.0)  # of the starting points of the fit
MULTIPLES = (1, 10, 100)  # of the longest training
SIZES = np.geomspace(1e-2, 1e2, 401)  # that may be best, relative to the largest network


class Law(NamedTuple):
    """E + A / N^α + B / D^β. N and D are relative to the largest network and the most examples."""

    floor: float  # E
    of_size: float  # A
    of_examples: float  # B
    size_exponent: float  # α
    examples_exponent: float  # β

    def loss(self, sizes: np.ndarray, examples: np.ndarray) -> np.ndarray:
        of_size = self.of_size * sizes**-self.size_exponent
        return self.floor + of_size + self.of_examples * examples**-self.examples_exponent


def fit_law(sizes: np.ndarray, examples: np.ndarray, losses: np.ndarray) -> Law:
    """Return the law of `losses` (n,), the best of fits from several starting points."""

    def residuals(logs: np.ndarray) -> np.ndarray:
        return np.log(Law(*np.exp(logs)).loss(sizes, examples) / losses)

    third = losses.min() / 3
    fits = [
        least_squares(residuals, np.log([third, third, third, *exponents]), loss="huber", f_scale=HUBER)
        for exponents in itertools.product(EXPONENTS, EXPONENTS)
    ]
    return Law(*np.exp(min(fits, key=lambda fit: fit.cost).x).tolist())


def best_size(law: Law, time: float, time_exponent: float) -> tuple[float, float, float]:
    """Return the size of the lowest loss, its examples and the loss.

    The largest network takes a time of 1 for the most examples.
    """
    examples = time / SIZES**time_exponent
    losses = law.loss(SIZES, examples)
    best = losses.argmin()
    return float(SIZES[best]), float(examples[best]), float(losses[best])


def analyse(results: dict) -> dict:
    """Fit a law for every measure that a study evaluates during training.

    Raises InputError for fewer than three sizes.
    """
    parameters = {cell["variant"]: cell["parameters"] for cell in results["cells"]}
    if len(set(parameters.values())) < 3:
        raise InputError("its variants have fewer than three sizes, of which a scaling law is made")
    curves = pd.DataFrame(results["curves"])
    in_run = curves.groupby("variant")["examples_seen"].transform("max")
    curves = curves[curves["examples_seen"] >= FIRST * in_run]
    seconds = curves["training_seconds"].to_numpy()
    of_all, examples = curves["variant"].map(parameters).to_numpy(), curves["examples_seen"].to_numpy()
    largest, most, longest = of_all.max(), examples.max(), seconds.max()
    points = of_all / largest, examples / most
    time_exponent, log_time = np.polyfit(np.log(points[0]), np.log(seconds / points[1]), 1)
    is_early, last = seconds < longest / 2, seconds.argmax()
    laws = []
    for measure in results["measures"]:
        if measure["key"] not in curves:
            continue
        # Of a measure of which more is better, the loss is the part that is missing to 1.
        sign, offset = (-1, 1) if measure["higher_is_better"] else (1, 0)
        losses = offset + sign * curves[measure["key"]].to_numpy()
        law = fit_law(*points, losses)
        early = fit_law(*(array[is_early] for array in (*points, losses)))
        rows = []
        for multiple in MULTIPLES:
            size, seen, loss = best_size(law, multiple * longest / np.exp(log_time), time_exponent)
            row = {"seconds": multiple * longest, "parameters": size * largest, "examples": seen * most}
            rows.append(row | {"predicted": offset + sign * loss})
        check = early.loss(*(array[last] for array in points))
        laws.append(
            {
                "measure": measure,
                "law": law._asdict(),
                "best": rows,
                "last": {"measured": offset + sign * losses[last], "predicted": offset + sign * check},
            }
        )
    return {
        "largest": int(largest),
        "most_examples": float(most),
        "time_exponent": float(time_exponent),
        "evaluations": len(curves),
        "laws": laws,
    }


def format_laws(found: dict, example_unit: str) -> str:
    """Lay out the laws and their predictions as Markdown."""
    parts = [
        f"L = E + A / N^α + B / D^β, N in units of {found['largest']:,} parameters, D of "
        f"{found['most_examples']:,.0f} {example_unit}; {found['evaluations']} evaluations. "
        f"The time of an example grows with N^{found['time_exponent']:.2f}."
    ]
    for row in found["laws"]:
        measure, law, last = row["measure"], row["law"].values(), row["last"]
        spec = measure["format"]
        names = zip(("E", "A", "B", "α", "β"), law, strict=True)
        constants = ", ".join(f"{name} = {value:.3f}" for name, value in names)
        parts.append(
            f"{measure['label']}: {constants}. A fit to the first half of the time predicts "
            f"{last['predicted']:{spec}} for the end of the longest training: {last['measured']:{spec}}."
        )
        table = pd.DataFrame(
            {
                "hours": [f"{best['seconds'] / 3600:.2f}" for best in row["best"]],
                "best size": [f"{best['parameters']:,.0f}" for best in row["best"]],
                example_unit: [f"{best['examples']:,.0f}" for best in row["best"]],
                measure["label"]: [f"{best['predicted']:{spec}}" for best in row["best"]],
            }
        )
        parts.append(table.to_markdown(index=False, disable_numparse=True))
    return "\n\n".join(parts)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m studies.scaling",
        description="Fit a scaling law to the evaluations during training of a study whose variants are "
        "sizes, and predict the best size and its results for longer trainings.",
    )
    parser.add_argument("study", type=Path, metavar="DIR", help="the --output of `python -m studies`")
    return parser.parse_args()


def main() -> None:
    folder = parse_arguments().study
    for name in FILES:
        check_output(folder / name, overwrite=True)
    results, _ = read_cells(folder, "")
    try:
        found = analyse(results)
    except InputError as error:
        raise InputError(f"{folder}: {error}") from None
    report = format_laws(found, results["costs"][1]["title"])
    write_json(folder / "scaling.json", found)
    with atomic_write(folder / "scaling.md") as unfinished:
        unfinished.write_text(report + "\n", encoding="utf-8")
    print(f"{report}\n\n{folder}: {', '.join(FILES)}")


if __name__ == "__main__":
    command(main)
