"""Stockfish, and any other program that speaks UCI, as engines to play against.

    with start_stockfish(skill=3) as engine:
        engine.play(chess.Board())

Source of the Skill Levels: Stockfish's own search (`Skill` in search.cpp). Level L, from 0 to 19, picks among
its best four moves the one to play when depth L + 1 is done. Searching deeper changes nothing, so by default
it is stopped there; level 20 plays with all its strength.
"""

import logging
import math
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import chess
import chess.engine
import numpy as np

from cli.errors import InputError
from data.chess.stockfish import EngineCrash, find_stockfish, win_prob_from_centipawns
from eval.chess.engines import Analysis, ChosenMove, Engine, ordered_legal_moves


HANDSHAKE_SECONDS = 20.0
# On top of what a search takes at the slowest: an engine that needs longer hangs.
PATIENCE_SECONDS = 60.0
SLOWEST_NODES_PER_SECOND = 1000.0
# Every ply more takes Stockfish 15 about 1.5 times as many nodes. At 2 a search to depth 20, which takes it
# 2 s, has 17 minutes, and one to depth 26, which takes it 10 s, has 19 hours.
BRANCHING_FACTOR = 2.0
# A timer cannot wait for ever.
LONGEST_SEARCH_SECONDS = 30 * 86400.0
MAX_SKILL = 20
FULL_STRENGTH_SECONDS = 0.05
# Since version 16, UCI_Elo is on the scale of CCRL's blitz list.
FIRST_CALIBRATED_VERSION = 16
MIN_UCI_ELO, MAX_UCI_ELO = 1320, 3190


class _NoLateDeaths(logging.Filter):
    """Drops asyncio's remark that a program which never answered ended after it was given up."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "that handles pid" not in record.msg


logging.getLogger("asyncio").addFilter(_NoLateDeaths())


class UciEngine(Engine):
    """A program that speaks UCI, searching every move within `limit`.

    Raises InputError if `command` cannot be started or does not answer as UCI engines do.
    """

    def __init__(
        self,
        command: Sequence[str],
        limit: chess.engine.Limit,
        options: Mapping[str, Any] | None = None,
        name: str | None = None,
    ):
        program = command[0]
        if shutil.which(program) is None:
            raise InputError(f"{program}: no such program; give the path of a UCI engine")
        self.limit = limit
        self._game = object()
        self._engine = None
        try:
            self._start([shutil.which(program), *command[1:]], options or {})
        except chess.engine.EngineTerminatedError as error:
            raise InputError(f"{program} ended before it answered `uci`: is it a UCI engine?") from error
        except TimeoutError as error:
            raise InputError(
                f"{program} did not answer `uci` within {HANDSHAKE_SECONDS:.0f} s: is it a UCI engine?"
            ) from error
        except (chess.engine.EngineError, OSError) as error:
            raise InputError(f"{program} cannot be used: {error}; give another engine") from error
        self.program = self._engine.id.get("name", os.path.basename(program))
        self.name = name or self.program

    def _start(self, command: list[str], options: Mapping[str, Any]) -> None:
        """Start the program; if it fails to answer, or this is interrupted, the program is ended."""
        owner, is_given_up = self, threading.Event()

        # Until popen_uci returns nobody else knows the program, and its thread would keep Python from ending.
        class Program(chess.engine.SimpleEngine):
            def __init__(self, *arguments: Any, **settings: Any):
                super().__init__(*arguments, **settings)
                owner._engine = self
                if is_given_up.is_set():
                    self.close()

        try:
            # In a session of its own, Ctrl-C reaches Python alone and not the engine behind its back.
            Program.popen_uci(
                command, timeout=HANDSHAKE_SECONDS, stderr=subprocess.DEVNULL, start_new_session=True
            )
            self._engine.configure(dict(options))
            self._engine.ping()
        except BaseException:
            is_given_up.set()
            self.close()
            raise

    def choose(self, board: chess.Board) -> ChosenMove:
        if not any(board.legal_moves):
            raise ValueError("there is no legal move")
        result = self._search(
            lambda: self._engine.play(board, self.limit, game=self._game, info=chess.engine.INFO_SCORE)
        )
        if result.move is None:
            raise EngineCrash(f"{self.name} gave no move")
        score = result.info.get("score")
        return ChosenMove(result.move, None if score is None else _win_prob(score, board.turn))

    def analyse_many(self, boards: Sequence[chess.Board]) -> list[Analysis]:
        """Value all legal moves of boards by one search each, within the limit, as many lines as moves.

        Raises EngineCrash if the search was too short to value every move.
        """
        return [self._analyse(board) for board in boards]

    def _analyse(self, board: chess.Board) -> Analysis:
        moves = ordered_legal_moves(board)
        if not moves:
            return Analysis([], np.zeros(0, np.float32))
        lines = self._search(
            lambda: self._engine.analyse(board, self.limit, multipv=len(moves), game=self._game)
        )
        values = {line["pv"][0]: _win_prob(line["score"], board.turn) for line in lines if line.get("pv")}
        if unvalued := [move.uci() for move in moves if move not in values]:
            raise EngineCrash(f"{self.name} gave no value for {unvalued[0]} within its limit: raise it")
        return Analysis(moves, np.array([values[move] for move in moves], np.float32))

    def new_game(self, seed: int) -> None:
        self._game = object()

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()

    def _search(self, search: Callable[[], Any]) -> Any:
        """Run a search, and kill the engine if it takes far longer than it may."""
        seconds = PATIENCE_SECONDS + longest_search(self.limit)
        # chess.engine itself waits for ever where the limit is not a time.
        hangs = threading.Event()
        watch = threading.Timer(seconds, lambda: (hangs.set(), self._engine.close()))
        watch.daemon = True
        watch.start()
        try:
            return search()
        except chess.engine.EngineTerminatedError as error:
            what = f"did not answer within {seconds:.0f} s" if hangs.is_set() else "died"
            raise EngineCrash(f"{self.name} {what}") from error
        except (chess.engine.EngineError, TimeoutError) as error:
            # Illegal moves come here.
            raise EngineCrash(f"{self.name} broke the protocol: {str(error) or 'no answer'}") from error
        finally:
            watch.cancel()


def start_stockfish(
    skill: int | None = None,
    uci_elo: int | None = None,
    nodes: int | None = None,
    depth: int | None = None,
    time: float | None = None,
) -> UciEngine:
    """Start Stockfish with one thread, at a Skill Level 0 to 20, at a UCI_Elo, or at full strength.

    `nodes`, `depth` and `time` (in seconds) limit the search of a move. By default a weakened Stockfish
    searches as deep as it needs to choose its move, and full strength has 0.05 s, as ChessBench's labels had.
    Raises InputError if Stockfish is not found, a strength is out of range, or its UCI_Elo is of the older
    scale.
    """
    if skill is not None and uci_elo is not None:
        raise InputError("Stockfish is weakened by a Skill Level or by a UCI_Elo: give one of them")
    if skill is not None and not 0 <= skill <= MAX_SKILL:
        raise InputError(f"Stockfish has no Skill Level {skill}: choose one from 0 to {MAX_SKILL}")
    if uci_elo is not None and not MIN_UCI_ELO <= uci_elo <= MAX_UCI_ELO:
        raise InputError(f"Stockfish has no UCI_Elo {uci_elo}: choose {MIN_UCI_ELO} to {MAX_UCI_ELO}")
    options: dict[str, Any] = {"Threads": 1, "Hash": 16}
    weakness = ""
    if skill is not None and skill < MAX_SKILL:
        options["Skill Level"] = skill
        weakness = f" skill {skill}"
    elif uci_elo is not None:
        options |= {"UCI_LimitStrength": True, "UCI_Elo": uci_elo}
        weakness = f" UCI_Elo {uci_elo}"
    if nodes is None and depth is None and time is None:
        if uci_elo is not None:
            depth = _depth_of_uci_elo(uci_elo)
        elif weakness:
            depth = skill + 1
        else:
            time = FULL_STRENGTH_SECONDS
    limit = chess.engine.Limit(nodes=nodes, depth=depth, time=time)
    program = find_stockfish()
    try:
        engine = UciEngine([program], limit, options)
    except InputError as error:
        raise InputError(f"{error} (for Stockfish: set STOCKFISH to its path)") from error
    version = stockfish_version(engine.program)
    if uci_elo is not None and (version is None or version < FIRST_CALIBRATED_VERSION):
        engine.close()
        scale = "is on an older scale" if version else "may be on an older scale, as its version is not known"
        raise InputError(
            f"UCI_Elo of {engine.program} {scale}: take Skill Levels, or Stockfish "
            f"{FIRST_CALIBRATED_VERSION} or newer (set STOCKFISH to its path)"
        )
    engine.name = f"{engine.program}{weakness} {describe_limit(limit)}"
    return engine


def longest_search(limit: chess.engine.Limit) -> float:
    """Return the seconds that a search may take at the slowest; the limit that is met first ends it."""
    seconds = []
    if limit.time is not None:
        seconds.append(limit.time)
    if limit.nodes is not None:
        seconds.append(limit.nodes / SLOWEST_NODES_PER_SECOND)
    if limit.depth is not None:
        # Much deeper the power would overflow, and this is more than the longest already.
        seconds.append(BRANCHING_FACTOR ** min(limit.depth, 100) / SLOWEST_NODES_PER_SECOND)
    return min(LONGEST_SEARCH_SECONDS, *seconds) if seconds else 0.0


def stockfish_version(name: str) -> int | None:
    """Return the major version in the name that Stockfish gives itself, such as Stockfish 15.1."""
    found = re.match(r"Stockfish (\d+)", name)
    # Builds between releases are named by their date.
    return int(found[1]) if found and int(found[1]) < 1000 else None


def describe_limit(limit: chess.engine.Limit) -> str:
    """Say in words what ends a search: depth 4, 1000 nodes, 0.05 s."""
    parts = [f"depth {limit.depth}"] if limit.depth is not None else []
    parts += [f"{limit.nodes} nodes"] if limit.nodes is not None else []
    parts += [f"{limit.time:g} s"] if limit.time is not None else []
    return " ".join(parts)


def _depth_of_uci_elo(uci_elo: int) -> int:
    """Return a depth at which Stockfish has chosen its move for a UCI_Elo.

    It turns the Elo into a level by a polynomial that differs a little between versions, hence the two more.
    """
    share = (uci_elo - MIN_UCI_ELO) / (MAX_UCI_ELO - MIN_UCI_ELO)
    level = ((37.2473 * share - 40.8525) * share + 22.2943) * share - 0.311438
    return math.floor(min(max(level, 0.0), 19.0)) + 3


def _win_prob(score: chess.engine.PovScore, side: chess.Color) -> float:
    """Return the win probability of a score for a side."""
    pov = score.pov(side)
    if pov.is_mate():
        return 1.0 if pov > chess.engine.Cp(0) else 0.0
    return win_prob_from_centipawns(pov.score())
