"""Wordle as text: the tiles of a guess, and a model's distribution of returns as a small histogram.

Tiles are coloured if the terminal shows colours. Otherwise the letters g, y and b follow the word. NO_COLOR=1
turns colours off.
"""

import numpy as np

from cli.terminal import has_colours, has_unicode


BACKGROUNDS = {"g": "1;30;42", "y": "1;30;43", "b": "1;97;100"}  # ANSI escape codes
COLUMNS = 24  # width of a histogram
BLOCKS, ASCII_BLOCKS = " ▁▂▃▄▅▆▇█", " .:-=+*#@"


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
    """Return the width of a drawn guess in characters."""
    return 15 if has_colours() else 11


def draw_distribution(probs: np.ndarray, support: np.ndarray) -> str:
    """Draw the probabilities (bins,) of equally spaced returns `support` (bins,), relative to the highest."""
    first, last = ends_of(support)
    edges = np.linspace(first, last, len(support) + 1)
    cumulative = np.append(0, np.cumsum(probs, dtype=np.float64))
    heights = np.diff(np.interp(np.linspace(first, last, COLUMNS + 1), edges, cumulative))
    blocks = BLOCKS if has_unicode() else ASCII_BLOCKS
    levels = np.rint(heights / heights.max() * (len(blocks) - 1)).astype(int)
    return "".join(blocks[level] for level in levels)


def draw_axis(support: np.ndarray) -> str:
    """Return the heading of a histogram: the ends of its range."""
    first, last = (f"{end:.3g}" for end in ends_of(support))
    return f"{first}{last:>{COLUMNS - len(first)}}"


def ends_of(support: np.ndarray) -> tuple[float, float]:
    """Return the outer edges of the bins; the support has their centres."""
    half = float(support[1] - support[0]) / 2
    return float(support[0]) - half, float(support[-1]) + half
