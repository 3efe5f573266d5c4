"""Datasets on the hub in the place of local files: fetched once, checked, and refused in one line."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import load_dataset_builder
from huggingface_hub import RepoFile
from huggingface_hub.constants import DOWNLOAD_CHUNK_SIZE

from cli.errors import InputError
from data.chess.rows import write_rows
from data.hub import is_intact, local_files, pin, read_name
from data.hub_splits import SplitError, choose_files
from tests.support.commands import REPOSITORY, assert_input_error, run_command
from tests.support.hub_server import HubServer, Repository
from tests.support.random_boards import random_rows
from tests.support.training_runs import TINY, read_losses


FETCH = """
import sys
from cli.errors import command
from data.hub import local_files
command(lambda: print(local_files(sys.argv[1], sys.argv[2])))
"""
SHARDS = ("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet")
NUM_ROWS = 40
SIX_STEPS = [*TINY, "training.steps=6"]


@pytest.fixture(scope="module")
def contents(tmp_path_factory) -> dict[str, bytes]:
    """A dataset of two files for training and one for testing."""
    folder, rows = tmp_path_factory.mktemp("rows"), random_rows(3 * NUM_ROWS)
    files = {}
    for place, path in enumerate((*SHARDS, "data/test-00000-of-00001.parquet")):
        write_rows(folder / "rows.parquet", rows[place * NUM_ROWS : (place + 1) * NUM_ROWS])
        files[path] = (folder / "rows.parquet").read_bytes()
    return files


@pytest.fixture
def hub(tmp_path, contents):
    with HubServer(tmp_path / "hub") as hub:
        put(hub, "user/boards", contents)
        yield hub


def put(hub: HubServer, name: str, files: dict[str, bytes], private: bool = False) -> str:
    """Give a dataset new files; return the commit."""
    repository = hub.repositories.setdefault(("datasets", name), Repository(private))
    return repository.commit("main", files)


def start_fetch(hub: HubServer, source: str, split: str = "train", **environment: str) -> subprocess.Popen:
    caches = {"XDG_CACHE_HOME": str(hub.folder / "xdg")}
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, source, split],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env=os.environ | hub.environment | caches | environment,
    )


def fetch(
    hub: HubServer, source: str, split: str = "train", **environment: str
) -> subprocess.CompletedProcess:
    process = start_fetch(hub, source, split, **environment)
    stdout, stderr = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def fetched(result: subprocess.CompletedProcess) -> list[bytes]:
    """Return the contents of the files that were fetched, in order."""
    assert result.returncode == 0, result.stderr
    return [path.read_bytes() for path in sorted(Path(result.stdout.strip()).iterdir())]


def downloads(hub: HubServer) -> list[str]:
    """Return the data files that were asked for, in the order of their names."""
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
        ("a/b/c", None),
        ("../name", None),
        ("./name", None),
        ("~/name", None),
        ("/user/name", None),
        ("data/boards.parquet", None),
        ("data/chess", None),  # is there
    ],
)
def test_names_of_the_hub_are_told_from_paths(source, expected, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    assert read_name(source) == expected
    if expected is None:
        assert pin(source) == source
    else:
        assert str(read_name(source)) == source


LAYOUTS = {
    "shards": (["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"], None),
    "shards of other splits": (
        ["data/train-00000-of-00001.parquet", "data/dev-00000-of-00001.parquet"],
        None,
    ),
    "folders": (["train/a.parquet", "train/b.parquet", "test/c.parquet"], None),
    "names": (["boards_train.parquet", "boards_test.parquet"], None),
    "words that are no splits": (["trained.parquet", "latest.parquet"], None),
    "no splits": (["a.parquet", "more/b.parquet"], None),
    "hidden": (["train.parquet", ".cache/test.parquet", "__old/test.parquet"], None),
    "card": (
        ["x/a.parquet", "y/b.parquet", "y/train.parquet"],
        [
            {
                "config_name": "c",
                "data_files": [{"split": "train", "path": "x/*"}, {"split": "b", "path": ["y/b*"]}],
            }
        ],
    ),
    "card of one split": (
        ["x/a.parquet", "test.parquet"],
        [{"config_name": "c", "data_files": "x/a.parquet"}],
    ),
    "card of several configurations": (
        ["x/a.parquet", "y/b.parquet"],
        [
            {"config_name": "other", "data_files": "x/*.parquet"},
            {"config_name": "mine", "data_files": "y/*.parquet", "default": True},
        ],
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_belong_to_the_splits_that_datasets_finds(layout, tmp_path):
    paths, configs = LAYOUTS[layout]
    folder = (tmp_path / "dataset").resolve()
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"a": [1]}), folder / path)
    if configs:
        (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': configs})}---\n")
    builder = load_dataset_builder(str(folder), cache_dir=str(tmp_path / "cache"))
    assert builder.config.data_files
    for split, files in builder.config.data_files.items():
        found = choose_files(paths, configs, str(split))
        assert found == sorted(Path(file).relative_to(folder).as_posix() for file in files)


@pytest.mark.parametrize(
    ("paths", "configs", "split", "problem"),
    [
        (["train.csv"], None, "train", "has no Parquet files: expected data/train-"),
        (["train.parquet"], None, "validation", "has no split validation, but train: name one"),
        (["train.parquet", "test.parquet"], None, "held_out", "has no split held_out, but test, train"),
        (["a.parquet"], [{"config_name": "a"}, {"config_name": "b"}], "train", "has 2 configurations"),
        (["a.parquet"], [{"config_name": "a", "data_files": "b/*"}], "train", "lists no Parquet files"),
        (["a.parquet"], "all", "train", "`configs` are not understood"),
        (["a.parquet"], [{"data_files": [{"path": "a*"}]}], "train", "`configs` are not understood"),
    ],
)
def test_a_split_that_is_not_there_is_refused(paths, configs, split, problem):
    with pytest.raises(SplitError, match=problem.replace("`", ".")) as raised:
        choose_files(paths, configs, split)
    assert "\n" not in str(raised.value)


def test_test_stands_for_a_validation_that_is_missing():
    assert choose_files(["train.parquet", "test.parquet"], None, "validation") == ["test.parquet"]
    assert choose_files(["valid.parquet", "test.parquet"], None, "validation") == ["valid.parquet"]


def test_a_split_is_fetched_alone_and_once(hub, contents):
    first = fetch(hub, "user/boards")
    assert fetched(first) == [contents[path] for path in SHARDS]
    assert downloads(hub) == list(SHARDS)
    again = fetch(hub, "user/boards")
    assert again.stdout == first.stdout
    assert downloads(hub) == list(SHARDS)
    shutil.rmtree(hub.folder / "hf_hub_cache")
    assert fetched(fetch(hub, "user/boards")) == [contents[path] for path in SHARDS]
    held_out = fetch(hub, "user/boards", "validation")
    assert fetched(held_out) == [contents["data/test-00000-of-00001.parquet"]]


def test_without_a_connection_what_was_fetched_is_used(hub, contents):
    missing = fetch(hub, "user/boards", HF_HUB_OFFLINE="1")
    assert_input_error(missing, "user/boards: no such file or folder here, and the hub cannot be asked")
    fetched(fetch(hub, "user/boards"))
    assert len(fetched(fetch(hub, "user/boards", HF_HUB_OFFLINE="1"))) == 2
    hub.stop()
    assert len(fetched(fetch(hub, "user/boards"))) == 2
    # What another program left in the hub's cache is enough.
    shutil.rmtree(hub.folder / "xdg")
    assert fetched(fetch(hub, "user/boards")) == [contents[path] for path in SHARDS]


def test_a_revision_stays_what_it_is_when_the_dataset_changes(hub, contents):
    commit = put(hub, "user/boards", contents)
    before = fetched(fetch(hub, "user/boards"))
    put(hub, "user/boards", {SHARDS[0]: contents[SHARDS[0]]})
    assert len(fetched(fetch(hub, "user/boards"))) == 1
    assert fetched(fetch(hub, f"user/boards@{commit}")) == before


def test_two_processes_fetch_once(hub, contents):
    processes = [start_fetch(hub, "user/boards") for _ in range(2)]
    outputs = {process.communicate(timeout=120)[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert len(outputs) == 1
    assert downloads(hub) == list(SHARDS)


def test_a_killed_download_goes_on_with_the_files_that_are_missing(hub, contents):
    hub.hold_download = SHARDS[1]
    process = start_fetch(hub, "user/boards")
    blobs = hub.folder / "hf_hub_cache/datasets--user--boards/blobs"
    first = hashlib.sha1(b"blob %d\0" % len(contents[SHARDS[0]]) + contents[SHARDS[0]]).hexdigest()
    while not ((blobs / first).exists() and SHARDS[1] in downloads(hub)):
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    hub.hold_download = None
    hub.released.set()
    assert fetched(fetch(hub, "user/boards")) == [contents[path] for path in SHARDS]
    assert downloads(hub) == [SHARDS[0], SHARDS[1], SHARDS[1]]


def test_a_download_that_is_cut_off_goes_on_where_it_was(hub):
    content = random.Random(0).randbytes(3 * DOWNLOAD_CHUNK_SIZE)
    put(hub, "user/large", {SHARDS[0]: content})
    hub.cut_downloads = 1
    assert fetched(fetch(hub, "user/large")) == [content]
    ranges = [part for method, path, part in hub.requests if method == "GET" and path.endswith(".parquet")]
    assert ranges == [None, f"bytes={DOWNLOAD_CHUNK_SIZE}-"]


def test_a_damaged_download_is_noticed_and_fetched_anew(hub, contents):
    hub.damage_downloads = 1
    assert_input_error(
        fetch(hub, "user/boards"), "user/boards: data/train-0000", "arrived damaged: call again"
    )
    assert fetched(fetch(hub, "user/boards")) == [contents[path] for path in SHARDS]
    assert len(downloads(hub)) == 3


def test_large_files_are_compared_by_the_hash_of_their_contents(tmp_path):
    (tmp_path / "file").write_bytes(b"rows")
    for content, expected in ((b"rows", True), (b"rowt", False), (b"rows of another size", False)):
        lfs = {"size": len(content), "oid": hashlib.sha256(content).hexdigest(), "pointerSize": 100}
        entry = RepoFile(path="file", size=len(content), oid="0" * 40, lfs=lfs)
        assert is_intact(tmp_path / "file", entry) == expected


@pytest.mark.parametrize(
    ("source", "split", "problem"),
    [
        ("user/none", "train", "user/none: no such file or folder here, and no such dataset on the hub"),
        ("user/boards@v9", "train", "user/boards@v9: the dataset has no revision v9"),
        ("user/boards:best", "train", "user/boards:best: has no split best, but test, train"),
        ("user/empty", "train", "user/empty: the repository has no Parquet files"),
        ("user/na--me", "train", "user/na--me: no such file or folder, and no name of a dataset"),
        ("user/card", "train", "user/card: the first lines of its card, README.md, are no valid YAML"),
    ],
)
def test_what_cannot_be_had_is_refused_in_one_line(hub, source, split, problem):
    put(hub, "user/empty", {"README.md": b"nothing"})
    put(hub, "user/card", {"README.md": b"---\na: [\n---\n", "a.parquet": b""})
    assert_input_error(fetch(hub, source, split), problem)


def test_a_private_dataset_needs_a_login_and_a_hub_in_trouble_another_try(hub, contents):
    commit = put(hub, "user/secret", contents, private=True)
    assert_input_error(fetch(hub, "user/secret", HF_TOKEN=""), "user/secret", "private", "hf auth login")
    hub.fail_with = 403
    assert_input_error(fetch(hub, f"user/secret@{commit}"), "cannot be fetched", "403", "call again")
    hub.fail_with = None
    assert len(fetched(fetch(hub, "user/secret"))) == 2


def test_a_cache_that_cannot_be_written_is_named(hub, tmp_path):
    (tmp_path / "file").write_text("")
    result = fetch(hub, "user/boards", XDG_CACHE_HOME=str(tmp_path / "file"))
    assert_input_error(result, "cannot be written", "XDG_CACHE_HOME")


def test_local_files_are_taken_as_they_are(tmp_path):
    assert local_files(tmp_path / "none.parquet", "train") == tmp_path / "none.parquet"
    (tmp_path / "a.parquet").write_bytes(b"")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train.parquet").write_bytes(b"")
    assert local_files(tmp_path, "train") == tmp_path
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(InputError, match="has no split validation, but train"):
        local_files(tmp_path, "validation")


def test_commands_read_the_split_that_they_need(hub, contents, model_folder, tmp_path):
    environment = hub.environment | {"XDG_CACHE_HOME": str(hub.folder / "xdg")}
    result = run_command("data.chess.preparation", "user/boards", **environment)
    assert f"{2 * NUM_ROWS} boards" in result.stdout, result.stderr
    arguments = ["--model", model_folder, "--data", "user/boards", "--json", tmp_path / "actions.json"]
    result = run_command("eval.chess.actions", *arguments, **environment)
    assert result.returncode == 0, result.stderr
    results = json.loads((tmp_path / "actions.json").read_text())
    assert (results["num_boards"], results["data"]) == (NUM_ROWS, "user/boards")
    assert downloads(hub) == sorted(contents)


def test_rows_of_another_kind_are_refused_in_one_line(hub, tmp_path):
    pq.write_table(pa.table({"text": ["abc"]}), tmp_path / "text.parquet")
    put(hub, "user/text", {"train.parquet": (tmp_path / "text.parquet").read_bytes()})
    environment = hub.environment | {"XDG_CACHE_HOME": str(hub.folder / "xdg")}
    result = run_command("data.chess.preparation", "user/text", **environment)
    assert_input_error(result, "user--text", "column 'fen' is missing")


@pytest.mark.slow
def test_training_by_name_is_training_on_the_files_fetched_and_prepared_once(hub, contents, tmp_path):
    (tmp_path / "rows").mkdir()
    for path, content in contents.items():
        (tmp_path / path.replace("data/", "rows/")).write_bytes(content)
    (tmp_path / "rows/test-00000-of-00001.parquet").rename(tmp_path / "held_out.parquet")
    commit = put(hub, "user/boards", contents)
    environment = hub.environment | {"XDG_CACHE_HOME": str(hub.folder / "xdg")}

    def run(name: str, train: object, *changes: str) -> subprocess.CompletedProcess:
        arguments = [
            "--config=chess_tiny.yaml",
            *SIX_STEPS,
            f"data.train={train}",
            f"output_dir={tmp_path / name}",
        ]
        return run_command("train", *arguments, *changes, **environment)

    validation = f"data.validation={tmp_path / 'held_out.parquet'}"
    for result in (
        run("local", tmp_path / "rows", validation),
        run("hub", "user/boards", "data.validation=user/boards"),
    ):
        assert result.returncode == 0, result.stderr
    assert read_losses(tmp_path / "hub") == read_losses(tmp_path / "local")
    assert len(read_losses(tmp_path / "hub")) == 6
    saved = yaml.safe_load((tmp_path / "hub/config.yaml").read_text())["data"]
    assert saved["train"] == saved["validation"] == f"user/boards@{commit}"

    arrays = hub.folder / f"xdg/stop-regressing/hub/user--boards/{commit}/train.prepared/tokens.npy"
    made = arrays.stat().st_mtime_ns
    assert downloads(hub) == sorted(contents)
    # Other rows under the same name do not slip into a run that is resumed.
    put(hub, "user/boards", {"train.parquet": contents[SHARDS[0]]})
    resumed = run("hub", "user/boards", validation, "resume=true")
    assert_input_error(resumed, "data.train does not hold the examples", "config.yaml")
    hub.stop()
    result = run("again", f"user/boards@{commit}", f"data.validation=user/boards@{commit}")
    assert result.returncode == 0, result.stderr
    assert read_losses(tmp_path / "again") == read_losses(tmp_path / "local")
    assert arrays.stat().st_mtime_ns == made


@pytest.mark.slow
def test_wordle_agents_learn_from_the_hub_as_from_a_file(hub, tmp_path):
    games = tmp_path / "games.parquet"
    arguments = ["--games=200", "--words=american_446", f"--output={games}"]
    assert run_command("data.wordle.generate", *arguments).returncode == 0
    environment = hub.environment | {"XDG_CACHE_HOME": str(hub.folder / "xdg")}
    published = run_command("data.publish", "--data", games, "--repo", "user/games", **environment)
    assert published.returncode == 0, published.stderr
    for name, source in (("local", games), ("hub", "user/games")):
        arguments = ["--config=wordle_tiny.yaml", *SIX_STEPS, "evaluation.games=5", f"data.train={source}"]
        result = run_command("train", *arguments, f"output_dir={tmp_path / name}", **environment)
        assert result.returncode == 0, result.stderr
    assert read_losses(tmp_path / "hub") == read_losses(tmp_path / "local")
    arguments = ["--policy=greedy", "--protocol=one_turn", "--words=american_446", "--games=user/games:train"]
    result = run_command("eval.wordle", *arguments, "--num-games=50", **environment)
    assert result.returncode == 0, result.stderr
