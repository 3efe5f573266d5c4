"""Optimiser states as full tensors, named "kind/parameter": exp_avg/head.weight, step/head.weight.

So a checkpoint is independent of the number of processes and of the backend that wrote it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from accelerate.optimizer import AcceleratedOptimizer
from torch import Tensor
from torch.distributed.tensor import DTensor

from training.checkpoints import CheckpointReader
from training.sharding import Weights


def named_states(
    optimizers: Sequence[AcceleratedOptimizer], weights: Weights
) -> Iterator[tuple[str, Tensor]]:
    """Yield the states of all parameters. All processes have to iterate together."""
    if weights.zero_stage:
        yield from _zero_states(optimizers, weights)
        return
    names = {id(parameter): name for name, parameter in weights.parameters.items()}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                for kind, state in sorted(optimizer.state[parameter].items()):
                    full = state.full_tensor() if isinstance(state, DTensor) else state
                    yield f"{kind}/{names[id(parameter)]}", full


def load_states(
    optimizers: Sequence[AcceleratedOptimizer], weights: Weights, stored: CheckpointReader
) -> None:
    """Continue from the states in a checkpoint."""
    if weights.zero_stage:
        _load_zero_states(optimizers, weights, stored)
        return
    names = {id(parameter): name for name, parameter in weights.parameters.items()}
    kinds: dict[str, list[str]] = {}
    for key in stored.names:
        kind, name = key.split("/")
        kinds.setdefault(name, []).append(kind)
    for wrapper in optimizers:
        optimizer = wrapper.optimizer
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        state = {}
        for number, parameter in enumerate(parameters):
            name = names[id(parameter)]
            tensors = {kind: stored(f"{kind}/{name}") for kind in kinds.get(name, [])}
            state[number] = {
                kind: weights.distribute(name, tensor) if tensor.ndim else tensor
                for kind, tensor in tensors.items()
            }
        # It moves the tensors to the device that the optimiser wants; the groups stay as they are.
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _zero_states(
    optimizers: Sequence[AcceleratedOptimizer], weights: Weights
) -> Iterator[tuple[str, Tensor]]:
    """Yield the states that DeepSpeed keeps in flat tensors, which it splits regardless of parameters."""
    from deepspeed.utils import safe_get_full_optimizer_state

    (zero,) = (wrapper.optimizer for wrapper in optimizers)
    _link_states(zero, weights)
    flat = _flat_parameters(zero, weights)[0]
    for kind, state in sorted(zero.optimizer.state[flat].items()):
        is_number = not isinstance(state, Tensor) or state.ndim == 0
        for name, parameter in weights.parameters.items():
            if is_number:
                yield f"{kind}/{name}", torch.as_tensor(state, dtype=torch.float32)
            else:
                yield f"{kind}/{name}", safe_get_full_optimizer_state(parameter, kind)


def _load_zero_states(
    optimizers: Sequence[AcceleratedOptimizer], weights: Weights, stored: CheckpointReader
) -> None:
    from deepspeed.ops.adam import DeepSpeedCPUAdam
    from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state

    (zero,) = (wrapper.optimizer for wrapper in optimizers)
    flats = _flat_parameters(zero, weights)
    kinds = sorted({key.split("/")[0] for key in stored.names} - {"step"})
    step = stored(next(key for key in stored.names if key.startswith("step/")))
    for flat in flats:
        state = {kind: torch.zeros_like(flat, requires_grad=False) for kind in kinds}
        # torch's optimisers count in a tensor, on the parameter's device if they are fused.
        is_own = isinstance(zero.optimizer, DeepSpeedCPUAdam)
        zero.optimizer.state[flat] = state | {"step": int(step) if is_own else step.clone().to(flat.device)}
    _link_states(zero, weights)
    for name, parameter in weights.parameters.items():
        for kind in kinds:
            full = stored(f"{kind}/{name}")
            if weights.zero_stage == 3:
                safe_set_local_optimizer_state(parameter, weights.shard_of(name, full), kind)
            else:
                safe_set_full_optimizer_state(parameter, full, kind)


def _link_states(zero: Any, weights: Weights) -> None:
    """Link the parameters to their states.

    Under ZeRO-1 and 2 DeepSpeed does so after the step of the first group, when other groups have no states.
    """
    from deepspeed.utils import lazy_init_hp_params_optimizer_state

    if weights.zero_stage < 3:
        for group, flat in zip(zero.bit16_groups, _flat_parameters(zero, weights), strict=True):
            lazy_init_hp_params_optimizer_state(group, flat, zero.optimizer.state)


def _flat_parameters(zero: Any, weights: Weights) -> list[Tensor]:
    """Return the flat tensors of the optimiser that DeepSpeed wraps: one or several per group."""
    if weights.zero_stage == 3:
        return zero.fp32_partitioned_groups_flat
    return zero.single_partition_of_fp32_groups
