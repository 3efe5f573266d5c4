"""Study plasticity: which value losses still learn after their targets have jumped?

    python -m studies.plasticity --output runs/plasticity
    python -m studies.plasticity --output runs/quick_look --quick

Source: Farebrother et al., "Stop Regressing" (arXiv 2403.03950), section 5; studies/plastic_network.py
describes the task. Every cell, a variant and a seed, is a process with the folder
<output>/<variant>-seed<seed>. The defaults are the paper's steps and batches, for a GPU. On a CPU core a cell
takes hours; reduce --width, --steps, --batch-size and --num-images there.

The same command, called again, continues after the stages that are done. It writes results.json, the tables
as report.md, and report.png to the output folder.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, fields, replace

from cli.errors import command
from cli.options import positive_int, positive_number
from data.hub import pin
from studies.definition import check_names
from studies.measurements import Level, Measure
from studies.options import add_study_options, processes_on
from studies.plasticity_config import BIASES, RESULT, PlasticityConfig, check_settings
from studies.report import check_failures, check_report, training_costs, write_report
from studies.runs import Run, train_runs


VARIANTS = {
    **{loss: {"loss": loss} for loss in ("mse", "mse_softmax", "one_hot", "two_hot", "hl_gauss")},
    "mse_fresh": {"loss": "mse", "fresh": True},
    "hl_gauss_fresh": {"loss": "hl_gauss", "fresh": True},
}
SEEDS = (0, 1, 2)
REFERENCE = "mse"
ERROR = Measure("error", "error after the stage, of the variance", ".3f", higher_is_better=False)
# Means over seeds say little when errors are either small or large.
LARGE_ERROR = 0.25
NOT_LEARNT = Measure(
    "not_learnt", "seeds with an error above 1/4 of the variance", ".0%", higher_is_better=False
)
QUICK = {"width": 8, "steps": 500, "batch_size": 64, "num_images": 256}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m studies.plasticity",
        description="Train a convolutional network on targets that jump from stage to stage, with several "
        "value losses, and report how well it learns each stage. The same command, called again, keeps "
        "finished stages and continues. --variants are value losses, and two with a new network at each "
        f"stage as a control: {', '.join(VARIANTS)}.",
    )
    add_study_options(parser)
    defaults = {field.name: field.default for field in fields(PlasticityConfig)}
    add = parser.add_argument
    for name, kind, metavar, text in (
        ("width", positive_int, "N", "channels of the first convolution"),
        ("steps", positive_int, "N", "training steps of each stage"),
        ("batch_size", positive_int, "N", "images per step"),
        ("num_images", positive_int, "N", "images whose targets are learnt"),
        ("learning_rate", positive_number, "X", "learning rate of Adam"),
    ):
        add(
            f"--{name.replace('_', '-')}",
            type=kind,
            metavar=metavar,
            help=f"{text} (default: {defaults[name]:g})",
        )
    add(
        "--images",
        metavar="NAME",
        help="a dataset of images such as uoft-cs/cifar10, a hub id or a folder (default: synthetic images, "
        "with the spectrum of photographs)",
    )
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    started = time.perf_counter()
    output = arguments.output
    check_report(output)
    variants = list(dict.fromkeys(arguments.variants or VARIANTS))
    seeds = list(dict.fromkeys(arguments.seeds or SEEDS))
    check_names("--variants", variants, VARIANTS)
    from eval.loading import choose_device  # imports torch, which takes seconds

    device = choose_device(arguments.device)
    processes = processes_on(device, arguments.processes)
    given = {field.name: getattr(arguments, field.name, None) for field in fields(PlasticityConfig)}
    settings = {key: value for key, value in given.items() if value is not None}
    shared = PlasticityConfig(REFERENCE, 0, **(QUICK if arguments.quick else {}) | settings)
    cells = [
        (variant, replace(shared, seed=seed, **VARIANTS[variant]))
        for seed in dict.fromkeys(seeds)
        for variant in variants
    ]
    runs = []
    for variant, config in cells:
        folder = output / f"{variant}-seed{config.seed}"
        line = [sys.executable, "-m", "studies.plastic_network", "--output", str(folder)]
        line += ["--settings", json.dumps(asdict(config)), "--device", str(device)]
        run = Run(folder, tuple(line), folder / RESULT, config.steps * len(BIASES))
        if run.is_finished:
            check_settings(folder, json.loads(run.result.read_bytes())["settings"], config)
        runs.append(run)
    if arguments.images and not all(run.is_finished for run in runs):
        pin(arguments.images)  # without a network every run would fail, one after the other
    failed = train_runs(runs, processes, arguments.threads)
    rows = [
        {
            "cell": run.name,
            "variant": variant,
            "point": str(stage["bias"]),
            "seed": config.seed,
            "parameters": result["parameters"],
            "examples_seen": config.steps * config.batch_size,
            "values_seen": config.steps * config.batch_size,
            "training_seconds": stage["seconds"],
            ERROR.key: stage["error"],
            NOT_LEARNT.key: float(stage["error"] > LARGE_ERROR),
        }
        for (variant, config), run in zip(cells, runs, strict=True)
        if run.is_finished
        for result in [json.loads(run.result.read_bytes())]
        for stage in result["stages"]
    ]
    if rows:
        write_report(
            output,
            "studies.plasticity",
            started,
            device,
            title="Does a network still learn after its targets have jumped?",
            rows=rows,
            measures=(ERROR, NOT_LEARNT),
            measured_on=[f"the {shared.num_images:,} {shared.images or 'synthetic'} images of the training"],
            reference=REFERENCE,
            costs=training_costs("images", "values"),
            levels=[Level(ERROR.key, "the best constant", 1.0)],
            points_title="bias b of the stage",
            failed=failed,
            settings=asdict(shared),
            quick=arguments.quick,
        )
    check_failures(failed, len(runs))


if __name__ == "__main__":
    command(main)
