"""The cells of a study: a run of train.py for every variant, point and seed, and how long its training took.

Time is that of training steps alone, without evaluations, checkpoints and the start, nor what was done twice
by a run that was interrupted: the median time of a step, by the rates in metrics.jsonl, times the steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from cli.errors import InputError
from configs.schema import Config, load_config, load_run_config
from data.batch_order import shard
from studies.definition import SET_BY_RUNS, Point, Study, Variant, keys_of
from studies.measurements import StudiedTask
from studies.train_runs import TrainingRun
from training.run_folder import list_checkpoints
from training.run_log import read_metrics
from training.tasks import make_task


@dataclass(frozen=True)
class Place:
    """Where a cell stands in its study."""

    variant: Variant
    point: Point
    seed: int

    @property
    def name(self) -> str:
        """Return the name of the cell, that of its folder."""
        return "-".join(part for part in (self.variant.name, self.point.name, f"seed{self.seed}") if part)


@dataclass(frozen=True)
class Cell:
    """A variant at a point with a seed: its run, and the configuration of that."""

    place: Place
    run: TrainingRun
    config: Config

    def training_seconds(self, task: StudiedTask) -> float:
        """Return how long the steps of a finished run took; raise InputError if it logged none."""
        path = self.run.folder / "metrics.jsonl"
        rates = [row["values_per_second"] for row in read_metrics(path) if row["kind"] == "train"]
        if not rates:
            raise InputError(f"{path} logs no training: remove {self.run.folder}")
        return task.seen(self.config).values / float(np.median(rates))


class Cells:
    """Makes the cells of `study` in the folder `output`, with further settings of all runs, key=value.

    Its methods raise InputError for settings that cannot be trained, and for a folder that holds a run with
    other settings.
    """

    def __init__(self, study: Study, output: Path, quick: bool, settings: Sequence[str]):
        self.study, self.output = study, output
        # What comes later counts: a quick trial is quick for all variants.
        self.last_settings = (*(study.quick if quick else ()), *settings)
        for setting in settings:
            key = setting.partition("=")[0]
            if key in SET_BY_RUNS:
                raise InputError(f"{setting}: every run sets its own {key}: see --seeds and --output")
            for what, owners in (("variant", study.variants), ("point", study.points)):
                for owner in owners.values():
                    if key in keys_of(owner.settings):
                        raise InputError(f"{setting}: {what} {owner.name} sets its own {key}: leave it out")

    def is_trained(self, name: str) -> bool:
        """Tell whether the cell of this name has a model."""
        return (self.output / name / "model").is_dir()

    def shared_config(self) -> Config:
        """Return the configuration that the variants change."""
        settings = [*self.study.settings, *self.last_settings]
        return load_config(self.study.config, [*settings, f"output_dir={self.output}"])

    def make(self, place: Place, num_steps: int | None = None) -> Cell:
        """Return a cell that is trained for so many steps; unless given, for those that its settings say."""
        settings = [*self.study.settings, *place.variant.settings, *place.point.settings]
        settings += [*self.last_settings, f"seed={place.seed}"]
        if num_steps is not None:
            settings.append(f"training.steps={num_steps}")
        folder = self.output / place.name
        try:
            config = load_config(self.study.config, [*settings, f"output_dir={folder}"])
        except InputError as error:
            raise InputError(f"{folder.name}: {error}") from None
        check_settings(config, folder.name)
        run = TrainingRun(folder, config.training.steps, self.study.config, tuple(settings))
        run.check(config)
        return Cell(place, run, config)

    def check_timed(self, place: Place, chosen: Sequence[Variant]) -> None:
        """Check a cell with `same_time_as` before its steps are known, and that the `chosen` tell them."""
        num_steps = self._steps_begun(place)
        self.make(place, num_steps)
        for cell in self._timed_by(place) if num_steps is None else ():
            variant = cell.place.variant
            if variant not in chosen and not cell.run.is_finished:
                raise InputError(
                    f"{place.variant.name} needs the time of {cell.run.name}, which is not trained: "
                    f"add {variant.name} to --variants"
                )

    def make_timed(self, place: Place, task: StudiedTask) -> Cell:
        """Return a cell with `same_time_as`; one that has begun keeps its number of steps.

        Raises InputError if the runs that tell its time are not finished.
        """
        num_steps = self._steps_begun(place)
        if num_steps is None:
            other, plain = self._timed_by(place)
            for cell in (other, plain):
                if not cell.run.is_finished:
                    raise InputError(f"it needs the time of {cell.run.name}, which is not trained")
            num_steps = steps_of_same_time(
                plain.run.num_steps, plain.training_seconds(task), other.training_seconds(task)
            )
        return self.make(place, num_steps)

    def _timed_by(self, place: Place) -> tuple[Cell, Cell]:
        """Return the cell whose time another takes, and the one that tells how long its own steps are."""
        other, plain = self.study.variants[place.variant.same_time_as], self.study.plain(place.variant)
        return self.make(replace(place, variant=other)), self.make(replace(place, variant=plain))

    def _steps_begun(self, place: Place) -> int | None:
        """Return for how many steps a run was started that is finished, or goes on from a checkpoint."""
        folder = self.output / place.name
        if not self.is_trained(place.name) and not list_checkpoints(folder):
            return None
        return load_run_config(folder).training.steps


def check_settings(config: Config, cell: str) -> None:
    """Raise InputError if a cell would fail as soon as it is trained, in one process, by its settings."""
    training = config.training
    try:
        with torch.device("meta"):
            make_task(config)
    except InputError as error:
        raise InputError(f"{cell}: {error}") from None
    try:
        shard(
            np.arange(training.batch_size),
            np.ones(training.batch_size),
            num_processes=1,
            process_index=0,
            num_micro_batches=training.gradient_accumulation_steps,
        )
    except ValueError as error:
        raise InputError(f"training.batch_size: {error}") from None


def steps_of_same_time(num_steps: int, seconds: float, other_seconds: float) -> int:
    """Return how many steps take `other_seconds` if `num_steps` take `seconds`; at least one."""
    return max(1, round(num_steps * other_seconds / seconds))
