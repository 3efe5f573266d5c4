"""Chess without search: predict the value of every legal move, the value of a position, or the move played.

Source: Ruoss et al., "Amortized Planning with Large-Scale Transformers" (arXiv 2402.04494).
"""

import shutil
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from configs.chess import ChessConfig
from data.chess.boards import Boards
from data.chess.examples import PAD_MULTIPLE, ActionExamples, BoardExamples, MirroredBoardExamples
from data.chess.preparation import prepare
from data.chess.states import StateExamples
from data.hub import local_files, pin
from eval.chess.action_evaluation import evaluate_actions
from models.modeling_value_transformer import (
    ValueTransformerForActionValue,
    ValueTransformerForMovePrediction,
    ValueTransformerForStateValue,
)
from models.tokenization_chess import ChessTokenizer
from models.value_losses import MSE, CategoricalLoss, ValueLoss, ranking_loss
from training.card_facts import CardFacts, Metric, Result, data_name, results_of
from training.task import Column, OfflineTask
from training.tasks.chess_card import card_text
from training.transformer_config import transformer_config
from training.unlabelled_moves import bound_loss, conservative_loss


MODELS = {
    "action_value": ValueTransformerForActionValue,
    "state_value": ValueTransformerForStateValue,
    "move": ValueTransformerForMovePrediction,
}
# The entry of config.json, and the file of models/ that it names; only action values come from one pass.
PIPELINES = {"chess-values": {"impl": "pipeline_chess_values.ChessValuesPipeline", "pt": ["AutoModel"]}}
PIPELINE_FILE = Path(__file__).parents[2] / "models" / "pipeline_chess_values.py"
UNITS = {"action_value": "action-values", "state_value": "state-values", "move": "moves"}
ACTION_METRICS = (
    Metric("best_move_agreement", "best-move agreement", ".1%", "random_agreement", "random"),
    Metric("regret", "regret (win probability)", ".4f", "random_regret", "random"),
    Metric("kendall_tau", "Kendall's τ", ".3f"),
    Metric("mae", "mean absolute error", ".4f"),
    Metric("kl", "KL from the labels (nats)", ".3f"),
    Metric("calibration_error", "calibration error", ".4f"),
)
PUZZLE_METRICS = (Metric("accuracy", "puzzles solved", ".1%"),)
RATING_METRICS = (Metric("elo", "Elo", "z.0f"),)
SAMPLE_PUZZLES = "data/chess/sample/puzzles.csv"
COMMANDS = (
    "python -m eval.chess.uci --model {name}    # an engine for any chess program",
    "python -m eval.chess.play --model {name} --opponent stockfish:3 --games 20",
    f"python -m eval.chess.puzzles --model {{name}} --puzzles {SAMPLE_PUZZLES}    # 200 puzzles",
    "python -m eval.chess.analyse --model {name} --output analysis.html "
    '--fen "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1"',
)


class ChessTask(OfflineTask):
    """Distillation of a chess engine, or imitation of players; see training/task.py for the methods."""

    config: ChessConfig
    evaluation_columns: tuple[Column, ...] = (
        ("kl", "kl", None),
        ("mae", "mae", None),
        ("best_move_agreement", "best move", "random_agreement"),
        ("regret", "regret", "random_regret"),
        ("kendall_tau", "tau", None),
    )
    panels: tuple[Column, ...] = (
        ("kl", "KL from the labels (nats)", None),
        ("best_move_agreement", "best-move agreement", "random_agreement"),
        ("kendall_tau", "Kendall's τ", None),
        ("regret", "regret (win probability)", "random_regret"),
    )

    boards: Boards | None = None  # of action values

    def __init__(self, config: ChessConfig):
        self.config, model = config, config.model
        # Positions have the scale of the token embeddings that they are added to.
        position_range = model.position_initializer_range or 0.02 * model.hidden_size**0.5
        self.model = MODELS[config.data.target](
            transformer_config(
                model,
                config.value_loss,
                attention=model.attention,
                action_embedding=model.action_embedding,
                tokens_per_action=model.tokens_per_action,
                board_rotation=model.board_rotation,
                position_initializer_range=position_range,
                preference_scale=config.ranking_loss.scale if config.ranking_loss.weight else None,
            )
        )
        self.unit = UNITS[config.data.target]
        if config.data.target == "action_value":
            self.model.config.custom_pipelines = PIPELINES
        if config.data.target == "move":
            self.value_loss: ValueLoss | None = None
            self.metrics: tuple[str, ...] = ("accuracy", "out_of_support")
        else:
            self.value_loss = self.model.value_loss
            is_categorical = isinstance(self.value_loss, CategoricalLoss)
            self.metrics = ("kl", "out_of_support") if is_categorical else ("out_of_support",)
        # Held-out labels are action values, of which the other models predict no distribution.
        if config.data.target != "action_value" or "kl" not in self.metrics:
            self.panels = (("loss", "loss", None), *self.panels[1:])

    def load_data(self) -> None:
        """Read the boards; at first, fetch and prepare them, by one of several processes.

        Names on the hub get their commit, so that the saved configuration identifies the rows.
        """
        data = self.config.data
        data.train = pin(data.train)
        train = local_files(data.train, "train")
        folder = prepare(train, data.prepared_dir, data.check_moves, target=data.target)
        if data.target != "action_value":
            self.examples = StateExamples.load(folder, data.target, data.orient, data.mirror)
        else:
            self.boards = Boards.load(folder)
            self.examples = self._action_examples(self.boards)
        self.held_out = None
        if data.validation:
            data.validation = pin(data.validation)
            validation = local_files(data.validation, "validation")
            self.held_out = Boards.from_parquet(validation, data.check_moves)

    def _action_examples(self, boards: Boards) -> BoardExamples:
        data = self.config.data
        if data.label_noise:
            boards = boards.with_noise(data.label_noise, self.config.seed)
        if data.example == "action":
            return ActionExamples(boards, data.orient)
        pad_multiple = PAD_MULTIPLE if self.config.training.compile else 1
        kind = MirroredBoardExamples if data.mirror else BoardExamples
        with_unlabelled = self.config.unlabelled_moves.loss != "none"
        return kind(boards, data.orient, pad_multiple, with_unlabelled)

    @property
    def can_evaluate(self) -> bool:
        return self.held_out is not None

    def describe_model(self) -> str:
        return f"{self.config.model.attention} attention"

    def describe_data(self) -> str:
        if isinstance(self.examples, StateExamples):
            return f"{self.examples.num_boards:,} boards"
        assert self.boards is not None, "load_data sets it"
        labelled = f"{self.boards.num_boards:,} boards with {self.boards.num_action_values:,} action values"
        if self.config.unlabelled_moves.loss == "none":
            return labelled
        return f"{labelled}, {len(self.boards.unlabelled):,} legal moves without a label"

    def warnings(self) -> list[str]:
        """Warn of a loss that has no effect, and if noise takes labels out of the support.

        That biases losses with bins, but not mse.
        """
        found = []
        boards, loss, noise = self.boards, self.value_loss, self.config.data.label_noise
        if boards and self.config.unlabelled_moves.loss != "none" and not len(boards.unlabelled):
            found.append("unlabelled_moves.loss has no effect: every legal move has a label")
        low, high = -noise / 2, 1 + noise / 2
        if not noise or loss is None or isinstance(loss, MSE):
            return found
        if low < loss.value_min or loss.value_max < high:
            found.append(
                f"with data.label_noise labels reach from {low:g} to {high:g}, outside [value_min, "
                f"value_max] = [{loss.value_min:g}, {loss.value_max:g}]: widen value_loss.value_min and "
                "value_max"
            )
        return found

    def loss(
        self, wrapped: nn.Module, batch: dict[str, Tensor], with_metrics: bool
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return the mean loss of a micro-batch, the number of its values, and means of metrics."""
        if self.value_loss is None:
            return _move_loss(wrapped(input_ids=batch["input_ids"]).logits, batch["labels"])
        if self.config.data.target == "state_value":
            logits = wrapped(input_ids=batch["input_ids"]).logits
            labels, weight = batch["labels"], torch.ones_like(batch["labels"])
            metrics = _metrics(self.value_loss, logits, labels, weight) if with_metrics else {}
            return self.value_loss.loss(logits, labels), weight.sum(), metrics
        is_move, is_unlabelled = batch["action_ids"] >= 0, batch["win_probs"].isnan()
        weight, labels = is_move & ~is_unlabelled, batch["win_probs"].nan_to_num()
        outputs = wrapped(input_ids=batch["input_ids"], action_ids=batch["action_ids"])
        logits = outputs.logits
        loss = self.value_loss.loss(logits, labels, weight)
        ranking, others = self.config.ranking_loss, self.config.unlabelled_moves
        if ranking.weight:
            log_probs = outputs.preference / ranking.scale
            loss = loss + ranking.weight * ranking_loss(log_probs, labels, ranking.temperature, weight)
        if others.loss != "none":
            if others.loss == "bound":
                of_others = bound_loss(self.value_loss, logits, labels, weight, is_unlabelled)
            else:
                predicted = self.value_loss.value(logits)
                of_others = conservative_loss(predicted, weight, is_unlabelled, others.temperature)
            # All moves are counted, as in the number of values of the step.
            loss = (loss * weight.sum() + others.weight * of_others) / is_move.sum()
        metrics = _metrics(self.value_loss, logits, labels, weight) if with_metrics else {}
        return loss, is_move.sum(), metrics

    def evaluate(self) -> dict:
        """Compare with the held-out labels, in the precision of training."""
        assert self.held_out is not None, "called only if can_evaluate"
        evaluation = self.config.evaluation
        limit = min(evaluation.boards or self.held_out.num_boards, self.held_out.num_boards)
        return evaluate_actions(
            self.model,
            self.held_out,
            orient=self.config.data.orient,
            batch_size=evaluation.batch_size,
            indices=np.arange(limit),
        )

    def save(self, folder: Path) -> None:
        """Write the tokenizer, and the pipeline of a model of action values."""
        ChessTokenizer(orient=self.config.data.orient).save_pretrained(folder)
        if self.config.data.target == "action_value":
            shutil.copy(PIPELINE_FILE, folder)

    @staticmethod
    def card_facts(config: ChessConfig, model_folder: Path, name: str, load: str) -> CardFacts:
        text = card_text(config, load)
        return CardFacts(
            task="Chess without search",
            description=text.description,
            training=text.training,
            papers=("[Amortized Planning with Large-Scale Transformers](https://arxiv.org/abs/2402.04494)",),
            network=f"`{config.model.attention}` attention",
            example=text.example,
            example_notes=text.example_notes,
            commands=tuple(command.format(name=name) for command in COMMANDS),
            results_notes="No search is used. Elo is on the scale of the opponents' ratings.",
            batch_unit=text.batch_unit,
            loss=text.loss,
            tag=text.tag,
            data="",
            limits=(
                "The model sees one position, not the game: it does not know which positions were repeated.",
                "It is as good as its labels, and less accurate on positions unlike its training data.",
            ),
        )

    @staticmethod
    def results_of_run(row: dict, config: ChessConfig, model_folder: Path) -> list[Result]:
        return _results_on_boards(row, config.data.validation or "")

    @staticmethod
    def results_of_evaluation(found: dict) -> list[Result]:
        """Return the results in a --json file of eval.chess.actions, eval.chess.puzzles or eval.chess.elo."""
        if "best_move_agreement" in found:
            return _results_on_boards(found, found["data"])
        if "num_puzzles" in found:
            source, amount = Path(found["puzzles"]), f"{found['num_puzzles']:,} puzzles"
            # The command in the card names the repository's puzzles, which are not those of other files.
            is_sample = source.resolve() == Path(__file__).parents[2] / SAMPLE_PUZZLES
            data = SAMPLE_PUZZLES if is_sample else source.name
            measured = f"{amount} of `{data}`"
            return results_of(found, PUZZLE_METRICS, amount=amount, data=data, measured=measured)
        if "elo" in found:
            amount = f"{found['num_games']:,} games"
            names = [opponent["name"] for opponent in found["opponents"]]
            measured = f"{amount} against {', '.join(names)}"
            ratings = [opponent["rating"] for opponent in found["opponents"]]
            several = f"{len(names)} opponents rated {min(ratings):.0f} to {max(ratings):.0f}"
            data = names[0] if len(names) == 1 else several
            if found["elo"] is None:
                # The player lost or won all games: one end of the interval is known.
                low, high = found["low"], found["high"]
                bound = f"above {low:z.0f}" if high is None else f"below {high:z.0f}"
                return [Result("elo", "Elo", None, bound, "", amount, data, measured)]
            return results_of(found, RATING_METRICS, amount=amount, data=data, measured=measured)
        return []


@torch.no_grad()
def _metrics(loss: ValueLoss, logits: Tensor, labels: Tensor, weight: Tensor) -> dict[str, Tensor]:
    metrics = {"out_of_support": loss.fraction_out_of_support(labels, weight)}
    if isinstance(loss, CategoricalLoss):
        metrics["kl"] = loss.kl(logits.detach(), labels, weight)
    return metrics


def _move_loss(logits: Tensor, moves: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Return the mean cross-entropy of the moves (batch,), their number, and metrics."""
    metrics = {
        "accuracy": (logits.argmax(dim=-1) == moves).float().mean(),
        "out_of_support": logits.new_zeros(()),
    }
    return nn.functional.cross_entropy(logits.float(), moves), torch.tensor(len(moves)), metrics


def _results_on_boards(found: dict, source: str) -> list[Result]:
    data, amount = data_name(source), f"{found['num_boards']:,} boards"
    measured = f"{amount} of `{data}`"
    return results_of(found, ACTION_METRICS, amount=amount, data=data, measured=measured)
