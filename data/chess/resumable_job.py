"""Work that survives its own end: a folder beside the output keeps the finished part.

`boards.parquet.partial/` holds the arguments of the run and logs with one JSON line per result, in order, so
the number of whole lines says where to continue.
"""

import fcntl
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from cli.errors import InputError
from cli.files import atomic_write


class ResultLog:
    """A file of results, one JSON line each, that can be extended and read again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab+")
        self._file.seek(0)
        self._num_results = whole_bytes = 0
        for line in self._file:
            # The line that was being written when the process was killed has no end and is given up.
            if line.endswith(b"\n"):
                self._num_results += 1
                whole_bytes += len(line)
        self._file.truncate(whole_bytes)

    def __len__(self) -> int:
        return self._num_results

    def __iter__(self) -> Iterator[Any]:
        with self._path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    yield json.loads(line)
                except ValueError as error:
                    remedy = f"delete the folder {self._path.parent} to start again"
                    raise InputError(f"{self._path} line {number} is damaged: {remedy}") from error

    def append(self, result: Any) -> None:
        self._file.write(json.dumps(result, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        self._num_results += 1

    def close(self) -> None:
        self._file.close()


class ResumableJob:
    """The folder that keeps the finished part of `output`, continued from an earlier run if there was one.

    Raises InputError if that run had other arguments, or is still running.
    """

    def __init__(self, output: Path, arguments: dict[str, Any]) -> None:
        self.folder = output.with_name(output.name + ".partial")
        self._logs: list[ResultLog] = []
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._check_arguments(arguments)
        except BlockingIOError as error:
            self._lock.close()
            raise InputError(
                f"{self.folder} is in use by another run: wait for it, or choose another --output"
            ) from error
        except InputError:
            self._lock.close()
            raise

    def _check_arguments(self, arguments: dict[str, Any]) -> None:
        recorded = self.folder / "arguments.json"
        if not recorded.exists():
            with atomic_write(recorded) as unfinished:
                unfinished.write_text(json.dumps(arguments, indent=2) + "\n")
        earlier = json.loads(recorded.read_text())
        differences = [
            f"{name} was {earlier.get(name)}, now {arguments.get(name)}"
            for name in sorted(earlier.keys() | arguments.keys())
            if earlier.get(name) != arguments.get(name)
        ]
        if differences:
            raise InputError(
                f"{self.folder} holds unfinished work made with other arguments ({'; '.join(differences)}): "
                "give those again to continue it, or delete the folder to start anew"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        for log in self._logs:
            log.close()
        is_empty = not any(path.stat().st_size for path in self.folder.glob("*.jsonl"))
        if kind is InputError and is_empty:
            # Nothing was finished: with the input mended, the same command should start anew.
            self.remove()
        self._lock.close()

    def log(self, name: str) -> ResultLog:
        """Open the log `name`, with the results of earlier runs in it."""
        log = ResultLog(self.folder / f"{name}.jsonl")
        self._logs.append(log)
        return log

    def remove(self) -> None:
        """Delete the folder, once the output is whole."""
        shutil.rmtree(self.folder)
