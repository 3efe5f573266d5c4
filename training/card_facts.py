"""The facts that a task gives to the card of its models: descriptions, and measured results."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from data.hub import read_name
from eval.intervals import Z_95


@dataclass(frozen=True)
class CardFacts:
    """Facts about a model for the template training/model_card.md; texts are Markdown."""

    task: str  # as the hub shows it next to results: Wordle
    description: str  # the prediction, in whole sentences
    training: str  # completes "It was trained": on games of other players by Q-learning
    papers: tuple[str, ...]  # links to sources besides Stop Regressing
    network: str  # completes "9M parameters, ": `prefix` attention
    example: str  # Python that loads the model and prints values
    example_notes: str  # the meaning of these values, and more examples
    commands: tuple[str, ...]  # commands of this repository that take the model
    results_notes: str  # how to read the table of results
    batch_unit: str  # the unit of a batch: boards, games
    data: str  # a sentence about the training data, or nothing
    limits: tuple[str, ...]  # whole sentences
    loss: str | None = None  # completes "trained … with", where it is not the value loss of the settings
    tag: str | None = None  # on the hub, instead of value-function and the value loss


class Metric(NamedTuple):
    """A number in the results of an evaluation, and how the card shows it."""

    key: str
    title: str
    style: str  # a format specification, such as .1%
    reference_key: str | None = None  # the number to compare with
    reference: str = ""  # its name


class Result(NamedTuple):
    """A measured number, exact and as the card shows it."""

    key: str
    title: str
    value: float | None  # None if only a bound is known
    shown: str
    compared: str
    amount: str  # of the data, such as 500 boards
    data: str  # a file, an id on the hub, or a description
    measured: str  # amount and data together


def results_of(
    found: dict, metrics: Sequence[Metric], *, amount: str, data: str, measured: str
) -> list[Result]:
    """Return the metrics that an evaluation found, with their 95% intervals where it has any.

    `low` and `high` in `found` are the interval of the first of the metrics; None is infinite.
    """
    errors = found.get("standard_errors") or {}
    results: list[Result] = []
    for key, title, style, reference_key, reference in metrics:
        value = found.get(key)
        if value is None:
            continue
        shown = f"{value:{style}}"
        if errors.get(key) is not None:
            shown += f" ± {Z_95 * errors[key]:{style}}"
        elif not results and {"low", "high"} <= found.keys():
            low = "−∞" if found["low"] is None else f"{found['low']:{style}}"
            high = "∞" if found["high"] is None else f"{found['high']:{style}}"
            shown += f" ({low} to {high})"
        compared = ""
        if reference_key and found.get(reference_key) is not None:
            compared = f"{reference} {found[reference_key]:{style}}"
        results.append(Result(key, title, value, shown, compared, amount, data, measured))
    return results


def data_name(source: str) -> str:
    """Return how a card names data: an id on the hub as it is, a file or folder without its location."""
    return source if read_name(source) else Path(source).name
