"""A local server of one page and the functions that it calls: for this machine alone, one call at a time.

    listener = listen(8000)
    app = make_app(page, {"double": lambda body: 2 * body["number"]}, port=8000)
    run(app, listener)  # POST /api/double {"number": 4} answers 8

Other sites cannot use it: Host is checked against DNS rebinding, and Origin against other pages. Before a
browser sends JSON to another site it asks for permission, which is not given.
"""

import json
import os
import socket
from collections.abc import Callable, Mapping

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from cli.errors import InputError


ADDRESS = "127.0.0.1"
MAX_BODY = 1_000_000  # bytes
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def make_app(page: str, handlers: Mapping[str, Callable[[dict], object]], port: int) -> Starlette:
    """Return the application that gives `page` at / and calls `handlers[NAME]` for POST /api/NAME.

    A handler takes the JSON object of the request and returns what JSON can express. Its InputError is
    answered with {"error": "one line"}. Only one runs at a time, in a thread.
    """
    lock = anyio.Lock()

    async def show_page(request: Request) -> Response:
        return HTMLResponse(page, headers={"Content-Security-Policy": POLICY, "Cache-Control": "no-store"})

    async def call(request: Request) -> Response:
        handler = handlers.get(request.path_params["name"])
        if handler is None:
            return refuse(404, f"{request.url.path}: no such address")
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return refuse(415, "the content type of a request must be application/json")
        data = bytearray()
        async for part in request.stream():
            data += part
            if len(data) > MAX_BODY:
                return refuse(413, f"a request can have {MAX_BODY / 1e6:g} MB at most")
        try:
            body = json.loads(data)
        except (ValueError, RecursionError):
            return refuse(400, "the request is not JSON")
        if not isinstance(body, dict):
            return refuse(400, "the request is not a JSON object")
        try:
            async with lock:
                return answer(await run_in_threadpool(handler, body))
        except InputError as error:
            return refuse(200, str(error))  # for 400, browsers would write an error to the console

    return Starlette(
        routes=[Route("/", show_page), Route("/api/{name}", call, methods=["POST"])],
        middleware=[Middleware(OwnPagesOnly, port=port)],
    )


class OwnPagesOnly:
    """Refuses requests for another host, or from a page of another origin, with status 403."""

    def __init__(self, app: ASGIApp, port: int):
        self._app = app
        self._hosts = [f"{ADDRESS}:{port}", f"localhost:{port}"]
        self._origins = [None, *(f"http://{host}" for host in self._hosts)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http":
            headers = Request(scope).headers
            if headers.get("host") not in self._hosts:
                app = refuse(403, f"this server answers for {' and '.join(self._hosts)} alone")
            elif headers.get("origin") not in self._origins:
                app = refuse(403, "this server answers its own pages alone")
        await app(scope, receive, send)


def refuse(status: int, line: str) -> Response:
    """Return the response for a request that is not answered; the page shows the line."""
    return answer({"error": line}, status)


def answer(content: object, status: int = 200) -> Response:
    """Return a response of JSON, in ASCII: half a surrogate pair, which JSON can hold, is no UTF-8."""
    return Response(
        json.dumps(content, allow_nan=False, separators=(",", ":")), status, media_type="application/json"
    )


def listen(port: int) -> socket.socket:
    """Return a socket that listens on a port of this machine. Raises InputError if it cannot be used."""
    try:
        return socket.create_server((ADDRESS, port))
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise InputError(f"port {port} cannot be used ({reason}): choose another --port") from None


def run(app: Starlette, listener: socket.socket) -> None:
    """Serve an application until Ctrl-C."""
    print("http://{}:{}  (Ctrl-C stops it)".format(*listener.getsockname()), flush=True)
    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run([listener])
