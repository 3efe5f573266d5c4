"""Checks before a run starts: its folder, files, trackers and batches.

Nothing here imports torch, which takes seconds.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from cli.errors import InputError
from cli.files import check_output
from cli.hardware import check_compiler
from configs.loading import differences, load_run_config
from configs.schema import Config
from data.batch_order import shard
from training.launcher import check_launch, num_processes
from training.run_folder import list_checkpoints, step_of


# Settings that the learning rates before the decay do not depend on.
OF_DECAY = {f"training.{name}" for name in ("steps", "decay", "decay_steps", "final_learning_rate")}


def check_run(config: Config) -> None:
    """Raise InputError if a run with these settings cannot start here."""
    check_launch()
    check_output_dir(config, Path(config.output_dir))
    for tracker in config.trackers:
        spec = find_spec(tracker)
        if spec is None or spec.origin is None:  # a folder of logs has the tracker's name, but no origin
            raise InputError(f"trackers: {tracker} is not installed: pip install {tracker}")
    training = config.training
    if training.compile:
        check_compiler("training.compile")
    batch = np.arange(training.batch_size)
    try:
        shard(batch, batch, num_processes(), 0, training.gradient_accumulation_steps)
    except ValueError as error:
        raise InputError(f"training.batch_size: {error}") from None
    if config.is_online and num_processes() > 1:
        raise InputError(
            f"online learning runs on one process, but {num_processes()} were launched: start python train.py"
        )
    config.check_files()


def check_output_dir(config: Config, output_dir: Path) -> None:
    """Raise InputError unless a run may start or continue in this folder.

    A new run must not overwrite an old one, and an old one continues with the settings it was started with. A
    run that ended before its first checkpoint has nothing to lose.
    """
    if output_dir.exists() and not output_dir.is_dir():
        raise InputError(f"output_dir {output_dir} is a file: name a folder")
    check_output(output_dir / "metrics.jsonl", overwrite=True)
    checkpoints = list_checkpoints(output_dir)
    if not checkpoints:
        if (output_dir / "model").exists():
            raise InputError(
                f"{output_dir} already holds a model, and no checkpoint to continue from: output_dir=FOLDER "
                "starts another run"
            )
        return
    if not config.resume:
        remedy = "resume=true continues it, output_dir=FOLDER starts another"
        raise InputError(f"{output_dir} already holds a run: {remedy}")
    changed = differences(config, output_dir / "config.yaml")
    training, newest = config.training, step_of(checkpoints[-1])
    before_decay = min(training.steps_before_decay, load_run_config(output_dir).training.steps_before_decay)
    if newest <= before_decay:
        for name in OF_DECAY:
            changed.pop(name, None)
    if changed:
        remedy = ""
        if changed.keys() <= OF_DECAY:
            earlier = [path.name for path in checkpoints if step_of(path) <= before_decay]
            remedy = (
                f": the learning rate falls from step {before_decay} on, and the run is at step {newest}; "
                + (f"delete the checkpoints after {earlier[-1]} to continue there, or " if earlier else "")
                + "output_dir=FOLDER starts another run, where training.decay_steps=N keeps the rate "
                "constant until the last N steps"
            )
        listed = "; ".join(changed.values())
        raise InputError(f"{output_dir} was started with other settings: {listed}{remedy}")
    if training.steps < newest:
        raise InputError(f"{output_dir} is at step {newest}: training.steps={training.steps} is before that")
