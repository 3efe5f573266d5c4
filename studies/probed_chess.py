"""What probes look for in a chess model: the values of moves, material and checks, in the tokens of moves."""

import chess
import numpy as np
import pyarrow.parquet as pq
import torch

from configs.schema import Config
from data.chess.boards import Boards
from data.hub import local_files, pin
from data.parquet import list_files
from eval.loading import load_model
from models.tokenization_chess import ACTION_PADDING
from studies.linear_probes import ProbeData, recorded_layers
from studies.measurements import Measure


PAWNS = {chess.PAWN: 1, chess.KNIGHT: 3, chess.BISHOP: 3, chess.ROOK: 5, chess.QUEEN: 9, chess.KING: 0}
BATCH_SIZE = 16


class ProbedChess:
    """Moves of the held-out boards of a run, the first `limit`."""

    measures = (
        Measure("value", "value of the move, R² ↑", ".3f"),
        Measure("material", "material balance, R² ↑", ".3f"),
        Measure("in_check", "in check, area under the ROC ↑", ".3f"),
        Measure("gives_check", "the move gives check, area under the ROC ↑", ".3f"),
    )

    def __init__(self, config: Config, limit: int, device: torch.device):
        data = config.data
        files = local_files(pin(data.validation), "validation")
        self.boards, self.device = Boards.from_parquet(files, data.check_moves), device
        rows = pq.read_table(list_files(files), columns=["fen", "moves"]).slice(0, limit).to_pylist()
        self.num_boards = len(rows)
        self.description = f"the moves of {self.num_boards:,} boards of {data.validation}"
        facts = [facts_of(row["fen"], row["moves"]) for row in rows]
        self.targets = {name: np.concatenate([fact[name] for fact in facts]) for name in facts[0]}
        self.targets["value"] = self.boards.win_probs[: self.boards.offsets[self.num_boards]]
        self.targets_of = {name: (name,) for name in self.targets}
        is_first = np.arange(self.num_boards) < self.num_boards // 2
        self.is_first = np.repeat(is_first, [len(row["moves"]) for row in rows])

    def features(self, model_folder: str) -> ProbeData:
        """Run a model on all boards."""
        model, tokenizer = load_model(model_folder, self.device)
        per_action, parts = model.config.tokens_per_action, []
        for start in range(0, self.num_boards, BATCH_SIZE):
            indices = np.arange(start, min(start + BATCH_SIZE, self.num_boards))
            batch = self.boards.batch(indices, tokenizer.orient)
            inputs = {
                name: torch.as_tensor(batch[name], device=self.device) for name in ("input_ids", "action_ids")
            }
            with torch.no_grad(), recorded_layers(model.model) as layers:
                model(**inputs)
            is_move = inputs["action_ids"] != ACTION_PADDING
            # A move is read at its last token.
            if model.config.attention == "full":
                of_moves = torch.stack([layer[:, -1] for layer in layers])
            else:
                first = layers[0].shape[1] - per_action * is_move.shape[1]
                of_tokens = torch.stack([layer[:, first + per_action - 1 :: per_action] for layer in layers])
                of_moves = of_tokens[:, is_move]
            parts.append(of_moves.float().cpu().numpy())
        binary = frozenset({"in_check", "gives_check"})
        return ProbeData(np.concatenate(parts, axis=1), self.targets, binary, self.is_first)


def facts_of(fen: str, moves: list[str]) -> dict[str, np.ndarray]:
    """Return what the rules know of each move of a board, arrays (moves,)."""
    board = chess.Board(fen)
    balance = sum(
        points * (len(board.pieces(kind, board.turn)) - len(board.pieces(kind, not board.turn)))
        for kind, points in PAWNS.items()
    )
    return {
        "material": np.full(len(moves), float(balance)),
        "in_check": np.full(len(moves), float(board.is_check())),
        "gives_check": np.array([float(board.gives_check(chess.Move.from_uci(move))) for move in moves]),
    }
