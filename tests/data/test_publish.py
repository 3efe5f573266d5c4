"""Publishing chess boards and Wordle games: `datasets` loads what is there, and the card says what it is."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard

from cli.errors import InputError
from data import publish
from data.chess.boards import Boards
from data.chess.rows import SCHEMA, Row, write_rows
from data.dataset_card import find_kind
from data.hub import local_files
from data.wordle.games import GameDescription, read_games, write_games
from data.wordle.players import make_player, play_games
from data.wordle.words import load_word_lists
from tests.support.commands import assert_input_error, run_command
from tests.support.hub_server import HubServer
from tests.support.random_boards import random_file


PUBLISH = "data.publish"
# Prints features and rows of every split of datasets, loaded and streamed.
LOAD = """
import json, sys, datasets
found = {}
for name in sys.argv[1:]:
    for streaming in (False, True):
        splits = datasets.load_dataset(name, streaming=streaming)
        found[f"{name} {streaming}"] = {
            split: {"features": str(rows.features), "rows": list(rows)} for split, rows in splits.items()
        }
print(json.dumps(found))
"""
FEATURES = {
    "chess": {
        "fen": "Value('string')",
        "moves": "List(Value('string'))",
        "win_probs": "List(Value('float32'))",
    },
    "wordle": {
        "secret": "Value('string')",
        "guesses": "List(Value('string'))",
        "feedback": "List(Value('string'))",
        "rewards": "List(Value('float32'))",
        "done": "Value('bool')",
        "policy": "Value('string')",
    },
}


def write_random_games(path: Path, num_games: int, seed: int, words: str = "american_446") -> None:
    lists, rng = load_word_lists(words), np.random.default_rng(seed)
    games = play_games(make_player("mixture:0.4"), lists, "official", rng.integers(446, size=num_games), rng)
    write_games(path, [games], GameDescription(lists, "official", "mixture:0.4", seed))


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, dict[str, Path]]:
    """Training and held-out rows of both kinds."""
    folder = tmp_path_factory.mktemp("sources")
    paths = {
        kind: {split: folder / f"{kind}_{split}.parquet" for split in ("train", "validation")}
        for kind in ("chess", "wordle")
    }
    for seed, split in enumerate(("train", "validation")):
        random_file(paths["chess"][split], 60 - 40 * seed, seed)
        write_random_games(paths["wordle"][split], 80 - 50 * seed, seed)
    return paths


@pytest.fixture(scope="module")
def folders(sources, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("datasets")
    for kind, paths in sources.items():
        (folder / kind).mkdir()
        settings = {"name": f"user/{kind}", "title": "Some rows", "license": "cc0-1.0"}
        publish.write_dataset(
            folder / kind, find_kind(paths["train"]), paths, **settings, description="Drawn at random.\n"
        )
    return {kind: folder / kind for kind in sources}


@pytest.fixture
def hub(tmp_path):
    with HubServer(tmp_path / "hub") as hub:
        yield hub


def publish_arguments(paths: dict[str, Path]) -> list[object]:
    return ["--data", paths["train"], "--validation", paths["validation"]]


def load(*names: object, **environment: str) -> dict:
    command = [sys.executable, "-c", LOAD, *map(str, names)]
    result = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_datasets_gives_the_rows_of_the_source_loaded_and_streamed_of_hub_and_folder(sources, folders, hub):
    for kind, paths in sources.items():
        arguments = [*publish_arguments(paths), "--repo", f"user/{kind}"]
        result = run_command(PUBLISH, *arguments, **hub.environment)
        assert result.returncode == 0, result.stderr
    found = load(*folders.values(), "user/chess", "user/wordle", **hub.environment)
    assert len(found) == 8
    for name, splits in found.items():
        kind = "chess" if "chess" in name else "wordle"
        features = ", ".join(f"'{column}': {what}" for column, what in FEATURES[kind].items())
        assert splits.keys() == {"train", "validation"}
        for split, found in splits.items():
            assert found["features"] == f"{{{features}}}"
            assert found["rows"] == pq.read_table(sources[kind][split]).to_pylist()


@pytest.mark.parametrize("kind", ["chess", "wordle"])
def test_the_front_matter_says_what_the_hub_asks_for(folders, sources, kind):
    card = DatasetCard.load(folders[kind] / "README.md")
    assert card.data.license == "cc0-1.0"
    assert card.data.pretty_name == "Some rows"
    assert card.data.size_categories == ["n<1K"]
    assert kind in card.data.tags
    info = card.data.to_dict()["dataset_info"]
    assert [feature["name"] for feature in info["features"]] == list(FEATURES[kind])
    rows = {split: pq.read_metadata(path).num_rows for split, path in sources[kind].items()}
    assert {split["name"]: split["num_examples"] for split in info["splits"]} == rows
    assert info["download_size"] == sum(path.stat().st_size for path in sources[kind].values())
    assert info["dataset_size"] == sum(split["num_bytes"] for split in info["splits"])


def table(card: str) -> dict[str, list[str]]:
    """Return the counts of a card by the name of the row."""
    lines = card[card.index("| split |") :].split("\n\n")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name: values for name, *values in rows}


def test_the_counts_of_boards_are_right(folders, sources):
    counts = table((folders["chess"] / "README.md").read_text())
    assert counts["split"] == ["train", "validation"]
    for place, path in enumerate(sources["chess"].values()):
        moves = [len(row["moves"]) for row in pq.read_table(path).to_pylist()]
        assert counts["boards"][place] == str(len(moves))
        assert counts["action values"][place] == f"{sum(moves):,}"
        mean = f"{sum(moves) / len(moves):.1f}"
        assert counts["moves per board"][place] == f"{mean} ({min(moves)} to {max(moves)})"


def test_the_counts_of_games_are_right(folders, sources):
    counts = table((folders["wordle"] / "README.md").read_text())
    for place, path in enumerate(sources["wordle"].values()):
        rows = pq.read_table(path).to_pylist()
        returns = [sum(row["rewards"]) for row in rows]
        won = sum(row["feedback"][-1] == "ggggg" for row in rows)
        assert [counts[name][place] for name in ("games", "rule", "secret words", "players")] == [
            str(len(rows)),
            "official",
            "446",
            "`mixture:0.4`",
        ]
        assert counts["mean return"][place] == f"{sum(returns) / len(rows):.3f}"
        assert counts["secret found"][place] == f"{won / len(rows):.1%}"


def test_the_card_tells_how_the_rows_were_made_if_that_was_said_and_nothing_else(folders, sources, tmp_path):
    text = (folders["chess"] / "README.md").read_text()
    assert "## How it was made\n\nDrawn at random.\n\n## Use" in text
    assert "all are legal" in text
    paths = {"train": sources["chess"]["train"]}
    publish.write_dataset(
        tmp_path, find_kind(paths["train"]), paths, name="user/a", title="a", check_moves=False
    )
    text = (tmp_path / "README.md").read_text()
    assert "How it was made" not in text and "legal" not in text and "data.validation" not in text
    assert DatasetCard(text).data.license is None
    assert not re.search(r"\$\w", text)


@pytest.mark.parametrize("kind", ["chess", "wordle"])
def test_a_large_file_becomes_several_of_the_same_rows(sources, tmp_path, monkeypatch, kind):
    path = sources[kind]["train"]
    monkeypatch.setattr(publish, "MAX_FILE_BYTES", path.stat().st_size // 3 + 1)
    monkeypatch.setattr(publish, "ROWS_PER_GROUP", 10)
    publish.write_dataset(tmp_path, find_kind(path), {"train": path}, name="user/a", title="a")
    files = sorted((tmp_path / "data").iterdir())
    assert [file.name for file in files] == [f"train-0000{i}-of-00003.parquet" for i in range(3)]
    assert pq.read_table(files).to_pylist() == pq.read_table(path).to_pylist()
    assert all(pq.read_metadata(file).row_group(0).num_rows <= 10 for file in files)
    if kind == "wordle":
        assert read_games(tmp_path / "data")[1].words.digest == read_games(path)[1].words.digest


def test_the_files_of_a_folder_and_large_row_groups_are_numbered_in_order(tmp_path, monkeypatch):
    source = tmp_path / "source"
    source.mkdir()
    rows = random_file(source / "a.parquet", 20) + random_file(source / "b.parquet", 500, seed=1)
    write_rows(source / "c.parquet", [])
    limit = pq.read_metadata(source / "b.parquet").row_group(0).total_byte_size - 1
    monkeypatch.setattr(publish, "MAX_GROUP_BYTES", limit)
    monkeypatch.setattr(publish, "ROWS_PER_GROUP", 300)
    folder = tmp_path / "dataset"
    folder.mkdir()
    publish.write_dataset(folder, find_kind(source), {"train": source}, name="user/a", title="a")
    files = sorted((folder / "data").iterdir())
    assert [file.name[:14] for file in files] == ["train-00000-of", "train-00001-of"]
    assert files[0].read_bytes() == (source / "a.parquet").read_bytes()
    assert [pq.read_metadata(file).num_row_groups for file in files] == [1, 2]
    assert [row["fen"] for row in pq.read_table(files).to_pylist()] == [row.fen for row in rows]


def test_columns_are_written_as_the_format_has_them(tmp_path):
    columns = {
        "source": pa.array(["somewhere"]),
        "fen": pa.array(["4k3/8/8/8/8/8/4P3/4K3 w - - 0 1"], pa.large_string()),
        "moves": pa.array([["e2e4", "e1d1"]], pa.large_list(pa.large_string())),
        "win_probs": pa.array([[0.5, 0.1]], pa.list_(pa.float64())),
    }
    path = tmp_path / "boards.parquet"
    pq.write_table(pa.table(columns), path)
    publish.write_dataset(tmp_path, find_kind(path), {"train": path}, name="user/a", title="a")
    published = pq.read_table(tmp_path / "data/train-00000-of-00001.parquet")
    assert published.schema.equals(SCHEMA)
    assert published["win_probs"].to_pylist() == [[0.5, np.float32(0.1)]]


def test_a_published_folder_can_be_trained_on_where_it_is(folders, sources):
    """The links follow what is published there."""
    boards = Boards.from_parquet(local_files(folders["chess"], "train"))
    assert boards.num_boards == 60
    assert Boards.from_parquet(local_files(folders["chess"], "validation")).num_boards == 20
    extra = folders["chess"] / "data/train-00001-of-00002.parquet"
    random_file(extra, 5)
    assert Boards.from_parquet(local_files(folders["chess"], "train")).num_boards == 65
    extra.unlink()


def run_main(monkeypatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [PUBLISH, *map(str, arguments)])
    publish.main()


def make_bad_source(kind: str, folder: Path, sources: dict) -> list[object]:
    """Return the arguments of a call that must be refused."""
    path = folder / "bad.parquet"
    if kind == "columns":
        pq.write_table(pa.table({"text": ["abc"]}), path)
    elif kind == "move":
        write_rows(path, [Row("4k3/8/8/8/8/8/4P3/4K3 w - - 0 1", ["e2e5"], [0.5])])
    elif kind == "game":
        pq.write_table(pq.read_table(sources["wordle"]["train"]).replace_schema_metadata(None), path)
    elif kind == "type":
        rows = pq.read_table(sources["chess"]["train"])
        pq.write_table(rows.set_column(2, "win_probs", pa.array(["0.5"] * len(rows))), path)
    elif kind == "parquet":
        path.write_text("fen,moves\n")
    elif kind == "kinds":
        return ["--data", sources["chess"]["train"], "--validation", sources["wordle"]["train"]]
    elif kind == "description":
        return ["--data", sources["chess"]["train"], "--description", folder / "none.md"]
    return ["--data", path]


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        (
            "columns",
            "its columns are text, neither those of chess (fen, moves, win_probs) nor those of wordle",
        ),
        ("move", "bad.parquet row 0: 'e2e5' is not a legal move"),
        ("game", "bad.parquet: does not say which game it holds"),
        ("type", "bad.parquet: column 'win_probs' is string, must be list"),
        ("parquet", "bad.parquet: cannot be read as Parquet"),
        ("missing", "bad.parquet: no such file or folder"),
        ("kinds", "wordle_train.parquet: its rows are of another kind"),
        ("description", "none.md: cannot be read as text"),
    ],
)
def test_what_cannot_be_published_is_refused_in_one_line(kind, problem, sources, tmp_path, monkeypatch):
    arguments = make_bad_source(kind, tmp_path, sources)
    with pytest.raises(InputError) as raised:
        run_main(monkeypatch, *arguments, "--folder", tmp_path / "dataset")
    assert problem in str(raised.value) and "\n" not in str(raised.value)
    assert not [path for path in tmp_path.iterdir() if "dataset" in path.name]


def test_a_folder_is_replaced_on_request_alone(sources, tmp_path, monkeypatch):
    folder = tmp_path / "dataset"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    arguments = [*publish_arguments(sources["chess"]), "--folder", folder]
    assert_input_error(run_command(PUBLISH, *arguments), "dataset exists", "--overwrite")
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    run_main(monkeypatch, *arguments, "--overwrite")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "data"]


@pytest.mark.slow
def test_publishing_again_changes_nothing_and_other_rows_need_a_yes(sources, hub, tmp_path):
    arguments = ["--data", tmp_path / "boards", "--repo", "user/boards"]
    (tmp_path / "boards").mkdir()
    for name in "ab":
        random_file(tmp_path / "boards" / f"{name}.parquet", 10, seed=ord(name))
    first = run_command(PUBLISH, *arguments, **hub.environment)
    assert first.returncode == 0, first.stderr
    assert f"published: {hub.url}/datasets/user/boards" in first.stdout
    before = hub.files("datasets", "user/boards")
    assert run_command(PUBLISH, *arguments, **hub.environment).returncode == 0
    assert hub.files("datasets", "user/boards") is before

    (tmp_path / "boards/b.parquet").unlink()
    refused = run_command(PUBLISH, *arguments, **hub.environment)
    assert_input_error(refused, "user/boards exists, with another", "--overwrite")
    assert hub.files("datasets", "user/boards") is before
    assert run_command(PUBLISH, *arguments, "--overwrite", **hub.environment).returncode == 0
    data = [path for path in hub.files("datasets", "user/boards") if path.startswith("data/")]
    assert data == ["data/train-00000-of-00001.parquet"]


def test_a_failed_upload_says_how_to_go_on_and_the_next_call_does(sources, hub):
    arguments = [*publish_arguments(sources["chess"]), "--repo", "user/boards", "--private"]
    hub.refuse_uploads_with = 500
    assert_input_error(
        run_command(PUBLISH, *arguments, **hub.environment), "did not take user/boards", "call again"
    )
    hub.refuse_uploads_with = None
    result = run_command(PUBLISH, *arguments, **hub.environment)
    assert result.returncode == 0, result.stderr
    assert hub.repositories["datasets", "user/boards"].private
    assert set(hub.files("datasets", "user/boards")) > {"README.md", "data/validation-00000-of-00001.parquet"}


@pytest.mark.slow
def test_what_the_hub_does_not_allow_is_refused_in_one_line(sources, hub):
    arguments = publish_arguments(sources["chess"])
    other = run_command(PUBLISH, *arguments, "--repo", "somebody/boards", **hub.environment)
    assert_input_error(other, "take somebody/boards: the token may not write", "hf auth login")
    stranger = run_command(PUBLISH, *arguments, "--repo", "user/boards", **hub.environment | {"HF_TOKEN": ""})
    assert_input_error(stranger, "this machine is not logged in", "hf auth login")
    wrong = run_command(PUBLISH, *arguments, "--repo", "a/b/c", **hub.environment)
    assert_input_error(wrong, "--repo a/b/c is no hub id")
    assert run_command(PUBLISH, *arguments, "--repo", "user/public", **hub.environment).returncode == 0
    private = run_command(PUBLISH, *arguments, "--repo", "user/public", "--private", **hub.environment)
    assert_input_error(private, "user/public exists and is public")
    hub.stop()
    gone = run_command(PUBLISH, *arguments, "--repo", "user/boards", **hub.environment)
    assert_input_error(gone, "take user/boards: it cannot be reached", "call again")
