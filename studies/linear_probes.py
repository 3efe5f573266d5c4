"""Linear probes: the information that a layer of a frozen network encodes linearly.

Source: Farebrother et al., "Stop Regressing" (arXiv 2403.03950), section 5, which compares the features that
losses learn by linear probes. Here the probes are ridge regressions, fitted to each half of the held-out data
and scored on the other half, so that boards of one game, neighbours in a file, stay on one side.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score, roc_auc_score
from torch import Tensor

from models.modeling_value_convnet import ValueConvNet
from models.modeling_value_transformer import ValueTransformerModel
from studies.measurements import Measure


# A feature that is rarely active has a small deviation in one half, and is huge in units of it in the other.
LEAST_DEVIATION = 0.1  # of a feature, as a fraction of the root of the mean variance of all features


@dataclass(frozen=True)
class Targets:
    """The targets of probes, for all n examples.

    `values` (n,) float by name, of which those in `binary` are 0 or 1; `is_first` (n,) bool is true for the
    examples of the first half; `of_measure` lists the targets that each measure averages over; `penalty` is
    that of the squared weights, per example, for features of variance 1.
    """

    values: Mapping[str, np.ndarray]
    binary: frozenset[str]
    is_first: np.ndarray
    of_measure: Mapping[str, Sequence[str]]
    penalty: float = 1e-4


class Probed(Protocol):
    """Held-out examples of a domain, for probes of its models."""

    description: str
    measures: Sequence[Measure]
    targets: Targets

    def features(self, model: Path) -> Iterable[np.ndarray]:
        """Return features of the input of the first block and of every block, float32 (n, width)."""


@contextmanager
def recorded_layers(model: ValueTransformerModel | ValueConvNet) -> Iterator[list[Tensor]]:
    """Record the hidden states of a forward pass: the input of the first block, and the output of each."""
    layers: list[Tensor] = []
    with ExitStack() as hooks:
        before = model.blocks[0].register_forward_pre_hook(lambda _, args: layers.append(args[0].detach()))
        hooks.enter_context(before)
        for block in model.blocks:
            after = block.register_forward_hook(lambda _, args, output: layers.append(output.detach()))
            hooks.enter_context(after)
        yield layers


def probe(features: np.ndarray, targets: Targets) -> dict[str, float]:
    """Return the score of every target from features (n, width): R², for binary ones the area under the ROC.

    Both are means over the two halves, each scored by the probe of the other half, and NaN if a half has only
    one value.
    """
    values = np.stack(list(targets.values.values()), axis=1).astype(np.float64)
    features = features.astype(np.float64)
    halves = []
    for is_fitted in (targets.is_first, ~targets.is_first):
        fitted = features[is_fitted]
        variances = fitted.var(axis=0)
        scale = np.sqrt(np.maximum(variances, LEAST_DEVIATION**2 * variances.mean()))
        scaled = (features - fitted.mean(axis=0)) / np.where(scale, scale, 1)
        ridge = Ridge(alpha=targets.penalty * is_fitted.sum()).fit(scaled[is_fitted], values[is_fitted])
        predictions = ridge.predict(scaled[~is_fitted])
        columns = zip(
            targets.values, values[~is_fitted].T, predictions.reshape(-1, values.shape[1]).T, strict=True
        )
        halves.append([_score(truth, found, name in targets.binary) for name, truth, found in columns])
    return dict(zip(targets.values, np.mean(halves, axis=0).tolist(), strict=True))


def _score(truth: np.ndarray, predictions: np.ndarray, is_binary: bool) -> float:
    if truth.min() == truth.max():
        return float("nan")
    return float((roc_auc_score if is_binary else r2_score)(truth, predictions))
