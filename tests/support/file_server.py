"""A server of files on 127.0.0.1, like Google Cloud Storage: ranges, sizes, and checksums in x-goog-hash.

with FileServer({"train/a.bag": b"..."}) as server:
    find_files(server.url, ["train/a.bag"])
"""

import base64
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

import google_crc32c


class FileServer:
    """`files` are contents by path.

    To make it fail, set `cuts`, the numbers of bytes after which its next downloads break off, `wrong`, the
    paths whose contents arrive with a changed byte, or `statuses`, the errors by path. `downloads` are (path,
    first byte).
    """

    def __init__(self, files: dict[str, bytes]):
        self.files = files
        self.cuts: list[int] = []
        self.wrong: set[str] = set()
        self.statuses: dict[str, int] = {}
        self.sends_checksums = True
        self.knows_ranges = True
        self.downloads: list[tuple[str, int]] = []

    def __enter__(self) -> Self:
        class Handler(_Handler):
            server_of_files = self

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/data"
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server_of_files: FileServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.respond()

    def do_GET(self) -> None:
        self.respond()

    def respond(self) -> None:
        server, path = self.server_of_files, self.path.removeprefix("/data/")
        content = server.files.get(path)
        if content is None or path in server.statuses:
            self.send_response(server.statuses.get(path, 404))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        first, status = 0, 200
        part = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if part and server.knows_ranges:
            first, status = int(part[1]), 206
        sent = content[first:]
        if path in server.wrong:
            sent = bytes([sent[0] ^ 1]) + sent[1:]
        self.send_response(status)
        self.send_header("Content-Length", str(len(sent)))
        if server.sends_checksums:
            crc32c = base64.b64encode(google_crc32c.Checksum(content).digest()).decode()
            self.send_header("x-goog-hash", f"crc32c={crc32c}")
            self.send_header("x-goog-hash", "md5=CY9rzUYh03PK3k6DJie09g==")
        self.end_headers()
        if self.command == "GET":
            server.downloads.append((path, first))
            if server.cuts:
                sent = sent[: server.cuts.pop(0)]
                self.close_connection = True
            self.wfile.write(sent)
