"""A robot dataset is published as it is, with a card, and loads by its name on the hub."""

import json
import os
import subprocess

import datasets
import pytest
from huggingface_hub import DatasetCard

from cli.errors import InputError
from data.robot.episodes import read_episodes
from tests.data.test_publish import run_main
from tests.support.commands import REPOSITORY, run_code
from tests.support.robot_data import write_robot_data


READ = """
import json, sys
from data.robot.episodes import read_episodes
episodes = read_episodes(sys.argv[1], with_images=True)
print(json.dumps([float(episodes.states.sum()), int(episodes.images.sum())]))
"""


def test_a_published_folder_has_a_card_with_counts_and_the_same_files(tmp_path, monkeypatch, capsys):
    source = write_robot_data(tmp_path / "set", image_size=8)
    run_main(monkeypatch, "--data", source, "--folder", tmp_path / "published")
    assert "3 episodes, 11 frames" in capsys.readouterr().out
    for part in ("data", "meta"):
        files = [path.relative_to(source) for path in (source / part).rglob("*") if path.is_file()]
        assert files
        for file in files:
            assert (tmp_path / "published" / file).read_bytes() == (source / file).read_bytes()
    card = DatasetCard.load(tmp_path / "published" / "README.md")
    assert card.data.tags == ["LeRobot", "robot"]
    assert "| frames per episode | 3.7 (2 to 5) |" in card.text
    assert "| images | 8×8, camera behindGripper |" in card.text
    assert "| success: Open a drawer | 66.7% |" in card.text
    cache = str(tmp_path / "cache")
    rows = datasets.load_dataset(str(tmp_path / "published"), cache_dir=cache)["train"]
    assert len(rows) == 11


def read_elsewhere(name: str, environment: dict[str, str]) -> subprocess.CompletedProcess:
    """Read a dataset in a process that knows the hub; it prints the sums of its arrays, or the error."""
    return run_code(READ, name, folder=REPOSITORY, **environment)


def test_a_dataset_on_the_hub_is_read_by_its_name(tmp_path, monkeypatch, own_hub):
    source = write_robot_data(tmp_path / "set", image_size=8)
    run_main(monkeypatch, "--data", source, "--repo", "user/robot")
    local = read_episodes(str(source), with_images=True)
    result = read_elsewhere("user/robot", own_hub.environment)
    assert json.loads(result.stdout) == [float(local.states.sum()), int(local.images.sum())]
    with pytest.raises(InputError, match="user/robot has a dataset"):
        run_main(monkeypatch, "--data", source, "--repo", "user/robot")
    result = read_elsewhere("user/nothing", own_hub.environment)
    assert "user/nothing: no such file or folder, and no such dataset on the hub" in result.stderr


def test_held_out_rows_and_faults_are_refused_and_nothing_is_written(tmp_path, monkeypatch):
    source = write_robot_data(tmp_path / "set")
    arguments = ("--data", source, "--folder", tmp_path / "published")
    with pytest.raises(InputError, match="has no held-out rows: leave out --validation"):
        run_main(monkeypatch, *arguments, "--validation", source)
    (source / "meta" / "tasks.parquet").unlink()
    with pytest.raises(InputError, match=r"tasks\.parquet"):
        run_main(monkeypatch, *arguments)
    assert os.listdir(tmp_path) == ["set"]
