"""A chess engine without search: value every legal move in one pass of the network, play the best.

Source: the action-value policy of Ruoss et al. (arXiv 2402.04494), section 2.3.

    engine = ValueEngine("runs/chess_tiny/model")
    engine.play(chess.Board())
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import chess
import numpy as np
import torch

from eval.loading import check_finite, load_model
from models.modeling_value_transformer import ValueTransformerForActionValue
from models.tokenization_chess import ACTION_IDS, ChessTokenizer


class Analysis(NamedTuple):
    """What the model thinks of every legal move of one board; all empty if there is none."""

    moves: list[chess.Move]  # ordered by action id
    values: np.ndarray  # (moves,) float32: the mover's win probability
    distributions: np.ndarray | None = None  # (moves, bins) float32: probabilities of the bins

    @property
    def best_move(self) -> chess.Move:
        """The move of highest value, the first of equals. Raises ValueError if there is no legal move."""
        if not self.moves:
            raise ValueError("there is no legal move")
        return self.moves[np.argmax(self.values)]


def ordered_legal_moves(board: chess.Board) -> list[chess.Move]:
    """List the legal moves by action id, ChessBench's order, so that ties fall the same way everywhere."""
    return sorted(board.legal_moves, key=lambda move: ACTION_IDS[move.uci()])


class ValueEngine:
    """Plays the move of highest expected value.

    `model` is a folder or an id on the hub, loaded onto `device` in `dtype`; or a model, which is used where
    it is, in evaluation mode, and needs its `tokenizer` given. At most `batch_size` boards with all
    their moves are valued in one pass.
    """

    def __init__(
        self,
        model: str | Path | ValueTransformerForActionValue,
        tokenizer: ChessTokenizer | None = None,
        device: str | torch.device = "auto",
        dtype: torch.dtype = torch.float32,
        batch_size: int = 64,
    ):
        if isinstance(model, str | Path):
            self.model, self.tokenizer = load_model(model, device, dtype)
        elif tokenizer is None:
            raise ValueError("a model that is not loaded from a folder needs its tokenizer")
        else:
            self.model, self.tokenizer = model.eval(), tokenizer
        self.batch_size = batch_size

    def play(self, board: chess.Board) -> chess.Move:
        """Return the legal move of highest value. Raises ValueError if there is no legal move."""
        return self.analyse(board).best_move

    def analyse(self, board: chess.Board, distributions: bool = False) -> Analysis:
        """Value every legal move of a board."""
        return self.analyse_many([board], distributions)[0]

    @torch.inference_mode()
    def analyse_many(self, boards: Sequence[chess.Board], distributions: bool = False) -> list[Analysis]:
        """Value every legal move of every board; `distributions` adds the probabilities over bins.

        Raises ValueError for `distributions` of a model trained with mse, which has none.
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
            outputs = self.model(**inputs.to(self.model.device))
            values = outputs.value.float().cpu().numpy()  # (boards, moves)
            if distributions:
                probs = outputs.logits.float().softmax(dim=-1).cpu().numpy()  # (boards, moves, bins)
            for row, i in enumerate(batch):
                valued = slice(len(moves[i]))
                check_finite(values[row, valued])
                analyses[i] = Analysis(
                    moves[i], values[row, valued], probs[row, valued] if distributions else None
                )
        return analyses
