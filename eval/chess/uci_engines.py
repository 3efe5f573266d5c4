"""Stockfish, and any other program that speaks UCI, as engines to play against.

    with start_stockfish(skill=3) as engine:
        engine.play(chess.Board())

Source of the Skill Levels: Stockfish's own search (`Skill` in search.cpp). Level L, from 0 to 19, chooses its
move among the best four when depth L + 1 is complete. Searching deeper changes nothing, so the default depth
is L + 1; level 20 is full strength.
"""

import logging
import math
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import chess
import chess.engine

from cli.errors import InputError
from data.chess.stockfish import EngineCrash, find_stockfish, win_prob_from_centipawns
from eval.chess.engines import ChosenMove, Engine


HANDSHAKE_SECONDS = 20.0
# Added to the longest time that a search can take; an engine that needs longer hangs.
PATIENCE_SECONDS = 60.0
MIN_NODES_PER_SECOND = 1000.0
# Each ply takes Stockfish 15 about 1.5 times as many nodes as the last. With 2, a search to depth 20, which
# takes it 2 s, has 17 minutes, and one to depth 26, which takes it 10 s, has 19 hours.
BRANCHING_FACTOR = 2.0
MAX_SEARCH_SECONDS = 30 * 86400.0  # a timer has a maximum
MAX_SKILL = 20
FULL_STRENGTH_SECONDS = 0.05  # as in ChessBench's labels
# Since version 16, UCI_Elo is on the scale of CCRL's blitz list.
FIRST_CALIBRATED_VERSION = 16
MIN_UCI_ELO, MAX_UCI_ELO = 1320, 3190

# asyncio warns when a program ends that never answered; the InputError below says so already.
logging.getLogger("asyncio").addFilter(lambda record: "that handles pid" not in record.msg)


class UciEngine(Engine):
    """A program that speaks UCI and searches every move within `limit`.

    Raises InputError if `command` cannot be started or does not answer as UCI engines do.
    """

    def __init__(
        self, command: Sequence[str], limit: chess.engine.Limit, options: Mapping[str, Any] | None = None
    ):
        program = command[0]
        path = shutil.which(program)
        if path is None:
            raise InputError(f"{program}: no such program; give the path of a UCI engine")
        self.limit = limit
        self._game = object()
        try:
            self._engine = chess.engine.SimpleEngine.popen_uci(
                [path, *command[1:]],
                timeout=HANDSHAKE_SECONDS,
                stderr=subprocess.DEVNULL,
                # In its own session, Ctrl-C does not reach the engine before Python.
                start_new_session=True,
            )
            try:
                self._engine.configure(dict(options or {}))
                self._engine.ping()
            except BaseException:
                self._engine.close()
                raise
        except chess.engine.EngineTerminatedError as error:
            raise InputError(f"{program} ended before it answered `uci`: is it a UCI engine?") from error
        except TimeoutError as error:
            raise InputError(
                f"{program} did not answer `uci` within {HANDSHAKE_SECONDS:.0f} s: is it a UCI engine?"
            ) from error
        except (chess.engine.EngineError, OSError) as error:
            raise InputError(f"{program} cannot be used: {error}; give another engine") from error
        self.name = self._engine.id.get("name", os.path.basename(program))

    def choose(self, board: chess.Board) -> ChosenMove:
        if not any(board.legal_moves):
            raise ValueError("there is no legal move")
        seconds = PATIENCE_SECONDS + longest_search(self.limit)
        # chess.engine itself waits forever where the limit is not a time.
        hangs = threading.Event()
        watchdog = threading.Timer(seconds, lambda: (hangs.set(), self._engine.close()))
        watchdog.daemon = True
        watchdog.start()
        try:
            result = self._engine.play(board, self.limit, game=self._game, info=chess.engine.INFO_SCORE)
        except chess.engine.EngineTerminatedError as error:
            what = f"did not answer within {seconds:.0f} s" if hangs.is_set() else "died"
            raise EngineCrash(f"{self.name} {what}") from error
        except (chess.engine.EngineError, TimeoutError) as error:
            # Illegal moves are an EngineError.
            raise EngineCrash(f"{self.name} broke the protocol: {str(error) or 'no answer'}") from error
        finally:
            watchdog.cancel()
        if result.move is None:
            raise EngineCrash(f"{self.name} gave no move")
        score = result.info.get("score")
        return ChosenMove(result.move, None if score is None else _win_prob(score, board.turn))

    def new_game(self, seed: int) -> None:
        self._game = object()

    def close(self) -> None:
        self._engine.close()


def start_stockfish(skill: int | None, uci_elo: int | None, limit: chess.engine.Limit) -> UciEngine:
    """Start Stockfish with one thread, at a Skill Level 0 to 20, at a UCI_Elo, or at full strength.

    By default a weakened Stockfish searches as deep as it needs to choose its move, and full strength has
    0.05 s. Raises InputError if Stockfish is not found, or if its UCI_Elo is on the older scale.
    """
    options: dict[str, Any] = {"Threads": 1, "Hash": 16}
    strength = ""
    default = chess.engine.Limit(time=FULL_STRENGTH_SECONDS)
    if skill is not None and skill < MAX_SKILL:
        options["Skill Level"] = skill
        strength = f" skill {skill}"
        default = chess.engine.Limit(depth=skill + 1)
    elif uci_elo is not None:
        options |= {"UCI_LimitStrength": True, "UCI_Elo": uci_elo}
        strength = f" UCI_Elo {uci_elo}"
        default = chess.engine.Limit(depth=_depth_of_uci_elo(uci_elo))
    if limit == chess.engine.Limit():
        limit = default
    program = find_stockfish()
    try:
        engine = UciEngine([program], limit, options)
    except InputError as error:
        raise InputError(f"{error} (for Stockfish: set STOCKFISH to its path)") from error
    version = stockfish_version(engine.name)
    if uci_elo is not None and (version is None or version < FIRST_CALIBRATED_VERSION):
        engine.close()
        scale = "is on an older scale" if version else "may be on an older scale, as its version is unknown"
        raise InputError(
            f"UCI_Elo of {engine.name} {scale}: use Skill Levels, or Stockfish "
            f"{FIRST_CALIBRATED_VERSION} or newer (set STOCKFISH to its path)"
        )
    engine.name = f"{engine.name}{strength} {describe_limit(limit)}"
    return engine


def longest_search(limit: chess.engine.Limit) -> float:
    """Return an upper bound on the seconds of a search; the first limit that is met ends it."""
    seconds = [MAX_SEARCH_SECONDS]
    if limit.time is not None:
        seconds.append(limit.time)
    if limit.nodes is not None:
        seconds.append(limit.nodes / MIN_NODES_PER_SECOND)
    if limit.depth is not None:
        # The power of a greater depth would overflow.
        seconds.append(BRANCHING_FACTOR ** min(limit.depth, 100) / MIN_NODES_PER_SECOND)
    return min(seconds)


def stockfish_version(name: str) -> int | None:
    """Return the major version in the name that Stockfish reports, such as Stockfish 15.1."""
    found = re.match(r"Stockfish (\d+)", name)
    # Development builds are named by their date.
    return int(found[1]) if found and int(found[1]) < 1000 else None


def describe_limit(limit: chess.engine.Limit) -> str:
    """Return a limit as text, such as depth 4, 1000 nodes, 0.05 s."""
    parts = [f"depth {limit.depth}"] if limit.depth is not None else []
    parts += [f"{limit.nodes} nodes"] if limit.nodes is not None else []
    parts += [f"{limit.time:g} s"] if limit.time is not None else []
    return " ".join(parts)


def _depth_of_uci_elo(uci_elo: int) -> int:
    """Return a depth at which Stockfish has chosen its move for a UCI_Elo.

    Stockfish maps the Elo to a level by a polynomial that differs slightly between versions, hence two plies
    more.
    """
    fraction = (uci_elo - MIN_UCI_ELO) / (MAX_UCI_ELO - MIN_UCI_ELO)
    level = ((37.2473 * fraction - 40.8525) * fraction + 22.2943) * fraction - 0.311438
    return math.floor(min(max(level, 0.0), 19.0)) + 3


def _win_prob(score: chess.engine.PovScore, side: chess.Color) -> float:
    """Return the win probability of a score for a side."""
    pov = score.pov(side)
    if pov.is_mate():
        return 1.0 if pov > chess.engine.Cp(0) else 0.0
    return win_prob_from_centipawns(pov.score())
