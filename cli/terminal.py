"""The terminal: its abilities, colours and Unicode, and the process that prints to it."""

import os
import sys


def has_colours() -> bool:
    """Return whether stdout is a terminal that shows colours, and NO_COLOR (no-color.org) is not set."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def has_unicode() -> bool:
    """Return whether stdout can show characters beyond ASCII."""
    return (sys.stdout.encoding or "").lower().startswith("utf")


def is_main_process() -> bool:
    """Return whether this process prints for all that a launcher started together."""
    return int(os.environ.get("RANK", 0)) == 0
