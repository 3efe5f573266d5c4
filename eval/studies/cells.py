"""The cells of a study: a run of train.py for every variant and seed, and the time that its training took.

Time is that of training steps alone, without evaluations, checkpoints and the start, nor what was done twice
by a run that was interrupted: the median time of a step, by the rates in metrics.jsonl, times the steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from configs.schema import Config, load_config, load_run_config
from data.command_line import InputError
from eval.run_comparison import SET_BY_RUNS, check_settings
from eval.run_folder import list_checkpoints
from eval.run_log import read_metrics
from eval.studies.definition import Study, Variant, keys_of
from eval.studies.measurements import StudiedTask
from eval.train_runs import TrainingRun


@dataclass(frozen=True)
class Cell:
    """A variant with a seed: its run, and the configuration of that."""

    variant: Variant
    seed: int
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
            for variant in study.variants.values():
                if key in keys_of(variant.settings):
                    raise InputError(f"{setting}: variant {variant.name} sets its own {key}: leave it out")

    def shared_config(self) -> Config:
        """Return the configuration that the variants change."""
        settings = [*self.study.settings, *self.last_settings]
        return load_config(self.study.config, [*settings, f"output_dir={self.output}"])

    def make(self, variant: Variant, seed: int, num_steps: int | None = None) -> Cell:
        """Return a cell that is trained for so many steps; unless given, for those that its settings say."""
        settings = [*self.study.settings, *variant.settings, *self.last_settings, f"seed={seed}"]
        if num_steps is not None:
            settings.append(f"training.steps={num_steps}")
        folder = self._folder(variant, seed)
        try:
            config = load_config(self.study.config, [*settings, f"output_dir={folder}"])
        except InputError as error:
            raise InputError(f"{folder.name}: {error}") from None
        check_settings(config, folder.name)
        run = TrainingRun(folder, self.study.config, tuple(settings), config.training.steps)
        run.check(config)
        return Cell(variant, seed, run, config)

    def check_timed(self, variant: Variant, seed: int, chosen: Sequence[Variant]) -> None:
        """Check a cell with `same_time_as` before its steps are known, and that the `chosen` tell them."""
        num_steps = self._steps_begun(variant, seed)
        self.make(variant, seed, num_steps)
        for cell in self._timed_by(variant, seed) if num_steps is None else ():
            if cell.variant not in chosen and not cell.run.is_finished:
                raise InputError(
                    f"{variant.name} needs the time of {cell.run.name}, which is not trained: "
                    f"add {cell.variant.name} to --variants"
                )

    def make_timed(self, variant: Variant, seed: int, task: StudiedTask) -> Cell:
        """Return a cell with `same_time_as`; one that has begun keeps its number of steps.

        Raises InputError if the runs that tell its time are not finished.
        """
        num_steps = self._steps_begun(variant, seed)
        if num_steps is None:
            other, plain = self._timed_by(variant, seed)
            for cell in (other, plain):
                if not cell.run.is_finished:
                    raise InputError(f"it needs the time of {cell.run.name}, which is not trained")
            num_steps = steps_of_same_time(
                plain.run.num_steps, plain.training_seconds(task), other.training_seconds(task)
            )
        return self.make(variant, seed, num_steps)

    def name(self, variant: Variant, seed: int) -> str:
        """Return the name of a cell, that of its folder."""
        return f"{variant.name}-seed{seed}"

    def _folder(self, variant: Variant, seed: int) -> Path:
        return self.output / self.name(variant, seed)

    def _timed_by(self, variant: Variant, seed: int) -> tuple[Cell, Cell]:
        """Return the cell whose time a variant takes, and the one that tells how long its own steps are."""
        other = self.study.variants[variant.same_time_as]
        return self.make(other, seed), self.make(self.study.plain(variant), seed)

    def _steps_begun(self, variant: Variant, seed: int) -> int | None:
        """Return for how many steps a run was started that is finished, or goes on from a checkpoint."""
        folder = self._folder(variant, seed)
        if not (folder / "model").is_dir() and not list_checkpoints(folder):
            return None
        return load_run_config(folder).training.steps


def steps_of_same_time(num_steps: int, seconds: float, other_seconds: float) -> int:
    """Return how many steps take `other_seconds` if `num_steps` take `seconds`; at least one."""
    return max(1, round(num_steps * other_seconds / seconds))
