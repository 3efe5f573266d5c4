"""What a trained network knows, layer by layer: linear layers are fitted to what it computes as it is.

Source: Farebrother et al., "Stop Regressing" (arXiv 2403.03950), section 5, where linear probes of frozen
features compare what losses have learnt. Here the probes are ridge regressions in closed form, fitted to each
half of held-out data and scored on the other: boards of one game, neighbours in a file, stay together.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from torch import Tensor

from models.modeling_value_transformer import ValueTransformerModel


PENALTY = 1e-4  # of the squared weights, per example, when features and targets have variance 1


class ProbeData(NamedTuple):
    """What probes are fitted to; all arrays have a row for every example.

    `features` (layers, n, width) float32, those of the embeddings and of every block; `targets` (n,) float by
    name, of which those in `is_binary` are 0 or 1; `is_first` (n,) bool, the examples of the first half.
    """

    features: np.ndarray
    targets: dict[str, np.ndarray]
    is_binary: frozenset[str]
    is_first: np.ndarray


@contextmanager
def recorded_layers(model: ValueTransformerModel) -> Iterator[list[Tensor]]:
    """Record the hidden states of a forward pass: what goes into the first block, and what each gives."""
    layers: list[Tensor] = []
    handles = [model.blocks[0].register_forward_pre_hook(lambda _, inputs: layers.append(inputs[0].detach()))]
    handles += [
        block.register_forward_hook(lambda _, inputs, output: layers.append(output.detach()))
        for block in model.blocks
    ]
    try:
        yield layers
    finally:
        for handle in handles:
            handle.remove()


def probe(data: ProbeData) -> dict[str, list[float]]:
    """Return the score of every target, a number for each layer: R², of binary ones the area under the ROC.

    R² is 1 − the squared error as a share of that of the best constant; the area is the probability that an
    example with 1 gets a higher prediction than one with 0. Both are means over the two halves, scored by
    probes of the other, and NaN where a half has but one value.
    """
    names = list(data.targets)
    targets = np.stack([data.targets[name] for name in names], axis=1).astype(np.float64)
    scores: dict[str, list[float]] = {name: [] for name in names}
    for layer in data.features:
        features = layer.astype(np.float64)
        halves = [
            _scores(features, targets, [name in data.is_binary for name in names], is_fitted)
            for is_fitted in (data.is_first, ~data.is_first)
        ]
        for name, score in zip(names, np.mean(halves, axis=0), strict=True):
            scores[name].append(float(score))
    return scores


def _scores(
    features: np.ndarray, targets: np.ndarray, is_binary: Sequence[bool], is_fitted: np.ndarray
) -> list[float]:
    """Fit probes to some examples and score them on the others; return a number for each target."""
    centre, scale = targets[is_fitted].mean(axis=0), targets[is_fitted].std(axis=0)
    wanted = (targets[is_fitted] - centre) / np.where(scale > 0, scale, 1)
    mean, deviation = features[is_fitted].mean(axis=0), features[is_fitted].std(axis=0)
    features = (features - mean) / np.where(deviation > 1e-6, deviation, 1)
    own = features[is_fitted]
    gram = own.T @ own / len(own) + PENALTY * np.eye(own.shape[1])
    predictions = features[~is_fitted] @ np.linalg.solve(gram, own.T @ wanted / len(own))
    scores = []
    for column, binary in enumerate(is_binary):
        truth = targets[~is_fitted, column]
        if binary:
            scores.append(area_under_roc(predictions[:, column], truth > 0.5))
            continue
        variance = ((truth - truth.mean()) ** 2).mean()
        error = ((predictions[:, column] * scale[column] + centre[column] - truth) ** 2).mean()
        scores.append(1 - error / variance if variance > 0 else math.nan)
    return scores


def area_under_roc(predictions: np.ndarray, is_one: np.ndarray) -> float:
    """Return the probability that a one is predicted higher than a zero, ties counting half.

    NaN without ones or without zeros.
    """
    order = np.argsort(predictions, kind="stable")
    ordered = predictions[order]
    # The mean rank of equals.
    first = np.searchsorted(ordered, ordered, side="left")
    last = np.searchsorted(ordered, ordered, side="right")
    ranks = np.empty(len(predictions))
    ranks[order] = (first + last + 1) / 2
    num_ones = int(is_one.sum())
    num_zeros = len(is_one) - num_ones
    if not num_ones or not num_zeros:
        return float("nan")
    return (ranks[is_one].sum() - num_ones * (num_ones + 1) / 2) / (num_ones * num_zeros)
