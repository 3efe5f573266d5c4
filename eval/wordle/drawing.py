"""Wordle in characters: the tiles of a guess, and the returns that a model predicts as a small histogram.

Tiles have the game's colours where the terminal can show them, else they are the letters g, y and b beside
the word, as they are typed; NO_COLOR=1 turns colours off.
"""

import os
import sys

import numpy as np


BACKGROUNDS = {"g": "1;30;42", "y": "1;30;43", "b": "1;97;100"}  # codes of ANSI's escape sequences
COLUMNS = 24  # of a histogram
BLOCKS, ASCII_BLOCKS = " ▁▂▃▄▅▆▇█", " .:-=+*#@"


def has_colours() -> bool:
    """Tell whether stdout is a terminal that shows colours, and nobody said otherwise (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def draw_guess(word: str, pattern: str) -> str:
    """Draw a word with its colours, g, y and b."""
    if not has_colours():
        return f"{word} {pattern}"
    tiles = [
        f"\033[{BACKGROUNDS[colour]}m {letter.upper()} \033[0m"
        for letter, colour in zip(word, pattern, strict=True)
    ]
    return "".join(tiles)


def guess_width() -> int:
    """Return how many characters a drawn guess takes on the screen."""
    return 15 if has_colours() else 11


def draw_distribution(probs: np.ndarray, support: np.ndarray) -> str:
    """Draw probabilities (bins,) of equally spaced returns `support` (bins,), relative to the highest."""
    first, last = _ends(support)
    edges = np.linspace(first, last, len(support) + 1)
    cumulative = np.append(0, np.cumsum(probs, dtype=np.float64))
    heights = np.diff(np.interp(np.linspace(first, last, COLUMNS + 1), edges, cumulative))
    is_unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    blocks = BLOCKS if is_unicode else ASCII_BLOCKS
    levels = np.rint(heights / heights.max() * (len(blocks) - 1)).astype(int)
    return "".join(blocks[level] for level in levels)


def draw_axis(support: np.ndarray) -> str:
    """Write the ends of the range of a histogram above it."""
    first, last = (f"{end:.3g}" for end in _ends(support))
    return f"{first}{last:>{COLUMNS - len(first)}}"


def _ends(support: np.ndarray) -> tuple[float, float]:
    """Return the ends of the bins, whose centres the support holds."""
    half = float(support[1] - support[0]) / 2
    return float(support[0]) - half, float(support[-1]) + half
