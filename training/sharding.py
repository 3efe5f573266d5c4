"""The weights of a model across processes: shards, full tensors, and the conversion between them.

Under DDP and ZeRO-1 and 2 every process holds all weights, and its shards are the weights themselves. Under
ZeRO-3 and FSDP2 it holds a shard of each.
"""

import itertools
from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor


class Weights:
    """The parameters of a model, by name.

    `wrapped` is the model that accelerate returned, and `zero_stage` the stage of its DeepSpeed engine, 0
    without one.
    """

    def __init__(self, model: nn.Module, wrapped: nn.Module | None = None, zero_stage: int = 0):
        self._model, self._wrapped, self.zero_stage = model, wrapped or model, zero_stage
        self.parameters: dict[str, nn.Parameter] = dict(model.named_parameters())

    @property
    def are_replicated(self) -> bool:
        """Whether every process holds all weights."""
        is_fsdp = any(isinstance(parameter, DTensor) for parameter in self.parameters.values())
        return self.zero_stage < 3 and not is_fsdp

    def shards(self) -> list[Tensor]:
        """Return this process's shard of each parameter: the memory itself, without gradient."""
        return [self._shard(parameter) for parameter in self.parameters.values()]

    def _shard(self, parameter: nn.Parameter) -> Tensor:
        if self.zero_stage == 3:
            return parameter.ds_tensor.detach()  # type: ignore[attr-defined]  # added by DeepSpeed
        tensor = parameter.detach()
        return tensor.to_local() if isinstance(tensor, DTensor) else tensor

    def shard_of(self, name: str, full: Tensor) -> Tensor:
        """Return this process's shard of a full tensor that has the shape of the parameter."""
        parameter = self.parameters[name]
        if self.zero_stage == 3:
            length = parameter.ds_tensor.numel()  # type: ignore[attr-defined]
            start = dist.get_rank() * length
            shard = torch.zeros(length, dtype=full.dtype)  # the last shard is padded
            given = full.flatten()[start : start + length]
            shard[: len(given)] = given
            return shard
        distributed = self.distribute(name, full)
        return distributed.to_local() if isinstance(distributed, DTensor) else full

    def distribute(self, name: str, full: Tensor) -> Tensor:
        """Move a full tensor to the device of the parameter, sharded like it under FSDP2."""
        parameter = self.parameters[name]
        if isinstance(parameter, DTensor):
            # Every process has read the same tensor, so no communication is needed.
            return distribute_tensor(
                full.to(parameter.device), parameter.device_mesh, parameter.placements, src_data_rank=None
            )
        return full.to(parameter.device)

    def full_tensor(self, name: str, shard: Tensor) -> Tensor:
        """Return the full tensor of which this is the process's shard. All processes have to call this."""
        parameter = self.parameters[name]
        if self.zero_stage == 3:
            shard = shard.to(parameter.device)
            joined = shard.new_empty(dist.get_world_size() * shard.numel())
            dist.all_gather_into_tensor(joined, shard)
            return joined[: parameter.ds_numel].view(parameter.ds_shape)  # type: ignore[attr-defined]
        if isinstance(parameter, DTensor):
            sharded = DTensor.from_local(
                shard,
                parameter.device_mesh,
                parameter.placements,
                shape=parameter.shape,
                stride=parameter.stride(),
            )
            return sharded.full_tensor()
        return shard

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield every parameter as a full tensor. All processes have to iterate together."""
        for name, shard in zip(self.parameters, self.shards(), strict=True):
            yield name, self.full_tensor(name, shard)

    def gather_state(self, is_kept: bool) -> dict[str, Tensor]:
        """Return copies of full parameters and buffers by name, if `is_kept`. All processes call this."""
        state = {}
        for name, tensor in itertools.chain(self.named_tensors(), self._model.named_buffers()):
            if is_kept:
                state[name] = tensor.detach().to("cpu", copy=True)
        return state

    def discard_gathered(self) -> None:
        """Make the next forward pass gather the weights again, after the shards have changed."""
        if self.zero_stage == 3:
            if torch.cuda.is_available():
                torch.cuda.synchronize()  # DeepSpeed gathers on a stream of its own
            self._wrapped.empty_partition_cache()  # type: ignore[operator]
        if any(isinstance(parameter, DTensor) for parameter in self.parameters.values()):
            from torch.distributed.fsdp import FSDPModule  # takes a second to import

            for module in self._model.modules():
                if isinstance(module, FSDPModule):
                    module.reshard()
