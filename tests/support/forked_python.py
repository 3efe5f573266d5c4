"""Programs `python` and `accelerate` that fork, for scripts, and for commands that start other commands."""

import json
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.commands import SERVER, run_as_main


STAND_IN = Path(__file__).with_name("stand_in.py")
PROGRAMS = {"python": "", "accelerate": "-m accelerate.commands.accelerate_cli"}


@contextmanager
def forked_programs(folder: Path) -> Iterator[None]:
    """Write the programs to a folder. They work until the end of the context."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(f"\0{folder}")
        listener.listen()
        server = SERVER.Process(target=_serve, args=(listener,))
        server.start()
    for name, command in PROGRAMS.items():
        start = f"exec {sys.executable} -SI {STAND_IN} {folder} {command}"
        (folder / name).write_text(f'#!/bin/sh\n{start} "$@"\n')
        (folder / name).chmod(0o755)
    yield
    server.kill()
    server.join()


def _serve(listener: socket.socket) -> None:
    """Run the commands of stand-ins, each in a process of its own."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system removes those that have ended
    while os.open(os.devnull, os.O_RDWR) < 3:  # streams that are received shall not be 0, 1 or 2 here
        pass
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _run(connection)
        connection.close()


def _run(connection: socket.socket) -> None:
    """Run the command of a stand-in, pass its signals on, and return its status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, streams, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    line, environment, folder = json.loads(message)
    if (pid := os.fork()) == 0:
        connection.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        sys.stdin = os.fdopen(0)  # forked processes have another
        run_as_main(line, environment, folder)
        sys.exit()
    for stream in streams:
        os.close(stream)
    process = os.pidfd_open(pid)
    while True:
        ready, _, _ = select.select([connection, process], [], [])
        if process in ready:
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            connection.send(str(status).encode())
            os._exit(0)
        if not (number := connection.recv(1)):  # the stand-in was killed
            os.kill(pid, signal.SIGKILL)
            os._exit(0)
        os.kill(pid, number[0])
