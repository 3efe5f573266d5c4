"""Fetching the original word lists, from a server of the test's own."""

import hashlib
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cli.errors import InputError
from data.wordle.download import BASE_URL, SOURCES, WordSource, download, fetch
from data.wordle.words import load_word_lists, read_words
from tests.support.commands import assert_input_error, run_command


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


class Server(ThreadingHTTPServer):
    """Serves `files`, bytes by path; answers with the statuses or does the tricks of `faults` first."""

    def __init__(self):
        self.files = {"/lists/all.txt": "\n".join(GUESSES).encode(), "/lists/few.txt": b"SPEED\r\n"}
        self.faults, self.requests = [], Counter()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/lists"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests[self.path] += 1
        fault = self.server.faults.pop(0) if self.server.faults else None
        content = self.server.files.get(self.path)
        if fault == "hang up":
            return
        if isinstance(fault, int) or content is None:
            self.send_error(fault or 404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:3] if fault == "cut off" else content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    # A proxy that the machine may have does not lead to this server.
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_lists_are_written_sorted_and_each_file_is_fetched_once(server, tmp_path):
    folder = tmp_path / "new" / "lists"
    download(folder, server.url + "/", LISTS)
    assert sorted(path.name for path in folder.iterdir()) == ["answers.txt", "few.txt", "guesses.txt"]
    assert read_words(folder / "guesses.txt") == sorted(GUESSES)
    assert read_words(folder / "few.txt") == ["speed"]
    words = load_word_lists(folder / "answers.txt", folder / "guesses.txt")
    assert words.answers == ("crane", "trace")
    assert server.requests == {"/lists/all.txt": 1, "/lists/few.txt": 1}


@pytest.mark.parametrize("fault", [500, 503, 429, "hang up", "cut off"])
def test_passing_faults_are_tried_again(server, fault):
    server.faults = [fault, fault]
    assert fetch(f"{server.url}/few.txt", waits=(0, 0)) == b"SPEED\r\n"
    assert server.requests["/lists/few.txt"] == 3


@pytest.mark.parametrize("fault", [503, "hang up", "cut off"])
def test_lasting_faults_are_an_error_and_nothing_is_written(server, fault, tmp_path):
    server.faults = [None, fault, fault, fault]
    with pytest.raises(InputError, match=r"few.txt cannot be fetched \(.+\): try again when online, or name"):
        download(tmp_path, server.url, LISTS, waits=(0, 0))
    assert list(tmp_path.iterdir()) == []


def test_what_the_server_refuses_is_not_asked_again(server):
    with pytest.raises(InputError, match=r"none.txt cannot be fetched \(Not Found\)"):
        fetch(f"{server.url}/none.txt", waits=(0, 0))
    assert server.requests["/lists/none.txt"] == 1


@pytest.mark.parametrize(
    "content, error",
    [
        (b"slate\nzebra\nabide\ntrace\ncrank\n", "holds 2 words, but not those of answers.txt"),
        (b"slate\nzebra\nabide\ntrace\n", "is not a list of 2 words"),
        (b"slate\nzebra\nabide\ntrace\ncr\xe2ne\n", "is not a list of 2 words"),
        (b"<html>\nWelcome to our network: please log in first</html>\n", "is not a list of 2 words"),
        (b"", "is not a list of 2 words"),
    ],
)
def test_other_content_is_refused_and_nothing_is_written(server, content, error, tmp_path):
    server.files["/lists/all.txt"] = content
    with pytest.raises(InputError, match=f"all.txt {error}: name a mirror with --base-url"):
        download(tmp_path, server.url, LISTS)
    assert list(tmp_path.iterdir()) == []


def test_existing_lists_are_replaced_only_on_request(server, tmp_path):
    (tmp_path / "guesses.txt").write_text("earlier")
    with pytest.raises(InputError, match=r"guesses.txt exists: .*--overwrite"):
        download(tmp_path, server.url, LISTS)
    assert (tmp_path / "guesses.txt").read_text() == "earlier"
    assert not server.requests
    download(tmp_path, server.url, LISTS, overwrite=True)
    assert read_words(tmp_path / "guesses.txt") == sorted(GUESSES)


def test_the_command_says_in_one_line_that_a_mirror_holds_something_else(server, tmp_path):
    server.files["/lists/wordle_official_guess.txt"] = b"slate\n"
    remotes = sorted({source.remote for source in SOURCES} - {"wordle_official_guess.txt"})
    server.files |= {f"/lists/{remote}": b"slate\n" for remote in remotes}
    result = run_command(DOWNLOAD, "--output", tmp_path / "lists", "--base-url", server.url)
    assert_input_error(result, f"{server.url}/wordle_official_guess.txt is not a list of 2315 words")
    assert not (tmp_path / "lists").exists()
    assert set(server.requests) == {f"/lists/{source.remote}" for source in SOURCES}


def test_the_command_says_in_one_line_what_cannot_be_reached(server, tmp_path):
    result = run_command(DOWNLOAD, "--output", tmp_path / "lists", "--base-url", server.url)
    assert_input_error(result, "cannot be fetched (Not Found)", "try again when online", "--base-url")
    result = run_command(DOWNLOAD, "--output", tmp_path / "lists", "--base-url", "nowhere")
    assert_input_error(result, "cannot be fetched (unknown url type")
    assert not (tmp_path / "lists").exists()


def test_without_a_connection_the_error_is_one_line(server):
    server.shutdown()
    server.server_close()
    with pytest.raises(InputError, match=r"cannot be fetched \(Connection refused\)"):
        fetch(f"{server.url}/few.txt", waits=(0,))


def test_the_lists_come_from_one_commit_so_that_they_stay_the_same():
    *_, commit, scripts, game, folder = BASE_URL.split("/")
    assert len(commit) == 40
    assert (scripts, game, folder) == ("llm_rl_scripts", "wordle", "vocab")
    answers, guesses = SOURCES[:2]
    assert answers.remote == guesses.remote
    assert answers.skip + answers.num_words == guesses.num_words == 12_972
