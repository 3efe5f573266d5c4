"""The model's weights when several processes share them: pieces, whole tensors, and the way between.

Under DDP and ZeRO-1 and 2 every process holds all weights, and its pieces are the weights themselves. Under
ZeRO-3 and FSDP2 it holds a piece of each, and what forward passes gather from them is forgotten here when the
pieces change.
"""

from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor


class Weights:
    """The parameters of a model, by name; `zero_stage` is that of the DeepSpeed engine it is in, if any."""

    def __init__(self, model: nn.Module, wrapped: nn.Module | None = None, zero_stage: int = 0):
        self._model, self._wrapped, self.zero_stage = model, wrapped, zero_stage
        self.parameters: dict[str, nn.Parameter] = dict(model.named_parameters())

    @property
    def are_replicated(self) -> bool:
        """Whether every process holds all weights."""
        is_fsdp = any(isinstance(parameter, DTensor) for parameter in self.parameters.values())
        return self.zero_stage < 3 and not is_fsdp

    def pieces(self) -> list[Tensor]:
        """Return what this process holds of each parameter: the memory itself, without gradient."""
        return [self._piece(parameter) for parameter in self.parameters.values()]

    def _piece(self, parameter: nn.Parameter) -> Tensor:
        if self.zero_stage == 3:
            return parameter.ds_tensor.detach()
        tensor = parameter.detach()
        return tensor.to_local() if isinstance(tensor, DTensor) else tensor

    def piece_of(self, name: str, whole: Tensor) -> Tensor:
        """Cut what this process holds out of a whole tensor that is shaped like the parameter."""
        parameter = self.parameters[name]
        if self.zero_stage == 3:
            length = parameter.ds_tensor.numel()
            start = dist.get_rank() * length
            piece = torch.zeros(length, dtype=whole.dtype)  # beyond the end it does not matter
            given = whole.flatten()[start : start + length]
            piece[: len(given)] = given
            return piece
        return self.like(name, whole).to_local() if isinstance(parameter, DTensor) else whole

    def like(self, name: str, whole: Tensor) -> Tensor:
        """Place a whole tensor on the parameter's device, sharded like it under FSDP2."""
        parameter = self.parameters[name]
        if isinstance(parameter, DTensor):
            # Every process has read the same: none sends anything.
            return distribute_tensor(
                whole.to(parameter.device), parameter.device_mesh, parameter.placements, src_data_rank=None
            )
        return whole.to(parameter.device)

    def whole(self, name: str, piece: Tensor) -> Tensor:
        """Join the pieces of all processes, which all have to call this, to what the parameter stands for."""
        parameter = self.parameters[name]
        if self.zero_stage == 3:
            piece = piece.to(parameter.device)
            joined = piece.new_empty(dist.get_world_size() * piece.numel())
            dist.all_gather_into_tensor(joined, piece)
            return joined[: parameter.ds_numel].view(parameter.ds_shape)
        if isinstance(parameter, DTensor):
            sharded = DTensor.from_local(
                piece,
                parameter.device_mesh,
                parameter.placements,
                shape=parameter.shape,
                stride=parameter.stride(),
            )
            return sharded.full_tensor()
        return piece

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield every parameter as a whole; all processes have to go through them alike."""
        for name, piece in zip(self.parameters, self.pieces(), strict=True):
            yield name, self.whole(name, piece)

    def gather_state(self, is_kept: bool) -> dict[str, Tensor]:
        """Return copies of whole parameters and buffers by name, where `is_kept`; all have to call this."""
        state = {}
        for name, tensor in (*self.named_tensors(), *self._model.named_buffers()):
            if is_kept:
                state[name] = tensor.detach().to("cpu", copy=True)
        return state

    def forget_gathered(self) -> None:
        """Have the next forward pass gather the weights anew: the pieces have changed."""
        if self.zero_stage == 3:
            if torch.cuda.is_available():
                torch.cuda.synchronize()  # DeepSpeed gathers on a stream of its own
            self._wrapped.empty_partition_cache()
        for module in self._model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()
