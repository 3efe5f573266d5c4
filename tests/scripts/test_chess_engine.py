"""The file that chess programs start: it finds its clone from any folder, and says what is missing."""

import shutil
import subprocess
import sys

from tests.support.commands import REPOSITORY


ENGINE = REPOSITORY / "scripts/chess_engine"


def test_it_starts_by_a_link_from_another_folder(tmp_path):
    (tmp_path / "eval").mkdir()  # which must not hide the package of the clone
    (tmp_path / "first").symlink_to(ENGINE)
    (tmp_path / "second").symlink_to("first")
    result = subprocess.run(
        ["./second", "--temperature", "0.5"],
        input="uci\nquit\n",
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable},
    )
    assert "uciok" in result.stdout and "option name Temperature type string default 0.5" in result.stdout


def test_it_says_that_its_environment_is_missing(tmp_path):
    (tmp_path / "scripts").mkdir()
    engine = shutil.copy(ENGINE, tmp_path / "scripts")
    result = subprocess.run([engine], capture_output=True, text=True, cwd="/", env={"PATH": "/usr/bin:/bin"})
    assert result.returncode == 2 and not result.stdout
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: .venv/bin/python is missing in {tmp_path}: create .venv")
