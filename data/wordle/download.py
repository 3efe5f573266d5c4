"""Fetch the word lists of the game itself and of the papers, which are not shipped.

    python -m data.wordle.download --output wordle_lists

writes the original game's 2,315 secret words and 12,972 allowed guesses (wordle_answers.txt and
wordle_guesses.txt), the 431 words behind LMRL-Gym's results (lmrl_431.txt; arXiv 2311.18232) and ILQL's 236
(ilql_236.txt; arXiv 2206.11871). They come from one commit of LMRL-Gym's repository, and are checked.
"""

import argparse
import hashlib
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError

from tqdm import tqdm

from cli.errors import InputError, command
from cli.files import atomic_write, check_output
from data.wordle.rules import is_word


BASE_URL = (
    "https://raw.githubusercontent.com/abdulhaim/LMRL-Gym/bdf9b3f34617ceba88e0c1774e9ac665c4155468/"
    "llm_rl_scripts/wordle/vocab"
)
SECONDS_BETWEEN_TRIES = (1.0, 3.0)
TIMEOUT_SECONDS = 30.0
TOO_MANY_REQUESTS = 429


@dataclass(frozen=True)
class WordSource:
    """A list of words on a server: all of `remote` but the first `skip` words.

    `digest` is the SHA-256 of the sorted words, each with a line end.
    """

    name: str
    remote: str
    num_words: int
    digest: str
    skip: int = 0


SOURCES = (
    WordSource(
        "wordle_answers.txt",
        "wordle_official_guess.txt",
        2315,
        "f40e47975cf360ff9febe7d49c8e285054d8fa3fb9644cea575922060951d6ee",
        # The secret words stand after all others.
        skip=12972 - 2315,
    ),
    WordSource(
        "wordle_guesses.txt",
        "wordle_official_guess.txt",
        12972,
        "feacc549249b5dcb43e2799fbbcda14ebc33d55904fb15d043779104e60c1579",
    ),
    WordSource(
        "lmrl_431.txt",
        "wordle_official_400.txt",
        431,
        "433c429a3fc53ed07650f7c91c35eef8dd9c7cc62b24d4de1205819ed823ac8d",
    ),
    WordSource(
        "ilql_236.txt",
        "wordle_official_200.txt",
        236,
        "800ec496989b39e84daf534b6326793eca1ee610b392172933ed73af27c88e92",
    ),
)


def download(
    folder: Path,
    base_url: str = BASE_URL,
    sources: Sequence[WordSource] = SOURCES,
    overwrite: bool = False,
    waits: Sequence[float] = SECONDS_BETWEEN_TRIES,
) -> None:
    """Write the lists to `folder`, sorted. Nothing is written before all of them are there and right.

    `waits` are the seconds between one try and the next. Raises InputError if a list cannot be had, is not
    the one expected, or exists.
    """
    for source in sources:
        check_output(folder / source.name, overwrite)
    urls = {source.remote: f"{base_url.rstrip('/')}/{source.remote}" for source in sources}
    contents = {remote: fetch(url, waits) for remote, url in tqdm(urls.items(), unit=" files", delay=2)}
    lists = {
        source.name: checked_words(contents[source.remote], source, urls[source.remote]) for source in sources
    }
    for name, words in lists.items():
        with atomic_write(folder / name) as unfinished:
            unfinished.write_text(_as_text(words), encoding="ascii")


def fetch(url: str, waits: Sequence[float] = SECONDS_BETWEEN_TRIES) -> bytes:
    """Return what is at an address; try again after each of `waits`, in seconds, unless that is hopeless."""
    remaining_waits = iter(waits)
    while True:
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:
                return response.read()
        # Every error of a connection is one of the first two, and an address that is none gives the third.
        except (OSError, HTTPException, ValueError) as error:
            is_refused = isinstance(error, HTTPError) and error.code < 500 and error.code != TOO_MANY_REQUESTS
            is_hopeless = is_refused or not isinstance(error, (OSError, HTTPException))
            wait = None if is_hopeless else next(remaining_waits, None)
            if wait is None:
                raise InputError(
                    f"{url} cannot be fetched ({_reason(error)}): try again when online, or name a mirror "
                    "with --base-url"
                ) from None
            time.sleep(wait)


def checked_words(content: bytes, source: WordSource, url: str) -> list[str]:
    """Return the words of a file, sorted; raise InputError if they are not those expected."""
    words = sorted(content.decode("ascii", errors="replace").lower().split()[source.skip :])
    if len(words) != source.num_words or not all(is_word(word) for word in words):
        raise InputError(f"{url} is not a list of {source.num_words} words: name a mirror with --base-url")
    if hashlib.sha256(_as_text(words).encode("ascii")).hexdigest() != source.digest:
        raise InputError(
            f"{url} holds {len(words)} words, but not those of {source.name}: name a mirror with --base-url"
        )
    return words


def _as_text(words: Sequence[str]) -> str:
    return "".join(word + "\n" for word in words)


def _reason(error: Exception) -> str:
    """Return what was wrong, without the angle brackets and class names of urllib's errors."""
    inner = getattr(error, "reason", None) or error
    return str(getattr(inner, "strerror", None) or inner or type(inner).__name__).splitlines()[0]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data.wordle.download",
        description="Fetch the original game's 2,315 secret words and 12,972 allowed guesses, LMRL-Gym's 431 "
        "words and ILQL's 236.",
    )
    add = parser.add_argument
    add(
        "--output",
        type=Path,
        default=Path("wordle_lists"),
        metavar="DIR",
        help="the folder to write them to (wordle_lists)",
    )
    add(
        "--base-url",
        default=BASE_URL,
        metavar="URL",
        help="a mirror of LMRL-Gym's folder llm_rl_scripts/wordle/vocab (on GitHub)",
    )
    add("--overwrite", action="store_true", help="replace lists that exist")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    folder: Path = arguments.output
    download(folder, arguments.base_url, overwrite=arguments.overwrite)
    for source in SOURCES:
        print(f"{folder / source.name}: {source.num_words} words")
    answers, guesses = (folder / source.name for source in SOURCES[:2])
    print(f"the original game: --words {answers} --guesses {guesses}")


if __name__ == "__main__":
    command(main)
