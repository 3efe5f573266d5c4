"""How every command of this project ends early: one line that says what is wrong, and an exit status.

if __name__ == "__main__":
    command(main)
"""

import errno
import os
import select
import sys
from collections.abc import Callable


INPUT_ERROR_STATUS = 2
INTERRUPTED_STATUS = 130
# What a shell says of a program that SIGPIPE ended.
READER_GONE_STATUS = 141


class InputError(ValueError):
    """Bad input. The message is one line: what is wrong, where, and the remedy."""


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its kind if it has none, to stand in an InputError."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def command(main: Callable[[], None]) -> None:
    """Run `main`; exit with status 2 on an InputError or a full disk and 130 on Ctrl-C, each with one line.

    A `KeyboardInterrupt` raised with a message, such as how to continue, has that message printed. If whoever
    reads stdout, such as `head`, has read enough, the status is 141, as of other programs, without a line.
    Any other exception is a fault of the program and keeps its traceback.
    """
    try:
        main()
        if sys.stdout is not None:
            sys.stdout.flush()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(INPUT_ERROR_STATUS)
    except KeyboardInterrupt as interrupt:
        print(f"interrupted: {interrupt}" if str(interrupt) else "interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED_STATUS)
    except BrokenPipeError:
        # Pipes to engines and to other processes break too.
        if not _is_reader_gone():
            raise
        sys.exit(READER_GONE_STATUS)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        where = f" ({error.filename})" if error.filename else ""
        print(f"error: no space is left to write to{where}: free some, and call again", file=sys.stderr)
        sys.exit(INPUT_ERROR_STATUS)
    finally:
        if _is_reader_gone():
            # Python flushes once more when it ends, and would complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())


def _is_reader_gone() -> bool:
    """Tell whether stdout is a pipe that nobody reads any more."""
    if sys.__stdout__ is None:
        return False
    poll = select.poll()
    poll.register(sys.__stdout__.fileno(), 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))
