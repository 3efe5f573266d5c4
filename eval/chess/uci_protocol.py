"""What GUIs say and hear in UCI: options, positions, searches and scores. Needs neither torch nor numpy.

Source: the UCI specification (Meyer-Kahlen, 2006), and Stockfish where that is silent.
"""

import os
import re
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import chess

from cli.options import EXACT_ENDS
from data.chess.game_files import UNPLAYABLE
from data.chess.stockfish import centipawns_from_win_prob


_MOVE = re.compile(r"[a-h][1-8][a-h][1-8][qrbn]?|0000", re.IGNORECASE)
_LONGEST_QUOTE = 60


class ProtocolError(ValueError):
    """A GUI asks for what cannot be done. The message is one line, and the game goes on."""


def quote(text: str) -> str:
    """Show what a GUI sent, whatever it is, as a short string in ASCII."""
    return ascii(text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 3] + "...")


OptionValue = str | int | float | bool | None


class Option(NamedTuple):
    """A setting that GUIs may change; `fraction`, a number from 0 to infinity, is a string to them."""

    name: str
    kind: Literal["spin", "check", "combo", "string", "fraction", "button"]
    default: OptionValue = None
    lowest: int = 0
    highest: int = 0
    choices: Sequence[str] = ()

    def declare(self) -> str:
        """Return the answer to `uci` that tells of this option."""
        kind = "string" if self.kind == "fraction" else self.kind
        parts = [f"option name {self.name} type {kind}"]
        if self.kind == "check":
            parts.append(f"default {str(self.default).lower()}")
        elif self.kind == "fraction":
            parts.append(f"default {self.default:g}")
        elif self.kind != "button":
            parts.append(f"default {'<empty>' if self.default == '' else self.default}")
        if self.kind == "spin":
            parts.append(f"min {self.lowest} max {self.highest}")
        return " ".join([*parts, *(f"var {choice}" for choice in self.choices)])

    def read(self, text: str) -> OptionValue:
        """Read a value as a GUI writes it. Raises ProtocolError for one that is not possible."""
        try:
            if self.kind == "spin":
                value: OptionValue = int(text)
                possible = self.lowest <= value <= self.highest
            elif self.kind == "fraction":
                value = float(text)
                possible = value >= 0.0  # false of NaN
            elif self.kind == "check":
                value = text.lower() == "true"
                possible = text.lower() in ("true", "false")
            elif self.kind == "combo":
                value = text.lower()
                possible = value in self.choices
            else:
                return "" if text == "<empty>" else text
        except ValueError:
            possible = False
        if not possible:
            allowed = {
                "spin": f"a whole number from {self.lowest} to {self.highest}",
                "fraction": "a number from 0 to inf",
                "check": "true or false",
                "combo": " or ".join(self.choices),
            }
            raise ProtocolError(f"{self.name} cannot be {quote(text)}: give {allowed[self.kind]}")
        return value


def list_options(temperature: float, margin: float, device: str, exact_ends: str) -> list[Option]:
    """List the options. The last five do nothing, but lichess-bot and GUIs set them unasked."""
    return [
        Option("MultiPV", "spin", 1, 1, 256),
        Option("Temperature", "fraction", temperature),
        Option("Margin", "fraction", margin),
        Option("Device", "string", device),
        Option("Threads", "spin", count_cores(), 1, 1024),
        Option("UCI_ShowWDL", "check", False),
        Option("ExactEnds", "combo", exact_ends, choices=EXACT_ENDS),
        Option("Hash", "spin", 16, 1, 33_554_432),
        Option("Clear Hash", "button"),
        Option("Ponder", "check", False),
        Option("Move Overhead", "spin", 0, 0, 60_000),
        Option("SyzygyPath", "string", ""),
    ]


def count_cores() -> int:
    """Count the cores that this process may use, as OMP_NUM_THREADS says or the system."""
    if (threads := os.environ.get("OMP_NUM_THREADS", "")).isdecimal():
        return max(1, int(threads))
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def split_option(words: Sequence[str]) -> tuple[str, str]:
    """Split `name Move Overhead value 100`, as it stands behind `setoption`; both may be empty."""
    words = list(words[1:] if words[:1] == ["name"] else words)
    end = words.index("value") if "value" in words else len(words)
    return " ".join(words[:end]), " ".join(words[end + 1 :])


class Search(NamedTuple):
    """What `go` asks for. Clocks, depth and nodes are left out: one pass takes what it takes."""

    only: list[str] | None  # moves in UCI; None for all
    ponder: bool
    infinite: bool


def read_go(words: Sequence[str]) -> Search:
    """Read the words behind `go`; what makes no sense is ignored."""
    only = None
    if "searchmoves" in words:
        # Nothing else that may stand there looks like a move. Without any, as in Stockfish, all are meant.
        after = words[words.index("searchmoves") + 1 :]
        only = [word.lower() for word in after if _MOVE.fullmatch(word)] or None
    return Search(only, "ponder" in words, "infinite" in words)


class Position:
    """The board that a GUI shows, with its moves, so that repetitions are seen."""

    def __init__(self) -> None:
        self.board = chess.Board()
        self._fen = chess.STARTING_FEN
        self._moves: list[str] = []

    def set_up(self, words: Sequence[str]) -> None:
        """Obey `position`. A position that continues the last one costs its new moves only.

        Raises ProtocolError, and keeps the last position, if there is no such position; after an illegal move
        it raises too, with the moves before played.
        """
        end = words.index("moves") if "moves" in words else len(words)
        if words[:1] == ["startpos"]:
            fen = chess.STARTING_FEN
        elif words[:1] == ["fen"]:
            fen = " ".join(words[1:end])
        else:
            raise ProtocolError("position needs startpos or fen")
        if fen != self._fen:
            self.board, self._fen, self._moves = read_fen(fen), fen, []
        moves = words[end + 1 :]
        known = _length_in_common(self._moves, moves)
        for _ in self._moves[known:]:
            self.board.pop()
        del self._moves[known:]
        for move in moves[known:]:
            self.board.push(_read_move(self.board, move))
            self._moves.append(move)


def read_fen(fen: str) -> chess.Board:
    """Read a FEN; clocks may be left out. Raises ProtocolError for a position that chess cannot start from.

    Positions that cannot arise but can be played on are accepted, such as one with twenty queens; castling
    rights and en-passant squares without the pieces they need are dropped.
    """
    try:
        board = chess.Board(fen)
    except ValueError as error:
        raise ProtocolError(f"broken FEN {quote(fen)}: {quote(str(error))}") from None
    status = board.status()
    if faults := status & UNPLAYABLE:
        reason = str(faults.name).lower().replace("_", " ").replace("|", ", ")
        raise ProtocolError(f"impossible position {quote(fen)}: {reason}")
    if status & chess.STATUS_INVALID_EP_SQUARE:
        board.ep_square = None
    board.castling_rights = board.clean_castling_rights()
    return board


def _read_move(board: chess.Board, text: str) -> chess.Move:
    try:
        move = board.parse_uci(text.lower())
    except ValueError:
        move = chess.Move.null()
    # parse_uci lets 0000 pass.
    if not move:
        raise ProtocolError(f"illegal move {quote(text)} in {board.fen()}: it and what follows is not played")
    return move


def _length_in_common(first: Sequence[str], second: Sequence[str]) -> int:
    """Count the equal words at the start of two lists."""
    pairs = zip(first, second, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))


def win_draw_loss(win_prob: float) -> tuple[int, int, int]:
    """Split an expected result p into permille of wins, draws and losses: p², 2p(1 - p), (1 - p)².

    The model predicts p alone. This is how often two independent half points, each won with probability p,
    make a win, a draw or a loss; the expected result is p again.
    """
    wins, losses = round(1000 * win_prob**2), round(1000 * (1.0 - win_prob) ** 2)
    return wins, 1000 - wins - losses, losses


def describe_score(win_prob: float, is_exact: bool, show_wdl: bool) -> str:
    """Return `score cp 31 wdl 278 498 224`. `is_exact` marks results by rule: 1 is mate, 0.5 a sure draw."""
    is_mate = is_exact and win_prob == 1.0
    score = "score mate 1" if is_mate else f"score cp {centipawns_from_win_prob(win_prob)}"
    if not show_wdl:
        return score
    wins, draws, losses = win_draw_loss(win_prob)
    if is_exact:
        wins, draws, losses = (1000, 0, 0) if is_mate else (0, 1000, 0)
    return f"{score} wdl {wins} {draws} {losses}"


def describe_lines(ranking: Iterable[tuple[str, str]], num_moves: int, seconds: float) -> list[str]:
    """Return the `info` lines of ranked (move, score): one ply deep, with a node for every move valued."""
    nps = round(num_moves / max(seconds, 1e-3))
    return [
        f"info depth 1 seldepth 1 multipv {rank} {score} nodes {num_moves} nps {nps} "
        f"time {round(1000 * seconds)} pv {move}"
        for rank, (move, score) in enumerate(ranking, 1)
    ]
