"""The interface of chess engines, and the engine without search: it values every legal move in one pass.

Source: the action-value policy of Ruoss et al. (arXiv 2402.04494), section 2.3.

    engine = ValueEngine("runs/chess_tiny/model")
    engine.play(chess.Board())

torch is imported with a model: players and games that have none do not wait for it.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Self

import chess
import numpy as np

from cli.options import ExactEnds
from eval.chess.chess960 import standard_fen, standard_move
from eval.chess.rules import values_by_rule
from eval.model_folder import check_model_folder


if TYPE_CHECKING:
    import torch

    from models.modeling_value_transformer import ValueTransformerForActionValue
    from models.tokenization_chess import ChessTokenizer


# Distinct float32 values differ by at least 1e-45, so at this temperature only the best have any weight;
# lower ones would overflow.
MIN_TEMPERATURE = 1e-300


class Analysis(NamedTuple):
    """The values of every legal move of one board; all empty if there is none."""

    moves: list[chess.Move]  # ordered by action id
    values: np.ndarray  # (moves,) float32: the mover's win probability
    distributions: np.ndarray | None = None  # (moves, bins) float32: probabilities of the bins
    by_rule: Mapping[int, float] = MappingProxyType({})  # values given by the rules, by index

    def ranking(self) -> list[int]:
        """Return the indices of the moves, best first: checkmates by rule, then by value, ties in order."""
        # A model of mse can predict values above 1, that of a checkmate.
        is_mate = [self.by_rule.get(index) == 1.0 for index in range(len(self.moves))]
        return sorted(range(len(self.moves)), key=lambda index: (not is_mate[index], -self.values[index]))

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
    from models.tokenization_chess import ACTION_IDS

    return sorted(board.legal_moves, key=lambda move: ACTION_IDS[standard_move(board, move)])


class MoveChoice(NamedTuple):
    """How a move is chosen: the best at temperature 0, else sampled from softmax(values / temperature).

    The temperature is in win probability: at 0.02 a move that is worse by 0.02 is chosen e times less often;
    infinity is uniform. Moves more than `margin` below the best are never sampled. A checkmate that the rules
    show is always played: sampling could miss it.
    """

    temperature: float = 0.0
    margin: float = math.inf

    def probabilities(self, values: np.ndarray) -> np.ndarray:
        """Return the probability of each move, (moves,) float64, given its value (moves,)."""
        behind = values.max() - values.astype(np.float64)
        if self.temperature == 0.0:
            weights = np.zeros(len(values))
            weights[np.argmax(values)] = 1.0
        else:
            weights = np.exp(-behind / max(self.temperature, MIN_TEMPERATURE)) * (behind <= self.margin)
        return weights / weights.sum()


GREEDY = MoveChoice()


class ValueEngine(Engine):
    """Plays by the expected values of a model; all legal moves of a board are valued in one pass.

    `model` is a folder or an id on the hub, loaded onto `device` in `dtype`; or a model, used on its device
    in evaluation mode together with `tokenizer`. At most `batch_size` boards are valued in one pass. `choice`
    says how a move is chosen, sampled with `seed`; `exact_ends` which moves the rules value; `compile` uses
    torch.compile, which pays off after some hundred moves.
    """

    def __init__(
        self,
        model: str | Path | ValueTransformerForActionValue,
        tokenizer: ChessTokenizer | None = None,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "float32",
        batch_size: int = 64,
        choice: MoveChoice = GREEDY,
        exact_ends: ExactEnds = "all",
        seed: int = 0,
        compile: bool = False,
    ):
        if isinstance(model, str | Path):
            check_model_folder(model)
            from eval.loading import load_model

            self.name = str(model)
            self.model, self.tokenizer = load_model(model, device, dtype)
        elif tokenizer is None:
            raise ValueError("a model that is not loaded from a folder needs its tokenizer")
        else:
            self.name = type(model).__name__
            self.model, self.tokenizer = model.eval(), tokenizer
        self.batch_size = batch_size
        self.choice = choice
        self.exact_ends = exact_ends
        self.new_game(seed)
        self._forward = self.model
        if compile:
            import torch

            # The number of moves differs from board to board.
            self._forward = torch.compile(self.model, dynamic=True)

    def choose(self, board: chess.Board) -> ChosenMove:
        analysis = self.analyse(board)
        if not analysis.moves:
            raise ValueError("there is no legal move")
        index = self.choose_index(analysis, range(len(analysis.moves)))
        return ChosenMove(analysis.moves[index], float(analysis.values[index]))

    def new_game(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def choose_index(self, analysis: Analysis, candidates: Sequence[int]) -> int:
        """Choose one of the candidates, indices of moves of an analysis; at least one."""
        mates = [index for index in candidates if analysis.by_rule.get(index) == 1.0]
        candidates = mates or candidates
        probs = self.choice.probabilities(analysis.values[list(candidates)])
        return candidates[self._rng.choice(len(candidates), p=probs)]

    def analyse(self, board: chess.Board, distributions: bool = False) -> Analysis:
        """Value every legal move of a board."""
        return self.analyse_many([board], distributions)[0]

    def analyse_many(self, boards: Sequence[chess.Board], distributions: bool = False) -> list[Analysis]:
        """Value every legal move of every board; `distributions` adds the probabilities over bins.

        Moves that end the game have the value that `exact_ends` gives them, and still the distribution that
        the model predicts. Raises ValueError for `distributions` of a model trained with mse, which has none.
        """
        import torch

        from eval.loading import check_finite

        if distributions and self.model.value_loss.num_outputs == 1:
            raise ValueError("a model trained with mse predicts a value and no distribution")
        moves = [ordered_legal_moves(board) for board in boards]
        num_bins = self.model.value_loss.num_outputs
        no_probs = np.zeros((0, num_bins), np.float32) if distributions else None
        analyses = [Analysis([], np.zeros(0, np.float32), no_probs) for _ in boards]
        # Boards with similar numbers of moves share a batch, which needs little padding.
        order = sorted((i for i, listed in enumerate(moves) if listed), key=lambda i: len(moves[i]))
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            inputs = self.tokenizer.encode_positions(
                [standard_fen(boards[i]) for i in batch],
                [[standard_move(boards[i], move) for move in moves[i]] for i in batch],
                return_tensors="pt",
            )
            with torch.inference_mode():
                outputs = self._forward(**inputs.to(self.model.device))
            values = outputs.value.float().cpu().numpy()  # (boards, moves)
            if distributions:
                probs = outputs.logits.float().softmax(dim=-1).cpu().numpy()  # (boards, moves, bins)
            for row, i in enumerate(batch):
                valued = slice(len(moves[i]))
                check_finite(values[row, valued])
                by_rule = values_by_rule(boards[i], moves[i], self.exact_ends)
                for index, value in by_rule.items():
                    values[row, index] = value
                analyses[i] = Analysis(
                    moves[i], values[row, valued], probs[row, valued] if distributions else None, by_rule
                )
        return analyses


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
