"""The cells of a study: a run of train.py for every variant, point and seed."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cli.errors import InputError
from configs.loading import (
    CONFIG_FOLDER,
    differences,
    find_yaml,
    flatten,
    load_config,
    load_run_config,
    read_yaml,
)
from configs.schema import Config
from data.hub import pin
from studies.definition import SET_BY_CELLS, Study
from studies.measurements import Measurement, StudiedDomain, measure_once
from studies.runs import Run
from training.run_log import read_metrics


TRAIN = Path(__file__).parents[1] / "train.py"
# By task, the settings of all cells under --quick.
SMALL = {"model.hidden_size": 16, "log_every": 1, "trackers": []}
SMALL_TRANSFORMER = SMALL | {"model.num_hidden_layers": 1, "model.num_attention_heads": 2}
QUICK: dict[str, dict[str, object]] = {
    "chess": SMALL_TRANSFORMER
    | {
        "value_loss.num_bins": 32,
        "training": {"steps": 60, "batch_size": 16, "gradient_accumulation_steps": 1, "precision": "fp32"},
        "training.warmup_steps": 10,
        "training.decay_steps": None,
        "evaluation": {"every": 20, "boards": 20},
    },
    "wordle": SMALL_TRANSFORMER
    | {
        "training": {"steps": 6, "batch_size": 8, "warmup_steps": 1, "precision": "fp32"},
        "evaluation": {"every": 6, "games": 50},
    },
    "atari": SMALL
    | {
        "training": {"steps": 20, "batch_size": 8},
        "evaluation": {"every": 20, "episodes": 2},
    },
    "robot": SMALL_TRANSFORMER
    | {
        "training": {"steps": 4, "batch_size": 8, "warmup_steps": 1},
        "evaluation": {"every": 4, "episodes": 1},
    },
}


@dataclass(frozen=True)
class Cell:
    """A variant at a point with a seed: its configuration and its run."""

    variant: str
    point: str
    seed: int
    config: Config
    run: Run


def make_cells(
    study: Study,
    output: Path,
    variants: Sequence[str],
    points: Sequence[str],
    seeds: Sequence[int],
    *,
    quick: bool = False,
    settings: Sequence[str] = (),
) -> list[Cell]:
    """Return the cells of a study in the folder `output`; `settings` are key=value for all of them.

    Raises InputError for settings that cannot be trained, and for a finished run with other settings.
    """
    own = {f"variant {name}": flatten(study.variants[name]) for name in variants}
    own |= {f"point {name}": flatten(study.points[name]) for name in points}
    for setting in settings:
        key = setting.partition("=")[0]
        if key in SET_BY_CELLS:
            raise InputError(f"{setting}: {key} is set by the study: use --seeds and --output")
        for owner, keys in own.items():
            if key in keys:
                raise InputError(f"{setting}: {owner} sets {key}: leave it out")
    quick_settings = {}
    if quick:
        given = read_yaml(find_yaml(study.config, CONFIG_FOLDER, "configuration"))
        quick_settings = QUICK[given.get("task", "chess")]
    cells = []
    # Seed by seed, so that an incomplete study has pairs to compare.
    for seed in seeds:
        for point in points:
            for variant in variants:
                in_both = own[f"variant {variant}"].keys() & own[f"point {point}"].keys()
                if in_both:
                    raise InputError(f"variant {variant} and point {point} both set {', '.join(in_both)}")
                layers = (study.settings, study.variants[variant], study.points[point], quick_settings)
                line = [
                    f"{key}={value if isinstance(value, str) else json.dumps(value)}"
                    for layer in (*layers, {"seed": seed})
                    for key, value in flatten(layer).items()
                ]
                folder = output / "-".join(filter(None, (variant, point, f"seed{seed}")))
                cells.append(_make_cell(study, variant, point, seed, folder, [*line, *settings]))
    return cells


def _make_cell(
    study: Study, variant: str, point: str, seed: int, folder: Path, settings: Sequence[str]
) -> Cell:
    settings = [*settings, f"output_dir={folder}"]
    try:
        config = load_config(study.config, settings)
        # These import torch, which takes seconds.
        import torch

        from training.tasks import make_task

        with torch.device("meta"):
            make_task(config)
    except InputError as error:
        raise InputError(f"{folder.name}: {str(error).removeprefix('command line: ')}") from None
    command = (sys.executable, str(TRAIN), "--config", study.config, *settings, "resume=true")
    run = Run(folder, command, folder / "model", config.training.steps)
    if run.is_finished:
        _check_settings(config, folder)
    return Cell(variant, point, seed, config, run)


def _check_settings(config: Config, folder: Path) -> None:
    """Raise InputError if a finished run was trained with other settings; train.py checks the others."""
    changed = list(differences(config, folder / "config.yaml").values())
    before, now = load_run_config(folder).data.train, config.data.train
    if before != (pin(now) if now else now):
        changed.append(f"data.train: {before}, now {now}")
    if changed:
        raise InputError(
            f"{folder} was trained with other settings: {'; '.join(changed)}: delete it, "
            "or choose another --output"
        )


def measure_cell(cell: Cell, domain: StudiedDomain, measurements: Sequence[Measurement]) -> dict:
    """Return the row of a finished cell: the costs of its training and all measures.

    `training_seconds` is the number of values over the median rate in metrics.jsonl, so it leaves out
    evaluations, checkpoints and start-up, and steps that were repeated after an interruption.
    """
    from training.model_card import model_weights

    examples, values = domain.seen(cell.config)
    metrics = read_metrics(cell.run.folder / "metrics.jsonl")
    rates = [row["values_per_second"] for row in metrics if row["kind"] == "train"]
    if not rates:
        raise InputError(f"{cell.run.folder}/metrics.jsonl has no training steps: delete {cell.run.folder}")
    return {
        "cell": cell.run.name,
        "variant": cell.variant,
        "point": cell.point,
        "seed": cell.seed,
        "parameters": sum(model_weights(cell.run.result).values()),
        "steps": cell.run.num_steps,
        "examples_seen": examples,
        "values_seen": values,
        "training_seconds": values / float(np.median(rates)),
        **measure_once(cell.run.folder, measurements),
    }


def read_curve(cell: Cell, row: dict) -> list[dict]:
    """Return the results of every evaluation during training, by step, with the costs so far."""
    return [
        {
            **evaluation,
            "variant": cell.variant,
            "point": cell.point,
            "seed": cell.seed,
            **{
                key: row[key] * evaluation["step"] / row["steps"]
                for key in ("examples_seen", "training_seconds")
            },
        }
        for evaluation in read_metrics(cell.run.folder / "metrics.jsonl")
        if evaluation["kind"] == "eval"
    ]
