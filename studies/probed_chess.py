"""Probes of chess models: values of moves, material and checks, from the tokens of moves."""

from pathlib import Path

import chess
import numpy as np
import pyarrow.parquet as pq
import torch

from cli.errors import InputError
from data.chess.boards import Boards
from data.parquet import list_files
from eval.loading import load_model
from models.chess_tokens import ACTION_PADDING
from models.modeling_value_transformer import ValueTransformerForActionValue
from studies.linear_probes import Targets, recorded_layers
from studies.measurements import Measure


PIECE_VALUES = {chess.PAWN: 1, chess.KNIGHT: 3, chess.BISHOP: 3, chess.ROOK: 5, chess.QUEEN: 9}
BATCH_SIZE = 16


class ProbedChess:
    """The moves of the first `limit` of some boards, which are those of Parquet `files`."""

    measures = (
        Measure("value", "value of the move, R²", ".3f"),
        Measure("material", "material balance, R²", ".3f"),
        Measure("in_check", "in check, area under the ROC", ".3f"),
        Measure("gives_check", "the move gives check, area under the ROC", ".3f"),
    )

    def __init__(self, boards: Boards, files: Path, limit: int, source: str, device: torch.device):
        self.boards, self.device = boards, device
        rows = pq.read_table(list_files(files), columns=["fen", "moves"]).slice(0, limit).to_pylist()
        self.num_boards = len(rows)
        self.description = f"the moves of {self.num_boards:,} {source}"
        facts = [facts_of(row["fen"], row["moves"]) for row in rows]
        values = {name: np.concatenate([fact[name] for fact in facts]) for name in facts[0]}
        values["value"] = boards.win_probs[: boards.offsets[self.num_boards]]
        is_first = np.arange(self.num_boards) < self.num_boards // 2
        self.targets = Targets(
            values,
            frozenset({"in_check", "gives_check"}),
            np.repeat(is_first, [len(row["moves"]) for row in rows]),
            {name: (name,) for name in values},
        )

    def features(self, model: Path) -> np.ndarray:
        """Return the features of every move at its last token, float32 (layers, moves, width)."""
        loaded, tokenizer = load_model(model, self.device)
        if not isinstance(loaded, ValueTransformerForActionValue):
            raise InputError(f"{model} has no tokens of moves to probe: choose variants of action values")
        per_action, parts = loaded.config.tokens_per_action, []
        for start in range(0, self.num_boards, BATCH_SIZE):
            indices = np.arange(start, min(start + BATCH_SIZE, self.num_boards))
            batch = self.boards.batch(indices, tokenizer.orient)
            inputs = {
                name: torch.as_tensor(batch[name], device=self.device) for name in ("input_ids", "action_ids")
            }
            with torch.no_grad(), recorded_layers(loaded.model) as layers:
                # With all hidden states, the last block leaves out no token.
                loaded(**inputs, output_hidden_states=True)
            is_move = inputs["action_ids"] != ACTION_PADDING
            if loaded.config.attention == "full":
                of_moves = torch.stack([layer[:, -1] for layer in layers])
            else:
                first = layers[0].shape[1] - per_action * is_move.shape[1]
                of_tokens = torch.stack([layer[:, first + per_action - 1 :: per_action] for layer in layers])
                of_moves = of_tokens[:, is_move]
            parts.append(of_moves.float().cpu().numpy())
        return np.concatenate(parts, axis=1)


def facts_of(fen: str, moves: list[str]) -> dict[str, np.ndarray]:
    """Return facts of the rules about each move of a board, arrays (moves,)."""
    board = chess.Board(fen)
    balance = sum(
        value * (len(board.pieces(kind, board.turn)) - len(board.pieces(kind, not board.turn)))
        for kind, value in PIECE_VALUES.items()
    )
    return {
        "material": np.full(len(moves), float(balance)),
        "in_check": np.full(len(moves), float(board.is_check())),
        "gives_check": np.array([float(board.gives_check(chess.Move.from_uci(move))) for move in moves]),
    }
