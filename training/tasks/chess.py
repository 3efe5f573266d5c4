"""Chess without search: predict Stockfish's win probability of every legal move.

Source: Ruoss et al., "Amortized Planning with Large-Scale Transformers" (arXiv 2402.04494).
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from configs.schema import ChessConfig
from data.chess.boards import Boards
from data.chess.examples import PAD_MULTIPLE, ActionExamples, BoardExamples, MirroredBoardExamples
from data.chess.preparation import prepare
from data.hub import local_files, pin
from eval.chess.actions import evaluate_actions
from models.modeling_value_transformer import ValueTransformerForActionValue
from models.tokenization_chess import ChessTokenizer
from models.value_losses import CategoricalLoss
from training.task import OfflineTask
from training.transformer_config import transformer_config


class ChessTask(OfflineTask):
    """Distillation of action values; see training/task.py for the methods."""

    config: ChessConfig
    unit = "action-values"
    evaluation_columns = (
        ("kl", "kl", None),
        ("mae", "mae", None),
        ("best_move_agreement", "best move", "random_agreement"),
        ("regret", "regret", "random_regret"),
        ("kendall_tau", "tau", None),
    )
    panels = (
        ("kl", "KL from the labels (nats)", None),
        ("best_move_agreement", "best-move agreement", "random_agreement"),
        ("kendall_tau", "Kendall's τ", None),
        ("regret", "regret (win probability)", "random_regret"),
    )

    def __init__(self, config: ChessConfig):
        self.config, model = config, config.model
        # Positions have the scale of the token embeddings that they are added to.
        position_range = model.position_initializer_range or 0.02 * model.hidden_size**0.5
        self.model = ValueTransformerForActionValue(
            transformer_config(
                model,
                config.value_loss,
                attention=model.attention,
                action_embedding=model.action_embedding,
                tokens_per_action=model.tokens_per_action,
                board_rotation=model.board_rotation,
                position_initializer_range=position_range,
            )
        )
        if model.activation_checkpointing:
            self.model.activation_checkpointing_enable()
        self.value_loss = self.model.value_loss
        self.metrics: tuple[str, ...] = ("kl", "out_of_support")
        if not isinstance(self.value_loss, CategoricalLoss):
            self.metrics = ("out_of_support",)
            self.panels = (("loss", "loss", None), *self.panels[1:])

    def load_data(self) -> None:
        """Read the boards; at first, fetch and prepare them, by one of several processes.

        Names on the hub get their commit, so that the saved configuration identifies the rows.
        """
        data = self.config.data
        data.train = pin(data.train)
        train = local_files(data.train, "train")
        self.boards = Boards.load(prepare(train, data.prepared_dir, data.check_moves))
        if data.label_noise:
            self.boards = self.boards.with_noise(data.label_noise, self.config.seed)
        if data.example == "action":
            self.examples = ActionExamples(self.boards, data.orient)
        else:
            pad_multiple = PAD_MULTIPLE if self.config.training.compile else 1
            kind = MirroredBoardExamples if data.mirror else BoardExamples
            self.examples = kind(self.boards, data.orient, pad_multiple)
        self.held_out = None
        if data.validation:
            data.validation = pin(data.validation)
            validation = local_files(data.validation, "validation")
            self.held_out = Boards.from_parquet(validation, data.check_moves)

    @property
    def can_evaluate(self) -> bool:
        return self.held_out is not None

    def describe_model(self) -> str:
        return f"{self.config.model.attention} attention"

    def describe_data(self) -> str:
        return f"{self.boards.num_boards:,} boards with {self.boards.num_action_values:,} action values"

    def warnings(self) -> list[str]:
        """Warn if noise takes labels out of the support, which biases losses with bins, but not mse."""
        low, high = -self.config.data.label_noise / 2, 1 + self.config.data.label_noise / 2
        loss = self.value_loss
        if loss.num_outputs == 1 or not self.config.data.label_noise:
            return []
        if loss.value_min <= low and high <= loss.value_max:
            return []
        return [
            f"with data.label_noise labels reach from {low:g} to {high:g}, outside [value_min, value_max] = "
            f"[{loss.value_min:g}, {loss.value_max:g}]: widen value_loss.value_min and value_max"
        ]

    def loss(
        self, wrapped: nn.Module, batch: dict[str, Tensor], with_metrics: bool
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return the mean loss of a micro-batch, the number of its action values, and means of metrics."""
        weight = batch["action_ids"] >= 0
        logits = wrapped(input_ids=batch["input_ids"], action_ids=batch["action_ids"]).logits
        loss = self.value_loss.loss(logits, batch["win_probs"], weight)
        metrics = {}
        if with_metrics:
            with torch.no_grad():
                metrics["out_of_support"] = self.value_loss.fraction_out_of_support(
                    batch["win_probs"], weight
                )
                if "kl" in self.metrics:
                    metrics["kl"] = self.value_loss.kl(logits.detach(), batch["win_probs"], weight)
        return loss, weight.sum(), metrics

    def evaluate(self) -> dict:
        """Compare with the held-out labels, in the precision of training."""
        evaluation = self.config.evaluation
        limit = min(evaluation.boards or self.held_out.num_boards, self.held_out.num_boards)
        return evaluate_actions(
            self.model,
            self.held_out,
            orient=self.config.data.orient,
            batch_size=evaluation.batch_size,
            device=self.device,
            indices=np.arange(limit),
        )

    def save(self, folder: Path) -> None:
        """Write the tokenizer."""
        ChessTokenizer(orient=self.config.data.orient).save_pretrained(folder)
