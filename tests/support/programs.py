"""The programs that tests run, which docs/install.md lists."""

import os
import shutil
from ctypes.util import find_library

import pytest

from cli.errors import InputError
from cli.hardware import COMPILER
from data.chess.stockfish import find_stockfish


# Debian's folder of games is not on every PATH.
PATH = f"{os.environ['PATH']}{os.pathsep}/usr/games"
NAMES = {
    "compiler": (COMPILER,),
    "chromium": ("chromium", "chromium-browser", "google-chrome"),
    "xboard": ("xboard",),
    "polyglot": ("polyglot",),
    "xvfb": ("xvfb-run",),
    "xauth": ("xauth",),
    "node": ("node",),
    "npm": ("npm",),
}


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip tests where one of these programs is not installed, except in continuous integration."""
    missing = [program for program in programs if find_program(program) is None]
    reason = f"not installed: {', '.join(missing)}; docs/install.md says how to install programs"
    return pytest.mark.skipif(bool(missing) and "CI" not in os.environ, reason=reason)


def missing_programs() -> list[str]:
    """Return the programs that are not installed."""
    return [program for program in ("stockfish", "renderer", *NAMES) if find_program(program) is None]


def find_program(program: str) -> str | None:
    """Return the path of a program, or the file of a renderer; None if it is not installed."""
    if program == "renderer":
        return find_library("EGL") or find_library("OSMesa")
    if program != "stockfish":
        return next(filter(None, (shutil.which(name, path=PATH) for name in NAMES[program])), None)
    try:
        return find_stockfish()
    except InputError:
        return None
