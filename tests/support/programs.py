"""The programs that tests run, which docs/install.md lists."""

import os
import shutil

import pytest

from cli.errors import InputError
from data.chess.stockfish import find_stockfish


# Debian's folder of games is not on every PATH.
PATH = f"{os.environ['PATH']}{os.pathsep}/usr/games"
NAMES = {
    "chromium": ("chromium", "chromium-browser", "google-chrome"),
    "xboard": ("xboard",),
    "polyglot": ("polyglot",),
    "xvfb": ("xvfb-run",),
    "xauth": ("xauth",),
}


def find_program(program: str) -> str:
    """Return the path of a program; fail the test if it is not installed."""
    path = _path_of(program)
    if path is None:
        pytest.fail(f"{program} is not installed: docs/install.md lists the programs that tests need")
    return path


def missing_programs() -> list[str]:
    """Return the programs that are not installed."""
    missing = [program for program in NAMES if _path_of(program) is None]
    try:
        find_stockfish()
    except InputError:
        missing.append("stockfish")
    return missing


def _path_of(program: str) -> str | None:
    return next(filter(None, (shutil.which(name, path=PATH) for name in NAMES[program])), None)
