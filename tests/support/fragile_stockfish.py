"""Versions of Stockfish that crash or hang, for tests: up to a fatal command they are the real one."""

import stat
import sys
from pathlib import Path

from data.chess.stockfish import find_stockfish


CRASHING = """#!{python}
import os, subprocess, sys

engine = subprocess.Popen([{stockfish!r}], stdin=subprocess.PIPE)
for line in sys.stdin.buffer:
    if {fatal!r} in line and open({crashes!r}).read().count("crash") < {times}:
        open({crashes!r}, "a").write("crash ")
        engine.kill()
        os._exit(1)
    engine.stdin.write(line)
    engine.stdin.flush()
engine.kill()
"""

HANGING = """#!{python}
import subprocess, sys

engine = subprocess.Popen([{stockfish!r}], stdin=subprocess.PIPE)
num_fatal = 0
for line in sys.stdin.buffer:
    num_fatal += {fatal!r} in line
    if num_fatal < {times}:
        engine.stdin.write(line)
        engine.stdin.flush()
engine.kill()
"""


def crashing_stockfish(folder: Path, fatal: str, times: int) -> Path:
    """Write a program that crashes the first `times` times that one is given a command with this text."""
    crashes = folder / "crashes.txt"
    crashes.touch()
    return _write(folder / "crashing_stockfish", CRASHING, fatal, times, crashes=str(crashes))


def hanging_stockfish(folder: Path, fatal: str, times: int = 1) -> Path:
    """Write a program that ignores all from the `times`-th command with this text on."""
    return _write(folder / "hanging_stockfish", HANGING, fatal, times)


def _write(program: Path, text: str, fatal: str, times: int, **more: str) -> Path:
    names = {"python": sys.executable, "stockfish": find_stockfish(), "fatal": fatal.encode(), "times": times}
    program.write_text(text.format(**names, **more))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program
