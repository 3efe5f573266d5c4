"""Text is the same from files, pipes and standard input, compressed or not, in UTF-8 or older encodings."""

import bz2
import contextlib
import gzip
import os
import struct
import threading

import pyarrow as pa
import pytest

from cli.errors import InputError
from data.text_files import TextSource, text_suffix


TEXT = "1. e4 e5\nMüller – Łódź\n"
FRAME_TO_SKIP = b"\x50\x2a\x4d\x18" + struct.pack("<I", 4) + b"size"


def zstd(data: bytes) -> bytes:
    return pa.Codec("zstd").compress(data, asbytes=True)


COMPRESSED = {
    "gzip": gzip.compress(TEXT[:9].encode()) + gzip.compress(TEXT[9:].encode()),
    "bz2": bz2.compress(TEXT.encode()),
    "zst": zstd(TEXT.encode()),
    "zst in frames": FRAME_TO_SKIP + zstd(TEXT[:9].encode()) + FRAME_TO_SKIP + zstd(TEXT[9:].encode()),
}


@contextlib.contextmanager
def pipe(data: bytes):
    """Yield the number of a file from which the data can be read once."""
    reading, writing = os.pipe()
    with open(writing, "wb") as file, open(reading, "rb"):
        writer = threading.Thread(target=lambda: (file.write(data), file.close()))
        writer.start()
        yield reading
        writer.join()


@pytest.mark.parametrize("data", [TEXT.encode(), *COMPRESSED.values()], ids=["plain", *COMPRESSED])
def test_files_and_pipes_read_the_same_whatever_the_compression(data, tmp_path):
    path = tmp_path / "text"
    path.write_bytes(data)
    assert "".join(TextSource(path)) == TEXT
    with pipe(data) as number:
        source = TextSource(f"/dev/fd/{number}")
        assert source.is_stream
        assert source.peek() == "1. e4 e5\n"
        assert "".join(source) == TEXT


def test_a_dash_is_standard_input():
    standard_input = os.dup(0)
    try:
        with pipe(TEXT.encode()) as number:
            os.dup2(number, 0)
            source = TextSource("-")
            assert (source.name, "".join(source)) == ("standard input", TEXT)
    finally:
        os.dup2(standard_input, 0)
        os.close(standard_input)


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("Nuñez – Müller", "utf-8"),
        ("Nuñez – Müller", "utf-8-sig"),
        ("Nuñez – Müller", "cp1252"),  # Windows
        ("Nuñez - Müller", "latin-1"),
        ("Hübner", "cp850"),  # DOS; its ü is not a character of Windows
    ],
)
def test_names_in_older_encodings_are_read_right(name, encoding, tmp_path):
    path = tmp_path / "names.txt"
    path.write_bytes(name.encode(encoding))
    assert list(TextSource(path)) == [name]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", [TEXT, "\n" + TEXT])
def test_utf_16_is_an_error(text, encoding, tmp_path):
    path = tmp_path / "games.pgn"
    path.write_bytes(text.encode(encoding))
    with pytest.raises(InputError, match=r"games\.pgn is not UTF-8 text: save it as UTF-8"):
        list(TextSource(path))


def test_lines_of_all_systems_are_lines(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_bytes(b"a\nb\r\nc\rd")
    assert list(TextSource(path)) == ["a\n", "b\n", "c\n", "d"]


@pytest.mark.parametrize("data", COMPRESSED.values(), ids=COMPRESSED)
def test_a_file_that_is_cut_short_is_an_error(data, tmp_path):
    path = tmp_path / "text"
    path.write_bytes(data[:-5])
    with pytest.raises(InputError, match=r"text cannot be read \(.*\): check it, or get it again"):
        list(TextSource(path))


def test_the_kind_of_a_file_does_not_depend_on_case_or_compression():
    assert (
        text_suffix("a/Games.PGN")
        == text_suffix("a.b/games.pgn.ZST")
        == text_suffix("games.pgn.gz")
        == ".pgn"
    )
    assert text_suffix("/dev/fd/63") == ""
