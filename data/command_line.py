"""How every command of this project fails: one line that says what is wrong, and an exit status.

if __name__ == "__main__":
    command(main)
"""

import sys
from collections.abc import Callable


INPUT_ERROR_STATUS = 2
INTERRUPTED_STATUS = 130


class InputError(ValueError):
    """Bad input. The message is one line: what is wrong, where, and the remedy."""


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its kind if it has none, to stand in an InputError."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def command(main: Callable[[], None]) -> None:
    """Run `main`; exit with status 2 on an InputError and 130 on Ctrl-C, each with one line on stderr.

    A `KeyboardInterrupt` raised with a message, such as how to continue, has that message printed.
    Any other exception is a fault of the program and keeps its traceback.
    """
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(INPUT_ERROR_STATUS)
    except KeyboardInterrupt as interrupt:
        print(f"interrupted: {interrupt}" if str(interrupt) else "interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED_STATUS)
