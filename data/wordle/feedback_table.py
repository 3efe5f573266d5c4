"""The colours of every allowed guess for every secret word, computed once and kept on disk.

The 30 million patterns of the game's own lists take half a second to compute. Tables of more than a megabyte
are kept in $XDG_CACHE_HOME/stop-regressing/wordle (by default under ~/.cache), and mapped into memory.
"""

import contextlib
import os
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np

from cli.files import atomic_write
from data.wordle.rules import check_rule, feedback_codes
from data.wordle.words import WordLists


# Below this many patterns, computing is as fast as reading.
SMALLEST_CACHED = 1_000_000
# As many patterns as the caches of a processor hold with all that is needed to compute them.
PATTERNS_AT_A_TIME = 65_536
CHECKSUM_BYTES = 4  # behind the table


@lru_cache(maxsize=4)
def feedback_table(words: WordLists, rule: str = "official") -> np.ndarray:
    """Return the pattern codes of all guesses and secrets: (num_guesses, num_answers) uint8, read-only.

    A cache that cannot be read or written, or that is damaged, costs time and is no error.
    """
    check_rule(rule)
    shape = (len(words.guesses), len(words.answers))
    if shape[0] * shape[1] < SMALLEST_CACHED:
        return _compute(words, rule)
    path = cache_folder() / f"{words.digest}-{rule}.npy"
    table = _read(path, shape)
    if table is None:
        table = _compute(words, rule)
        with contextlib.suppress(OSError), atomic_write(path) as unfinished, unfinished.open("wb") as file:
            np.save(file, table)
            file.write(_checksum(table))
    return table


def cache_folder() -> Path:
    """Return where tables are kept."""
    # The specification of $XDG_CACHE_HOME takes an empty one for one that is not set.
    folder = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(folder) / "stop-regressing" / "wordle"


def _compute(words: WordLists, rule: str) -> np.ndarray:
    secrets = words.guess_letters[words.answer_indices]  # (num_answers, 5)
    table = np.empty((len(words.guesses), len(secrets)), dtype=np.uint8)
    chunk = max(1, PATTERNS_AT_A_TIME // len(secrets))
    for start in range(0, len(table), chunk):
        guesses = words.guess_letters[start : start + chunk, None]
        table[start : start + chunk] = feedback_codes(secrets, guesses, rule)
    table.setflags(write=False)
    return table


def _read(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """Map a table; None if there is none of that shape, or if it is damaged."""
    try:
        # As a plain array: the memmap class slows small gathers down.
        table = np.asarray(np.load(path, mmap_mode="r"))
        with path.open("rb") as file:
            file.seek(-CHECKSUM_BYTES, os.SEEK_END)
            checksum = file.read()
    except (OSError, ValueError, EOFError):
        return None
    is_whole = table.shape == shape and table.dtype == np.uint8 and _checksum(table) == checksum
    return table if is_whole else None


def _checksum(table: np.ndarray) -> bytes:
    return zlib.crc32(table).to_bytes(CHECKSUM_BYTES, "little")
