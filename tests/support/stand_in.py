"""A stand-in for Python: a process that has imported the libraries forks and runs the command.

The first argument is the address of the process, see `forked_python`.
"""

import json
import os
import signal
import socket
import sys


address, *line = sys.argv[1:]
if line[:1] == ["-u"]:
    os.environ["PYTHONUNBUFFERED"] = "1"
    del line[0]
# The workers of joblib and Ray, which are no commands of the project, inherit files that would be lost.
match line:
    case ["-m", module, *_]:
        package = module.partition(".")[0]
        is_forked = package in ("accelerate", "torch") or os.path.isdir(package)
    case [script, *_]:
        folder = os.path.dirname(os.path.abspath(script))
        is_forked = script.endswith(".py") and folder in (os.getcwd(), os.path.abspath("scripts"))
    case _:
        is_forked = False
if not is_forked:
    os.execv(sys.executable, [sys.executable, *line])
server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
server.connect(f"\0{address}")
socket.send_fds(server, [json.dumps([line, dict(os.environ), os.getcwd()]).encode()], [0, 1, 2])
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
    signal.signal(number, lambda number, frame: server.send(bytes([number])))
status = int(server.recv(16))
if status < 0:
    signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
sys.exit(status)
