"""Checkpoints of a run, written whole, and the signals after which one is written."""

import os
import pickle
import re
import shutil
import signal
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors import SafetensorError

from configs.schema import Config, differences
from data.command_line import InputError, first_line
from data.files import check_output, remove


def find_checkpoint(config: Config, output_dir: Path) -> Path | None:
    """Return the checkpoint to continue from, or None for a new run.

    Raises InputError if a new run would overwrite an old one, or an old one was started with other settings.
    """
    if output_dir.exists() and not output_dir.is_dir():
        raise InputError(f"output_dir {output_dir} is a file: name a folder")
    check_output(output_dir / "metrics.jsonl", overwrite=True)
    checkpoints = list_checkpoints(output_dir)
    if (output_dir / "model").exists() and not checkpoints:
        raise InputError(
            f"{output_dir} already holds a model, and no checkpoint to continue from: output_dir=FOLDER "
            "starts another run"
        )
    is_run = (output_dir / "metrics.jsonl").exists() or bool(checkpoints)
    if is_run and not config.resume:
        remedy = "resume=true continues it, output_dir=FOLDER starts another"
        raise InputError(f"{output_dir} already holds a run: {remedy}")
    if not is_run:
        return None
    changed = differences(config, output_dir / "config.yaml")
    if changed:
        raise InputError(f"{output_dir} was started with other settings: {'; '.join(changed)}")
    # A run that was ended before its first checkpoint begins again.
    return checkpoints[-1] if checkpoints else None


def list_checkpoints(output_dir: Path) -> list[Path]:
    """List the folders checkpoints/step_N, oldest first."""
    folders = output_dir.glob("checkpoints/step_*")
    return sorted((folder for folder in folders if re.fullmatch(r"step_\d+", folder.name)), key=step_of)


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step_"))


def load_checkpoint(accelerator: Accelerator, checkpoint: Path) -> None:
    try:
        accelerator.load_state(str(checkpoint))
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        problem = f"{checkpoint} is not a checkpoint, or damaged ({first_line(error)})"
        raise InputError(f"{problem}: delete it to use an older one") from error


def save_checkpoint(accelerator: Accelerator, output_dir: Path, step: int, keep: int) -> None:
    """Write checkpoints/step_N beside its place, rename it when it is whole, and remove the oldest."""
    folder = output_dir / "checkpoints" / f"step_{step:07d}"
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    if accelerator.is_main_process:
        remove(unfinished)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(unfinished))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        remove(folder)
        unfinished.rename(folder)
        for old in list_checkpoints(output_dir)[:-keep]:
            shutil.rmtree(old)


class Interruption:
    """Remembers Ctrl-C and SIGTERM until the step is done; a second one ends the program at once.

    The end of accelerate's launcher counts as SIGTERM: it does not pass on the signal that ended it.
    """

    def __init__(self):
        self.signal = 0
        self.launcher = os.getppid() if is_launched() else None
        self.earlier = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in self.earlier:
            signal.signal(number, self._remember)

    def _remember(self, number: int, frame: object) -> None:
        self.signal = number
        signal.signal(number, signal.SIG_DFL)

    def forget(self) -> None:
        """Let signals end the program again as they did before."""
        for number, handler in self.earlier.items():
            signal.signal(number, handler)

    def anywhere(self, accelerator: Accelerator) -> int:
        """Return the signal that any process received, 0 for none; all processes get the same answer."""
        if self.launcher is not None and os.getppid() != self.launcher:
            self.signal = self.signal or signal.SIGTERM
        if accelerator.num_processes > 1:
            received = torch.tensor([self.signal], device=accelerator.device)
            self.signal = int(accelerator.gather(received).max())
        return self.signal


def is_launched() -> bool:
    """Tell whether this process was started by `accelerate launch`."""
    return "ACCELERATE_MIXED_PRECISION" in os.environ
