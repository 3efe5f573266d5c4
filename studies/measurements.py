"""What a study asks of a task, and measurements of models, which are kept in the folders of their runs."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from cli.errors import InputError
from cli.options import write_json
from configs.schema import Config
from eval.loading import model_digest


class Measure(NamedTuple):
    """A number that is measured: its key, its title, and how it is written."""

    key: str
    title: str  # which ends in an arrow: ↑ if higher is better, or ↓
    spec: str


def lower_is_better(title: str) -> bool:
    """Tell by the title of a measure which way is better."""
    return title.endswith("↓")


class Level(NamedTuple):
    """What a measure is compared with that is no model: the key of the measure, a title, its value."""

    key: str
    title: str
    value: float


class Seen(NamedTuple):
    """How much a run learns from: examples, such as boards, and the values that they hold."""

    examples: float
    values: float


class Measurement(Protocol):
    """A way to measure trained models, on data of its own."""

    name: str
    description: str  # what the models are measured on, such as 500 boards of a file
    measures: Sequence[Measure]
    levels: Sequence[Level]

    @property
    def data(self) -> str:
        """Tell the data from others, as a digest."""

    def measure(self, model: Path) -> dict[str, float | None]:
        """Return every measure of a model by its key, None if undefined; raise InputError if it has none."""


class StudiedTask(Protocol):
    """What a study asks of a task."""

    example_unit: str  # boards
    value_unit: str  # action values
    curves: Sequence[Measure]  # what evaluations during training log, to be drawn
    measurements: Sequence[Measurement]

    def check_model(self, model: Path) -> None:
        """Raise InputError for a trained model that cannot be measured with the others."""

    def seen(self, config: Config) -> Seen:
        """Return what a run sees in all its steps; raise InputError if its data cannot be had."""


def make_measurements(
    known: Mapping[str, Callable[[], Measurement]], names: Iterable[str]
) -> list[Measurement]:
    """Make the measurements of these names; raise InputError for one that is not `known`."""
    for name in names:
        if name not in known:
            raise InputError(f"measurements: there is no {name!r}: give some of {', '.join(known)}")
    return [known[name]() for name in names]


def measure_once(run: Path, measurements: Iterable[Measurement]) -> dict[str, float | None]:
    """Return all measures of the model of a finished run.

    They are kept in its measures.json, and measured again on other data, or if the model has changed.
    """
    path, model = run / "measures.json", run / "model"
    kept = _read(path) if path.exists() else {}
    weights = model_digest(model)
    results = {}
    for measurement in measurements:
        keys = [measure.key for measure in measurement.measures]
        fingerprint = {"model": weights, "data": measurement.data, "measures": keys}
        entry = kept.get(measurement.name)
        if entry is None or entry["fingerprint"] != fingerprint:
            measured = measurement.measure(model)
            entry = {"fingerprint": fingerprint, "measured": {key: measured[key] for key in keys}}
            kept[measurement.name] = entry
            write_json(path, kept)
        results |= entry["measured"]
    return results


def _read(path: Path) -> dict:
    try:
        kept = json.loads(path.read_bytes())
        if all({"fingerprint", "measured"} <= entry.keys() for entry in kept.values()):
            return kept
    except (ValueError, AttributeError):
        pass
    raise InputError(f"{path} is damaged: delete it")
