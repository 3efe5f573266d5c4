"""Download the word lists of the original game and of the papers, which are not shipped.

    python -m data.wordle.download --output wordle_lists

This writes the original game's 2,315 secret words and 12,972 allowed guesses (wordle_answers.txt and
wordle_guesses.txt), the 431 words of LMRL-Gym's results (lmrl_431.txt; arXiv 2311.18232) and ILQL's 236 words
(ilql_236.txt; arXiv 2206.11871). The source is one commit of LMRL-Gym's repository; checksums are verified.
"""

import argparse
import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pooch
from tqdm import tqdm

from cli.errors import InputError, command, first_line
from cli.files import atomic_write, check_output


BASE_URL = (
    "https://raw.githubusercontent.com/abdulhaim/LMRL-Gym/bdf9b3f34617ceba88e0c1774e9ac665c4155468/"
    "llm_rl_scripts/wordle/vocab"
)
RETRIES = 2


@dataclass(frozen=True)
class WordSource:
    """A word list on a server: all words of the file `remote` except the first `skip`.

    `digest` is the SHA-256 of the sorted words in lower case, one per line.
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
        # The secret words come after all other words.
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
    retries: int = RETRIES,
) -> None:
    """Write the lists to `folder`, sorted, after all of them are downloaded and verified.

    Raises InputError if a list cannot be downloaded, has another checksum, or exists.
    """
    for source in sources:
        check_output(folder / source.name, overwrite)
    base_url = base_url.rstrip("/") + "/"
    pooch.get_logger().setLevel("ERROR")
    with tempfile.TemporaryDirectory() as cache:
        registry = {source.remote: None for source in sources}
        server = pooch.create(path=cache, base_url=base_url, registry=registry, retry_if_failed=retries)
        texts = []
        for source in tqdm(sources, unit=" lists", desc="downloading", delay=2):
            try:
                content = Path(server.fetch(source.remote)).read_bytes()
            # Errors of requests are OSErrors.
            except (OSError, ValueError) as error:
                raise InputError(
                    f"{base_url}{source.remote} cannot be downloaded ({first_line(error)}): try again when "
                    "online, or name a mirror with --base-url"
                ) from None
            texts.append(verified_text(content, source, base_url))
    for source, text in zip(sources, texts, strict=True):
        with atomic_write(folder / source.name) as unfinished:
            unfinished.write_text(text, encoding="ascii")


def verified_text(content: bytes, source: WordSource, base_url: str) -> str:
    """Return the words of a file, sorted, one per line. Raises InputError for another checksum."""
    words = sorted(content.decode("ascii", errors="replace").lower().split()[source.skip :])
    text = "".join(word + "\n" for word in words)
    if hashlib.sha256(text.encode()).hexdigest() != source.digest:
        raise InputError(
            f"{base_url}{source.remote} does not have the {source.num_words} words of {source.name} (its "
            "checksum differs): name a mirror with --base-url"
        )
    return text


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data.wordle.download",
        description="Download the original game's 2,315 secret words and 12,972 allowed guesses, LMRL-Gym's "
        "431 words and ILQL's 236 words.",
    )
    add = parser.add_argument
    add(
        "--output",
        type=Path,
        default=Path("wordle_lists"),
        metavar="DIR",
        help="folder to write the lists to (default: wordle_lists)",
    )
    add(
        "--base-url",
        default=BASE_URL,
        metavar="URL",
        help="a mirror of LMRL-Gym's folder llm_rl_scripts/wordle/vocab (default: on GitHub)",
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
