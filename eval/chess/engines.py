"""The interface of chess engines, and the engine without search, which plays by the values of a model.

Source: the policies of Ruoss et al. (arXiv 2402.04494), section 2.3.

    engine = ValueEngine("runs/chess_tiny/model")
    engine.play(chess.Board())

torch is imported with a model that it runs: other players and games do not wait for it.
"""

from __future__ import annotations

import argparse
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Self

import chess
import numpy as np

from cli.errors import InputError
from cli.options import ExactEnds, Runtime
from eval.chess.chess960 import standard_move
from eval.chess.move_values import value_moves
from eval.chess.network import ChessNetwork
from eval.chess.rules import values_by_rule
from eval.model_folder import check_model_folder, onnx_file
from models.chess_tokens import ACTION_IDS


if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from models.tokenization_chess import ChessTokenizer


# Distinct float32 values differ by at least 1e-45, so at this temperature only the best have any weight;
# lower ones would overflow.
MIN_TEMPERATURE = 1e-300


class Analysis(NamedTuple):
    """The values of every legal move of one board; all empty if there is none.

    The values are the mover's win probabilities, or the probabilities with which a policy plays the moves.
    """

    moves: list[chess.Move]  # ordered by action id
    values: np.ndarray  # (moves,) float32
    distributions: np.ndarray | None = None  # (moves, bins) float32: probabilities of the bins
    # Values given by the rules, by index; of a policy, the checkmates alone.
    by_rule: Mapping[int, float] = MappingProxyType({})
    preferences: np.ndarray | None = None  # (moves,) float32: added to the values to choose a move

    @property
    def scores(self) -> np.ndarray:
        """The numbers by which moves are chosen, (moves,): values, and preferences if there are any."""
        return self.values if self.preferences is None else self.values + self.preferences

    def ranking(self) -> list[int]:
        """Return the indices of the moves, best first: checkmates by rule, then by score, ties in order."""
        # A model of mse can predict values above 1, that of a checkmate.
        is_mate = [self.by_rule.get(index) == 1.0 for index in range(len(self.moves))]
        scores = self.scores
        return sorted(range(len(self.moves)), key=lambda index: (not is_mate[index], -scores[index]))

    @property
    def best_move(self) -> chess.Move:
        """The first move of the ranking. Raises ValueError if there is no legal move."""
        if not self.moves:
            raise ValueError("there is no legal move")
        return self.moves[self.ranking()[0]]


class ChosenMove(NamedTuple):
    """A move and the mover's win probability after it, None where the engine does not report one."""

    move: chess.Move
    win_prob: float | None = None


class Engine(ABC):
    """A chess engine. `name` includes its settings.

    Methods raise ValueError for a board without legal moves, and EngineCrash if a program behind the engine
    dies, hangs or breaks the rules; the engine cannot be used after that.
    """

    name: str

    @abstractmethod
    def choose(self, board: chess.Board) -> ChosenMove:
        """Choose a move. Repetitions are found in the board's move stack."""

    def play(self, board: chess.Board) -> chess.Move:
        """Return the move to play."""
        return self.choose(board).move

    def new_game(self, seed: int) -> None:  # noqa: B027 (not every engine has state)
        """Forget the previous game; an engine that samples moves seeds its generator with `seed`."""

    def close(self) -> None:  # noqa: B027 (not every engine has a process)
        """Release the engine's resources."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def ordered_legal_moves(board: chess.Board) -> list[chess.Move]:
    """List the legal moves by action id, ChessBench's order, which decides ties."""
    return sorted(board.legal_moves, key=lambda move: ACTION_IDS[standard_move(board, move)])


class MoveChoice(NamedTuple):
    """How a move is chosen: the best at temperature 0, else sampled from softmax(values / temperature).

    The temperature is in win probability: at 0.02 a move that is worse by 0.02 is chosen e times less often;
    infinity is uniform. Moves more than `margin` below the best are never sampled. A checkmate that the rules
    show is always played: sampling could miss it.
    """

    temperature: float = 0.0
    margin: float = math.inf

    def choose(self, values: np.ndarray, rng: np.random.Generator) -> int:
        """Return the index of the move to play, given the values of the moves, (moves,)."""
        if self.temperature == 0.0:
            return int(values.argmax())
        return int(rng.choice(len(values), p=self.probabilities(values)))

    def probabilities(self, values: np.ndarray) -> np.ndarray:
        """Return the probability of each move, (moves,) float64, at a temperature above 0."""
        behind = values.max() - values.astype(np.float64)
        weights = np.exp(-behind / max(self.temperature, MIN_TEMPERATURE)) * (behind <= self.margin)
        return weights / weights.sum()


GREEDY = MoveChoice()


class ValueEngine(Engine):
    """Plays the move with the highest expected value; of a model that predicts moves, the most probable.

    A model of action values or of moves reads a board once, a model of state values the positions after all
    legal moves together. A policy samples moves by their probabilities to the power 1 / temperature.

    `model` is a folder or an id on the hub, loaded onto `device` in `dtype`; or a model, used on its device
    in evaluation mode together with `tokenizer`. At most `batch_size` boards are read in one pass. `choice`
    says how a move is chosen, sampled with `seed`; `exact_ends` which moves the rules value; `compile` uses
    torch.compile, which pays off after some hundred moves. With `runtime` "onnx" the ONNX file in the folder
    is used, on the CPU, and torch is not imported.
    """

    def __init__(
        self,
        model: str | Path | PreTrainedModel,
        tokenizer: ChessTokenizer | None = None,
        device: str | torch.device = "auto",
        dtype: str = "float32",
        batch_size: int = 64,
        choice: MoveChoice = GREEDY,
        exact_ends: ExactEnds = "all",
        seed: int = 0,
        compile: bool = False,
        runtime: Runtime = "torch",
    ):
        if not isinstance(model, str | Path):
            if tokenizer is None:
                raise ValueError("a model that is not loaded from a folder needs its tokenizer")
            from eval.chess.torch_network import TorchNetwork

            self.name = type(model).__name__
            self.network: ChessNetwork = TorchNetwork(model.eval(), tokenizer.orient, compile)
        else:
            self.name = str(model)
            load = _load_with_torch if runtime == "torch" else _load_with_onnxruntime
            self.network = load(model, device, dtype, compile)
        self.batch_size = batch_size
        self.choice = choice
        self.exact_ends = exact_ends
        self.new_game(seed)

    @classmethod
    def from_options(cls, arguments: argparse.Namespace, exact_ends: ExactEnds = "all") -> Self:
        """Return the engine that `add_model_options` and `add_batch_size_option` describe."""
        return cls(
            arguments.model,
            device=arguments.device,
            dtype=arguments.dtype,
            batch_size=arguments.batch_size,
            exact_ends=exact_ends,
        )

    def choose(self, board: chess.Board) -> ChosenMove:
        analysis = self.analyse(board)
        if not analysis.moves:
            raise ValueError("there is no legal move")
        index = self.choose_index(analysis, range(len(analysis.moves)))
        win_prob = None if self.network.is_policy else float(analysis.values[index])
        return ChosenMove(analysis.moves[index], win_prob)

    def new_game(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def choose_index(self, analysis: Analysis, candidates: Sequence[int]) -> int:
        """Choose one of the candidates, indices of moves of an analysis; at least one."""
        mates = [index for index in candidates if analysis.by_rule.get(index) == 1.0]
        candidates = mates or candidates
        scores = analysis.scores[list(candidates)]
        if self.network.is_policy:
            scores = np.log(np.maximum(scores, np.finfo(np.float32).tiny))
        return candidates[self.choice.choose(scores, self._rng)]

    def analyse(self, board: chess.Board, distributions: bool = False) -> Analysis:
        """Value every legal move of a board."""
        return self.analyse_many([board], distributions)[0]

    def analyse_many(self, boards: Sequence[chess.Board], distributions: bool = False) -> list[Analysis]:
        """Value every legal move of every board; `distributions` adds the probabilities over bins.

        Moves that end the game have the value that `exact_ends` gives them, and still the distribution that
        the model predicts. A model of state values never values a position without legal moves. Raises
        ValueError for `distributions` of a model that predicts none.
        """
        num_bins = self.network.num_bins
        if distributions and not num_bins:
            raise ValueError("a model of moves, or trained with mse, predicts no distribution")
        no_probs = np.zeros((0, num_bins), np.float32) if distributions else None
        analyses = [Analysis([], np.zeros(0, np.float32), no_probs) for _ in boards]
        listed = [ordered_legal_moves(board) for board in boards]
        valued = [i for i, moves in enumerate(listed) if moves]
        positions = [(boards[i], listed[i]) for i in valued]
        found = value_moves(self.network, positions, self.batch_size, distributions)
        for i, (values, probs, preferences, ended) in zip(valued, found, strict=True):
            by_rule = {**ended, **values_by_rule(boards[i], listed[i], self.exact_ends)}
            if self.network.is_policy:
                by_rule = {index: value for index, value in by_rule.items() if value == 1.0}
            else:
                values[list(by_rule)] = list(by_rule.values())
            analyses[i] = Analysis(listed[i], values, probs, by_rule, preferences)
        return analyses


def _load_with_torch(name: str | Path, device: str | torch.device, dtype: str, compile: bool) -> ChessNetwork:
    check_model_folder(name)
    from eval.chess.torch_network import TorchNetwork
    from eval.loading import load_model

    model, tokenizer = load_model(name, device, dtype)
    return TorchNetwork(model, tokenizer.orient, compile)


def _load_with_onnxruntime(
    name: str | Path, device: str | torch.device, dtype: str, compile: bool
) -> ChessNetwork:
    if str(device) not in ("auto", "cpu") or dtype != "float32" or compile:
        raise InputError(
            "--runtime onnx runs on the CPU, in float32: leave out --device, --dtype and --compile"
        )
    from eval.chess.onnx_network import OnnxNetwork

    return OnnxNetwork(onnx_file(name))


class RandomEngine(Engine):
    """Plays any legal move with equal probability."""

    def __init__(self, seed: int = 0):
        self.name = "random"
        self.new_game(seed)

    def new_game(self, seed: int) -> None:
        self._rng = random.Random(seed)

    def choose(self, board: chess.Board) -> ChosenMove:
        moves = ordered_legal_moves(board)
        if not moves:
            raise ValueError("there is no legal move")
        return ChosenMove(self._rng.choice(moves))
