"""Word lists: which words may be the secret, and which may be guessed.

The lists shipped in `words/` come from Debian's package wamerican-small (SCOWL; words/LICENCE.txt):
`american_small` has its 3,568 words of five lower-case letters, and `american_446` every eighth of them, for
quick runs. They were made by

    export LC_ALL=C
    grep -xE '[a-z]{5}' /usr/share/dict/american-english-small | sort -u > american_small.txt
    awk 'NR % 8 == 1' american_small.txt > american_446.txt

`python -m data.wordle.download` fetches the original game's lists.
"""

import argparse
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from string import ascii_lowercase

import numpy as np

from cli.errors import NOT_UTF8, InputError, first_line
from data.wordle.rules import NUM_LETTERS, RULES, is_word, letters_of, not_a_word


FOLDER = Path(__file__).parent / "words"
SHIPPED = ("american_small", "american_446")


@dataclass(frozen=True)
class WordLists:
    """The secret words, and the allowed guesses, which include them.

    Raises InputError for an empty list, a duplicate, a text that is not a word, and a secret word that is not
    an allowed guess.
    """

    answers: tuple[str, ...]
    guesses: tuple[str, ...]

    def __post_init__(self) -> None:
        for kind, words in (("secret words", self.answers), ("allowed guesses", self.guesses)):
            if not words:
                raise InputError(f"the list of {kind} is empty")
            letters_of(words)
            if len(set(words)) < len(words):
                duplicate = Counter(words).most_common(1)[0][0]
                raise InputError(f"{duplicate!r} occurs twice in the list of {kind}: remove one")
        missing = [word for word in self.answers if word not in self._indices]
        if missing:
            raise InputError(
                f"{len(missing)} of the {len(self.answers)} secret words are not allowed guesses, such as "
                f"{missing[0]!r}: add them to the allowed guesses"
            )

    @cached_property
    def _indices(self) -> dict[str, int]:
        return {word: index for index, word in enumerate(self.guesses)}

    def index(self, guess: str) -> int:
        """Return the index of a word among the allowed guesses. Raises InputError if it is not one."""
        if guess not in self._indices:
            raise InputError(f"{guess[:20]!r} is not one of the {len(self.guesses)} allowed guesses")
        return self._indices[guess]

    def find(self, letters: np.ndarray) -> np.ndarray:
        """Return the indices of words among the allowed guesses, -1 for others: (..., 5) to (...) int64.

        Letters are numbers from 0 to 25.
        """
        numbers = _numbers_of(letters)
        in_order, order = self._numbers
        ranks = np.searchsorted(in_order, numbers).clip(max=len(order) - 1)
        return np.where(in_order[ranks] == numbers, order[ranks], -1)

    @cached_property
    def _numbers(self) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of the allowed guesses, sorted, and their indices in that order."""
        numbers = _numbers_of(self.guess_letters)
        order = np.argsort(numbers)
        return numbers[order], order

    @cached_property
    def guess_letters(self) -> np.ndarray:
        """The allowed guesses as letters from 0 to 25: (num_guesses, 5) uint8."""
        return _read_only(letters_of(self.guesses))

    @cached_property
    def answer_indices(self) -> np.ndarray:
        """The indices of the secret words among the allowed guesses: (num_answers,) int64."""
        return _read_only(np.array([self._indices[word] for word in self.answers], dtype=np.int64))

    @cached_property
    def digest(self) -> str:
        """A short hash of both lists in their order."""
        return _digest(self.answers, self.guesses)

    @cached_property
    def unordered_digest(self) -> str:
        """A short hash of both lists, whatever their order."""
        return _digest(sorted(self.answers), sorted(self.guesses))


def _digest(answers: Sequence[str], guesses: Sequence[str]) -> str:
    text = "\n".join([*answers, "", *guesses])
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def _numbers_of(letters: np.ndarray) -> np.ndarray:
    """Return a different number for every word: (..., 5) to (...) int64."""
    return letters @ len(ascii_lowercase) ** np.arange(NUM_LETTERS)


def _read_only(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array


def read_words(path: str | Path) -> list[str]:
    """Read a list with one word per line, or a shipped list by its name. Words are lowered.

    Raises InputError with file and line for a line that is not a word, and for a duplicate.
    """
    path = FOLDER / f"{path}.txt" if str(path) in SHIPPED else Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path} {NOT_UTF8}") from None
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({first_line(error)}): give a text file with one word per line, or "
            f"{' or '.join(SHIPPED)}"
        ) from None
    lines: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        word = line.strip().lower()
        if not word:
            continue
        if not is_word(word):
            raise InputError(f"{path} line {number}: {not_a_word(line.strip())}")
        if word in lines:
            raise InputError(f"{path} line {number}: {word!r} is already on line {lines[word]}: remove one")
        lines[word] = number
    if not lines:
        raise InputError(f"{path} has no words: give a list with one word per line")
    return list(lines)


def load_word_lists(answers: str | Path | None = None, guesses: str | Path | None = None) -> WordLists:
    """Read the secret words and the allowed guesses, each from a file or by the name of a shipped list.

    The defaults are `american_small` for the secret words, and the secret words for the allowed guesses.
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


def add_word_options(parser: argparse._ActionsContainer) -> None:
    """Add --words, --guesses and --rule, which define the game, to a command."""
    parser.add_argument(
        "--words",
        metavar="FILE",
        help=f"secret words, one per line, or a shipped list: {' or '.join(SHIPPED)} (default: {SHIPPED[0]})",
    )
    parser.add_argument(
        "--guesses",
        metavar="FILE",
        help="allowed guesses, one per line, or a shipped list; they must include the secret words (default: "
        "the secret words)",
    )
    parser.add_argument(
        "--rule",
        default=RULES[0],
        choices=RULES,
        help="official: a repeated letter is yellow only as often as the secret has it; simplified: a letter "
        f"is yellow whenever the secret has it, as in ILQL and LMRL-Gym (default: {RULES[0]})",
    )
