"""A UCI chess engine for GUIs, matches and bots: a model values every legal move, without search.

    python -m eval.chess.uci --model runs/chess_tiny/model

A model that predicts moves has no scores; it sends the probabilities of the best lines as a string.

There is no search, so clocks, depth and nodes have no effect. Lines are ordered by value; with a Temperature
the move played is sampled and can differ from the first line, unless that is checkmate. `go infinite` and
`go ponder` value the moves at once and hold back the move until `stop` or `ponderhit`. Every `go` is answered
by one `bestmove`.
"""

import argparse
import os
import secrets
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import chess

from cli.errors import INTERRUPTED_STATUS, InputError, command, first_line
from cli.options import add_model_options, add_move_options, seed_number
from eval.chess.strength import has_ratings, temperature_of
from eval.chess.uci_protocol import (
    ProtocolError,
    Search,
    describe_lines,
    describe_score,
    list_options,
    quote,
    read_go,
    read_move,
    read_position,
    split_option,
)
from eval.model_folder import check_model_folder, model_name


# torch takes seconds to import, and GUIs wait only briefly for `uciok`: engines are imported when needed.
if TYPE_CHECKING:
    from eval.chess.engines import ValueEngine

HELP = (
    "A model that plays chess, as a UCI engine: add it to a chess GUI.",
    "By hand: position startpos moves e2e4 / d / setoption name MultiPV value 5 / go / quit",
)


class UciSession:
    """A conversation with a GUI, which reads the lines given to `send`.

    The model is loaded when it is first needed. Raises InputError if it cannot be loaded, or predicts NaN.
    """

    def __init__(self, arguments: argparse.Namespace, send: Callable[..., None]):
        self._arguments = arguments
        self._send = send
        options = list_options(
            arguments.temperature, arguments.margin, arguments.exact_ends, has_ratings(arguments.model)
        )
        self._options = {option.name.lower(): option for option in options}
        self._values = {option.name: option.default for option in options}
        self._engine: ValueEngine | None = None
        self._board = chess.Board()
        self._kept_move: str | None = None
        self._keep_until_stop = False
        self._has_quit = False
        self._commands: dict[str, Callable[[list[str]], None]] = {
            "uci": self._introduce,
            "isready": self._get_ready,
            "setoption": self._set_option,
            "ucinewgame": self._start_new_game,
            "position": self._set_position,
            "go": self._go,
            "stop": lambda words: self._release_move(),
            "ponderhit": self._hit_ponder_move,
            "d": lambda words: self._send(str(self._board), f"Fen: {self._board.fen()}"),
            "help": lambda words: self._send(*HELP),
            "debug": lambda words: None,
            "register": lambda words: None,
            "quit": self._quit,
        }

    def run(self, lines: Iterable[bytes]) -> None:
        """Execute every line until `quit` or the end."""
        for line in lines:
            words = line.decode(errors="replace").split()
            # The specification says to skip unknown words at the start of a line.
            start = next((i for i, word in enumerate(words) if word in self._commands), None)
            if start is not None:
                self._execute(words[start], words[start + 1 :])
            elif words:
                self._send(f"info string unknown command {quote(' '.join(words))}; try help")
            if self._has_quit:
                break
        self._release_move()

    def _execute(self, name: str, words: list[str]) -> None:
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
            # A bug, or memory ran out: the game continues without this move.
            traceback.print_exc()

    def _introduce(self, words: list[str]) -> None:
        self._send(
            f"id name Stop Regressing {' '.join(model_name(self._arguments.model).split())}",
            "id author the Stop Regressing contributors",
            *(option.declare() for option in self._options.values()),
            "uciok",
        )

    def _get_ready(self, words: list[str]) -> None:
        self._load()
        self._send("readyok")

    def _load(self) -> "ValueEngine":
        """Return the engine, loaded and warmed up with one board."""
        if self._engine is None:
            from eval.chess.engines import ValueEngine

            engine = ValueEngine(
                self._arguments.model,
                device=self._arguments.device,
                dtype=self._arguments.dtype,
                compile=self._arguments.compile,
                runtime=self._arguments.runtime,
                seed=secrets.randbits(32) if self._arguments.seed is None else self._arguments.seed,
            )
            engine.network.set_threads(self._values["Threads"])
            # The first pass is the slowest, and finds damaged weights.
            engine.analyse(chess.Board())
            self._engine = engine
        return self._engine

    def _set_option(self, words: list[str]) -> None:
        name, text = split_option(words)
        option = self._options.get(name.lower())
        if option is None:
            raise ProtocolError(f"No such option: {quote(name)}")
        value = option.read(text)
        if option.name == "Threads" and self._engine is not None:
            self._engine.network.set_threads(value)
        self._values[option.name] = value

    def _start_new_game(self, words: list[str]) -> None:
        self._board = chess.Board(chess960=self._values["UCI_Chess960"])

    def _set_position(self, words: list[str]) -> None:
        self._board, moves, warning = read_position(words, self._values["UCI_Chess960"])
        if warning:
            self._send(f"info string {warning}")
        # As in Stockfish, the moves before an illegal one are played.
        for move in moves:
            self._board.push(read_move(self._board, move))

    def _go(self, words: list[str]) -> None:
        # A GUI that sent another `go` too early still gets the move of the previous one.
        self._release_move()
        search = read_go(words)
        try:
            self._kept_move = self._choose(search)
        except Exception:
            # A GUI waits forever for the answer.
            self._send("bestmove (none)")
            raise
        self._keep_until_stop = search.infinite
        if not (search.infinite or search.ponder):
            self._release_move()

    def _choose(self, search: Search) -> str:
        """Send the values of the best moves and return the move to play."""
        from eval.chess.engines import MoveChoice

        engine, board = self._load(), self._board
        started = time.perf_counter()
        if not any(board.generate_legal_moves()):
            self._send(f"info depth 0 score {'mate' if board.is_check() else 'cp'} 0")
            return "(none)"
        engine.exact_ends = self._values["ExactEnds"]
        temperature = self._values["Temperature"]
        if self._values.get("UCI_LimitStrength"):
            temperature = temperature_of(self._values["UCI_Elo"])
        engine.choice = MoveChoice(temperature, self._values["Margin"])
        analysis = engine.analyse(board)
        moves = [move.uci() for move in analysis.moves]
        ranking = [i for i in analysis.ranking() if search.only is None or moves[i] in search.only]
        if not ranking:
            self._send("info string no move of searchmoves is legal")
            return "(none)"
        show_wdl = self._values["UCI_ShowWDL"]
        shown = ranking[: self._values["MultiPV"]]
        scores = (
            (moves[i], describe_score(float(analysis.values[i]), analysis.by_rule.get(i), show_wdl))
            for i in shown
        )
        if engine.network.is_policy:
            probabilities = (f"{moves[i]} {analysis.values[i]:.1%}" for i in shown)
            self._send(f"info string probabilities {' '.join(probabilities)}")
            # A score is a value, which a policy knows only of checkmates.
            scores = ((move, score if "mate" in score else "") for move, score in scores)
        self._send(*describe_lines(scores, len(moves), time.perf_counter() - started))
        return moves[engine.choose_index(analysis, sorted(ranking))]

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
        description="A chess engine for the UCI protocol, without search: a model values every legal move. "
        "A chess program starts this command and can change --temperature, --margin and --exact-ends as "
        "UCI options.",
    )
    add_model_options(parser)
    add_move_options(parser)
    parser.add_argument(
        "--seed",
        type=seed_number,
        metavar="N",
        help="seed of the moves sampled at a temperature (default: different moves every time)",
    )
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    check_model_folder(arguments.model)
    gui = open(os.dup(1), "wb", buffering=0)  # noqa: SIM115 (open until the process ends)
    # A GUI would read what libraries print as moves: from here on that goes to stderr.
    os.dup2(2, 1)

    def send(*lines: str) -> None:
        gui.write(("\n".join(lines) + "\n").encode())

    try:
        UciSession(arguments, send).run(sys.stdin.buffer)
    except BrokenPipeError:
        # The GUI has ended.
        return
    except KeyboardInterrupt:
        # Ctrl-C ends a bot in a terminal, and reaches its engine too.
        sys.exit(INTERRUPTED_STATUS)


if __name__ == "__main__":
    command(main)
