"""Stockfish over its UCI pipe: searches of an exact number of nodes, and action values of all legal moves.

Win probabilities are the mover's, 1 / (1 + exp(-0.00368208 * centipawns)), as in ChessBench (arXiv
2402.04494). A bare pipe labels about twice as many moves per second as a client that parses every field.
"""

import math
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple, Self

import chess

from cli.errors import InputError


# Where package managers install it; Debian's folder is not on every PATH.
USUAL_PLACES = ("/usr/games/stockfish", "/usr/local/bin/stockfish", "/opt/homebrew/bin/stockfish")
HOW_TO_INSTALL = "install it (apt-get install stockfish, brew install stockfish) or set STOCKFISH to its path"
CENTIPAWNS_TO_LOGITS = 0.00368208
# 43 pawns: scores of engines other than mates are smaller, and float32 resolves the win probability there.
MAX_CENTIPAWNS = 4300
HASH_MB = 8
HANDSHAKE_SECONDS = 20.0
# A search slower than this is taken for a hang.
SLOWEST_NODES_PER_SECOND = 1000.0


class EngineCrash(RuntimeError):
    """The engine died or hangs; a new one has to be started."""


class SearchLine(NamedTuple):
    """One exact score that a search reported: a move in UCI notation and the mover's win probability."""

    move: str
    win_prob: float


def win_prob_from_centipawns(centipawns: float) -> float:
    """Return the win probability in [0, 1] of a score in centipawns, both of the same side."""
    return 0.5 + 0.5 * math.tanh(0.5 * CENTIPAWNS_TO_LOGITS * centipawns)


def centipawns_from_win_prob(win_prob: float) -> int:
    """Return the score in centipawns of a win probability, the inverse of `win_prob_from_centipawns`.

    Scores are clipped to ± MAX_CENTIPAWNS, reached at win probabilities of 1e-7 and 1 - 1e-7.
    """
    lowest = win_prob_from_centipawns(-MAX_CENTIPAWNS)
    win_prob = min(max(win_prob, lowest), 1.0 - lowest)
    return round((math.log(win_prob) - math.log1p(-win_prob)) / CENTIPAWNS_TO_LOGITS)


def find_stockfish() -> str:
    """Return the path of Stockfish: $STOCKFISH, else on the PATH, else where package managers install it."""
    if path := os.environ.get("STOCKFISH"):
        if not os.access(path, os.X_OK) or os.path.isdir(path):
            raise InputError(f"STOCKFISH is set to {path!r}, which is not a program: {HOW_TO_INSTALL}")
        return path
    found = shutil.which("stockfish") or next((p for p in USUAL_PLACES if os.access(p, os.X_OK)), None)
    if found is None:
        raise InputError(f"Stockfish was not found: {HOW_TO_INSTALL}")
    return found


class Stockfish:
    """A Stockfish process with one thread.

    After `new_game` a search depends only on its arguments, so labels do not depend on the process or on
    earlier searches. Searches raise EngineCrash if the engine dies or hangs.
    """

    def __init__(self, path: str | None = None) -> None:
        path = path or find_stockfish()
        try:
            self._process = subprocess.Popen(
                [path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                # In its own session the engine does not get the Ctrl-C of the terminal.
                start_new_session=True,
            )
        except OSError as error:
            raise InputError(f"{path} cannot be started ({error.strerror}): {HOW_TO_INSTALL}") from error
        assert self._process.stdin and self._process.stdout
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._received = b""
        self._multipv = 1
        try:
            self._send("uci")
            greeting = self._read_until(b"uciok", HANDSHAKE_SECONDS)
            self._send("setoption name Threads value 1", f"setoption name Hash value {HASH_MB}")
            self.new_game()
        except EngineCrash as crash:
            self.close()
            raise InputError(f"{path} does not answer as a UCI engine: {HOW_TO_INSTALL}") from crash
        names = [line[8:].decode() for line in greeting if line.startswith(b"id name ")]
        self.name = names[0] if names else path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def new_game(self) -> None:
        """Forget everything searched so far."""
        self._send("ucinewgame", "isready")
        self._read_until(b"readyok", HANDSHAKE_SECONDS)

    def search(
        self,
        fen: str,
        *,
        nodes: int,
        multipv: int = 1,
        moves: Sequence[str] = (),
        only: Iterable[str] = (),
    ) -> tuple[str, list[SearchLine]]:
        """Search the position after `moves` from `fen`, among the moves `only` if any are given.

        Return the best move and every exact score reported, in order; scores that are bounds are left out.
        """
        commands = []
        if multipv != self._multipv:
            commands.append(f"setoption name MultiPV value {multipv}")
            self._multipv = multipv
        commands.append(f"position fen {fen}" + (f" moves {' '.join(moves)}" if moves else ""))
        only = list(only)
        commands.append(f"go nodes {nodes}" + (f" searchmoves {' '.join(only)}" if only else ""))
        self._send(*commands)
        output = self._read_until(b"bestmove", HANDSHAKE_SECONDS + nodes / SLOWEST_NODES_PER_SECOND)
        lines = [_search_line(line) for line in output if b" pv " in line and b"bound" not in line]
        return output[-1].split()[1].decode(), lines

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        # Closing writes the buffered commands, which fails if the engine died.
        with suppress(BrokenPipeError):
            self._stdin.close()
        self._stdout.close()

    def _send(self, *commands: str) -> None:
        try:
            self._stdin.write(("\n".join(commands) + "\n").encode())
            self._stdin.flush()
        except BrokenPipeError as error:
            raise EngineCrash("the engine died") from error

    def _read_until(self, keyword: bytes, seconds: float) -> list[bytes]:
        """Return the lines up to and including the first that starts with `keyword`."""
        deadline = time.monotonic() + seconds
        output = self._received
        stdout = self._stdout.fileno()
        while True:
            start = 0 if output.startswith(keyword) else output.find(b"\n" + keyword)
            end = output.find(b"\n", start + 1) if start >= 0 else -1
            if end >= 0:
                self._received = output[end + 1 :]
                return output[:end].splitlines()
            if not select.select([stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise EngineCrash(f"the engine did not answer within {seconds:.0f} s")
            received = os.read(stdout, 1 << 16)
            if not received:
                raise EngineCrash("the engine died")
            output += received


def label_moves(engine: Stockfish, board: chess.Board, nodes_per_move: int) -> tuple[list[str], list[float]]:
    """Return the legal moves of a board in alphabetical order and the mover's win probability after each.

    One search ranks all moves with `nodes_per_move` nodes times their number; the value of a move is its last
    exact score. A move without one, which occurs with a few nodes per move, is searched alone with
    `nodes_per_move` nodes.
    """
    fen = board.fen()
    moves = sorted(move.uci() for move in board.legal_moves)
    engine.new_game()
    _, lines = engine.search(fen, nodes=nodes_per_move * len(moves), multipv=len(moves))
    win_probs = {line.move: line.win_prob for line in lines}
    for move in moves:
        if move not in win_probs:
            _, lines = engine.search(fen, nodes=nodes_per_move, only=[move])
            if not lines:
                raise EngineCrash(f"the engine gave no exact score for {move}")
            win_probs[move] = lines[-1].win_prob
    return moves, [win_probs[move] for move in moves]


def _search_line(line: bytes) -> SearchLine:
    """Parse `info depth 9 seldepth 12 multipv 2 score cp 31 nodes ... pv e2e4 e7e5`."""
    before, _, moves = line.partition(b" pv ")
    words = before.split()
    kind, number = words[words.index(b"score") + 1], int(words[words.index(b"score") + 2])
    move = moves.split(maxsplit=1)[0].decode()
    if kind == b"mate":
        return SearchLine(move, 1.0 if number > 0 else 0.0)
    return SearchLine(move, win_prob_from_centipawns(number))
