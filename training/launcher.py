"""How this process was started: alone, or by accelerate's or torch's launcher, Slurm or MPI.

Nothing here imports torch, which takes seconds: bad settings are refused before.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from cli.errors import InputError, report
from configs.schema import Config


# The launcher, if there is one. A process that outlives it has another parent.
PARENT = os.getppid()


def is_launched() -> bool:
    """Return whether `accelerate launch` started this process."""
    return "ACCELERATE_MIXED_PRECISION" in os.environ


def is_launched_by_torch() -> bool:
    """Return whether torch's launcher started this process: torchrun, or accelerate for several processes."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_orphaned() -> bool:
    """Return whether the launcher has ended before this process."""
    return is_launched() and os.getppid() != PARENT


def num_processes() -> int:
    """Return the number of processes that the launchers of all machines started together."""
    return int(os.environ.get("WORLD_SIZE", 1))


def check_launch() -> None:
    """Raise InputError if Slurm or MPI started several copies of a command that do not know each other."""
    copies = max(int(os.environ.get(name, 1)) for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"))
    # The number of launchers that have joined, or of processes without a launcher.
    joined = int(os.environ.get("GROUP_WORLD_SIZE") or os.environ.get("WORLD_SIZE") or 1)
    if copies > joined:
        raise InputError(
            f"{copies} copies of this command were started, but only {joined} joined: start one accelerate "
            "launch per machine, as scripts/slurm.sh does"
        )


def overruled_options(config: Config) -> list[str]:
    """Return a warning for each option of `accelerate launch` that the settings of the run overrule.

    accelerate passes on the precision, also that of its configuration file; other options are only in the
    launcher's command line.
    """
    if not is_launched():
        return []
    training = config.training
    precision = "no" if training.precision == "fp32" else training.precision  # as accelerate names it
    accumulation = training.gradient_accumulation_steps
    max_grad_norm = config.optimizer.max_grad_norm
    ours = {
        "mixed_precision": (precision, f"training.precision={training.precision}"),
        "gradient_accumulation_steps": (accumulation, f"training.gradient_accumulation_steps={accumulation}"),
        "gradient_clipping": (max_grad_norm, f"optimizer.max_grad_norm={max_grad_norm}"),
    }
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for option, kind in zip(ours, (str, int, float), strict=True):
        options.add_argument(f"--{option}", f"--{option.replace('_', '-')}", type=kind)
    given = vars(options.parse_known_args(psutil.Process(PARENT).cmdline())[0])
    passed = os.environ["ACCELERATE_MIXED_PRECISION"]
    if passed != "no":  # the default
        given["mixed_precision"] = passed
    return [
        f"accelerate's {option} {given[option]} has no effect: {setting} decides"
        for option, (value, setting) in ours.items()
        if given[option] not in (None, value)
    ]


@contextmanager
def ended_at_once() -> Iterator[None]:
    """End a process that is one of several at the end of the block, with its exit status.

    Finalising the interpreter or the process group may never return: a gloo group waits for its thread, which
    waits for the interpreter to delete the tensors of the last exchange.
    """
    if num_processes() == 1:
        try:
            yield
        finally:
            torch = sys.modules.get("torch")
            if torch is not None and torch.distributed.is_initialized():  # by DeepSpeed
                torch.distributed.destroy_process_group()
        return
    status = 1
    try:
        yield
        status = 0
    except SystemExit as end:
        if isinstance(end.code, str):
            report(end.code)
        else:
            status = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
