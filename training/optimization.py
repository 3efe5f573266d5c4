"""Optimisers, the learning rate as a function of the step, and averaged weights."""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from configs.schema import OptimizerConfig, TrainingConfig


def make_optimizers(model: nn.Module, config: OptimizerConfig) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks and AdamW for the rest, or AdamW for all."""
    matrices = [p for p in model.model.blocks.parameters() if p.ndim == 2]
    in_blocks = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in in_blocks]
    adamw_groups = [{"params": rest, "weight_decay": 0.0}]
    optimizers = []
    if config.name == "muon":
        muon = torch.optim.Muon(
            matrices,
            lr=config.muon_learning_rate,
            weight_decay=config.weight_decay,
            adjust_lr_fn="original",
        )
        optimizers.append(muon)
    else:
        adamw_groups.append({"params": matrices, "weight_decay": config.weight_decay})
    adamw = torch.optim.AdamW(
        adamw_groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), eps=config.eps, fused=True
    )
    optimizers.append(adamw)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def learning_rate_at(step: int, config: TrainingConfig) -> float:
    """Return the learning rate of step 1, 2, … as a share of its peak."""
    if step <= config.warmup_steps:
        return step / config.warmup_steps
    progress = (step - config.warmup_steps) / (config.steps - config.warmup_steps)
    remaining = {
        "constant": 1.0,
        "linear": 1 - progress,
        "cosine": (1 + math.cos(math.pi * progress)) / 2,
    }[config.decay]
    return config.final_learning_rate + (1 - config.final_learning_rate) * remaining


class WeightAverage:
    """Exponential moving average of the weights, which is what is evaluated and saved."""

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.weights = list(model.parameters())
        self.averages = [p.detach().clone() for p in self.weights] if decay else []

    @torch.no_grad()
    def update(self, step: int) -> None:
        if self.averages:
            # Early on, average over fewer steps: the initial weights are not worth remembering.
            decay = min(self.decay, step / (step + 10))
            torch._foreach_lerp_(self.averages, [p.detach() for p in self.weights], 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the averages into the model for a while."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for index, average in enumerate(self.averages):
            self.averages[index], self.weights[index].data = self.weights[index].data, average

    def state_dict(self) -> dict:
        return {"averages": self.averages}

    def load_state_dict(self, state: dict) -> None:
        for average, saved in zip(self.averages, state["averages"], strict=True):
            average.copy_(saved)


class TargetNetwork:
    """A copy of the model that follows it slowly, for the targets of temporal differences.

    Every step it moves by `tau` towards the model (Polyak averaging); or, with `every`, it becomes equal to
    the model every so many steps, and stays as it is in between.
    """

    def __init__(self, model: nn.Module, tau: float, every: int | None = None):
        self.tau, self.every = tau, every
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self._followed, self._weights = list(model.parameters()), list(self.model.parameters())

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Follow the model after training step 1, 2, …"""
        if self.every is None:
            torch._foreach_lerp_(self._weights, [p.detach() for p in self._followed], self.tau)
        elif step % self.every == 0:
            torch._foreach_copy_(self._weights, [p.detach() for p in self._followed])

    def state_dict(self) -> dict:
        return {"weights": [p.detach() for p in self._weights]}

    def load_state_dict(self, state: dict) -> None:
        for weight, saved in zip(self._weights, state["weights"], strict=True):
            weight.copy_(saved)
