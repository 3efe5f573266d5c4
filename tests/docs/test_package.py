"""`pip install .` makes the package stop_regressing from models/ alone."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import REPOSITORY, run_code


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """Install the package into a folder of its own; from a copy, because a build writes into its source."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    shutil.copytree(REPOSITORY / "models", source / "models", ignore=shutil.ignore_patterns("__pycache__"))
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    subprocess.run([*command, "--target", target, source], check=True)
    return target


def run_python(code: str, installed: Path, folder: Path) -> str:
    """Run code in a new interpreter, in a folder that holds nothing of this repository."""
    environment = {"PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def test_the_package_holds_the_modules_of_models_alone(installed):
    modules = {path.name for path in (installed / "stop_regressing").glob("*.py")}
    assert modules == {path.name for path in (REPOSITORY / "models").glob("*.py")}
    packages = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert packages == {"stop_regressing"}


PRELUDE = """
import sys
sys.modules["transformers"] = None  # importing it fails
import torch
network = target_network = torch.nn.Linear(3, 101)
states, next_states = torch.ones(4, 3), torch.zeros(4, 3)
logits, returns = network(states), torch.tensor([-5.0, 0.0, 1.0, 9.5])
rewards, discount, done = torch.ones(4), 0.9, torch.tensor([False, False, True, False])
"""


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/losses.md"])
def test_the_losses_of_the_pages_run_without_transformers(installed, tmp_path, page):
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / page).read_text(), re.DOTALL)
    code = "".join(block for block in blocks if "value_loss" in block)
    gradient = "print(network.weight.grad.abs().sum().item() > 0)"
    assert run_python(PRELUDE + code + gradient, installed, tmp_path) == "True\n"


@pytest.mark.slow
def test_every_module_imports_from_another_folder(installed, tmp_path):
    names = sorted(
        path.stem for path in (installed / "stop_regressing").glob("*.py") if path.stem != "__init__"
    )
    code = f"import importlib\nfor name in {names}:\n    importlib.import_module('stop_regressing.' + name)"
    result = run_code(code, folder=tmp_path, PYTHONPATH=str(installed))
    assert result.returncode == 0, result.stderr
