"""Study plasticity: does a network still learn after its targets have jumped, with each value loss?

    python -m studies.plasticity --output runs/plasticity
    python -m studies.plasticity --output runs/tried_out --quick

Source: Farebrother et al., "Stop Regressing" (arXiv 2403.03950), section 5. studies/plastic_network.py
says what is learnt. Every cell, a variant and a seed, is a process of its own, which writes to
<output>/<variant>-seed<seed>. The defaults have the paper's steps and batches, for a GPU: a cell takes hours
on a CPU core; --width, --steps, --batch-size and --num-images are for smaller ones.

Called again, it goes on after the stages that are done. It leaves results.json, the tables as
report.md, and report.png.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from cli.errors import InputError, command
from cli.options import positive_int, positive_number
from eval.loading import choose_device
from studies.commands import (
    SEVERAL,
    add_study_options,
    announced_cells,
    check_report,
    choose,
    describe_training,
    describe_work,
    failed_cells,
    read_seeds,
    write_report,
)
from studies.measurements import Measure
from studies.plastic_network import BIASES, RESULT, PlasticityConfig, check_settings
from studies.summary import summarise
from studies.train_runs import Run, train_runs


VARIANTS = {
    **{loss: {"loss": loss} for loss in ("mse", "mse_softmax", "one_hot", "two_hot", "hl_gauss")},
    # A new network at each stage: what of an error is no loss of plasticity.
    "mse_fresh": {"loss": "mse", "fresh": True},
    "hl_gauss_fresh": {"loss": "hl_gauss", "fresh": True},
}
SEEDS = (0, 1, 2)
REFERENCE = "mse"
ERROR = Measure("error", "error after the stage, of the variance ↓", ".3f")
# Means over seeds say little of errors that are either small or large.
NOT_LEARNT = Measure("not_learnt", "seeds with an error above 1/4 of the variance ↓", ".0%")
LARGE_ERROR = 0.25
MEASURES = (ERROR, NOT_LEARNT)
QUICK = {"width": 8, "steps": 500, "batch_size": 64, "num_images": 256}


@dataclass(frozen=True)
class PlasticityRun(Run):
    """A run of studies.plastic_network."""

    variant: str
    config: PlasticityConfig
    device: str

    @property
    def result(self) -> Path:
        return self.folder / RESULT

    @property
    def command(self) -> list[str]:
        options = ["--output", str(self.folder), "--device", self.device]
        options += ["--settings", json.dumps(asdict(self.config))]
        return [sys.executable, "-m", "studies.plastic_network", *options]

    def read(self) -> dict:
        """Return the result of a finished run; raise InputError for one with other settings, or damage."""
        try:
            result = json.loads(self.result.read_bytes())
            stages = result["stages"]
            is_whole = (
                isinstance(result["settings"], dict)
                and isinstance(result["parameters"], int)
                and tuple(stage["bias"] for stage in stages) == BIASES
                and all(isinstance(stage[key], float) for key in ("error", "seconds") for stage in stages)
            )
            if not is_whole:
                raise ValueError("something is missing")
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{self.result} is damaged: delete it") from None
        check_settings(self.folder, result["settings"], self.config)
        return result


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m studies.plasticity",
        description="Train a convolutional network on targets that jump from stage to stage, with several "
        "value losses, and report how well it learns each stage. Called again, it keeps what is trained and "
        "goes on with what is not.",
    )
    defaults = {field.name: field.default for field in fields(PlasticityConfig)}
    add_study_options(parser, "networks are trained")
    add = parser.add_argument
    add(
        "--variants",
        help=f"value losses, fresh with a new network at each stage ({' '.join(VARIANTS)})",
        **SEVERAL,
    )
    for name, kind, metavar, text in (
        ("width", positive_int, "N", "channels of the first convolution"),
        ("steps", positive_int, "N", "training steps of each stage"),
        ("batch_size", positive_int, "N", "images of a step"),
        ("num_images", positive_int, "N", "images to learn the targets of"),
        ("learning_rate", positive_number, "X", "of Adam"),
    ):
        add(f"--{name.replace('_', '-')}", type=kind, metavar=metavar, help=f"{text} ({defaults[name]:g})")
    add(
        "--images",
        metavar="NAME",
        help="a data set of images such as uoft-cs/cifar10, read by `datasets`: an id on the hub or a folder "
        "(made ones, with the spectrum of photographs)",
    )
    arguments = parser.parse_args()
    if arguments.settings:
        parser.error(f"{arguments.settings[0]}: settings are options here: see --help")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    started = time.perf_counter()
    output = arguments.output
    check_report(output)
    device = choose_device(arguments.device)
    variants = choose("--variants", arguments.variants, {name: name for name in VARIANTS})
    seeds = SEEDS if arguments.seeds is None else read_seeds(arguments.seeds)
    shared = dict(QUICK) if arguments.quick else {}
    for field in fields(PlasticityConfig):
        given = getattr(arguments, field.name, None)
        if given is not None:
            shared[field.name] = given
    config = PlasticityConfig(loss=REFERENCE, seed=0, **shared)
    runs = [
        PlasticityRun(
            output / f"{variant}-seed{seed}",
            config.steps * len(BIASES),
            variant,
            replace(config, seed=seed, **VARIANTS[variant]),
            str(device),
        )
        for seed in seeds
        for variant in variants
    ]
    for run in runs:
        run.check_folder()
        if run.is_finished:
            run.read()
    limits = arguments.processes, arguments.threads
    by_name = {run.name: run for run in runs}
    with announced_cells(list(by_name), lambda name: by_name[name].is_finished, output):
        failures = train_runs(runs, *limits)
    rows = [row for run in runs if run.is_finished for row in rows_of(run)]
    if rows:
        images = config.images or "made images"
        results = {
            "study": {
                "name": "plasticity",
                "title": "Does a network still learn after its targets have jumped?",
                "reference": REFERENCE,
                "points_title": "bias b of the stage",
                "figure": "lines",
                "settings": asdict(config),
            },
            **summarise(rows, REFERENCE, MEASURES),
            "failed": failures,
            "levels": [{"key": ERROR.key, "title": "the best constant", "value": 1.0}],
            "measured_on": [f"the {config.num_images:,} images of {images} that it learns"],
            "curves": [],
            "units": ["images", "values"],
            "quick": arguments.quick,
            **describe_training([run for run in runs if run.is_finished], *limits),
            **describe_work("studies.plasticity", device, started),
        }
        write_report(output, results)
    if failures:
        raise failed_cells(failures, len(runs))


def rows_of(run: PlasticityRun) -> list[dict]:
    """Return a row for every stage of a finished run."""
    config, result = run.config, run.read()
    num_stages = len(result["stages"])
    return [
        {
            "cell": run.name,
            "variant": run.variant,
            "point": str(stage["bias"]),
            "seed": config.seed,
            "num_steps": config.steps,
            "parameters": result["parameters"],
            "examples_seen": config.steps * config.batch_size,
            "values_seen": config.steps * config.batch_size,
            "training_seconds": stage["seconds"],
            "seconds_with_evaluations": run.seconds() / num_stages,
            ERROR.key: stage["error"],
            NOT_LEARNT.key: float(stage["error"] > LARGE_ERROR),
            "curve": [],
        }
        for stage in result["stages"]
    ]


if __name__ == "__main__":
    command(main)
