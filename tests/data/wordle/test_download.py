"""Downloading the original word lists, from a server of the test's own."""

import hashlib

import pytest

from cli.errors import InputError
from data.wordle.download import BASE_URL, SOURCES, WordSource, download
from data.wordle.words import load_word_lists, read_words
from tests.support.commands import assert_input_error, run_command
from tests.support.file_server import FileServer


DOWNLOAD = "data.wordle.download"
GUESSES = ["slate", "zebra", "abide", "trace", "crane"]


def source(name, remote, words, skip=0):
    text = "".join(word + "\n" for word in sorted(words))
    return WordSource(name, remote, len(words), hashlib.sha256(text.encode()).hexdigest(), skip)


LISTS = (
    source("answers.txt", "all.txt", GUESSES[3:], skip=3),
    source("guesses.txt", "all.txt", GUESSES),
    source("few.txt", "few.txt", ["speed"]),
)


@pytest.fixture
def server(monkeypatch):
    # A proxy of the machine does not reach this server.
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with FileServer({"all.txt": "\n".join(GUESSES).encode(), "few.txt": b"SPEED\r\n"}) as server:
        yield server


def test_lists_are_written_sorted_and_each_file_is_fetched_once(server, tmp_path):
    folder = tmp_path / "new" / "lists"
    download(folder, server.url + "/", LISTS)
    assert sorted(path.name for path in folder.iterdir()) == ["answers.txt", "few.txt", "guesses.txt"]
    assert read_words(folder / "guesses.txt") == sorted(GUESSES)
    assert read_words(folder / "few.txt") == ["speed"]
    words = load_word_lists(folder / "answers.txt", folder / "guesses.txt")
    assert words.answers == ("crane", "trace")
    assert server.downloads == [("all.txt", 0), ("few.txt", 0)]


@pytest.mark.parametrize("fault", [503, 404, "cut off"])
def test_a_failed_download_is_an_error_and_nothing_is_written(server, fault, tmp_path):
    if fault == "cut off":
        server.cuts = [10**6, 3]
    else:
        server.statuses = {"few.txt": fault}
    with pytest.raises(InputError, match=r"few.txt cannot be downloaded \(.+\): try again when online, or"):
        download(tmp_path, server.url, LISTS, retries=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        b"slate\nzebra\nabide\ntrace\ncrank\n",
        b"slate\nzebra\nabide\ntrace\n",
        b"slate\nzebra\nabide\ntrace\ncr\xe2ne\n",
        b"<html>\nWelcome to our network: please log in first</html>\n",
        b"",
    ],
)
def test_other_content_is_an_error_and_nothing_is_written(server, content, tmp_path):
    server.files["all.txt"] = content
    error = "all.txt does not have the 2 words of answers.txt .*: name a mirror with --base-url"
    with pytest.raises(InputError, match=error):
        download(tmp_path, server.url, LISTS)
    assert list(tmp_path.iterdir()) == []


def test_existing_lists_are_replaced_only_on_request(server, tmp_path):
    (tmp_path / "guesses.txt").write_text("earlier")
    with pytest.raises(InputError, match=r"guesses.txt exists: .*--overwrite"):
        download(tmp_path, server.url, LISTS)
    assert (tmp_path / "guesses.txt").read_text() == "earlier"
    assert not server.downloads
    download(tmp_path, server.url, LISTS, overwrite=True)
    assert read_words(tmp_path / "guesses.txt") == sorted(GUESSES)


def test_the_command_reports_a_mirror_with_other_words_in_one_line(server, tmp_path):
    server.files |= {source.remote: b"slate\n" for source in SOURCES}
    result = run_command(DOWNLOAD, "--output", tmp_path / "lists", "--base-url", server.url)
    assert_input_error(result, f"{server.url}/wordle_official_guess.txt does not have the 2315 words of")
    assert not (tmp_path / "lists").exists()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/lists", "nowhere"])
def test_without_a_connection_the_error_is_one_line(url, tmp_path):
    with pytest.raises(InputError, match=r"cannot be downloaded \(.+\): try again") as error:
        download(tmp_path, url, LISTS, retries=0)
    assert "\n" not in str(error.value)


def test_the_lists_come_from_one_commit():
    *_, commit, scripts, game, folder = BASE_URL.split("/")
    assert len(commit) == 40
    assert (scripts, game, folder) == ("llm_rl_scripts", "wordle", "vocab")
    answers, guesses = SOURCES[:2]
    assert answers.remote == guesses.remote
    assert answers.skip + answers.num_words == guesses.num_words == 12_972
