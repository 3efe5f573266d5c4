"""The checkpoints in the folder of a run."""

import re
from pathlib import Path

from training.run_log import format_count


def list_checkpoints(output_dir: Path) -> list[Path]:
    """Return the folders checkpoints/step_N, oldest first."""
    folders = output_dir.glob("checkpoints/step_*")
    return sorted((folder for folder in folders if re.fullmatch(r"step_\d+", folder.name)), key=step_of)


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step_"))


def describe_folder(folder: Path) -> str:
    """Return the name and size of a folder of files: step_0000200, 21.3MB."""
    return f"{folder.name}, {format_count(sum(path.stat().st_size for path in folder.iterdir()))}B"
