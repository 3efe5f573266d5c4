"""A PGN file to which complete games are appended, so that an interrupted match can resume."""

import fcntl
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from cli.errors import InputError
from eval.chess.games import PlayedGame


class GameLog:
    """The games of a match on disk.

    `headers` are those of the games already in the file, in order; an incomplete last game is dropped. With
    `overwrite` they are replaced when the first game is appended. Raises InputError if the file cannot be
    written, or holds anything but games of this project.
    """

    def __init__(self, path: str | Path, overwrite: bool = False):
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Without a buffer, which a full disk would fail to flush again at the end.
            self._file = self.path.open("ab+", buffering=0)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file.seek(0)
            text = "" if overwrite else self._file.read().decode()
        except BlockingIOError as error:
            raise InputError(
                f"{self.path} is in use by another run: wait for it, or choose another"
            ) from error
        except OSError as error:
            raise InputError(
                f"{self.path} cannot be written: {error.strerror}; choose another file"
            ) from error
        except UnicodeDecodeError as error:
            raise InputError(f"{self.path} is not a PGN file of this command: choose another file") from error
        self.headers: list[dict[str, str]] = []
        self._ends = [0]  # where each game ends, in bytes
        for headers, length in _complete_games(text):
            self.headers.append(headers)
            self._ends.append(self._ends[-1] + length)
        rest = text.encode()[self._ends[-1] :]
        # An incomplete game is at most two paragraphs, the second without its end.
        if (text and not self.headers) or rest.count(b"\n\n") > 1:
            raise InputError(f"{self.path} is not a PGN file of this command: choose another file")

    def __len__(self) -> int:
        return len(self._ends) - 1

    def keep(self, num_games: int) -> None:
        """Drop all games after the first `num_games`."""
        del self.headers[num_games:], self._ends[num_games + 1 :]

    def append(self, games: Sequence[PlayedGame]) -> None:
        """Write games, all or none of them."""
        texts = [game.pgn.encode() for game in games]
        num_before = len(self)
        unwritten = b"".join(texts)
        try:
            self._file.truncate(self._ends[-1])
            while unwritten:
                unwritten = unwritten[self._file.write(unwritten) :]
            # Counted before fsync, which is slow and can be interrupted.
            self._ends += [self._ends[-1] + end for end in itertools.accumulate(map(len, texts))]
            os.fsync(self._file.fileno())
        except OSError as error:
            del self._ends[num_before + 1 :]
            with suppress(OSError):
                self._file.truncate(self._ends[-1])
            raise InputError(
                f"{self.path} cannot be written: {error.strerror}; the {len(self)} games before are in it"
            ) from error

    def close(self) -> None:
        self._file.close()


def _complete_games(text: str) -> Iterator[tuple[dict[str, str], int]]:
    """Yield the headers and the length in bytes of every complete game that `play_game` wrote."""
    # Every game is two paragraphs; after the last complete one there is nothing, or an incomplete one.
    paragraphs = text.split("\n\n")[:-1]
    for tags, moves in zip(paragraphs[::2], paragraphs[1::2], strict=False):
        headers = dict(re.findall(r'^\[(\w+) "(.*)"\]$', tags, flags=re.MULTILINE))
        if "Result" not in headers or not moves.endswith(headers["Result"]):
            return
        yield headers, len(f"{tags}\n\n{moves}\n\n".encode())
