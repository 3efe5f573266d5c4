"""The checkpoints in the folder of a run."""

import re
from pathlib import Path


def list_checkpoints(output_dir: Path) -> list[Path]:
    """Return the folders checkpoints/step_N, oldest first."""
    folders = output_dir.glob("checkpoints/step_*")
    return sorted((folder for folder in folders if re.fullmatch(r"step_\d+", folder.name)), key=step_of)


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step_"))
