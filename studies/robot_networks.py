"""Trained networks of the robot as learners: features, gradients, new targets, and successful decisions.

Farebrother et al., "Stop Regressing" (arXiv 2403.03950), section 5, asks why classification helps. These may
differ between networks that were trained with different losses:

- The effective rank of features (Kumar et al., arXiv 2010.14498): the number of singular values that have 99%
  of the sum of all. Features are the inputs of the head for many decisions.
- The agreement of gradients: the mean cosine of the gradients of two batches, with the network as its own
  target network. Noise lowers it.
- The share of successes in gradients. Every decision has a gradient of its features. The share is the sum of
  the norms of these gradients over decisions in successful episodes, divided by the sum over all decisions.
  The gradient of a squared error is proportional to the error.
- The distance to successes: the mean distance of the best bin from the action of the data, which is in
  [−1, 1], over the dimensions of decisions in successful episodes.
- The loss of plasticity (Lyle et al., arXiv 2204.09560): the error after training on new targets, less that
  of a new network after the same training. Above 0, the trained network learns worse. The new targets are
  (1 + sin z) / 2 of the range of values, for the standardised outputs z of a random network, the same for all
  losses. The variance of targets is the unit of errors.
"""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from configs.loading import load_run_config
from configs.robot import RobotConfig
from eval.loading import ROBOT, load_model
from models.modeling_q_transformer import QTransformer, bin_actions, nearest_bins
from models.q_learning import gather_actions
from studies.measurements import Measure
from training.optimization import TargetNetwork
from training.tasks.robot import RobotTask


MEASURES = (
    Measure("effective_rank", "effective rank of features", ".1f"),
    Measure("gradient_agreement", "agreement of gradients", ".3f"),
    Measure("success_share", "share of successes in gradients", ".1%"),
    Measure("distance_to_successes", "distance to successes", ".3f", higher_is_better=False),
    Measure("plasticity_loss", "loss of plasticity", ".3f", higher_is_better=False),
)
NUM_BATCHES = 32  # of each measure
RANK_SHARE = 0.99
STEPS, LEARNING_RATE = 200, 1e-3  # of the training on new targets
NEW_NETWORK, NEW_TARGETS = 1, 2  # seeds
ONE_OUTPUT = {"value_loss": "mse", "sigma": None, "support_padding": 0.0, "match_mean": False}

DESCRIPTION = f"{NUM_BATCHES} batches of decisions, and {STEPS} steps of training on new targets"

Batch = dict[str, Tensor]


class TrainedNetwork:
    """The model of a finished run, and the decisions that it was trained on."""

    def __init__(self, model: Path, device: torch.device):
        config = load_run_config(model.parent)
        assert isinstance(config, RobotConfig)
        config.evaluation.episodes = 0  # no simulator
        self._task, self._config, self._device = RobotTask(config), config, device
        self._task.load_data()
        trained, _ = load_model(model, device, kind=ROBOT)
        self.model = self._task.model.to(device).eval()  # a loaded sentence encoder would not be frozen
        self.model.load_state_dict(trained.state_dict())
        self._task.target_network = TargetNetwork(self.model, tau=0.0)

    def effective_rank(self) -> int:
        features: list[Tensor] = []
        with self._features_to(features), torch.no_grad():
            for batch in self._batches():
                self._logits(self.model, batch)
        shares = torch.linalg.svdvals(torch.cat(features).flatten(0, 1).double()).cumsum(dim=0)
        return 1 + int((shares < RANK_SHARE * shares[-1]).sum())

    def gradient_agreement(self) -> float:
        weights = [p for p in self.model.parameters() if p.requires_grad]
        total = torch.zeros((), device=self._device)
        for batch in self._batches():
            gradients = torch.autograd.grad(self._loss(batch), weights)
            direction = torch.cat([gradient.flatten() for gradient in gradients])
            total = total + direction / direction.norm()
        # The squared norm of a sum of n unit vectors is n plus twice the cosines of all pairs.
        return float((total.square().sum() - NUM_BATCHES) / (NUM_BATCHES * (NUM_BATCHES - 1)))

    def success_share(self) -> float:
        of_successes = of_all = 0.0
        features: list[Tensor] = []
        with self._features_to(features):
            for batch in self._batches():
                loss = self._loss(batch)
                norms = torch.autograd.grad(loss, features.pop())[0].flatten(1).norm(dim=1)
                of_successes += float(norms[batch["is_success"]].sum())
                of_all += float(norms.sum())
        return of_successes / of_all

    @torch.no_grad()
    def distance_to_successes(self) -> float:
        distances: list[Tensor] = []
        for batch in self._batches():
            values = self.model.value_loss.value(self._logits(self.model, batch))
            chosen = bin_actions(values.argmax(dim=-1), self.model.config.num_action_bins)
            distances.append((chosen - batch["actions"])[batch["is_success"]].abs())
        return float(torch.cat(distances).mean())

    def plasticity_loss(self) -> float:
        new, other = self._random_network(NEW_NETWORK), self._random_network(NEW_TARGETS, **ONE_OUTPUT)
        with torch.no_grad():
            of_batches = [self._outputs(other, batch).squeeze(-1) for batch in self._batches()]
        std, mean = torch.std_mean(torch.cat(of_batches))
        value_loss, lowest = self.model.value_loss, self.model.value_loss.value_min

        @torch.no_grad()
        def targets(batch: Batch) -> Tensor:
            fractions = (1 + torch.sin((self._outputs(other, batch).squeeze(-1) - mean) / std)) / 2
            return lowest + fractions * (value_loss.value_max - lowest)

        of_trained = self._error_after_training(copy.deepcopy(self.model), targets)
        return of_trained - self._error_after_training(new, targets)

    def _error_after_training(self, model: QTransformer, targets: Callable[[Batch], Tensor]) -> float:
        value_loss = model.value_loss
        optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
        for batch in self._batches(STEPS, seed=1):
            loss = value_loss.loss(self._outputs(model, batch), targets(batch))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            pairs = [
                (value_loss.value(self._outputs(model, batch)), targets(batch)) for batch in self._batches()
            ]
        found, wanted = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        return float((found - wanted).square().mean() / wanted.var())

    @torch.no_grad()
    def _random_network(self, seed: int, **changes: Any) -> QTransformer:
        config = copy.deepcopy(self.model.config)
        config.update(changes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = QTransformer(config).to(self._device).eval()
        for name, trained in self.model.named_parameters():
            if not trained.requires_grad:  # a sentence encoder, which no run starts at random
                network.get_parameter(name).copy_(trained)
        return network

    def _batches(self, number: int = NUM_BATCHES, seed: int = 0) -> Iterator[Batch]:
        rng = np.random.default_rng(seed)
        examples = self._task.examples
        is_success = examples.episodes.rewards[examples.last[examples.frames]] > 0
        for _ in range(number):
            indices = rng.integers(len(examples), size=self._config.training.batch_size)
            batch = examples.batch(indices) | {"is_success": is_success[indices % len(is_success)]}
            yield {name: torch.as_tensor(array, device=self._device) for name, array in batch.items()}

    def _loss(self, batch: Batch) -> Tensor:
        """Return the loss of training, with the network as its own target network."""
        loss, _, _ = self._task.loss(self.model, batch, with_metrics=False)
        return loss

    def _features_to(self, features: list[Tensor]) -> RemovableHandle:
        """Append the inputs of the head, (batch, dimensions, width), in every pass of the model."""
        return self.model.head.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))

    def _logits(self, model: QTransformer, batch: Batch) -> Tensor:
        """Return the outputs for all bins, (batch, dimensions, action bins, num_outputs)."""
        bins = nearest_bins(batch["actions"], model.config.num_action_bins)
        observed = self._task.observation(batch, slice(None, -1))
        return model(**observed, bins=bins[:, :-1], with_values=False).logits

    def _outputs(self, model: QTransformer, batch: Batch) -> Tensor:
        """Return the outputs for the actions of the data, (batch, dimensions, num_outputs)."""
        bins = nearest_bins(batch["actions"], model.config.num_action_bins)
        return gather_actions(self._logits(model, batch), bins)

    def measures(self) -> dict[str, float]:
        """Return MEASURES by key."""
        return {measure.key: float(getattr(self, measure.key)()) for measure in MEASURES}
