"""Publishing chess boards and Wordle games: `datasets` loads the rows, and the card describes them."""

import json
import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard

from cli.errors import InputError
from data import publish
from data.chess.rows import Row, write_rows
from data.dataset_card import find_kind
from data.hub import local_files
from data.wordle.games import read_games
from tests.support.commands import REPOSITORY, run_code, run_command
from tests.support.hub_server import Repository
from tests.support.random_boards import random_file


# Prints the features and rows of every split of some datasets, loaded and streamed.
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
        games = f"--games={80 - 50 * seed} --words=american_446 --policy=mixture:0.4 --seed={seed}"
        output = f"--output={paths['wordle'][split]}"
        result = run_command("data.wordle.generate", *games.split(), output)
        assert result.returncode == 0, result.stderr
    return paths


@pytest.fixture(scope="module")
def folders(sources, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("datasets")
    for kind, paths in sources.items():
        (folder / kind).mkdir()
        settings = {"name": f"user/{kind}", "title": "Some rows", "license": "cc0-1.0"}
        publish.write_dataset(
            folder / kind, find_kind(paths.values()), paths, **settings, description="Drawn at random.\n"
        )
    return {kind: folder / kind for kind in sources}


def publish_arguments(paths: dict[str, Path]) -> list[object]:
    return ["--data", paths["train"], "--validation", paths["validation"]]


def run_main(monkeypatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["data.publish", *map(str, arguments)])
    publish.main()


def load(*names: object, **environment: str) -> dict:
    result = run_code(LOAD, *names, folder=REPOSITORY, **environment)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.slow
def test_datasets_loads_and_streams_the_rows_from_hub_and_folder(sources, folders, own_hub, monkeypatch):
    for kind, paths in sources.items():
        run_main(monkeypatch, *publish_arguments(paths), "--repo", f"user/{kind}")
    found = load(*folders.values(), "user/chess", "user/wordle", **own_hub.environment)
    assert len(found) == 8
    for name, splits in found.items():
        kind = "chess" if "chess" in name else "wordle"
        features = ", ".join(f"'{column}': {feature}" for column, feature in FEATURES[kind].items())
        assert splits.keys() == {"train", "validation"}
        for split, found in splits.items():
            assert found["features"] == f"{{{features}}}"
            assert found["rows"] == pq.read_table(sources[kind][split]).to_pylist()


def test_the_metadata_of_a_card_are_those_that_the_hub_shows(folders):
    data = DatasetCard.load(folders["wordle"] / "README.md").data
    assert (data.license, data.pretty_name, data.tags) == ("cc0-1.0", "Some rows", ["wordle"])


def table(folder: Path) -> dict[str, list[str]]:
    """Return the counts in a card by the name of the row."""
    card = (folder / "README.md").read_text()
    lines = card[card.index("| split |") :].split("\n\n")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name: values for name, *values in rows}


def test_the_counts_of_boards_are_right(folders, sources):
    counts = table(folders["chess"])
    assert counts["split"] == ["train", "validation"]
    for index, path in enumerate(sources["chess"].values()):
        moves = [len(row["moves"]) for row in pq.read_table(path).to_pylist()]
        assert counts["boards"][index] == str(len(moves))
        assert counts["action values"][index] == f"{sum(moves):,}"
        mean = f"{sum(moves) / len(moves):.1f}"
        assert counts["moves per board"][index] == f"{mean} ({min(moves)} to {max(moves)})"


def test_the_counts_of_games_are_right(folders, sources):
    counts = table(folders["wordle"])
    for index, path in enumerate(sources["wordle"].values()):
        rows = pq.read_table(path).to_pylist()
        returns = [sum(row["rewards"]) for row in rows]
        won = sum(row["feedback"][-1] == "ggggg" for row in rows)
        assert [counts[name][index] for name in ("games", "rule", "secret words", "players")] == [
            str(len(rows)),
            "official",
            "446",
            "`mixture:0.4`",
        ]
        assert float(counts["mean return"][index]) == pytest.approx(sum(returns) / len(rows), abs=1e-3)
        assert counts["success rate"][index] == f"{won / len(rows):.1%}"


def test_the_card_has_a_description_and_a_validation_set_only_if_they_were_given(folders, sources, tmp_path):
    text = (folders["chess"] / "README.md").read_text()
    assert "\n\n## How it was made\n\nDrawn at random.\n\n## Use" in text
    assert "data.validation=user/chess" in text
    paths = {"train": sources["chess"]["train"]}
    publish.write_dataset(tmp_path, find_kind(paths.values()), paths, name="user/a", title="a")
    text = (tmp_path / "README.md").read_text()
    assert "How it was made" not in text and "data.validation" not in text and "\n\n\n" not in text
    assert DatasetCard(text).data.license is None


def test_files_are_published_as_they_are_and_a_folder_of_them_can_be_trained_on(sources, tmp_path):
    (tmp_path / "games").mkdir()
    for name, path in (("a", sources["wordle"]["train"]), ("b", sources["wordle"]["validation"])):
        shutil.copy(path, tmp_path / f"games/{name}.parquet")
    folder = tmp_path / "dataset"
    folder.mkdir()
    kind = find_kind([tmp_path / "games"])
    publish.write_dataset(folder, kind, {"train": tmp_path / "games"}, name="user/a", title="a")
    published = sorted((folder / "data").iterdir())
    assert [path.name for path in published] == [f"train-0000{i}-of-00002.parquet" for i in range(2)]
    assert [path.read_bytes() for path in published] == [
        path.read_bytes() for path in sources["wordle"].values()
    ]
    # The metadata have the rule and the words.
    games, description = read_games(local_files(folder, "train"))
    assert len(games) == 110 and description.rule == "official"


def make_bad_source(fault: str, folder: Path, sources: dict) -> list[object]:
    """Return the arguments of a command that must be refused."""
    path = folder / "bad.parquet"
    if fault == "columns":
        pq.write_table(pa.table({"text": ["abc"]}), path)
    elif fault == "files":
        path.mkdir()
        pq.write_table(pa.table({"fen": ["abc"]}), path / "a.parquet")
        pq.write_table(pa.table({"text": ["abc"]}), path / "b.parquet")
    elif fault == "move":
        write_rows(path, [Row("4k3/8/8/8/8/8/4P3/4K3 w - - 0 1", ["e2e5"], [0.5])])
    elif fault == "game":
        pq.write_table(pq.read_table(sources["wordle"]["train"]).replace_schema_metadata(None), path)
    elif fault == "type":
        rows = pq.read_table(sources["chess"]["train"])
        pq.write_table(rows.set_column(2, "win_probs", pa.array(["0.5"] * len(rows))), path)
    elif fault == "parquet":
        path.write_text("fen,moves\n")
    elif fault == "kinds":
        return ["--data", sources["chess"]["train"], "--validation", sources["wordle"]["train"]]
    elif fault == "description":
        return ["--data", sources["chess"]["train"], "--description", folder / "none.md"]
    return ["--data", path]


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("columns", "columns text cannot be published: give rows of one of these kinds, or a LeRobotDataset"),
        ("files", "b.parquet: its columns differ from those of"),
        ("move", "bad.parquet row 0: 'e2e5' is not a legal move"),
        ("game", "bad.parquet: its metadata does not name the game"),
        ("type", "bad.parquet: column 'win_probs' is string, must be list"),
        ("parquet", "bad.parquet: cannot be read as Parquet"),
        ("missing", "bad.parquet: no such file or folder"),
        ("kinds", "wordle_train.parquet: its columns differ from those of"),
        ("description", "none.md cannot be read: No such file or directory"),
    ],
)
def test_bad_input_is_refused_in_one_line(fault, problem, sources, tmp_path, monkeypatch):
    arguments = make_bad_source(fault, tmp_path, sources)
    with pytest.raises(InputError) as raised:
        run_main(monkeypatch, *arguments, "--folder", tmp_path / "dataset")
    assert problem in str(raised.value) and "\n" not in str(raised.value)
    assert not [path for path in tmp_path.iterdir() if "dataset" in path.name]


def test_a_folder_is_replaced_only_with_overwrite(sources, tmp_path, monkeypatch):
    folder = tmp_path / "dataset"
    folder.mkdir()
    notes = folder / "notes.txt"
    notes.write_text("mine")
    arguments = [*publish_arguments(sources["chess"]), "--folder", folder]
    with pytest.raises(InputError, match=r"dataset exists: .* --overwrite"):
        run_main(monkeypatch, *arguments)
    with pytest.raises(InputError, match="is not a dataset that this command wrote"):
        run_main(monkeypatch, *arguments, "--overwrite")
    with pytest.raises(InputError, match=r"notes\.txt is a file, not a folder"):
        run_main(monkeypatch, *arguments[:-1], notes / "dataset")
    assert list(folder.iterdir()) == [notes]
    notes.unlink()
    folder.rmdir()
    for options in ([], ["--overwrite"]):
        run_main(monkeypatch, *arguments, *options)
        assert sorted(path.name for path in folder.iterdir()) == ["README.md", "data"]


def test_a_published_dataset_is_replaced_only_with_overwrite(own_hub, tmp_path, monkeypatch, capsys):
    arguments = ["--data", tmp_path / "boards", "--repo", "user/boards"]
    (tmp_path / "boards").mkdir()
    for name in "ab":
        random_file(tmp_path / "boards" / f"{name}.parquet", 10, seed=ord(name))
    run_main(monkeypatch, *arguments)
    assert f"published: {own_hub.url}/datasets/user/boards" in capsys.readouterr().out
    before = own_hub.files("datasets", "user/boards")
    (tmp_path / "boards/b.parquet").unlink()
    with pytest.raises(InputError, match=r"user/boards has a dataset: .* --overwrite"):
        run_main(monkeypatch, *arguments)
    assert own_hub.files("datasets", "user/boards") is before
    run_main(monkeypatch, *arguments, "--overwrite")
    data = [path for path in own_hub.files("datasets", "user/boards") if path.startswith("data/")]
    assert data == ["data/train-00000-of-00001.parquet"]


def test_a_failed_upload_is_resumed_by_the_same_command(sources, own_hub, monkeypatch):
    arguments = [*publish_arguments(sources["chess"]), "--repo", "user/boards", "--private"]
    own_hub.refuse_uploads_with = 500
    with pytest.raises(InputError, match=r"upload to user/boards failed: .*; run the command again"):
        run_main(monkeypatch, *arguments)
    own_hub.refuse_uploads_with = None
    run_main(monkeypatch, *arguments)
    assert own_hub.repositories["datasets", "user/boards"].private
    files = own_hub.files("datasets", "user/boards")
    assert set(files) > {"README.md", "data/validation-00000-of-00001.parquet"}


@pytest.mark.parametrize(
    ("repo", "problem"),
    [
        ("somebody/boards", "upload to somebody/boards failed: the token may not write there"),
        ("a/b/c", "--repo a/b/c is not a hub id"),
        ("user/public", "user/public exists and is public"),
        ("user/gone", "upload to user/gone failed: the hub cannot be reached"),
        ("user/boards", "this machine is not logged in to the hub: run `hf auth login`"),
    ],
)
def test_a_refused_upload_is_one_line(repo, problem, sources, own_hub, monkeypatch, tmp_path):
    own_hub.repositories["datasets", "user/public"] = Repository(private=False)
    own_hub.repositories["datasets", "user/public"].commit("main", {})
    if repo == "user/gone":
        own_hub.stop()
    elif repo == "user/boards":
        monkeypatch.delenv("HF_TOKEN")
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(InputError) as raised:
        run_main(monkeypatch, "--data", sources["chess"]["train"], "--repo", repo, "--private")
    assert problem in str(raised.value) and "\n" not in str(raised.value)
