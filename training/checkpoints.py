"""Checkpoints of a run, written atomically and verified before use; and the signals that trigger one.

checkpoints/step_N/ holds full tensors by name, independent of the backend and the number of processes:

    model.safetensors      the weights
    average.safetensors    their EMA, unless training.ema_decay is 0
    optimizer.safetensors  optimiser states, as kind/parameter
    target.safetensors     the target network of Q-learning
    state.json             the step, and the state of the task
    SHA256SUMS             of all of these, written last; `sha256sum -c SHA256SUMS` checks them
"""

import hashlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from cli.errors import INPUT_ERROR_STATUS, InputError, first_line
from cli.files import remove
from cli.terminal import is_main_process
from configs.schema import CheckpointConfig
from training.launcher import is_launched_by_torch, is_orphaned
from training.run_folder import list_checkpoints, step_of


SUMS = "SHA256SUMS"


def find_checkpoint(accelerator: Accelerator, output_dir: Path) -> Path | None:
    """Return the newest intact checkpoint, the same on all processes; None if there are no checkpoints.

    A damaged one is renamed to step_N.damaged, with a message, and the one before is used. Raises InputError
    if all are damaged, or if a process does not see the folder of the main process.
    """
    found: list = [None, None]
    if accelerator.is_main_process:
        found = _find_intact(output_dir)
    broadcast_object_list(found)
    checkpoint, problem = found
    if problem:
        raise InputError(problem)
    if checkpoint is None:
        return None
    is_here = torch.tensor([(checkpoint / SUMS).is_file()], device=accelerator.device)
    if not accelerator.gather(is_here).all():
        raise InputError(f"{checkpoint} is not on all machines: output_dir must be a folder that they share")
    return checkpoint


def _find_intact(output_dir: Path) -> list:
    """Return the newest intact checkpoint or None, and an error message if there are only damaged ones."""
    damages = {}
    for checkpoint in reversed(list_checkpoints(output_dir)):
        damage = find_damage(checkpoint)
        if damage is None:
            break
        damages[checkpoint] = damage
    else:
        if not damages:
            return [None, None]
        remedy = "output_dir=FOLDER starts another run"
        return [None, f"all checkpoints of {output_dir} are damaged ({checkpoint}: {damage}): {remedy}"]
    for damaged, damage in damages.items():
        aside = damaged.with_name(f"{damaged.name}.damaged")
        remove(aside)
        damaged.rename(aside)
        print(f"warning: {damaged} is damaged ({damage}): now {aside.name}, and not used", flush=True)
    return [checkpoint, None]


def find_damage(checkpoint: Path) -> str | None:
    """Return how a checkpoint is damaged, or None if its files are as they were written."""
    try:
        lines = (checkpoint / SUMS).read_text().splitlines()
        expected = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
        for name, digest in expected.items():
            if _sha256(checkpoint / name) != digest:
                return f"{name} has changed"
        if expected.keys() | {SUMS} != {path.name for path in checkpoint.iterdir()}:
            return f"{SUMS} does not name all files"
    except (OSError, ValueError) as error:
        return first_line(error)
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class CheckpointReader:
    """The tensors of one file of a checkpoint, read one by one."""

    def __init__(self, checkpoint: Path, name: str):
        self._path = checkpoint / f"{name}.safetensors"
        try:
            self._file = safe_open(self._path, framework="pt")
            self.names = list(self._file.keys())
        except (OSError, SafetensorError) as error:
            raise InputError(f"{self._path} cannot be read: {first_line(error)}") from error

    def __call__(self, name: str) -> Tensor:
        return self._file.get_tensor(name)

    @torch.no_grad()
    def load_into(self, model: nn.Module) -> None:
        for name, parameter in model.named_parameters():
            parameter.copy_(self(name))


def read_state(checkpoint: Path) -> dict:
    return json.loads((checkpoint / "state.json").read_text())


def save_checkpoint(
    accelerator: Accelerator,
    output_dir: Path,
    config: CheckpointConfig,
    step: int,
    files: Mapping[str, Iterable[tuple[str, Tensor]]],
    state: dict,
) -> Path:
    """Write checkpoints/step_N atomically, and remove the oldest checkpoints.

    `files` are the tensors of each file, by its name. All processes have to call this and iterate over the
    tensors together; the main process writes. If it cannot, all processes end with its InputError, and
    earlier checkpoints are unchanged.
    """
    folder = output_dir / "checkpoints" / f"step_{step:07d}"
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    problem: list[str | None] = [None]
    if accelerator.is_main_process:
        problem = [_attempt(_start, unfinished)]
    for name, tensors in files.items():
        gathered = {}
        for key, tensor in tensors:
            # A copy: safetensors refuses tensors that share memory, as DeepSpeed's weights do.
            if accelerator.is_main_process and problem == [None]:
                gathered[key] = tensor.detach().to("cpu", copy=True).contiguous()
        if gathered:
            problem = [_attempt(save_file, gathered, unfinished / f"{name}.safetensors")]
    if accelerator.is_main_process and problem == [None]:
        problem = [_attempt(_complete, unfinished, folder, state)]
    broadcast_object_list(problem)
    if problem != [None]:
        if not accelerator.is_main_process:
            sys.exit(INPUT_ERROR_STATUS)
        _attempt(remove, unfinished)
        raise InputError(f"{folder} cannot be written: {problem[0]}; earlier checkpoints are unchanged")
    if accelerator.is_main_process:
        for old in list_checkpoints(output_dir)[: -config.keep]:
            if config.keep_every is None or step_of(old) % config.keep_every:
                reason = _attempt(shutil.rmtree, old)
                if reason:
                    print(f"warning: {old} cannot be deleted: {reason}", flush=True)
    return folder


def _attempt(action: Callable, *arguments: object) -> str | None:
    """Run a file operation; return its error message, or None."""
    try:
        action(*arguments)
    except (OSError, SafetensorError) as error:
        return first_line(error)
    return None


def _start(unfinished: Path) -> None:
    remove(unfinished)  # left by a killed run
    unfinished.mkdir(parents=True)


def _complete(unfinished: Path, folder: Path, state: dict) -> None:
    (unfinished / "state.json").write_text(json.dumps(state) + "\n")
    paths = sorted(unfinished.iterdir())
    (unfinished / SUMS).write_text("".join(f"{_sha256(path)}  {path.name}\n" for path in paths))
    # The content must reach the disk before the name does, and the name before older checkpoints are deleted.
    for path in (*paths, unfinished / SUMS, unfinished):
        _flush(path)
    remove(folder)
    unfinished.rename(folder)
    _flush(folder.parent)


def _flush(path: Path) -> None:
    """Write a file, or the names in a folder, to the disk (fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Interruption:
    """Records Ctrl-C and SIGTERM until the step is done; a second Ctrl-C ends the program immediately.

    A second SIGTERM does not, since clusters and launchers both send one. The end of accelerate's launcher
    counts as SIGTERM, since it does not always forward the signal that ended it.
    """

    def __init__(self):
        self.signal = 0
        self.earlier = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in self.earlier:
            signal.signal(number, self._record)

    def _record(self, number: int, frame: object) -> None:
        if not self.signal and is_main_process():
            # print is not reentrant, and the signal may interrupt one.
            os.write(2, b"interrupted: saving after this step; Ctrl-C again ends at once, without saving\n")
        # torch's launcher passes Ctrl-C on to its processes, which then get it a second time.
        if self.signal or not is_launched_by_torch():
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        self.signal = number

    def restore(self) -> None:
        """Restore the earlier signal handlers."""
        for number, handler in self.earlier.items():
            signal.signal(number, handler)

    def anywhere(self, accelerator: Accelerator) -> int:
        """Return the signal that any process received, 0 for none; the same on all processes."""
        if is_orphaned():
            self.signal = self.signal or signal.SIGTERM
        if accelerator.num_processes == 1:
            return self.signal
        # A signal that arrives during the exchange counts after the next step.
        received = torch.tensor([self.signal], device=accelerator.device)
        return int(accelerator.gather(received).max())
