"""The text of the UCI protocol: options, positions, searches and scores. Imports neither torch nor numpy.

Source: the UCI specification (Meyer-Kahlen, 2006), and Stockfish where the specification is silent.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import chess

from cli.options import EXACT_ENDS
from data.chess.fen_files import UNPLAYABLE, describe_status, legal_move
from data.chess.stockfish import centipawns_from_win_prob
from eval.chess.strength import MAX_ELO, MIN_ELO


MOVE = re.compile(r"[a-h][1-8][a-h][1-8][qrbn]?|0000", re.IGNORECASE)
MAX_QUOTE = 60


class ProtocolError(ValueError):
    """A command that cannot be executed. The message is one line, and the game continues."""


def quote(text: str) -> str:
    """Return a text from a GUI as a short string in ASCII."""
    return ascii(text if len(text) <= MAX_QUOTE else text[: MAX_QUOTE - 3] + "...")


OptionValue = str | int | float | bool | None


class Option(NamedTuple):
    """A setting that GUIs can change. `number`, from 0 to infinity, is a string to GUIs."""

    name: str
    kind: Literal["spin", "check", "combo", "string", "number", "button"]
    default: OptionValue = None
    lowest: int = 0
    highest: int = 0
    choices: Sequence[str] = ()

    def declare(self) -> str:
        """Return the line that declares this option in the answer to `uci`."""
        match self.kind:
            case "check":
                default = str(self.default).lower()
            case "number":
                default = f"{self.default:g}"
            case _:
                default = "<empty>" if self.default == "" else str(self.default)
        parts = [f"option name {self.name} type {'string' if self.kind == 'number' else self.kind}"]
        if self.kind != "button":
            parts.append(f"default {default}")
        if self.kind == "spin":
            parts.append(f"min {self.lowest} max {self.highest}")
        return " ".join([*parts, *(f"var {choice}" for choice in self.choices)])

    def read(self, text: str) -> OptionValue:
        """Parse a value as a GUI writes it. Raises ProtocolError for one out of range."""
        match self.kind:
            case "spin":
                allowed = f"a whole number from {self.lowest} to {self.highest}"
                if re.fullmatch(r"\d{1,9}", text) and self.lowest <= int(text) <= self.highest:
                    return int(text)
            case "number":
                allowed = "a number from 0 to inf"
                if re.fullmatch(r"inf|\d+\.?\d*(e[+-]?\d+)?|\.\d+", text):
                    return float(text)
            case "check":
                allowed = "true or false"
                if text.lower() in ("true", "false"):
                    return text.lower() == "true"
            case "combo":
                allowed = " or ".join(self.choices)
                if text.lower() in self.choices:
                    return text.lower()
            case _:
                return "" if text == "<empty>" else text
        raise ProtocolError(f"{self.name} cannot be {quote(text)}: give {allowed}")


def list_options(
    temperature: float, margin: float, exact_ends: str, has_ratings: bool = False
) -> list[Option]:
    """List the options. The last five have no effect: lichess-bot and GUIs set them unconditionally.

    Only a model whose ratings were measured can limit its strength.
    """
    limits = [
        Option("UCI_LimitStrength", "check", False),
        Option("UCI_Elo", "spin", MAX_ELO, MIN_ELO, MAX_ELO),
    ]
    return [
        *(limits if has_ratings else ()),
        Option("MultiPV", "spin", 1, 1, 256),
        Option("Temperature", "number", temperature),
        Option("Margin", "number", margin),
        Option("Threads", "spin", 1, 1, 1024),
        Option("UCI_ShowWDL", "check", False),
        Option("ExactEnds", "combo", exact_ends, choices=EXACT_ENDS),
        # The rules of Chess960. Models were trained on standard chess and never saw such positions.
        Option("UCI_Chess960", "check", False),
        Option("Hash", "spin", 16, 1, 33_554_432),
        Option("Clear Hash", "button"),
        Option("Ponder", "check", False),
        Option("Move Overhead", "spin", 0, 0, 60_000),
        Option("SyzygyPath", "string", ""),
    ]


def split_option(words: Sequence[str]) -> tuple[str, str]:
    """Split the words after `setoption`, as in `name Move Overhead value 100`; both parts may be empty."""
    words = list(words[1:] if words[:1] == ["name"] else words)
    end = words.index("value") if "value" in words else len(words)
    return " ".join(words[:end]), " ".join(words[end + 1 :])


class Search(NamedTuple):
    """The arguments of `go`. Clocks, depth and nodes are ignored: there is no search."""

    only: list[str] | None  # moves in UCI; None for all
    ponder: bool
    infinite: bool


def read_go(words: Sequence[str]) -> Search:
    """Parse the words after `go`; unknown ones are ignored."""
    only = None
    if "searchmoves" in words:
        # No other argument looks like a move. As in Stockfish, an empty list means all moves.
        after = words[words.index("searchmoves") + 1 :]
        only = [word.lower() for word in after if MOVE.fullmatch(word)] or None
    return Search(only, "ponder" in words, "infinite" in words)


class Position(NamedTuple):
    """The arguments of `position`: the board to start from, and the moves to play on it."""

    board: chess.Board
    moves: list[str]
    warning: str = ""


def read_position(words: Sequence[str], chess960: bool = False) -> Position:
    """Parse the words after `position`, by the rules of Chess960 or of standard chess.

    Raises ProtocolError for a position that chess cannot start from. Positions that cannot arise but can be
    played on are accepted, such as one with twenty queens; castling rights and en-passant squares without the
    pieces they need are dropped. There is a warning if those rights exist in Chess960. Clocks may be left
    out.
    """
    end = words.index("moves") if "moves" in words else len(words)
    if words[:1] == ["startpos"]:
        return Position(chess.Board(chess960=chess960), list(words[end + 1 :]))
    if words[:1] != ["fen"]:
        raise ProtocolError("position needs startpos or fen")
    fen = " ".join(words[1:end])
    try:
        board = chess.Board(fen, chess960=True)
    except ValueError as error:
        raise ProtocolError(f"broken FEN {quote(fen)}: {quote(str(error))}") from None
    status = board.status()
    if faults := status & UNPLAYABLE:
        raise ProtocolError(f"impossible position {quote(fen)}: {describe_status(faults)}")
    if status & chess.STATUS_INVALID_EP_SQUARE:
        board.ep_square = None
    rights = board.clean_castling_rights()
    board.chess960 = chess960
    board.castling_rights = board.clean_castling_rights()
    is_lost = board.castling_rights != rights
    warning = f"castling rights of Chess960 in {quote(fen)} are dropped: set UCI_Chess960 to true"
    return Position(board, list(words[end + 1 :]), warning if is_lost else "")


def read_move(board: chess.Board, text: str) -> chess.Move:
    """Parse a move in UCI. Raises ProtocolError if it is not legal."""
    move = legal_move(board, text.lower())
    if move is None:
        raise ProtocolError(f"illegal move {quote(text)} in {board.fen()}: it and later moves are ignored")
    return move


def win_draw_loss(win_prob: float) -> tuple[int, int, int]:
    """Split an expected result p into permille of wins, draws and losses: p², 2p(1 - p), (1 - p)².

    The model predicts p alone. This is the distribution of two independent half points, each won with
    probability p; the expected result is p again.
    """
    wins, losses = round(1000 * win_prob**2), round(1000 * (1.0 - win_prob) ** 2)
    return wins, 1000 - wins - losses, losses


def describe_score(win_prob: float, by_rule: float | None, show_wdl: bool) -> str:
    """Return a score such as `score cp 31 wdl 278 498 224`; `by_rule` is the result that the rules give."""
    if by_rule == 1.0:
        score, wdl = "score mate 1", (1000, 0, 0)
    elif by_rule is not None:
        score, wdl = "score cp 0", (0, 1000, 0)
    else:
        # A model of mse can predict values outside [0, 1].
        win_prob = min(max(win_prob, 0.0), 1.0)
        score, wdl = f"score cp {centipawns_from_win_prob(win_prob)}", win_draw_loss(win_prob)
    return f"{score} wdl {wdl[0]} {wdl[1]} {wdl[2]}" if show_wdl else score


def describe_lines(ranking: Iterable[tuple[str, str]], num_moves: int, seconds: float) -> list[str]:
    """Return the `info` lines of ranked (move, score or ""): depth 1, and a node for every move valued."""
    nps = round(num_moves / max(seconds, 1e-3))
    return [
        f"info depth 1 seldepth 1 multipv {rank} {score + ' ' if score else ''}nodes {num_moves} nps {nps} "
        f"time {round(1000 * seconds)} pv {move}"
        for rank, (move, score) in enumerate(ranking, 1)
    ]
