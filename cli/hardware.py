"""The machine that something runs on."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cli.errors import InputError


if TYPE_CHECKING:
    import torch


# The default of torch.compile.
COMPILER = "clang++" if sys.platform == "darwin" else "g++"


def check_compiler(setting: str) -> None:
    """Raise InputError unless torch.compile, which `setting` asks for, finds a C++ compiler."""
    name = os.environ.get("CXX", COMPILER)
    if not shutil.which(name):
        raise InputError(
            f"{setting}: torch.compile needs a C++ compiler, but {name} cannot be found: "
            "apt-get install g++ (macOS: xcode-select --install), or leave the setting out"
        )


def describe_hardware(device: torch.device) -> dict:
    """Return the names of the device and the versions of its software, for reports."""
    import torch

    is_gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if is_gpu else _processor(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
