"""A hub on 127.0.0.1 in memory: the requests of huggingface_hub, transformers and datasets to huggingface.co.

    with HubServer(tmp_path / "hub") as hub:
        run_command("training.publish", "--run", run, "--repo", "user/name", **hub.environment)
        hub.files("models", "user/name", revision="main")["config.json"]

Libraries read HF_ENDPOINT when they are imported, so a user of the hub has to be another process.
"""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit


TOKEN = "hf_token_of_user"
USER = "user"
DATE = "2024-01-01T00:00:00.000Z"

Files = dict[str, bytes]


@dataclass
class Repository:
    """Files by commit, and the newest commit of every branch."""

    private: bool
    sdk: str | None = None  # of a Space
    commits: dict[str, Files] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, files: Files) -> str:
        named = (
            f"{len(self.commits)} {branch} {sorted((path, blob_id(data)) for path, data in files.items())}"
        )
        commit = hashlib.sha1(named.encode()).hexdigest()
        self.commits[commit] = files
        self.branches[branch] = commit
        return commit


class HubServer:
    """A hub with one user, called `user`; `folder` is for the caches of the processes that use it.

    To make it fail, set `fail_with`, a status that answers every request, `refuse_uploads_with`, a status
    that answers every request to write, or `cut_downloads`, a number of downloads that end halfway.
    `requests` are (method, path, Range).
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        self.fail_with: int | None = None
        self.refuse_uploads_with: int | None = None
        self.cut_downloads = 0

    def __enter__(self) -> Self:
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop listening: connections are refused from now on."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables for a process that is logged in to this hub and uses only its caches."""
        caches = {
            name: str(self.folder / name.lower())
            for name in ("HF_HOME", "HF_HUB_CACHE", "HF_MODULES_CACHE", "HF_DATASETS_CACHE", "XDG_CACHE_HOME")
        }
        return caches | {
            "HF_ENDPOINT": self.url,
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_OFFLINE": "0",
            "NO_PROXY": "127.0.0.1",
        }

    def files(self, kind: str, name: str, revision: str = "main") -> Files:
        """Return the files by path of a repository of `kind` models, datasets or spaces."""
        repository = self.repositories[kind, name]
        return repository.commits[repository.branches.get(revision, revision)]

    def branches(self, kind: str, name: str) -> list[str]:
        return list(self.repositories[kind, name].branches)


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.respond()

    def do_HEAD(self) -> None:
        self.respond()

    def do_POST(self) -> None:
        self.respond()

    def respond(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urlsplit(self.path)
        path, query = url.path, parse_qs(url.query)
        self.hub.requests.append((self.command, path, self.headers.get("Range")))
        if self.hub.fail_with is not None:
            return self.fail(self.hub.fail_with, "the hub is out of order")
        if path == "/api/whoami-v2":
            if not self.is_logged_in():
                return self.fail(401, "Invalid username or password.")
            return self.send_data({"type": "user", "name": USER, "fullname": USER, "orgs": [], "auth": {}})
        if path == "/api/validate-yaml":
            content = json.loads(body)["content"]
            errors = [] if content.startswith("---\n") else [{"message": "no metadata"}]
            return self.send_data({"errors": errors, "warnings": []}, 400 if errors else 200)
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        repository = re.fullmatch(
            r"/api/(models|datasets|spaces)/([^/]+/[^/]+)(?:/([^/]+)(?:/([^/]+))?(?:/(.+))?)?", path
        )
        if repository:
            kind, name, action, revision, rest = (part and unquote(part) for part in repository.groups())
            return self.api(kind, name, action, revision, rest or "", query, body)
        resolve = re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if resolve:
            is_dataset, name, revision, file = (part and unquote(part) for part in resolve.groups())
            return self.download("datasets" if is_dataset else "models", name, revision, file)
        self.fail(404, f"{self.command} {path} is not known here")

    def is_logged_in(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def may_write(self, name: str) -> bool:
        status = self.hub.refuse_uploads_with
        if status is None and not self.is_logged_in():
            status = 401
        if status is None and not name.startswith(f"{USER}/"):
            status = 403
        if status is not None:
            self.fail(status, f"You don't have the rights to write to {name}")
        return status is None

    def create(self, request: dict) -> None:
        name = f"{request['organization'] or USER}/{request['name']}"
        kind = request.get("type", "model") + "s"
        url = f"{self.hub.url}/{'' if kind == 'models' else kind + '/'}{name}"
        if not self.may_write(name):
            return
        if (kind, name) in self.hub.repositories:
            return self.send_data({"error": "You already created this repo", "url": url}, 409)
        repository = Repository(
            private=request.get("visibility") == "private" or bool(request.get("private")),
            sdk=request.get("sdk"),
        )
        repository.commit("main", {".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"})
        self.hub.repositories[kind, name] = repository
        self.send_data({"url": url, "name": name, "id": name})

    def find(self, kind: str, name: str, revision: str | None) -> tuple[Repository, str] | None:
        """Return a repository and a commit; if there is none, answer 401 or 404 and return None."""
        repository = self.hub.repositories.get((kind, name))
        if repository is None or (repository.private and not self.is_logged_in()):
            self.fail(404 if self.is_logged_in() else 401, "Repository not found", "RepoNotFound")
            return None
        commit = repository.branches.get(revision or "main", revision)
        if commit not in repository.commits:
            self.fail(404, f"Invalid rev id: {revision}", "RevisionNotFound")
            return None
        return repository, commit

    def api(
        self,
        kind: str,
        name: str,
        action: str | None,
        revision: str | None,
        rest: str,
        query: dict,
        body: bytes,
    ) -> None:
        if self.command == "POST" and action != "paths-info" and not self.may_write(name):
            return
        if action == "branch":
            return self.create_branch(kind, name, revision, json.loads(body or b"{}").get("startingPoint"))
        found = self.find(kind, name, revision)
        if found is None:
            return
        repository, commit = found
        files = repository.commits[commit]
        if action in (None, "revision"):
            siblings = [{"rfilename": path} | describe(path, files) for path in files]
            info = {"id": name, "sha": commit, "private": repository.private, "siblings": siblings}
            self.send_data(info | {"lastModified": DATE, "createdAt": DATE, "tags": [], "gated": False})
        elif action == "refs":
            branches = [
                {"name": branch, "ref": f"refs/heads/{branch}", "targetCommit": target}
                for branch, target in repository.branches.items()
            ]
            self.send_data({"branches": branches, "converts": [], "tags": [], "pullRequests": []})
        elif action == "tree":
            inside = {path for path in entries(files) if not rest or path.startswith(f"{rest}/")}
            if rest and not inside:
                return self.fail(404, f"{rest} does not exist", "EntryNotFound")
            if query.get("recursive", ["false"])[0].lower() != "true":
                inside = {path for path in inside if "/" not in path[len(rest) :].strip("/")}
            self.send_data([describe(path, files) for path in sorted(inside)])
        elif action == "paths-info":
            if "json" in self.headers.get("Content-Type", ""):
                paths = json.loads(body)["paths"]
            else:
                paths = parse_qs(body.decode())["paths"]
            self.send_data([describe(path, files) for path in paths if path in entries(files)])
        elif action == "preupload":
            modes = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                | ({"oid": blob_id(files[file["path"]])} if file["path"] in files else {})
                for file in json.loads(body)["files"]
            ]
            self.send_data({"files": modes, "commitOid": commit})
        elif action == "commit":
            changed = dict(files)
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    changed[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "deletedFile":
                    del changed[value["path"]]
            oid = repository.commit(revision, changed)
            self.send_data(
                {"success": True, "commitOid": oid, "commitUrl": f"{self.hub.url}/{name}/commit/{oid}"}
            )
        else:
            self.fail(404, f"{self.command} {self.path} is not known here")

    def create_branch(self, kind: str, name: str, branch: str, start: str | None) -> None:
        found = self.find(kind, name, start)
        if found is None:
            return
        repository, commit = found
        if branch in repository.branches:
            return self.send_data({"error": f"Reference already exists: {branch}"}, 409)
        repository.branches[branch] = commit
        self.send_data({"ref": f"refs/heads/{branch}", "targetCommit": commit})

    def download(self, kind: str, name: str, revision: str, path: str) -> None:
        found = self.find(kind, name, revision)
        if found is None:
            return
        repository, commit = found
        if path not in repository.commits[commit]:
            return self.fail(404, "Entry not found", "EntryNotFound", commit)
        content = repository.commits[commit][path]
        headers = {"ETag": f'"{blob_id(content)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        headers["Content-Type"] = "application/octet-stream"
        status = 200
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if part:
            first, last = int(part[1]), min(int(part[2] or len(content) - 1), len(content) - 1)
            if first >= len(content):
                return self.fail(416, "Range Not Satisfiable")
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            content, status = content[first : last + 1], 206
        is_cut = self.command == "GET" and self.hub.cut_downloads > 0 and len(content) > 1
        if is_cut:
            self.hub.cut_downloads -= 1
        self.send_bytes(content, status, headers, sent=len(content) // 2 if is_cut else len(content))

    def send_data(self, data: object, status: int = 200) -> None:
        self.send_bytes(json.dumps(data).encode(), status, {"Content-Type": "application/json"})

    def fail(self, status: int, message: str, code: str | None = None, commit: str | None = None) -> None:
        headers = {"Content-Type": "application/json", "X-Error-Message": message}
        headers |= {"X-Error-Code": code} if code else {}
        headers |= {"X-Repo-Commit": commit} if commit else {}
        self.send_bytes(json.dumps({"error": message}).encode(), status, headers)

    def send_bytes(
        self, content: bytes, status: int, headers: dict[str, str], sent: int | None = None
    ) -> None:
        """Answer; with `sent`, announce all of `content` and close the connection after so many bytes."""
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:sent])
            self.close_connection |= sent is not None and sent < len(content)


def blob_id(content: bytes) -> str:
    """Return git's id of a file, by which huggingface_hub finds unchanged files."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def entries(files: Files) -> set[str]:
    """Return the paths of all files and of their folders."""
    folders = {str(parent) for path in files for parent in Path(path).parents}
    return set(files) | (folders - {"."})


def describe(path: str, files: Files) -> dict:
    if path in files:
        return {"type": "file", "path": path, "size": len(files[path]), "oid": blob_id(files[path])}
    return {"type": "directory", "path": path, "size": 0, "oid": hashlib.sha1(path.encode()).hexdigest()}
