"""Optimisers, the learning-rate schedule, the EMA of the weights, and target networks."""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from configs.schema import OptimizerConfig, TrainingConfig
from training.sharding import Weights


def make_optimizers(model: PreTrainedModel, config: OptimizerConfig) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices of the blocks and AdamW for the rest, or AdamW for all parameters.

    Frozen parameters are left out.
    """
    matrices = []
    if config.name == "muon" or config.weight_decay:  # else one group, which AdamW updates in one call
        matrices = [p for block in blocks_of(model) for p in block.parameters() if p.ndim == 2]
    in_blocks = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in in_blocks and p.requires_grad]
    adamw_groups = [{"params": rest, "weight_decay": 0.0}]
    optimizers: list[torch.optim.Optimizer] = []
    if config.name == "muon":
        muon = torch.optim.Muon(
            matrices,
            lr=config.muon_learning_rate,
            weight_decay=config.weight_decay,
            adjust_lr_fn="original",
        )
        optimizers.append(muon)
    elif matrices:
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
    """Return the learning rate of step 1, 2, … as a fraction of its peak."""
    if step <= config.warmup_steps:
        return step / config.warmup_steps
    if step <= config.steps_before_decay:
        return 1.0
    progress = (step - config.steps_before_decay) / (config.steps - config.steps_before_decay)
    remaining = {
        "linear": 1 - progress,
        "cosine": (1 + math.cos(math.pi * progress)) / 2,
    }[config.decay]
    return config.final_learning_rate + (1 - config.final_learning_rate) * remaining


def set_learning_rate(optimizers: list[torch.optim.Optimizer], fraction: float) -> None:
    """Set the learning rates to this fraction of their peaks."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * fraction


class EMA:
    """Exponential moving average of the weights, which is evaluated and saved; with a decay of 0, none."""

    def __init__(self, weights: Weights, decay: float):
        self.weights, self.decay = weights, decay
        self.shards = [shard.clone() for shard in weights.shards()] if decay else []

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Average in the weights after training step 1, 2, …"""
        if self.shards:
            # Early on, average over fewer steps, to forget the initial weights.
            decay = min(self.decay, step / (step + 10))
            torch._foreach_lerp_(self.shards, self.weights.shards(), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the averages into the model inside the block. All processes have to do so together."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        if not self.shards:
            return
        # In place, since DeepSpeed and FSDP keep references to the memory of the weights.
        for shard, weight in zip(self.shards, self.weights.shards(), strict=True):
            average = shard.clone()
            shard.copy_(weight)
            weight.copy_(average)
        self.weights.discard_gathered()

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the averages as full tensors by parameter name. All processes have to iterate together."""
        for name, shard in zip(self.weights.parameters, self.shards, strict=True):
            yield name, self.weights.full_tensor(name, shard)

    def load(self, read: Callable[[str], Tensor]) -> None:
        """Continue from the full tensors that `read` returns by name."""
        for name, shard in zip(self.weights.parameters, self.shards, strict=True):
            shard.copy_(self.weights.shard_of(name, read(name)))


class TargetNetwork:
    """A copy of the model that follows it slowly, for temporal-difference targets.

    Every step it moves by `tau` towards the model (Polyak averaging); or, with `every`, it becomes equal to
    the model every so many steps. It is made before accelerate wraps the model, and is complete on every
    process.
    """

    def __init__(self, model: PreTrainedModel, tau: float, every: int | None = None):
        self.tau, self.every = tau, every
        self.model = copy.deepcopy(model).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, step: int, weights: Weights) -> None:
        """Follow the model's weights after training step 1, 2, …"""
        if self.every is not None and step % self.every:
            return
        own = [parameter.data for parameter in self.model.parameters()]
        online = [full for _, full in weights.named_tensors()]
        if self.every is None:
            torch._foreach_lerp_(own, online, self.tau)
        else:
            torch._foreach_copy_(own, online)

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the weights by name."""
        yield from self.model.named_parameters()

    @torch.no_grad()
    def load(self, read: Callable[[str], Tensor]) -> None:
        """Continue from the tensors that `read` returns by name."""
        for name, weight in self.model.named_parameters():
            weight.copy_(read(name))


def compile_blocks(model: PreTrainedModel) -> None:
    """Compile the repeated blocks of a model one by one, which takes less time than the whole model."""
    for block in blocks_of(model):
        block.compile()


def blocks_of(model: PreTrainedModel) -> nn.ModuleList:
    """Return the repeated blocks of a model, the `blocks` of its backbone."""
    blocks = model.base_model.blocks
    assert isinstance(blocks, nn.ModuleList)
    return blocks
