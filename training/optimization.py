"""Optimisers, the learning rate as a function of the step, and averaged weights."""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from configs.schema import OptimizerConfig, TrainingConfig
from training.sharding import Weights


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


class EMA:
    """Exponential moving average of the weights, which is what is evaluated and saved."""

    def __init__(self, weights: Weights, decay: float):
        self.weights, self.decay = weights, decay
        self.pieces = [piece.clone() for piece in weights.pieces()] if decay else []

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Follow the weights after training step 1, 2, …"""
        if self.pieces:
            # Early on, average over fewer steps: the initial weights are not worth remembering.
            decay = min(self.decay, step / (step + 10))
            torch._foreach_lerp_(self.pieces, self.weights.pieces(), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the averages into the model for a while; all processes have to do so together."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        # In place: DeepSpeed and FSDP hold on to the memory of the weights.
        for piece, weight in zip(self.pieces, self.weights.pieces(), strict=bool(self.pieces)):
            average = piece.clone()
            piece.copy_(weight)
            weight.copy_(average)
        if self.pieces:
            self.weights.forget_gathered()

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the averages as whole tensors by the names of their parameters, on all processes together."""
        for name, piece in zip(self.weights.parameters, self.pieces, strict=bool(self.pieces)):
            yield name, self.weights.whole(name, piece)

    def load(self, read: Callable[[str], Tensor]) -> None:
        """Continue from whole tensors that `read` returns by name."""
        for name, piece in zip(self.weights.parameters, self.pieces, strict=bool(self.pieces)):
            piece.copy_(self.weights.piece_of(name, read(name)))


class TargetNetwork:
    """A copy of the model that follows it slowly, for the targets of temporal differences.

    Every step it moves by `tau` towards the model (Polyak averaging); or, with `every`, it becomes equal to
    the model every so many steps, and stays as it is in between. It is made before the model is given to
    accelerate, and whole on every process.
    """

    def __init__(self, model: nn.Module, tau: float, every: int | None = None):
        self.tau, self.every = tau, every
        self.model = copy.deepcopy(model).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, step: int, weights: Weights) -> None:
        """Follow the model's weights after training step 1, 2, …"""
        if self.every is not None and step % self.every:
            return
        own = list(self.model.parameters())
        followed = [whole for _, whole in weights.named_tensors()]
        if self.every is None:
            torch._foreach_lerp_(own, followed, self.tau)
        else:
            torch._foreach_copy_(own, followed)

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.model.named_parameters()

    @torch.no_grad()
    def load(self, read: Callable[[str], Tensor]) -> None:
        """Continue from tensors that `read` returns by name."""
        for name, weight in self.model.named_parameters():
            weight.copy_(read(name))
