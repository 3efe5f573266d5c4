"""A chess model that torch runs."""

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel

from cli.hardware import check_compiler
from eval.chess.network import ChessNetwork
from eval.loading import CHESS


ARCHITECTURES = [model_class.__name__ for model_class in CHESS.classes]


class TorchNetwork(ChessNetwork):
    """The `model`, on its device and in its mode; `orient` is the setting of its tokenizer.

    `compile` uses torch.compile, which pays off after some hundred moves.
    """

    def __init__(self, model: PreTrainedModel, orient: bool, compile: bool = False):
        # By name: remote code has classes of its own; FSDP makes subclasses.
        names = [kind.__name__ for kind in type(model).__mro__]
        self.architecture = next(name for name in names if name in ARCHITECTURES)
        self.model, self.orient = model, orient
        self.num_parameters = model.num_parameters()
        self.support = self.value_loss = None
        if not self.is_policy:
            self.value_loss = model.config.value_loss
            if model.value_loss.num_outputs > 1:
                self.support = model.value_loss.support().numpy()
        scale = model.config.preference_scale
        self.has_preference = scale is not None and not (self.is_policy or self.values_states)
        if compile:
            check_compiler("--compile")
        # The number of moves differs from board to board.
        self._forward = torch.compile(model, dynamic=True) if compile else model

    # Not inference_mode: weights that FSDP or ZeRO gather in it cannot be trained later.
    @torch.no_grad()
    def run(self, outputs: Sequence[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        device = self.model.device
        found = self._forward(**{name: torch.from_numpy(ids).to(device) for name, ids in inputs.items()})
        return [found[name].float().cpu().numpy() for name in outputs]

    def set_threads(self, num_threads: int) -> None:
        torch.set_num_threads(num_threads)
