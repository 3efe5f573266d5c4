"""The script that measures the page of a model also compares its moves with those of PyTorch."""

import re

import pytest

from cli.errors import InputError
from scripts.page_in_chromium import measure
from tests.support.commands import run_command
from tests.support.programs import needs


@pytest.mark.slow
@needs("chromium", "npm")
def test_the_page_of_the_shipped_model_plays_the_moves_of_pytorch(shipped_space):
    result = run_command("scripts.page_in_chromium", "--space", shipped_space, "--boards=50")
    assert re.fullmatch(
        r"first value after \d+\.\d s\n"
        r"then \d+ ms a board, quartiles \d+ to \d+\n"
        r"the same move as PyTorch on 50 of 50 boards\n",
        result.stdout,
    ), result.stderr


def test_a_missing_chromium_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"^Chromium is not installed"):
        measure(tmp_path, [])
