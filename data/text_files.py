"""Text from files, pipes and standard input: decompressed, decoded, and read line by line."""

import codecs
import io
import re
import stat
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from cli.errors import NOT_UTF8, InputError, first_line


STANDARD_INPUT = "-"
COMPRESSED_SUFFIXES = (".zst", ".gz", ".bz2")
# The first bytes name the compression, also in a pipe. Zstandard may begin with a frame to skip.
_SIGNATURES = (
    (re.compile(rb"\x1f\x8b"), "gzip"),
    (re.compile(rb"BZh"), "bz2"),
    (re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"), "zstd"),
)
_LINES_PER_UPDATE = 1000


class TextSource(Iterator[str]):
    """The lines of a text file, of a pipe or, for the path -, of standard input.

    gzip, bzip2 and Zstandard are decompressed. Bytes that are not UTF-8 are decoded as older programs encode
    text, see `_decode_older`. Long files show progress. Raises InputError for a missing or damaged file, and
    for UTF-16.
    """

    def __init__(self, path: str | Path):
        is_standard_input = str(path) == STANDARD_INPUT
        self.name = "standard input" if is_standard_input else str(path)
        self._file: str | int = 0 if is_standard_input else str(path)
        self.is_stream = is_standard_input
        if not is_standard_input:
            try:
                mode = Path(path).stat().st_mode
            except OSError:
                raise InputError(f"{path}: no such file") from None
            if stat.S_ISDIR(mode):
                raise InputError(f"{path} is a folder: give a file")
            self.is_stream = not stat.S_ISREG(mode)
        self._lines = self._read()
        self._peeked: list[str] = []

    def peek(self) -> str:
        """Return the first line that is not blank, or an empty string; the lines stay unread."""
        for line in self._lines:
            self._peeked.append(line)
            if not line.isspace():
                return line
        return ""

    def __next__(self) -> str:
        return self._peeked.pop(0) if self._peeked else next(self._lines)

    def close(self) -> None:
        """Close the file and the progress bar, so that messages have their own line."""
        self._lines.close()

    def _read(self) -> Generator[str]:
        from tqdm import tqdm  # chess programs wait for the engine's imports

        total = None if self.is_stream else Path(self.name).stat().st_size
        try:
            with (
                open(self._file, "rb", closefd=self._file != 0) as raw,
                io.TextIOWrapper(_decompress(raw), encoding="utf-8-sig", errors="older_encodings") as text,
                tqdm(total=total, desc="reading", unit="B", unit_scale=True, delay=2) as progress,
            ):
                for number, line in enumerate(text):
                    # Windows programs save UTF-16, whose ASCII characters have a byte of zeros.
                    if number < 2 and "\0" in line:
                        raise InputError(f"{self.name} {NOT_UTF8}")
                    if total and number % _LINES_PER_UPDATE == 0:
                        progress.update(raw.tell() - progress.n)
                    yield line
        except OSError as error:
            reason = error.strerror or first_line(error)
            raise InputError(f"{self.name} cannot be read ({reason}): check it, or get it again") from None


def text_suffix(path: str | Path) -> str:
    """Return the suffix of a file's name in lower case, without one of compression: .pgn of Games.PGN.gz."""
    path = Path(str(path).lower())
    return Path(path.stem).suffix if path.suffix in COMPRESSED_SUFFIXES else path.suffix


def _decompress(raw: io.BufferedReader) -> BinaryIO:
    start = raw.peek(4)
    for signature, compression in _SIGNATURES:
        if signature.match(start):
            import pyarrow as pa  # slow to import, and rarely needed here

            return cast(BinaryIO, pa.CompressedInputStream(raw, compression))
    return raw


def _decode_older(error: UnicodeError) -> tuple[str, int]:
    """Decode bytes as Windows-1252, the superset of Latin-1; those undefined there as DOS code page 850."""
    assert isinstance(error, UnicodeDecodeError)
    undecoded = error.object[error.start : error.end]
    try:
        return undecoded.decode("cp1252"), error.end
    except UnicodeDecodeError:
        return undecoded.decode("cp850"), error.end


codecs.register_error("older_encodings", _decode_older)
