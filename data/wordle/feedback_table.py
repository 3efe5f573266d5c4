"""The colours of every allowed guess for every secret word."""

from functools import lru_cache

import numpy as np

from data.wordle.rules import feedback_codes
from data.wordle.words import WordLists


# As many as fit in a processor's cache together with the temporary arrays.
PATTERNS_AT_A_TIME = 65_536


@lru_cache(maxsize=4)
def feedback_table(words: WordLists, rule: str = "official") -> np.ndarray:
    """Return the pattern codes of all guesses and secrets: (num_guesses, num_answers) uint8, read-only.

    The 30 million patterns of the original game's lists take half a second.
    """
    secrets = words.guess_letters[words.answer_indices]  # (num_answers, 5)
    table = np.empty((len(words.guesses), len(secrets)), dtype=np.uint8)
    chunk = max(1, PATTERNS_AT_A_TIME // len(secrets))
    for start in range(0, len(table), chunk):
        guesses = words.guess_letters[start : start + chunk, None]
        table[start : start + chunk] = feedback_codes(secrets, guesses, rule)
    table.setflags(write=False)
    return table
