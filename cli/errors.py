"""How every command of this project reports an error: one line on stderr and an exit status.

if __name__ == "__main__":
    command(main)
"""

import errno
import json
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


INPUT_ERROR_STATUS = 2
INTERRUPTED_STATUS = 130
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # numbers of an OSError
NOT_UTF8 = "is not UTF-8 text: save it as UTF-8"
BROKEN_PIPE_STATUS = 141  # the status that a shell reports after SIGPIPE


class InputError(ValueError):
    """Bad input. The message is one line with the fault, its location and the remedy."""

    def __init__(self, message: str):
        # Input that it quotes can hold line breaks.
        super().__init__(" ".join(message.splitlines()))


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or the name of its class if the message is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name the file in the error of a full disk, which writers leave out."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            error.filename = error.filename or str(path)
        raise


def command(main: Callable[[], None]) -> None:
    """Run `main`; exit with status 2 on an InputError or a full disk and 130 on Ctrl-C, each with one line.

    The message of a KeyboardInterrupt, such as how to continue, is printed. If the reader of stdout, such as
    `head`, has closed it, the status is 141, without a line. Any other exception is a bug and keeps its
    traceback.
    """
    # Torch reads this when it is imported. Threads that wait actively take the cores of other programs and
    # lose their own: on a busy machine a move with two threads took 140 to 210 ms instead of 40, on a quiet
    # one 13 instead of 26.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        main()
        print(end="", flush=True)
    except InputError as error:
        report(f"error: {error}")
        sys.exit(INPUT_ERROR_STATUS)
    except KeyboardInterrupt as interrupt:
        # Ctrl-C can stop the __init__ of an object, such as a progress bar, whose __del__ then fails and
        # would print a traceback.
        sys.unraisablehook = lambda _: None
        print(f"interrupted: {interrupt}" if str(interrupt) else "interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED_STATUS)
    except BrokenPipeError:
        # Pipes to engines and workers can break too, which is a bug.
        if not _is_stdout_broken():
            raise
        # Python flushes stdout once more at exit, which would print a warning.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE_STATUS)
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        # A copy names its source first.
        path = error.filename2 or error.filename
        where = f" {path}" if path else ""
        report(f"error: no space is left to write{where}: free some space and run again")
        sys.exit(INPUT_ERROR_STATUS)


def report(line: str) -> None:
    """Print a line on stderr. Under torch's launcher, its own report, which comes last, repeats the line.

    The launcher reads the line from the file that TORCHELASTIC_ERROR_FILE names.
    """
    print(line, file=sys.stderr)
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if path is not None:
        Path(path).write_text(json.dumps({"message": line, "timestamp": int(time.time())}))


def _is_stdout_broken() -> bool:
    """Return whether stdout is a pipe without a reader."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))
