"""How a study measures trained models: measures, measurements, and the protocol of domains."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from cli.options import write_json
from configs.schema import Config
from studies.definition import check_names


if TYPE_CHECKING:
    import torch

    from studies.linear_probes import Probed


@dataclass(frozen=True)
class Measure:
    """A number that is measured: its key, title and format, and whether higher or lower is better."""

    key: str
    title: str
    format: str
    higher_is_better: bool = True

    @property
    def label(self) -> str:
        return f"{self.title} {'↑' if self.higher_is_better else '↓'}"


@dataclass(frozen=True)
class Level:
    """A value of the measure `key` to compare models with, such as that of the training data."""

    key: str
    title: str
    value: float


@dataclass(frozen=True)
class Measurement:
    """A way to measure a model folder: `measure` returns every measure by key, None if undefined.

    `description` names the data, `data` identifies its contents.
    """

    name: str
    description: str
    data: str
    measures: tuple[Measure, ...]
    measure: Callable[[Path], Mapping[str, float | None]]
    levels: tuple[Level, ...] = ()


class StudiedDomain(Protocol):
    """The interface of a domain for studies, given the configuration that all its runs share.

    `files` are those of the options in studies/domains.py. Methods raise InputError for data that cannot be
    read.
    """

    example_unit: ClassVar[str]  # of a batch, such as boards
    value_unit: ClassVar[str]  # of predictions, such as action values

    def __init__(self, config: Config, device: torch.device, **files: Path): ...

    def measurements(self, names: Sequence[str] | None) -> list[Measurement]:
        """Return the measurements with these names, or the default ones."""

    def seen(self, config: Config) -> tuple[float, float]:
        """Return the numbers of examples and of values that a run trains on in all its steps."""

    def probed(self, limit: int) -> Probed:
        """Return the targets of linear probes of models, on at most `limit` held-out examples."""


def choose_measurements(
    known: Mapping[str, Callable[[], Measurement]], names: Sequence[str]
) -> list[Measurement]:
    """Make the measurements with these names; raise InputError for a name that is not `known`."""
    check_names("measurements", names, known)
    return [known[name]() for name in names]


def measure_once(run: Path, measurements: Sequence[Measurement]) -> dict[str, float | None]:
    """Return all measures of the model of a finished run.

    They are kept in its measures.json, and measured again for another model or other data.
    """
    path, model = run / "measures.json", run / "model"
    kept = json.loads(path.read_bytes()) if path.exists() else {}
    from eval.model_folder import model_digest

    weights, results = model_digest(model), {}
    for measurement in measurements:
        keys = [measure.key for measure in measurement.measures]
        fingerprint = {"model": weights, "data": measurement.data, "measures": keys}
        if kept.get(measurement.name, {}).get("fingerprint") != fingerprint:
            measured = measurement.measure(model)
            entry = {"fingerprint": fingerprint, "measured": {key: measured[key] for key in keys}}
            kept[measurement.name] = entry
            write_json(path, kept)
        results |= kept[measurement.name]["measured"]
    return results
