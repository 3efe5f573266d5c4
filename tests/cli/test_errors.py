"""An interrupted command prints one line, even if Ctrl-C comes while an object is being made."""

import subprocess
import sys

from tests.support.commands import REPOSITORY


PROGRAM = """
from cli.errors import command


class ProgressBar:
    def __init__(self):
        raise KeyboardInterrupt  # before `position` is set

    def __del__(self):
        print(self.position)


command(ProgressBar)
"""


def test_an_interrupted_init_leaves_no_traceback():
    result = subprocess.run([sys.executable, "-c", PROGRAM], cwd=REPOSITORY, capture_output=True, text=True)
    assert result.returncode == 130
    assert result.stderr == "interrupted\n"
