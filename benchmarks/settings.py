"""Options that all benchmarks share: the configuration, the device and the amount of work."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cli.options import add_hardware_options, add_seed_option, positive_int
from configs.loading import load_config
from configs.schema import Config


if TYPE_CHECKING:
    import torch


SAMPLE = Path(__file__).parents[1] / "data" / "chess" / "sample"
# Without --config: enough boards per step to keep the device busy.
CPU_STEPS = ["training.batch_size=32", "training.gradient_accumulation_steps=1", "training.compile=false"]
GPU_STEPS = ["training.batch_size=1024", "training.gradient_accumulation_steps=4"]
QUICK_STEPS = ["training.batch_size=1", "training.gradient_accumulation_steps=1"]


@dataclass(frozen=True)
class Settings:
    config: Config  # of the run that is measured
    config_name: str
    overrides: list[str]
    model: str | None  # a trained model to play with; None for random weights
    device: torch.device
    dtype: str  # of the weights in play
    repeats: int
    seed: int
    quick: bool

    def load_config(self, *overrides: str) -> Config:
        """Return the configuration with more overrides."""
        return load_config(self.config_name, [*self.overrides, *overrides])

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `read_settings` reads."""
    add = parser.add_argument
    add(
        "--config",
        help="a training configuration, in configs/ or the path of a YAML file, measured as it is "
        "(default: chess_9m.yaml with few boards per step, on the boards of this repository)",
    )
    add(
        "--model",
        metavar="DIR",
        help="a trained model for play, runtimes or wordle (default: random weights)",
    )
    add_hardware_options(parser)
    add("--threads", type=positive_int, metavar="N", help="CPU threads of torch (default: torch's)")
    add(
        "--repeats",
        type=positive_int,
        metavar="N",
        help="rounds, in which all alternatives take turns (default: 3)",
    )
    add_seed_option(parser, "weights, boards and games")
    add("--quick", action="store_true", help="do little work, to test the command: the figures mean nothing")


def read_settings(arguments: argparse.Namespace) -> Settings:
    """Check the options. Raises InputError for a device or a configuration that cannot be used."""
    config_name, defaults = arguments.config, []
    if not config_name:
        config_name = "chess_tiny.yaml" if arguments.quick else "chess_9m.yaml"
        defaults = [f"data.train={SAMPLE / 'train_boards.parquet'}", "data.validation=null"]
    load_config(config_name, [*defaults, *arguments.settings])
    # These take seconds to import; mistakes in the settings have been refused before.
    import torch

    from eval.loading import choose_device

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = choose_device(arguments.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)  # the one that timers synchronise with
    if not arguments.config:
        defaults += QUICK_STEPS if arguments.quick else GPU_STEPS if device.type == "cuda" else CPU_STEPS
    overrides = [*defaults, f"seed={arguments.seed}", *arguments.settings]
    return Settings(
        config=load_config(config_name, overrides),
        config_name=config_name,
        overrides=overrides,
        model=arguments.model,
        device=device,
        dtype=arguments.dtype,
        repeats=arguments.repeats or (1 if arguments.quick else 3),
        seed=arguments.seed,
        quick=arguments.quick,
    )
