"""Every command of the project explains its options."""

import re
from pathlib import Path

import pytest

from tests.support.commands import REPOSITORY, run_command


INTERNAL = {"studies.plastic_network"}  # started by another command


def commands() -> list[str]:
    """List the modules that are commands, as `python -m` takes them."""
    files = [path.relative_to(REPOSITORY) for path in REPOSITORY.glob("**/*.py")]
    is_main = re.compile(r'^if __name__ == "__main__":', re.MULTILINE)
    modules = {
        str(file.with_suffix("")).replace("/", ".").removesuffix(".__main__")
        for file in files
        if is_room(file) and is_main.search((REPOSITORY / file).read_text())
    }
    return sorted(modules - INTERNAL)


def is_room(file: Path) -> bool:
    return file.parts[0] in ("benchmarks", "data", "eval", "scripts", "studies", "train.py", "training")


@pytest.mark.parametrize("command", commands())
def test_help_explains_every_option(command):
    result = run_command(command, "--help")
    assert (result.returncode, result.stderr) == (0, ""), result.stderr
    usage, description, *options = re.split(r"\n\n(?=\S)", result.stdout)
    assert usage.startswith("usage: ") and len(description) > 20
    # An option without a help text is a line of its own before the next one.
    bare = re.findall(r"^  (--?\S+(?: \S+)?)\n(?=  -|\n|\Z)", "\n".join(options), re.MULTILINE)
    assert bare == []
