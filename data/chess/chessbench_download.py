"""Download ChessBench's files (google-deepmind/searchless_chess, arXiv 2402.04494).

Google Cloud Storage, where they are public, sends the size and the CRC-32C of every file. Downloads continue
where they were interrupted, and are verified.
"""

import argparse
import base64
import contextlib
import re
import shutil
import sys
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import NamedTuple

import google_crc32c
import requests
import urllib3
from requests.adapters import HTTPAdapter
from tqdm import tqdm

from cli.errors import InputError, writing


ADDRESS = "https://storage.googleapis.com/searchless_chess/data"
NUM_SHARDS = 2148
TEST_FOLDER, PUZZLES = "test", "puzzles.csv"
# Stored records and the boards written from them, compared with the .bag files; two of these are on disk too.
DISK_FACTOR = 1.1
RETRIES = 4  # of a request, after 0, 1, 2 and 4 seconds
BUSY = (429, 500, 502, 503, 504)
TIMEOUT = 60  # seconds without a byte
CONNECTIONS = 16
CHUNK = 2**20
SHARDS = re.compile(r"(?:(\d+)-)?(\d+)")


class RemoteFile(NamedTuple):
    url: str
    size: int
    crc32c: str | None  # base64; only servers other than Google's lack it

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


class DownloadError(InputError):
    """The network or the server failed. Bytes that are not known to be wrong are kept."""


def parse_download(text: str) -> dict[str, list[str]]:
    """Parse --download: return paths on the server, by the place in the output folder of their contents.

    `text` is test, puzzles, a number of training shards, with which the test set comes, or a range of them.
    """
    test = {TEST_FOLDER: ["test/action_value_data.bag"]}
    if text == "test":
        return test
    if text == "puzzles":
        return {PUZZLES: ["puzzles.csv"]}
    shards = range(0)
    if match := SHARDS.fullmatch(text):
        first, last = match.groups()
        shards = range(int(last)) if first is None else range(int(first), int(last) + 1)
    if not shards or shards[-1] >= NUM_SHARDS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither test nor puzzles, nor a number of shards up to {NUM_SHARDS}, nor a range "
            f"such as 20-39, from 0 to {NUM_SHARDS - 1}"
        )
    paths = [f"train/action_value-{shard:05d}-of-{NUM_SHARDS:05d}_data.bag" for shard in shards]
    return {"": paths} if "-" in text else test | {"": paths}


def find_files(address: str, paths: Sequence[str]) -> list[RemoteFile]:
    """Ask the server for the sizes and checksums of files. Raises DownloadError if one cannot be found."""
    urls = [f"{address.rstrip('/')}/{path}" for path in paths]
    with _session() as session, ThreadPoolExecutor(CONNECTIONS) as pool:
        found = pool.map(lambda url: _find_file(session, url), urls)
        files = list(tqdm(found, desc="finding", unit=" files", total=len(urls), delay=3))
    if any(file.crc32c is None for file in files):
        print(f"{address} sends no checksums: only the sizes of files are verified", file=sys.stderr)
    return files


def _find_file(session: requests.Session, url: str) -> RemoteFile:
    try:
        with session.head(url, timeout=TIMEOUT, allow_redirects=True) as response:
            response.raise_for_status()
            hashes = response.headers.get("x-goog-hash", "").replace(" ", "").split(",")
            crc32c = next(
                (text.removeprefix("crc32c=") for text in hashes if text.startswith("crc32c=")), None
            )
            return RemoteFile(url, int(response.headers["Content-Length"]), crc32c)
    except (requests.RequestException, KeyError) as error:
        raise DownloadError(
            f"{url} cannot be found ({_reason(error)}): try again when online, or name "
            "another server with --address"
        ) from None


def check_space(folder: Path, num_bytes: int) -> None:
    """Raise InputError unless the disk of a folder, which need not exist, has this many bytes free."""
    disk = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.is_dir())
    free = shutil.disk_usage(disk).free
    if free < num_bytes:
        raise InputError(
            f"{folder} would need {num_bytes / 1e9:.1f} GB more, and {disk} has {free / 1e9:.1f} GB free: "
            "free some space, name a folder on another disk, or download fewer shards"
        )


def fetch_all(files: Sequence[RemoteFile], folder: Path, num_done: int = 0) -> Generator[Path]:
    """Download files to a folder and yield their paths in order, without the first `num_done`.

    While a file is used the next one is downloaded. Close the iterator to stop: a part of a file is kept.
    Raises DownloadError like `fetch`.
    """

    def submit(index: int) -> Future[None]:
        return pool.submit(fetch, files[index], paths[index], progress, stop)

    stop = Event()
    sizes = [file.size for file in files]
    paths = [folder / file.name for file in files]
    with (
        tqdm(
            desc=f"downloading {len(files)} files",
            unit="B",
            unit_scale=True,
            total=sum(sizes),
            initial=sum(sizes[:num_done]),
            delay=1,
        ) as progress,
        ThreadPoolExecutor(1) as pool,
    ):
        try:
            following = None
            for index in range(num_done, len(files)):
                (following or submit(index)).result()
                following = submit(index + 1) if index + 1 < len(files) else None
                yield paths[index]
        finally:
            stop.set()


def save_puzzles(files: Sequence[RemoteFile], path: Path) -> None:
    """Download the one file of puzzles; while it is incomplete it is in a folder next to `path`."""
    folder = path.with_name(f"{path.name}.partial")
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(fetch_all(files, folder)) as paths:
        next(paths).rename(path)
    folder.rmdir()


def fetch(file: RemoteFile, path: Path, progress: tqdm, stop: Event) -> None:
    """Download a file to `path`, after the bytes that are there, until it is verified or `stop` is set.

    Raises DownloadError if the server cannot be reached or ends early without a byte, and if size or checksum
    are wrong; then the file is deleted.
    """
    path.touch()
    progress.update(path.stat().st_size)
    with _session() as session, writing(path):
        while (size := path.stat().st_size) < file.size:
            reason = "the server ended early"
            try:
                _append(session, file, path, progress, stop)
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                reason = _reason(error)
            if stop.is_set():
                return
            # Where a server breaks off in the middle, the next request asks for the rest.
            if path.stat().st_size <= size:
                raise DownloadError(
                    f"{file.url}: download failed after {size:,} of {file.size:,} bytes ({reason}); the same "
                    "command continues"
                )
    if path.stat().st_size != file.size or file.crc32c not in (None, _crc32c(path)):
        path.unlink()
        raise DownloadError(
            f"{file.url}: the bytes that arrived do not have the size and checksum that the server names; "
            "the same command downloads this file again"
        )


def _append(session: requests.Session, file: RemoteFile, path: Path, progress: tqdm, stop: Event) -> None:
    size = path.stat().st_size
    asked = {"Range": f"bytes={size}-"}
    with session.get(file.url, headers=asked, stream=True, timeout=TIMEOUT) as response:
        response.raise_for_status()
        is_rest = response.status_code == requests.codes.partial_content
        if not is_rest:
            progress.update(-size)
        with path.open("ab" if is_rest else "wb") as out:
            # iter_content would lose what arrived of a chunk before the server broke off.
            while chunk := response.raw.read1(CHUNK):
                if stop.is_set():
                    return
                out.write(chunk)
                progress.update(len(chunk))


def _session() -> requests.Session:
    """Return a session that repeats requests that are refused for the moment."""
    session = requests.Session()
    retry = urllib3.Retry(RETRIES, backoff_factor=0.5, status_forcelist=BUSY, raise_on_status=False)
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=CONNECTIONS, max_retries=retry))
    # Sizes and ranges are those of the file itself.
    session.headers["Accept-Encoding"] = "identity"
    return session


def _reason(error: Exception) -> str:
    """Return the status that a server answered, or the kind of error, without the long text of requests."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"{error.response.status_code} {error.response.reason}"
    return type(error).__name__


def _crc32c(path: Path) -> str:
    checksum = google_crc32c.Checksum()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            checksum.update(chunk)
    return base64.b64encode(checksum.digest()).decode()
