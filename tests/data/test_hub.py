"""Datasets on the hub and on disk: their splits, pinned to a commit, downloaded once; errors of one line."""

import json
import shutil
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from datasets import Dataset, DatasetDict

from cli.errors import InputError
from data.chess.rows import write_rows
from data.hub import local_files, pin, read_name
from tests.support.commands import REPOSITORY, ForkedCommand, assert_input_error, run_command, start_code
from tests.support.hub_server import HubServer, Repository
from tests.support.random_boards import random_file, random_rows
from tests.support.training_runs import TINY, read_losses


# Prints, for each dataset, the names of the local files of a split, or the error.
DOWNLOAD = """
import json, sys
from cli.errors import InputError
from data.hub import local_files
for source in sys.argv[2:]:
    try:
        print(json.dumps([str(path) for path in sorted(local_files(source, sys.argv[1]).iterdir())]))
    except InputError as error:
        print(json.dumps(str(error)))
"""
SHARDS = ("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet")
TEST = "data/test-00000-of-00001.parquet"
NUM_ROWS = 40
SIX_STEPS = [*TINY, "training.steps=6"]


@pytest.fixture(scope="module")
def contents(tmp_path_factory) -> dict[str, bytes]:
    """A dataset of two training files and one test file."""
    folder, rows = tmp_path_factory.mktemp("rows"), random_rows(3 * NUM_ROWS)
    files = {}
    for index, path in enumerate((*SHARDS, TEST)):
        write_rows(folder / "rows.parquet", rows[index * NUM_ROWS : (index + 1) * NUM_ROWS])
        files[path] = (folder / "rows.parquet").read_bytes()
    return files


@pytest.fixture
def hub(tmp_path, contents):
    with HubServer(tmp_path / "hub") as hub:
        put(hub, "user/boards", contents)
        yield hub


def put(hub: HubServer, name: str, files: dict[str, bytes], private: bool = False) -> str:
    """Replace the files of a dataset; return the commit."""
    repository = hub.repositories.setdefault(("datasets", name), Repository(private))
    return repository.commit("main", files)


def start_download(hub: HubServer, *sources: str, split: str = "train", **environment: str) -> ForkedCommand:
    return start_code(DOWNLOAD, split, *sources, folder=REPOSITORY, **hub.environment | environment)


def finish(process: ForkedCommand) -> list[list[bytes] | str]:
    """Return, for each source, the contents of the downloaded files, or the error."""
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    found = map(json.loads, stdout.splitlines())
    return [
        result if isinstance(result, str) else [Path(path).read_bytes() for path in result]
        for result in found
    ]


def download(
    hub: HubServer, *sources: str, split: str = "train", **environment: str
) -> list[list[bytes] | str]:
    return finish(start_download(hub, *sources, split=split, **environment))


def requests(hub: HubServer) -> list[str]:
    """Return the Parquet files that were requested, sorted by name."""
    paths = [path for method, path, _ in hub.requests if method == "GET" and "/resolve/" in path]
    return sorted(path.split("/resolve/")[1].split("/", 1)[1] for path in paths if path.endswith(".parquet"))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("user/name", ("user/name", None, None)),
        ("user/name@v1.0", ("user/name", "v1.0", None)),
        ("user/na.me_2@refs/pr/1:test", ("user/na.me_2", "refs/pr/1", "test")),
        ("user/name:held_out", ("user/name", None, "held_out")),
        ("name", None),
        ("user/na--me", None),
        ("a/b/c", None),
        ("../name", None),
        ("~/name", None),
        ("/user/name", None),
        ("data/boards.parquet", None),
        ("data/chess", None),  # exists
    ],
)
def test_names_on_the_hub_are_distinguished_from_paths(source, expected, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    assert read_name(source) == expected
    if expected is None:
        assert pin(source) == source
    else:
        assert str(read_name(source)) == source


@pytest.mark.slow
def test_only_the_files_of_a_split_are_downloaded_and_only_once(hub, contents):
    train = [contents[path] for path in SHARDS]
    assert download(hub, "user/boards", "user/boards") == [train, train]
    assert requests(hub) == list(SHARDS)
    shutil.rmtree(hub.folder / "hf_hub_cache")
    assert download(hub, "user/boards", "user/boards:test") == [train, [contents[TEST]]]
    assert requests(hub) == sorted([*SHARDS, *SHARDS, TEST])


@pytest.mark.slow
def test_without_a_connection_the_last_download_is_used(hub, contents):
    train = [contents[path] for path in SHARDS]
    assert download(hub, "user/boards") == [train]
    assert download(hub, "user/boards", HF_HUB_OFFLINE="1") == [train]
    hub.stop()
    downloaded, error = download(hub, "user/boards", "user/other")
    assert downloaded == train
    assert error.startswith("user/other: no such file or folder; Cannot resolve revision")


@pytest.mark.slow
def test_a_revision_stays_the_same_when_the_dataset_changes(hub, contents):
    commit = put(hub, "user/boards", contents)
    (before,) = download(hub, "user/boards")
    put(hub, "user/boards", {SHARDS[0]: contents[SHARDS[0]]})
    now, then = download(hub, "user/boards", f"user/boards@{commit}")
    assert (len(now), then) == (1, before)


def test_of_two_processes_one_downloads(hub, contents):
    processes = [start_download(hub, "user/boards") for _ in range(2)]
    assert [finish(process) for process in processes] == [[[contents[path] for path in SHARDS]]] * 2
    assert requests(hub) == list(SHARDS)


@pytest.mark.slow
def test_bad_names_and_datasets_are_refused_in_one_line(hub, contents):
    put(hub, "user/empty", {"README.md": b"nothing"})
    put(hub, "user/card", {"README.md": b"---\na: [\n---\n", "a.parquet": b""})
    put(hub, "user/text", {"train.csv": b"fen\n"})
    put(hub, "user/secret", contents, private=True)
    problems = {
        "user/none": "no such file or folder, and no such dataset on the hub",
        "user/boards@v9": "the dataset has no revision v9",
        f"user/boards@{'0' * 40}": "the dataset has no revision 0000",
        "user/boards:best": "no split best, but train, test: name one",
        "user/empty": "cannot be loaded as a dataset (The directory at hf://datasets/user/empty",
        "user/card": "the metadata at the top of its README.md are not valid YAML",
        "user/text": "train.csv is not a Parquet file",
        "user/secret": "if it is private or gated, request access on its page and run `hf auth login`",
    }
    errors = download(hub, *problems, HF_TOKEN="")
    for error, (source, problem) in zip(errors, problems.items(), strict=True):
        assert error.startswith(source) and problem in error and "\n" not in error
    hub.fail_with = 403
    (error,) = download(hub, "user/boards@" + "0" * 40)
    assert "download failed" in error and "403" in error and "\n" not in error


def test_local_files_are_returned_as_they_are(tmp_path):
    assert local_files(tmp_path / "none.parquet", "train") == tmp_path / "none.parquet"
    random_file(tmp_path / "a.parquet", 1)
    assert local_files(tmp_path / "a.parquet", "train") == tmp_path / "a.parquet"
    assert local_files(tmp_path, "train") == tmp_path


def test_a_dataset_that_was_saved_to_disk_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rows = {"fen": ["8/8/8/8/8/8/k7/2K5 w - - 0 1"], "moves": [["c1d1"]], "win_probs": [[0.5]]}
    dataset = Dataset.from_dict(rows)
    DatasetDict(train=dataset, test=dataset).save_to_disk(tmp_path / "splits")
    dataset.save_to_disk(tmp_path / "rows.v1")
    other = rows | {"win_probs": [[0.25]]}
    Dataset.from_dict(other).save_to_disk(tmp_path / "rows.v2")
    for source, split, expected in (
        ("splits", "train", rows),
        ("splits", "validation", rows),
        ("rows.v1", "train", rows),
        ("rows.v2", "train", other),
        ("rows.v1", "train", rows),
    ):
        (file,) = local_files(tmp_path / source, split).iterdir()
        assert pq.read_table(file).to_pydict() == expected
    with pytest.raises(InputError, match="has no split best, but train, test: give the path of one, a file"):
        local_files(tmp_path / "splits", "best")
    assert len(list(local_files(tmp_path / "splits" / "test", "train").iterdir())) == 1


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("dataset_dict.json", "{"),
        ("dataset_dict.json", '{"splits": 3}'),
        ("dataset_dict.json", '{"splits": ["train"]}'),
        ("state.json", "{}"),
        ("state.json", '{"_fingerprint": "a"}'),
    ],
)
def test_a_damaged_folder_of_save_to_disk_is_refused_in_one_line(tmp_path, monkeypatch, file, text):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / file).write_text(text)
    with pytest.raises(InputError, match=r"saved.* is damaged or was not written by .*: save it"):
        local_files(tmp_path / "saved", "train")


def test_a_local_dataset_has_splits_and_its_changes_show(tmp_path, contents, monkeypatch):
    folder = tmp_path / "dataset"
    (folder / "data").mkdir(parents=True)
    for path, content in contents.items():
        (folder / path).write_bytes(content)

    def files(split: str) -> list[bytes]:
        return [path.read_bytes() for path in sorted(local_files(folder, split).iterdir())]

    assert files("train") == [contents[path] for path in SHARDS]
    assert files("validation") == [contents[TEST]]
    (folder / SHARDS[1]).unlink()
    assert files("train") == [contents[SHARDS[0]]]
    with pytest.raises(InputError, match="no split best, but train, test: give the path of one, a file"):
        local_files(folder, "best")
    assert pq.read_table(local_files(folder / SHARDS[0], "train")).num_rows == NUM_ROWS
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"cannot be written .* set XDG_CACHE_HOME"):
        local_files(folder, "train")


def test_files_that_are_in_no_split_for_their_suffix_are_named_once(tmp_path, contents, capsys, monkeypatch):
    (tmp_path / "data").mkdir()
    for name in (SHARDS[0], "data/train-1.PARQUET", "data/train-2.pq"):
        (tmp_path / name).write_bytes(contents[SHARDS[0]])
    assert len(list(local_files(tmp_path, "train").iterdir())) == 1
    assert "files left out: 2 (data/train-1.PARQUET, data/train-2.pq)" in capsys.readouterr().err
    monkeypatch.setenv("RANK", "1")  # another process of the same run
    local_files(tmp_path, "train")
    assert "left out" not in capsys.readouterr().err


def test_evaluation_reads_its_split_from_the_hub(hub, contents, model_folder, tmp_path):
    arguments = ["--model", model_folder, "--data", "user/boards", "--json", tmp_path / "actions.json"]
    result = run_command("eval.chess.actions", *arguments, **hub.environment)
    assert result.returncode == 0, result.stderr
    results = json.loads((tmp_path / "actions.json").read_text())
    assert (results["num_boards"], results["data"]) == (NUM_ROWS, "user/boards")
    assert requests(hub) == [TEST]


@pytest.mark.slow
def test_training_by_name_equals_training_on_files_downloaded_and_prepared_once(hub, contents, tmp_path):
    (tmp_path / "rows").mkdir()
    for path, content in contents.items():
        (tmp_path / path.replace("data/", "rows/")).write_bytes(content)
    held_out = (tmp_path / TEST.replace("data/", "rows/")).rename(tmp_path / "held_out.parquet")
    commit = put(hub, "user/boards", contents)

    def run(name: str, train: object, *changes: str) -> subprocess.CompletedProcess:
        data = [f"data.train={train}", f"output_dir={tmp_path / name}"]
        return run_command(
            "train", "--config=chess_tiny.yaml", *SIX_STEPS, *data, *changes, **hub.environment
        )

    for result in (
        run("local", tmp_path / "rows", f"data.validation={held_out}"),
        run("hub", "user/boards", "data.validation=user/boards"),
    ):
        assert result.returncode == 0, result.stderr
    assert read_losses(tmp_path / "hub") == read_losses(tmp_path / "local")
    assert len(read_losses(tmp_path / "hub")) == 6
    saved = yaml.safe_load((tmp_path / "hub/config.yaml").read_text())["data"]
    assert saved["train"] == saved["validation"] == f"user/boards@{commit}"

    (arrays,) = hub.folder.glob("xdg_cache_home/stop-regressing/hub/user--boards/*/train.prepared/tokens.npy")
    prepared_at = arrays.stat().st_mtime_ns
    assert requests(hub) == sorted(contents)
    # A resumed run does not continue with other rows under the same name.
    put(hub, "user/boards", {"train.parquet": contents[SHARDS[0]]})
    resumed = run("hub", "user/boards", f"data.validation={held_out}", "resume=true")
    assert_input_error(resumed, "data.train", "config.yaml")
    hub.stop()
    result = run("again", f"user/boards@{commit}", f"data.validation=user/boards@{commit}")
    assert result.returncode == 0, result.stderr
    assert read_losses(tmp_path / "again") == read_losses(tmp_path / "local")
    assert arrays.stat().st_mtime_ns == prepared_at


@pytest.mark.slow
def test_published_wordle_games_train_and_evaluate_agents(hub, tmp_path):
    games = tmp_path / "games.parquet"
    for command in (
        f"data.wordle.generate --games=200 --words=american_446 --output={games}",
        f"data.publish --data={games} --repo=user/games",
        f"train --config=wordle_tiny.yaml {' '.join(SIX_STEPS)} evaluation.games=5 data.train=user/games "
        f"output_dir={tmp_path / 'run'}",
        "eval.wordle --policy=greedy --protocol=one_turn --words=american_446 --games=user/games:train "
        "--num-games=50",
    ):
        result = run_command(*command.split(), **hub.environment)
        assert result.returncode == 0, result.stderr
    assert len(read_losses(tmp_path / "run")) == 6
