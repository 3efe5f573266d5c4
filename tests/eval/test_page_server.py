"""The server of pages: it answers its own page on this machine, and refuses others with one line."""

import json
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.testclient import TestClient

from cli.errors import InputError
from eval.page_server import MAX_BODY, listen, make_app
from tests.support.commands import free_port


PORT = 8123
SCRIPT = """
from cli.errors import command
from eval.page_server import listen, make_app, run
command(lambda: run(make_app("the page", {{}}, {port}), listen({port})))
"""


def double(body):
    if "number" not in body:
        raise InputError("no number: give one")
    return {"doubled": 2 * body["number"]}


@pytest.fixture(scope="module")
def client():
    return TestClient(make_app("<h1>Page</h1>", {"double": double}, PORT), f"http://127.0.0.1:{PORT}")


def test_the_page_may_load_nothing_and_call_its_own_server_alone(client):
    response = client.get("/")
    assert response.text == "<h1>Page</h1>" and response.headers["content-type"].startswith("text/html")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy


def test_a_handler_answers_json_with_json(client):
    assert client.post("/api/double", json={"number": 4}).json() == {"doubled": 8}


@pytest.mark.parametrize(
    ("headers", "body", "status", "line"),
    [
        ({}, {}, 200, "no number: give one"),
        ({}, [], 400, "the request is not a JSON object"),
        ({}, b"{", 400, "the request is not JSON"),
        ({}, b"\xff", 400, "the request is not JSON"),
        ({}, b"[" * 500_000, 400, "the request is not JSON"),
        ({}, b" " * (MAX_BODY + 1), 413, "a request can have 1 MB at most"),
        # A form of another site can send this type without a preflight request.
        ({"content-type": "text/plain"}, {}, 415, "the content type of a request must be application/json"),
        ({"host": f"evil.example:{PORT}"}, {}, 403, "this server answers for 127.0.0.1:8123 and localhost"),
        ({"host": "127.0.0.1"}, {}, 403, "this server answers for"),
        ({"host": f"127.0.0.1:{PORT + 1}"}, {}, 403, "this server answers for"),
        ({"origin": "https://evil.example"}, {}, 403, "this server answers its own pages alone"),
        ({"origin": f"http://127.0.0.1:{PORT + 1}"}, {}, 403, "this server answers its own pages alone"),
        ({"origin": "null"}, {}, 403, "this server answers its own pages alone"),
    ],
)
def test_a_bad_request_is_refused_with_one_line(client, headers, body, status, line):
    content = body if isinstance(body, bytes) else json.dumps(body)
    response = client.post(
        "/api/double", content=content, headers={"content-type": "application/json", **headers}
    )
    error = response.json()["error"]
    assert response.status_code == status and line in error and "\n" not in error


def test_a_large_body_of_unknown_length_is_refused(client):
    parts = iter([b"{"] + [b" " * 100_000] * 11)
    response = client.post("/api/double", content=parts, headers={"content-type": "application/json"})
    assert response.status_code == 413


def test_the_page_is_refused_under_another_name(client):
    assert client.get("/", headers={"host": "rebound.example"}).status_code == 403
    assert client.get("/", headers={"host": f"localhost:{PORT}"}).status_code == 200


def test_other_addresses_are_not_found(client):
    assert client.post("/api/treble", json={}).status_code == 404
    assert client.get("/api/double").status_code == 405


def test_handlers_run_one_at_a_time():
    both = threading.Barrier(2)

    def meet(body):
        try:
            both.wait(timeout=0.2)
        except threading.BrokenBarrierError:
            return "alone"
        return "met"

    app = make_app("", {"meet": meet}, PORT)
    with TestClient(app, f"http://127.0.0.1:{PORT}") as client, ThreadPoolExecutor(2) as pool:
        answers = pool.map(lambda _: client.post("/api/meet", json={}).json(), range(2))
    assert list(answers) == ["alone", "alone"]


def test_a_port_in_use_is_an_input_error():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=rf"port {port} cannot be used .*: choose another --port"):
            listen(port)


def test_ctrl_c_ends_the_server_with_one_line():
    port = free_port()
    command = [sys.executable, "-c", SCRIPT.format(port=port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout.readline().split()[0] == f"http://127.0.0.1:{port}"
        assert urllib.request.urlopen(f"http://127.0.0.1:{port}").read() == b"the page"
        server.send_signal(signal.SIGINT)
        _, printed = server.communicate(timeout=30)
    assert server.returncode == 130 and printed == "interrupted\n"
