"""The part that tasks with Q-learning share: the objective, the target network and the metrics."""

import numpy as np
from accelerate import Accelerator
from torch import Tensor
from transformers import PreTrainedModel

from configs.schema import QLearningConfig
from models.q_learning import DimensionQLearning, QLearning, QLearningLoss
from models.value_losses import MSE, ValueLoss
from training.optimization import TargetNetwork, compile_blocks
from training.sharding import Weights
from training.task import CheckpointTensors, OfflineTask


class QLearningTask(OfflineTask):
    """A task whose configuration has a section q_learning.

    Subclasses set `objective`, and `target_tau` and `target_every`, the arguments of TargetNetwork;
    `set_objective` does so for actions of one dimension.
    """

    metrics: tuple[str, ...] = ("td", "cql", "target", "out_of_support")
    model: PreTrainedModel
    objective: QLearning | DimensionQLearning
    target_tau: float
    target_every: int | None = None
    target_network: TargetNetwork | None = None

    def set_objective(self, value_loss: ValueLoss, learning: QLearningConfig) -> None:
        self.target_tau = learning.target_tau
        self.target_every = learning.target_every if learning.target_network == "periodic" else None
        self.objective = QLearning(
            value_loss,
            target=learning.target,
            discount=learning.discount,
            alpha=learning.cql_alpha,
            temperature=learning.cql_temperature,
            matched=learning.cql_matched,
            double=learning.double,
        )

    def start(self, accelerator: Accelerator) -> dict[str, CheckpointTensors]:
        """Make the target network, if the targets need one, and return it for checkpoints."""
        tensors = super().start(accelerator)
        if not self.objective.needs_target_network:
            return tensors
        self.target_network = TargetNetwork(self.model, self.target_tau, self.target_every)
        self.target_network.model.to(accelerator.device)
        if self.config.training.compile:
            compile_blocks(self.target_network.model)  # a copy is not compiled
        return tensors | {"target": self.target_network}

    def after_step(self, step: int, weights: Weights) -> None:
        if self.target_network is not None:
            self.target_network.update(step, weights)

    def outside_support(self, returns: np.ndarray) -> list[str]:
        """Return a warning if some of the returns of the data are outside the support."""
        loss = self.objective.value_loss
        if isinstance(loss, MSE) or self.objective.target == "behavior_cloning":
            return []  # no support there
        outside = float(((returns < loss.value_min) | (returns > loss.value_max)).mean())
        if not outside:
            return []
        return [
            f"{outside:.1%} of the returns lie outside [value_min, value_max] = [{loss.value_min:g}, "
            f"{loss.value_max:g}]; they reach from {returns.min():.2f} to {returns.max():.2f}"
        ]

    def metrics_of(self, losses: QLearningLoss) -> dict[str, Tensor]:
        """Return the values of the first four `metrics`."""
        values = (
            losses.temporal_difference,
            losses.conservative,
            losses.target,
            losses.fraction_out_of_support,
        )
        return dict(zip(self.metrics, values, strict=False))
