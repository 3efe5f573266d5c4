"""A UCI chess engine for GUIs, matches and bots: a model values every legal move in one pass.

    python -m eval.chess.uci --model runs/chess_tiny/model

There is no search, so clocks, depth and nodes do not matter. Lines are in order of value; with a Temperature
the move played is drawn, and need not be that of the first line, unless that is a mate. `go infinite` and
`go ponder` value the moves at once and keep back the move until `stop` or `ponderhit`. Every `go` is answered
by one `bestmove`.
"""

import argparse
import os
import secrets
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import chess

from cli.errors import INTERRUPTED_STATUS, InputError, command, first_line
from cli.options import add_model_options, add_move_options, seed_number
from eval.chess.uci_protocol import (
    Position,
    ProtocolError,
    Search,
    describe_lines,
    describe_score,
    list_options,
    quote,
    read_go,
    split_option,
)
from eval.model_folder import check_model_folder


# Importing torch takes seconds, and GUIs do not wait long for `uciok`: it is imported where it is needed.
if TYPE_CHECKING:
    from eval.chess.engines import ValueEngine

# The largest float32 below 1: no prediction, not even one of mse, stands beside a mate.
BELOW_MATE = 1.0 - 2.0**-24
HELP = (
    "A model that values chess moves, playing by the UCI protocol: add it to a chess GUI as a UCI engine.",
    "By hand: position startpos moves e2e4 / d / setoption name MultiPV value 5 / go / quit",
)


class UciSession:
    """One conversation with a GUI: it writes `lines`, and what `send` is given is written to it.

    The model is loaded when it is first needed. Raises InputError if it cannot be loaded, or predicts NaN.
    """

    def __init__(self, arguments: argparse.Namespace, send: Callable[..., None]):
        self._arguments = arguments
        self._send = send
        options = list_options(
            arguments.temperature, arguments.margin, arguments.device, arguments.exact_ends
        )
        self._options = {option.name.lower(): option for option in options}
        self._values = {option.name: option.default for option in options}
        self._engine: ValueEngine | None = None
        self._position = Position()
        self._kept_move: str | None = None
        self._keep_until_stop = False
        self._has_quit = False
        self._commands: dict[str, Callable[[list[str]], None]] = {
            "uci": self._introduce,
            "isready": self._get_ready,
            "setoption": self._set_option,
            "ucinewgame": self._start_new_game,
            "position": lambda words: self._position.set_up(words),
            "go": self._go,
            "stop": lambda words: self._release_move(),
            "ponderhit": self._hit_ponder_move,
            "d": lambda words: self._send(str(self._position.board), f"Fen: {self._position.board.fen()}"),
            "help": lambda words: self._send(*HELP),
            "debug": lambda words: None,
            "register": lambda words: None,
            "quit": self._quit,
        }

    def run(self, lines: Iterable[bytes]) -> None:
        """Obey every line until `quit` or the end."""
        for line in lines:
            words = line.decode(errors="replace").split()
            # The specification has unknown words skipped until one makes sense.
            start = next((i for i, word in enumerate(words) if word in self._commands), None)
            if start is not None:
                self._obey(words[start], words[start + 1 :])
            elif words:
                self._send(f"info string unknown command {quote(' '.join(words))}; try help")
            if self._has_quit:
                break
        self._release_move()

    def _obey(self, name: str, words: list[str]) -> None:
        try:
            self._commands[name](words)
        except ProtocolError as error:
            self._send(f"info string {error}")
        except InputError as error:
            self._send(f"info string error: {error}")
            raise
        except BrokenPipeError:
            raise
        except Exception as error:
            self._send(f"info string error: {name} failed: {type(error).__name__}: {first_line(error)}")
            if name in ("isready", "go") and self._engine is None:
                raise
            # A fault of ours, or no memory: better one lost move than no engine for the rest of the game.
            traceback.print_exc()

    def _introduce(self, words: list[str]) -> None:
        folder = Path(self._arguments.model).resolve()
        run = folder.parent.name if folder.name == "model" else folder.name
        self._send(
            f"id name Stop Regressing {' '.join(run.split())}",
            "id author the Stop Regressing contributors",
            *(option.declare() for option in self._options.values()),
            "uciok",
        )

    def _get_ready(self, words: list[str]) -> None:
        self._load()
        self._send("readyok")

    def _load(self) -> "ValueEngine":
        """Return the engine, loaded and warmed up."""
        if self._engine is None:
            import torch

            from eval.chess.engines import ValueEngine

            torch.set_num_threads(self._values["Threads"])
            engine = ValueEngine(
                self._arguments.model,
                device=self._values["Device"],
                dtype=self._arguments.dtype,
                compile=self._arguments.compile,
                seed=secrets.randbits(32) if self._arguments.seed is None else self._arguments.seed,
            )
            # The first pass is the slowest, and shows damaged weights.
            engine.analyse(chess.Board())
            self._engine = engine
        return self._engine

    def _set_option(self, words: list[str]) -> None:
        name, text = split_option(words)
        option = self._options.get(name.lower())
        if option is None:
            raise ProtocolError(f"No such option: {quote(name)}")
        value = option.read(text)
        if option.name == "Device" and value != self._values["Device"]:
            self._move_to(value)
        elif option.name == "Threads" and self._engine is not None:
            import torch

            torch.set_num_threads(value)
        self._values[option.name] = value

    def _move_to(self, name: str) -> None:
        """Move the model, if it is loaded. Raises ProtocolError, and leaves it where it is, if that fails."""
        from eval.loading import choose_device

        try:
            device = choose_device(name)
        except InputError as error:
            raise ProtocolError(str(error)) from None
        if self._engine is None:
            return
        old = self._engine.model.device
        try:
            self._engine.model.to(device)
            self._engine.analyse(chess.Board())
        except RuntimeError as error:
            # When memory runs out, half of the model may be there already.
            self._engine.model.to(old)
            raise ProtocolError(f"Device stays {old}: {first_line(error)}") from None

    def _start_new_game(self, words: list[str]) -> None:
        self._position = Position()

    def _go(self, words: list[str]) -> None:
        # A GUI that does not wait for the answer to its last `go` gets it now.
        self._release_move()
        search = read_go(words)
        try:
            self._kept_move = self._choose(search)
        except Exception:
            # Without an answer a GUI waits for ever.
            self._send("bestmove (none)")
            raise
        self._keep_until_stop = search.infinite
        if not (search.infinite or search.ponder):
            self._release_move()

    def _choose(self, search: Search) -> str:
        """Tell the GUI the values of the best moves and return the one to play."""
        from eval.chess.engines import MoveChoice

        engine, board = self._load(), self._position.board
        started = time.perf_counter()
        if not any(board.generate_legal_moves()):
            self._send(f"info depth 0 score {'mate' if board.is_check() else 'cp'} 0")
            return "(none)"
        engine.exact_ends = self._values["ExactEnds"]
        analysis = engine.analyse(board)
        moves, by_rule = analysis.moves, analysis.by_rule
        values = analysis.values.clip(0.0, BELOW_MATE)
        for index, value in by_rule.items():
            values[index] = value
        candidates = [i for i, move in enumerate(moves) if search.only is None or move.uci() in search.only]
        if not candidates:
            self._send("info string no move of searchmoves is legal")
            return "(none)"
        ranking = sorted(candidates, key=lambda i: -values[i])[: self._values["MultiPV"]]
        scores = (
            (moves[i].uci(), describe_score(float(values[i]), i in by_rule, self._values["UCI_ShowWDL"]))
            for i in ranking
        )
        self._send(*describe_lines(scores, len(moves), time.perf_counter() - started))
        engine.choice = MoveChoice(self._values["Temperature"], self._values["Margin"])
        # Lots are not drawn about a mate.
        candidates = [i for i in analysis.checkmates if i in candidates] or candidates
        return moves[candidates[engine.choose_index(values[candidates])]].uci()

    def _release_move(self) -> None:
        if self._kept_move is not None:
            self._send(f"bestmove {self._kept_move}")
            self._kept_move = None

    def _hit_ponder_move(self, words: list[str]) -> None:
        if not self._keep_until_stop:
            self._release_move()

    def _quit(self, words: list[str]) -> None:
        self._has_quit = True


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m eval.chess.uci",
        description="Play chess over UCI with a model that values every legal move, without search. What "
        "--device, --temperature, --margin and --exact-ends say, a GUI can change.",
    )
    add_model_options(parser)
    add_move_options(parser)
    parser.add_argument(
        "--seed",
        type=seed_number,
        metavar="N",
        help="draw the same moves every time (default: other ones)",
    )
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    check_model_folder(arguments.model)
    # On cores that another engine shares, torch's threads would spin 50 times longer than they work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    gui = open(os.dup(1), "wb", buffering=0)  # noqa: SIM115 (open until the process ends)
    # A GUI would take for moves what libraries print: from here on that goes to stderr.
    os.dup2(2, 1)

    def send(*lines: str) -> None:
        gui.write(("\n".join(lines) + "\n").encode())

    try:
        UciSession(arguments, send).run(sys.stdin.buffer)
    except BrokenPipeError:
        # The GUI is gone.
        return
    except KeyboardInterrupt:
        # Bots are ended by Ctrl-C, and it reaches their engines too.
        sys.exit(INTERRUPTED_STATUS)


if __name__ == "__main__":
    command(main)
