"""One small interface for chess engines, and the engine without search: it values every legal move at once.

Source: the action-value policy of Ruoss et al. (arXiv 2402.04494), section 2.3.

    engine = ValueEngine("runs/chess_tiny/model")
    engine.play(chess.Board())
"""

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Self

import chess
import numpy as np
import torch

from cli.options import ExactEnds
from eval.chess.game_ends import values_by_rule
from eval.loading import check_finite, load_model
from models.modeling_value_transformer import ValueTransformerForActionValue
from models.tokenization_chess import ACTION_IDS, ChessTokenizer


# Float32 values that are not equal differ by 1e-45 at least, so that here only the best have any weight;
# colder temperatures would change nothing, and overflow.
COLDEST_TEMPERATURE = 1e-300


class Analysis(NamedTuple):
    """What an engine thinks of every legal move of one board; all empty if there is none."""

    moves: list[chess.Move]  # ordered by action id
    values: np.ndarray  # (moves,) float32: the mover's win probability
    distributions: np.ndarray | None = None  # (moves, bins) float32: probabilities of the bins
    # The values that the rules say and no model, by their index.
    by_rule: Mapping[int, float] = MappingProxyType({})

    @property
    def best_move(self) -> chess.Move:
        """The move of highest value, the first of equals. Raises ValueError if there is no legal move."""
        if not self.moves:
            raise ValueError("there is no legal move")
        return self.moves[np.argmax(self.values)]

    @property
    def checkmates(self) -> list[int]:
        """The indices of the moves that are checkmate by rule."""
        return [index for index, value in self.by_rule.items() if value == 1.0]


class ChosenMove(NamedTuple):
    """A move and the mover's win probability with it, None where the engine does not say."""

    move: chess.Move
    win_prob: float | None = None


class Engine(ABC):
    """Whatever plays chess. `name` says what it is and how it is set up.

    Methods raise ValueError for a board without legal moves, and EngineCrash if a program behind the engine
    dies, hangs or breaks the rules; after that the engine is of no more use.
    """

    name: str

    @abstractmethod
    def choose(self, board: chess.Board) -> ChosenMove:
        """Choose a move; its board keeps its move stack, so that repetitions are seen."""

    def play(self, board: chess.Board) -> chess.Move:
        """Return the move to play."""
        return self.choose(board).move

    def analyse(self, board: chess.Board) -> Analysis:
        """Value every legal move of a board."""
        return self.analyse_many([board])[0]

    def analyse_many(self, boards: Sequence[chess.Board]) -> list[Analysis]:
        """Value every legal move of every board; not every engine can."""
        raise NotImplementedError(f"{self.name} gives no values")

    def new_game(self, seed: int) -> None:  # noqa: B027 (not every engine remembers, or draws lots)
        """Forget the game before; an engine that draws lots draws those of the next game by `seed`."""

    def close(self) -> None:  # noqa: B027 (not every engine holds anything)
        """Give back what the engine holds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def ordered_legal_moves(board: chess.Board) -> list[chess.Move]:
    """List the legal moves by action id, ChessBench's order, so that ties fall the same way everywhere."""
    return sorted(board.legal_moves, key=lambda move: ACTION_IDS[move.uci()])


class MoveChoice(NamedTuple):
    """How a move is chosen: the best at temperature 0, else one drawn from softmax(values / temperature).

    The temperature is in win probability: at 0.02 a move that is worse by 0.02 is drawn e times less often;
    infinity draws evenly. Moves worse than the best by more than `margin` are never drawn. Engines play a
    checkmate that they know without a choice.
    """

    temperature: float = 0.0
    margin: float = math.inf

    def probabilities(self, values: np.ndarray) -> np.ndarray:
        """Return how likely each move is chosen, (moves,) float64, given its value (moves,)."""
        behind = values.max() - values.astype(np.float64)
        if self.temperature == 0.0:
            weights = np.zeros(len(values))
            weights[np.argmax(values)] = 1.0
        else:
            temperature = max(self.temperature, COLDEST_TEMPERATURE)
            weights = np.exp(-behind / temperature) * (behind <= self.margin)
        return weights / weights.sum()


GREEDY = MoveChoice()


class ValueEngine(Engine):
    """Plays by the expected values of a model, all legal moves of a board in one pass.

    `model` is a folder or an id on the hub, loaded onto `device` in `dtype`; or a model, which is used where
    it is, in evaluation mode, and needs its `tokenizer` given. At most `batch_size` boards with all
    their moves are valued in one pass. `choice` says how a move is chosen, drawing with `seed`;
    `exact_ends` for which moves the rules know the value better; `compile` puts torch.compile to work, which
    pays after some hundred moves.
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
        # The number of moves differs from board to board.
        self._forward = torch.compile(self.model, dynamic=True) if compile else self.model

    def choose(self, board: chess.Board) -> ChosenMove:
        analysis = self.analyse(board)
        if not analysis.moves:
            raise ValueError("there is no legal move")
        # A draw of lots might miss a mate, and a model of mse might value another move above it.
        candidates = analysis.checkmates or list(range(len(analysis.moves)))
        index = candidates[self.choose_index(analysis.values[candidates])]
        return ChosenMove(analysis.moves[index], float(analysis.values[index]))

    def new_game(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def choose_index(self, values: np.ndarray) -> int:
        """Choose among moves by their values (moves,), at least one."""
        return int(self._rng.choice(len(values), p=self.choice.probabilities(values)))

    def analyse(self, board: chess.Board, distributions: bool = False) -> Analysis:
        """Value every legal move of a board."""
        return self.analyse_many([board], distributions)[0]

    @torch.inference_mode()
    def analyse_many(self, boards: Sequence[chess.Board], distributions: bool = False) -> list[Analysis]:
        """Value every legal move of every board; `distributions` adds the probabilities over bins.

        Moves that end the game have the value that `exact_ends` gives them, and still the distribution that
        the model predicts. Raises ValueError for `distributions` of a model trained with mse, which has none.
        """
        if distributions and self.model.value_loss.num_outputs == 1:
            raise ValueError("a model trained with mse predicts a value and no distribution")
        moves = [ordered_legal_moves(board) for board in boards]
        num_bins = self.model.value_loss.num_outputs
        no_probs = np.zeros((0, num_bins), np.float32) if distributions else None
        analyses = [Analysis([], np.zeros(0, np.float32), no_probs) for _ in boards]
        # Boards with about as many moves share a batch, so that little of it is padding.
        order = sorted((i for i, listed in enumerate(moves) if listed), key=lambda i: len(moves[i]))
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            inputs = self.tokenizer.encode_positions(
                [boards[i].fen() for i in batch],
                [[move.uci() for move in moves[i]] for i in batch],
                return_tensors="pt",
            )
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
    """Plays any legal move, drawn evenly: the weakest opponent there is."""

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
