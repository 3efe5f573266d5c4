"""The players of a match: the names of --opponent, as settings that can be sent to other processes.

stockfish:3                     Skill Level 3; 1320 and more is a UCI_Elo; without a number, full strength
model:runs/chess_tiny/model
uci:/usr/games/gnuchess -u      any program that speaks UCI
random
"""

import argparse
import math
import shlex
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

from chess.engine import Limit

from cli.errors import InputError
from cli.options import ExactEnds, Runtime
from eval.chess.engines import GREEDY, Engine, MoveChoice, RandomEngine, ValueEngine
from eval.chess.uci_engines import (
    MAX_SKILL,
    MAX_UCI_ELO,
    MIN_UCI_ELO,
    UciEngine,
    describe_limit,
    start_stockfish,
)
from eval.model_folder import check_model_folder, identify_onnx, model_name


DEFAULT_SECONDS = 0.1
KINDS = "stockfish, stockfish:SKILL, model:DIR, uci:COMMAND, random"


class Player(Protocol):
    """The settings of an engine, which `start` starts.

    `is_deterministic` means that it answers the same moves with the same move in every game.
    """

    @property
    def is_deterministic(self) -> bool: ...

    def start(self) -> Engine:
        """Start the engine. Raises InputError if that is impossible."""

    def identify(self) -> str:
        """Return the name of the engine, which differs between players whose moves can differ."""
        with self.start() as engine:
            return engine.name


@dataclass(frozen=True)
class ModelPlayer(Player):
    """A trained model; the fields are those of ValueEngine."""

    model: str
    device: str = "auto"
    dtype: str = "float32"
    choice: MoveChoice = GREEDY
    exact_ends: ExactEnds = "all"
    compile: bool = False
    runtime: Runtime = "torch"

    @classmethod
    def from_options(cls, arguments: argparse.Namespace) -> Self:
        """Return the player that `add_model_options` and `add_move_options` describe.

        Raises InputError for a margin without a temperature.
        """
        if arguments.margin < math.inf and arguments.temperature == 0.0:
            raise InputError("--margin is for sampled moves: give a --temperature too, such as inf")
        return cls(
            arguments.model,
            arguments.device,
            arguments.dtype,
            MoveChoice(arguments.temperature, arguments.margin),
            arguments.exact_ends,
            arguments.compile,
            arguments.runtime,
        )

    @property
    def is_deterministic(self) -> bool:
        return self.choice.temperature == 0.0

    def start(self) -> Engine:
        engine = ValueEngine(**vars(self))
        engine.name = self.identify()
        return engine

    def identify(self) -> str:
        if self.runtime == "onnx":
            return self._with_settings(identify_onnx(self.model))
        check_model_folder(self.model)
        from eval.loading import identify_model  # imports torch

        return self._with_settings(identify_model(self.model))

    def describe(self) -> str:
        """Return the name without the digest of the weights, for headings."""
        return self._with_settings(model_name(self.model))

    def _with_settings(self, name: str) -> str:
        parts = [name]
        if self.runtime != "torch":
            parts.append(self.runtime)
        if self.exact_ends != "all":
            parts.append(f"exact-ends {self.exact_ends}")
        if self.choice.temperature:
            parts += [f"temperature {self.choice.temperature:g}", f"margin {self.choice.margin:g}"]
        if self.dtype != "float32":
            parts.append(self.dtype)
        return " ".join(parts)


@dataclass(frozen=True)
class StockfishPlayer(Player):
    """Stockfish; an empty limit is the default of `start_stockfish`."""

    skill: int | None = None
    uci_elo: int | None = None
    limit: Limit = field(default_factory=Limit)

    @property
    def is_deterministic(self) -> bool:
        # A weakened Stockfish samples moves, and the depth reached within a time varies.
        is_weakened = self.uci_elo is not None or (self.skill is not None and self.skill < MAX_SKILL)
        return self.limit != Limit() and self.limit.time is None and not is_weakened

    def start(self) -> Engine:
        return start_stockfish(self.skill, self.uci_elo, self.limit)


@dataclass(frozen=True)
class UciPlayer(Player):
    """A program that speaks UCI; `command` is split as in a shell."""

    command: str
    limit: Limit = field(default_factory=lambda: Limit(time=DEFAULT_SECONDS))
    # Some have opening books, learn, or search with several threads.
    is_deterministic = False

    def start(self) -> Engine:
        engine = UciEngine(shlex.split(self.command), self.limit)
        engine.name = f"{engine.name} {describe_limit(self.limit)}"
        return engine


@dataclass(frozen=True)
class RandomPlayer(Player):
    is_deterministic = False

    def start(self) -> Engine:
        return RandomEngine()


def parse_player(text: str, limit: Limit, model: ModelPlayer, kinds: str = KINDS) -> Player:
    """Return the player of a name such as stockfish:3; models run as `model` does.

    Raises InputError for an unknown name; the message lists `kinds`.
    """
    kind, _, argument = text.partition(":")
    if text == "stockfish":
        return StockfishPlayer(limit=limit)
    if kind == "stockfish" and argument.isdecimal():
        number = int(argument)
        if number <= MAX_SKILL:
            return StockfishPlayer(skill=number, limit=limit)
        if MIN_UCI_ELO <= number <= MAX_UCI_ELO:
            return StockfishPlayer(uci_elo=number, limit=limit)
        raise InputError(
            f"{text}: give a Skill Level from 0 to {MAX_SKILL}, or a UCI_Elo from {MIN_UCI_ELO} to "
            f"{MAX_UCI_ELO}"
        )
    if text == "random":
        return RandomPlayer()
    if kind == "model" and argument:
        return replace(model, model=argument)
    if kind == "uci" and argument.strip():
        try:
            shlex.split(argument)
        except ValueError as error:
            raise InputError(f"{text}: {str(error).lower()}; write it as in a shell") from error
        return UciPlayer(argument) if limit == Limit() else UciPlayer(argument, limit)
    raise InputError(f"unknown opponent {text!r}: give one of {kinds}")
