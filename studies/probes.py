"""Probe the models of a study: fit linear probes to every layer of the frozen networks.

    python -m studies chess_losses --output runs/chess_losses
    python -m studies.probes runs/chess_losses

Source: Farebrother et al., "Stop Regressing" (arXiv 2403.03950), section 5; studies/linear_probes.py
describes the probes. The report goes to DIR/probes.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cli.errors import InputError, command
from cli.options import add_device_option, positive_int
from configs.loading import load_run_config
from studies.domains import find_domain
from studies.report import check_report, write_report


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m studies.probes",
        description="Fit linear probes to every layer of the models of a study, and report how well they "
        "predict facts of the game, and the values of chess or the returns of other games.",
    )
    add = parser.add_argument
    add("study", type=Path, metavar="DIR", help="the --output of `python -m studies`")
    add("--point", default="", help="the point whose models are probed, of a study with several points")
    add(
        "--examples",
        type=positive_int,
        default=2000,
        metavar="N",
        help="boards, games or episodes, half of them to fit probes to (default: at most 2000)",
    )
    add(
        "--recording",
        type=Path,
        metavar="FILE",
        help="atari: the episodes whose states are probed (default: the data.train of the study)",
    )
    add_device_option(parser)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    started = time.perf_counter()
    output = arguments.study / "probes"
    check_report(output)
    study, cells = read_cells(arguments.study, arguments.point)
    config = load_run_config(arguments.study / cells[0]["cell"])
    if arguments.recording is not None and config.task != "atari":
        raise InputError(f"--recording is for Atari, and this is a study of {config.task}: leave it out")
    files = {} if arguments.recording is None else {"recording": arguments.recording}
    # These import torch, which takes seconds.
    from eval.loading import choose_device
    from studies.linear_probes import probe

    device = choose_device(arguments.device)
    domain = find_domain(config.task)(config, device, **files)
    probed = domain.probed(arguments.examples)
    if probed.targets.is_first.all() or not probed.targets.is_first.any():
        raise InputError(f"{probed.description} are too few to split: increase --examples, or use more data")
    rows = []
    for cell in tqdm(cells, desc="probing", unit=" models", disable=None):
        for layer, features in enumerate(probed.features(arguments.study / cell["cell"] / "model")):
            scores = probe(features, probed.targets)
            row = {**{key: cell[key] for key in ("cell", "variant", "seed")}, "point": str(layer)}
            for measure in probed.measures:
                found = [scores[name] for name in probed.targets.of_measure[measure.key]]
                row[measure.key] = None if np.isnan(found).all() else float(np.nanmean(found))
            rows.append(row)
    write_report(
        output,
        "studies.probes",
        started,
        device,
        title=f"Linear probes of layers: {study['title']}",
        rows=rows,
        measures=probed.measures,
        measured_on=[probed.description],
        reference=study["reference"],
        points_title="layer (0: input)",
    )


def read_cells(folder: Path, point: str) -> tuple[dict, list[dict]]:
    """Return the results of a study and its cells at a point; raise InputError if there are none."""
    path = folder / "results.json"
    if not path.is_file():
        raise InputError(f"{folder} is not the folder of a study, without {path.name}: give its --output")
    try:
        results = json.loads(path.read_bytes())
        points = list(dict.fromkeys(cell["point"] for cell in results["cells"]))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error!r}): run the study again, which writes it") from None
    if point not in points:
        known = f"choose from {', '.join(points)}" if any(points) else "leave --point out"
        raise InputError(f"--point: {point!r} is not a point of the study: {known}")
    return results, [cell for cell in results["cells"] if cell["point"] == point]


if __name__ == "__main__":
    command(main)
