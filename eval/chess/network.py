"""A chess model as a function of arrays, run by torch, or by onnxruntime in a process without torch."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np


class ChessNetwork(ABC):
    """A model of chess and the facts that engines need.

    `architecture` is its class in models/modeling_value_transformer.py, `orient` the setting of its
    tokenizer, `value_loss` the name of its loss, None of a policy. `support` (bins,) has the centres of the
    bins of the distributions that it predicts; None if it predicts none. `has_preference` says whether it
    has the output `preference`.
    """

    architecture: str
    orient: bool
    value_loss: str | None
    support: np.ndarray | None
    has_preference: bool
    num_parameters: int

    @abstractmethod
    def run(self, outputs: Sequence[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Return outputs by name, float32, for `input_ids` and, of action values, `action_ids`, int64."""

    @abstractmethod
    def set_threads(self, num_threads: int) -> None:
        """Set the number of CPU threads."""

    @property
    def is_policy(self) -> bool:
        """Whether the model predicts moves, and no values."""
        return self.architecture == "ValueTransformerForMovePrediction"

    @property
    def values_states(self) -> bool:
        """Whether the model values states, and no moves."""
        return self.architecture == "ValueTransformerForStateValue"

    @property
    def num_bins(self) -> int:
        """The number of bins of the predicted distributions, 0 if there are none."""
        return 0 if self.support is None else len(self.support)

    @property
    def move_support(self) -> np.ndarray | None:
        """The centres of the bins of the distributions of move values, (bins,)."""
        if self.support is None or not self.values_states:
            return self.support
        return 1 - self.support[::-1]
