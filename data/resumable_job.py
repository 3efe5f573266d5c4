"""Resumable work: partial results are kept in `<output>.partial/`.

The folder holds the arguments of the run and logs with one JSON line per result, in order: the number of
complete lines says where to continue.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from cli.errors import InputError, writing
from cli.files import atomic_write, check_output, remove


class ResultLog:
    """Results in a file, one JSON line each: those of earlier runs, extended by this one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab+")
        self._file.seek(0)
        # A process that was killed while it wrote leaves a last line without its end.
        lines = [len(line) for line in self._file if line.endswith(b"\n")]
        self._file.truncate(sum(lines))
        self._num_results = len(lines)

    def __len__(self) -> int:
        return self._num_results

    def __iter__(self) -> Iterator[Any]:
        with self._path.open("rb") as file:
            yield from map(json.loads, file)

    def append(self, result: Any) -> None:
        with writing(self._path):
            self._file.write(json.dumps(result, separators=(",", ":")).encode() + b"\n")
            self._file.flush()
        self._num_results += 1

    def close(self) -> None:
        # Closing writes the bytes that a full disk refused before.
        with writing(self._path):
            self._file.close()


class ResumableJob:
    """The folder with the partial results of `output`, which is deleted when the job succeeds.

    `arguments` are those that affect the output. Entering it raises InputError if an earlier run had other
    arguments, or is still running. A KeyboardInterrupt gets a message that says how to continue.
    """

    def __init__(self, output: Path, arguments: dict[str, Any]) -> None:
        self.folder = output.with_name(output.name + ".partial")
        self._arguments = arguments
        self._lock = FileLock(self.folder / "lock")
        self._logs: list[ResultLog] = []

    def __enter__(self) -> Self:
        check_output(self.folder / "lock", overwrite=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise InputError(
                f"{self.folder} is in use by another run: wait for it, or choose another --output"
            ) from None
        try:
            self._check_arguments()
        except InputError:
            self._lock.release()
            raise
        # Left behind by a killed run.
        for unfinished in list(self.folder.rglob(".*.unfinished-*")):
            remove(unfinished)
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        for log in self._logs:
            log.close()
        is_empty = not any(path.stat().st_size for path in self.folder.glob("*.jsonl"))
        # Correcting the input changes the arguments, which an empty folder would refuse.
        if kind is None or (kind is InputError and is_empty):
            shutil.rmtree(self.folder)
        self._lock.release()
        if kind is KeyboardInterrupt:
            message = f"{self.folder} keeps the finished part; the same command continues"
            raise KeyboardInterrupt(message) from None

    def log(self, name: str) -> ResultLog:
        """Open the log `name`, which holds the results of earlier runs."""
        log = ResultLog(self.folder / f"{name}.jsonl")
        self._logs.append(log)
        return log

    def _check_arguments(self) -> None:
        recorded = self.folder / "arguments.json"
        if not recorded.exists():
            with atomic_write(recorded) as unfinished:
                unfinished.write_text(json.dumps(self._arguments, indent=2) + "\n")
        earlier, now = json.loads(recorded.read_text()), self._arguments
        differences = [
            f"{name} was {earlier.get(name)}, now {now.get(name)}"
            for name in sorted(earlier.keys() | now.keys())
            if earlier.get(name) != now.get(name)
        ]
        if differences:
            raise InputError(
                f"{self.folder} holds partial results of other arguments ({'; '.join(differences)}): "
                "give those again to continue, or delete the folder to start again"
            )
