"""Who can play: what --opponent and --opponents name, as values that can be sent to other processes.

stockfish:3                     Skill Level 3; 1320 and more are a UCI_Elo; without a number, full strength
model:runs/chess_tiny/model
uci:/usr/games/gnuchess -u      any program that speaks UCI
random
"""

import argparse
import math
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import chess.engine

from cli.errors import InputError
from cli.options import ExactEnds
from eval.chess.engines import GREEDY, Engine, MoveChoice, RandomEngine, ValueEngine
from eval.chess.uci_engines import MAX_SKILL, MIN_UCI_ELO, UciEngine, describe_limit, start_stockfish
from eval.loading import identify_model


DEFAULT_SECONDS = 0.1
KINDS = "stockfish, stockfish:SKILL, model:DIR, uci:COMMAND, random"


class Player(Protocol):
    """An engine that is not running yet.

    `is_deterministic` says that it is known to answer the same moves with the same move in every game.
    """

    @property
    def is_deterministic(self) -> bool: ...

    def start(self) -> Engine:
        """Start it. Raises InputError if that is impossible."""

    def identify(self) -> str:
        """Return the name that the engine will have: the same name, the same player."""


@dataclass(frozen=True)
class SearchLimit:
    """What ends the search of a move; time is in seconds. All None leaves it to the engine's default."""

    nodes: int | None = None
    depth: int | None = None
    time: float | None = None

    def is_given(self) -> bool:
        return any(value is not None for value in (self.nodes, self.depth, self.time))


@dataclass(frozen=True)
class ModelPlayer:
    """A trained model; `choice` and the rest as for ValueEngine."""

    model: str
    device: str = "auto"
    dtype: str = "float32"
    choice: MoveChoice = GREEDY
    exact_ends: ExactEnds = "all"
    compile: bool = False

    @classmethod
    def from_options(cls, arguments: argparse.Namespace) -> Self:
        """Return the model that the options of `add_model_options` and `add_move_options` describe.

        Raises InputError for a margin that would do nothing.
        """
        if arguments.margin < math.inf and arguments.temperature == 0.0:
            raise InputError("--margin is for drawn moves: give a --temperature too, such as inf")
        return cls(
            arguments.model,
            arguments.device,
            arguments.dtype,
            MoveChoice(arguments.temperature, arguments.margin),
            arguments.exact_ends,
            arguments.compile,
        )

    @property
    def is_deterministic(self) -> bool:
        return self.choice.temperature == 0.0

    def start(self) -> Engine:
        engine = ValueEngine(
            self.model,
            device=self.device,
            dtype=self.dtype,
            choice=self.choice,
            exact_ends=self.exact_ends,
            compile=self.compile,
        )
        engine.name = self.identify()
        return engine

    def identify(self) -> str:
        # However the path is spelled, it is the same player.
        folder = Path(self.model).resolve()
        parts = [identify_model(folder if folder.is_dir() else self.model)]
        if self.exact_ends != "all":
            parts.append(f"exact-ends {self.exact_ends}")
        if self.choice.temperature:
            parts += [f"temperature {self.choice.temperature:g}", f"margin {self.choice.margin:g}"]
        if self.dtype != "float32":
            parts.append(self.dtype)
        return " ".join(parts)


@dataclass(frozen=True)
class StockfishPlayer:
    skill: int | None = None
    uci_elo: int | None = None
    limit: SearchLimit = SearchLimit()

    @property
    def is_deterministic(self) -> bool:
        # A weakened one draws lots, and how far a search comes in a given time differs.
        is_weakened = self.uci_elo is not None or (self.skill is not None and self.skill < MAX_SKILL)
        return self.limit.is_given() and self.limit.time is None and not is_weakened

    def start(self) -> Engine:
        return start_stockfish(self.skill, self.uci_elo, self.limit.nodes, self.limit.depth, self.limit.time)

    def identify(self) -> str:
        with self.start() as engine:
            return engine.name


@dataclass(frozen=True)
class UciPlayer:
    command: str
    limit: SearchLimit = SearchLimit(time=DEFAULT_SECONDS)
    # Some draw from books, learn, or search with several threads.
    is_deterministic = False

    def start(self) -> Engine:
        limit = chess.engine.Limit(nodes=self.limit.nodes, depth=self.limit.depth, time=self.limit.time)
        engine = UciEngine(shlex.split(self.command), limit)
        engine.name = f"{engine.program} {describe_limit(limit)}"
        return engine

    def identify(self) -> str:
        with self.start() as engine:
            return engine.name


@dataclass(frozen=True)
class RandomPlayer:
    is_deterministic = False

    def start(self) -> Engine:
        return RandomEngine()

    def identify(self) -> str:
        return "random"


def parse_player(text: str, limit: SearchLimit, model_like: ModelPlayer, kinds: str = KINDS) -> Player:
    """Return the player of a name such as stockfish:3; a model is set up like `model_like`.

    Raises InputError for a name of no known kind; `kinds` are those that it says a command knows.
    """
    kind, _, argument = text.partition(":")
    if kind == "stockfish":
        return _stockfish(argument, limit)
    if kind == "random" and not argument:
        return RandomPlayer()
    if kind == "model" and argument:
        return ModelPlayer(argument, model_like.device, model_like.dtype, exact_ends=model_like.exact_ends)
    if kind == "uci" and argument.strip():
        try:
            shlex.split(argument)
        except ValueError as error:
            raise InputError(f"{text}: {str(error).lower()}; write it as in a shell") from error
        return UciPlayer(argument, limit if limit.is_given() else SearchLimit(time=DEFAULT_SECONDS))
    raise InputError(f"unknown opponent {text!r}: give one of {kinds}")


def _stockfish(strength: str, limit: SearchLimit) -> StockfishPlayer:
    if not strength:
        return StockfishPlayer(limit=limit)
    if not strength.isdecimal():
        raise InputError(f"unknown opponent 'stockfish:{strength}': give a Skill Level, such as stockfish:3")
    number = int(strength)
    if MAX_SKILL < number < MIN_UCI_ELO:
        raise InputError(
            f"stockfish:{strength}: Skill Levels end at {MAX_SKILL} and UCI_Elo starts at {MIN_UCI_ELO}; "
            "name one that exists"
        )
    if number < MIN_UCI_ELO:
        return StockfishPlayer(skill=number, limit=limit)
    return StockfishPlayer(uci_elo=number, limit=limit)
