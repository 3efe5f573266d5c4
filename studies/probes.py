"""Probe what trained networks know: fit a linear layer to the frozen layers of every model of a study.

    python -m studies chess_losses --output runs/chess_losses
    python -m studies.probes runs/chess_losses

Source: Farebrother et al., "Stop Regressing" (arXiv 2403.03950), section 5. studies/linear_probes.py
says how probes are fitted, probed_chess.py and probed_wordle.py to what. The report goes to DIR/probes.
"""

import argparse
import json
import math
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cli.errors import InputError, command
from cli.options import positive_int
from configs.schema import load_run_config
from eval.loading import choose_device
from studies.commands import check_report, describe_work, write_report
from studies.linear_probes import probe
from studies.probed_chess import ProbedChess
from studies.probed_wordle import ProbedWordle
from studies.summary import summarise


COSTS = (
    "num_steps",
    "parameters",
    "examples_seen",
    "values_seen",
    "training_seconds",
    "seconds_with_evaluations",
)
PROBED = {"chess": ProbedChess, "wordle": ProbedWordle}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m studies.probes",
        description="Fit linear probes to every layer of the models of a study, and report how well they "
        "tell what the rules of the game know, and the values of chess or the returns of Wordle.",
    )
    add = parser.add_argument
    add("study", type=Path, metavar="DIR", help="the --output of studies")
    add("--point", default="", help="of a study with several points: whose models")
    add(
        "--examples",
        type=positive_int,
        default=2000,
        metavar="N",
        help="boards, or games, half of them to fit probes to (2000, or as many as there are)",
    )
    add("--device", default="auto", help="where models run: cpu, cuda, ...; auto takes the GPU")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    started = time.perf_counter()
    output = arguments.study / "probes"
    check_report(output)
    device = choose_device(arguments.device)
    trained, cells = read_cells(arguments.study, arguments.point)
    study = trained["study"]
    config = load_run_config(arguments.study / cells[0]["cell"])
    probed = PROBED[config.task](config, arguments.examples, device)
    if probed.is_first.all() or not probed.is_first.any():
        raise InputError(
            f"{probed.description} cannot be halved: give more --examples, or more held-out data"
        )
    rows = []
    for cell in tqdm(cells, desc="probing", unit=" models", disable=None):
        data = probed.features(str(arguments.study / cell["cell"] / "model"))
        scores = probe(data)
        rows += [
            {
                **{key: cell[key] for key in ("cell", "variant", "seed", *COSTS)},
                "seconds_with_evaluations": cell["seconds_with_evaluations"] / len(data.features),
                "point": str(layer),
                "curve": [],
                **{
                    measure.key: mean_of_defined(
                        scores[name][layer] for name in probed.targets_of[measure.key]
                    )
                    for measure in probed.measures
                },
            }
            for layer in range(len(data.features))
        ]
    results = {
        "study": {
            "name": "probes",
            "title": f"What do the layers know? {study['title']}",
            "reference": study["reference"],
            "points_title": "layer (0: embeddings)",
            "figure": "lines",
        },
        **summarise(rows, study["reference"], probed.measures),
        "failed": {},
        "levels": [],
        "measured_on": [probed.description],
        "curves": [],
        "units": ["examples", "values"],
        **{key: trained[key] for key in ("processes", "threads")},
        **describe_work("studies.probes", device, started),
    }
    write_report(output, results)


def mean_of_defined(scores: Iterable[float]) -> float | None:
    """Return the mean of those that are not NaN, None if all are."""
    defined = [score for score in scores if not math.isnan(score)]
    return float(np.mean(defined)) if defined else None


def read_cells(folder: Path, point: str) -> tuple[dict, list[dict]]:
    """Return what a study found, and its cells that are at a point; raise InputError if there are none."""
    path = folder / "results.json"
    try:
        results = json.loads(path.read_bytes())
        cells = results["cells"]
        points = list(dict.fromkeys(cell["point"] for cell in cells))
        if not cells or not {"study", "processes", "threads"} <= results.keys():
            raise ValueError("something is missing")
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path} is not the report of a study: give the --output of studies") from None
    if point not in points:
        known = ", ".join(points) if any(points) else "leave --point out"
        raise InputError(f"--point {point!r}: the study has no such point: {known}")
    return results, [cell for cell in cells if cell["point"] == point]


if __name__ == "__main__":
    command(main)
