"""Word lists: which words may be the secret, and which may be guessed.

The lists shipped in `words/` come from Debian's package wamerican-small (SCOWL; words/LICENCE.txt):
`american_small`, its 3,568 words of five lower-case letters, and `american_446`, every eighth of them, for
quick runs. They were made by

    python -m data.wordle.words --dictionary /usr/share/dict/american-english-small \
        --output american_small.txt
    python -m data.wordle.words --dictionary /usr/share/dict/american-english-small \
        --every 8 --output american_446.txt

The game's own lists are fetched by `python -m data.wordle.download`.
"""

import argparse
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from cli.errors import InputError, command
from cli.files import atomic_write, check_output
from data.wordle.rules import NUM_LETTERS, RULES, is_word, letters_of, no_word


FOLDER = Path(__file__).parent / "words"
SHIPPED = ("american_small", "american_446")


@dataclass(frozen=True)
class WordLists:
    """The words that may be secret and those that may be guessed, which include them.

    Raises InputError for a list that is empty, has a word twice or something that is no word, and for answers
    that may not be guessed.
    """

    answers: tuple[str, ...]
    guesses: tuple[str, ...]

    def __post_init__(self) -> None:
        for kind, words in (("secret words", self.answers), ("allowed guesses", self.guesses)):
            if not words:
                raise InputError(f"the list of {kind} is empty")
            letters_of(words)
            if len(set(words)) < len(words):
                twice = Counter(words).most_common(1)[0][0]
                raise InputError(f"{twice!r} stands twice in the list of {kind}")
        missing = [word for word in self.answers if word not in self._places]
        if missing:
            raise InputError(
                f"{len(missing)} of the {len(self.answers)} secret words are not allowed guesses, such as "
                f"{missing[0]!r}: add them to the allowed guesses"
            )

    @cached_property
    def _places(self) -> dict[str, int]:
        return {word: place for place, word in enumerate(self.guesses)}

    def index(self, guess: str) -> int:
        """Return the place of a word among the allowed guesses; raise InputError if it is not there."""
        if guess not in self._places:
            raise InputError(f"{guess[:20]!r} is not one of the {len(self.guesses)} allowed guesses")
        return self._places[guess]

    @cached_property
    def guess_letters(self) -> np.ndarray:
        """The allowed guesses as letters from 0 to 25: (num_guesses, 5) uint8."""
        return _read_only(letters_of(self.guesses))

    @cached_property
    def answer_indices(self) -> np.ndarray:
        """The places of the secret words among the allowed guesses: (num_answers,) int64."""
        return _read_only(np.array([self._places[word] for word in self.answers], dtype=np.int64))

    @cached_property
    def digest(self) -> str:
        """A short hash of both lists in their order."""
        text = "\n".join([*self.answers, "", *self.guesses])
        return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def _read_only(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array


def read_words(path: str | Path) -> list[str]:
    """Read a list with one word a line, or a shipped one by its name. Upper case is lowered.

    Raises InputError with the file and the line for anything that is not a word of five letters, and for a
    word that stands twice.
    """
    path = FOLDER / f"{path}.txt" if str(path) in SHIPPED else Path(path)
    lines: dict[str, int] = {}
    for number, line in enumerate(_read_text(path).splitlines(), start=1):
        word = line.strip().lower()
        if not word:
            continue
        if not is_word(word):
            raise InputError(f"{path} line {number}: {no_word(line.strip())}")
        if word in lines:
            raise InputError(
                f"{path} line {number}: {word!r} stands on line {lines[word]} already: remove one"
            )
        lines[word] = number
    if not lines:
        raise InputError(f"{path} holds no words: give a list with one word a line")
    return list(lines)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; the lists {' and '.join(SHIPPED)} are shipped") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file: give a list with one word a line") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


def load_word_lists(answers: str | Path | None = None, guesses: str | Path | None = None) -> WordLists:
    """Read the secret words and the allowed guesses, each from a file or by the name of a shipped list.

    The secret words are `american_small` unless given, and the allowed guesses are the secret words unless
    given.
    """
    answers = SHIPPED[0] if answers is None else answers
    answer_words = tuple(read_words(answers))
    if guesses is None:
        return WordLists(answer_words, answer_words)
    guess_words = tuple(read_words(guesses))
    try:
        return WordLists(answer_words, guess_words)
    except InputError as error:
        raise InputError(f"{answers} and {guesses}: {error}") from None


def add_word_options(parser: argparse.ArgumentParser) -> None:
    """Add --words, --guesses and --rule, which say what game is played, to a command."""
    names = " or ".join(SHIPPED)
    parser.add_argument(
        "--words",
        metavar="FILE",
        help=f"the secret words, one a line, or {names}, which are shipped ({SHIPPED[0]})",
    )
    parser.add_argument(
        "--guesses",
        metavar="FILE",
        help="the allowed guesses, one a line; they must include the secret words (the secret words)",
    )
    parser.add_argument(
        "--rule",
        default=RULES[0],
        choices=RULES,
        help="official: yellow as often as the secret has the letter left; simplified: yellow whenever the "
        f"letter occurs in the secret, as ILQL and LMRL-Gym have it ({RULES[0]})",
    )


def five_letter_words(dictionary: Sequence[str]) -> list[str]:
    """Return the words of a dictionary that are five lower-case letters from a to z, sorted."""
    return sorted({word for word in dictionary if is_word(word)})


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data.wordle.words",
        description="Make a word list of the words in a dictionary that are five lower-case letters.",
    )
    add = parser.add_argument
    add("--dictionary", required=True, type=Path, metavar="FILE", help="a text file with one word a line")
    add("--every", type=int, default=1, metavar="N", help="keep every Nth word only (1)")
    add("--output", required=True, type=Path, help="the word list to write")
    add("--overwrite", action="store_true", help="replace the output if it exists")
    arguments = parser.parse_args()
    if arguments.every < 1:
        parser.error(f"--every must be at least 1, not {arguments.every}")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    check_output(arguments.output, arguments.overwrite)
    words = five_letter_words(_read_text(arguments.dictionary).split())[:: arguments.every]
    if not words:
        raise InputError(f"{arguments.dictionary} holds no words of {NUM_LETTERS} lower-case letters")
    with atomic_write(arguments.output) as unfinished:
        unfinished.write_text("\n".join(words) + "\n", encoding="ascii")
    print(f"{arguments.output}: {len(words)} words")


if __name__ == "__main__":
    command(main)
