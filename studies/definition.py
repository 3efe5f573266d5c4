"""What a study is: a question, the configuration that its variants change, and how; a YAML file.

    title: Is one pass for all moves as good as thirty?
    config: chess_tiny.yaml                  # of configs/, or a path
    settings: {training.steps: 400}          # of all variants
    quick: {training.steps: 4}               # further ones under --quick, to try the study out in seconds
    seeds: [0, 1]
    reference: prefix                        # with which the others are compared
    measurements: [held_out_boards]          # of those in studies/; a usual choice unless given
    variants_title: attention                # what they are, for the axis of a heat map
    variants:
      prefix: {}
      full: {model.attention: full}
      prefix_as_long: {same_time_as: full}   # for as many steps as take the training time of `full`
    across:                                  # if there: every variant at each of these points
      title: boards                          # what they are, for the axis of the figure
      figure: lines                          # one for each variant, or heat_map
      tuned: true                            # compare variants also each at its best point
      baseline: few                          # report how differences change from those at this point
      usual: [few]                           # unless others are asked for; all of them unless given
      points: {few: {training.steps: 400}, many: {training.steps: 4000}}

A variant's own settings and those of a point win over those of all, and the quick ones over all of them. One
with `same_time_as` shares its settings, but for those of evaluations, checkpoints and the log, with another
variant: the time that a step of that one takes says how many steps it is trained for.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from cli.errors import InputError, first_line
from configs.schema import Config, find_yaml, one_line_errors, read_yaml


STUDY_FOLDER = Path(__file__).parent
SAME_TIME_AS = "same_time_as"
# What every run sets for itself, and train.py gets besides.
SET_BY_RUNS = ("seed", "output_dir", "resume")
# What has to be the same for all of them: otherwise nothing could be compared.
SAME_FOR_ALL = ("task", "data.validation")
# What may differ between a variant and the one that tells how long its steps are.
NOT_OF_STEPS = ("evaluation.", "checkpoint.", "log_every=", "tensorboard=")


@dataclass
class AcrossFile:
    """What stands in the file under `across`."""

    title: str = MISSING
    figure: Literal["lines", "heat_map"] = "lines"
    tuned: bool = False
    baseline: str | None = None
    usual: list[str] | None = None
    points: dict[str, dict[str, Any]] = MISSING


@dataclass
class StudyFile:
    """What stands in the file."""

    title: str = MISSING
    config: str = MISSING
    settings: dict[str, Any] = field(default_factory=dict)
    quick: dict[str, Any] = field(default_factory=dict)
    seeds: list[int] = MISSING
    reference: str = MISSING
    measurements: list[str] | None = None
    variants_title: str | None = None
    variants: dict[str, dict[str, Any]] = MISSING
    across: AcrossFile | None = None


@dataclass(frozen=True)
class Variant:
    """A name, settings as key=value, and perhaps another variant, as long as which it is trained."""

    name: str
    settings: tuple[str, ...]
    same_time_as: str | None = None


@dataclass(frozen=True)
class Point:
    """Where all variants are compared: a name and settings as key=value."""

    name: str
    settings: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """A study that makes sense; settings are key=value, as train.py takes them.

    Without `across` in the file there is a single point without name and settings, and no title and figure of
    points.
    """

    title: str
    config: str
    settings: tuple[str, ...]
    quick: tuple[str, ...]
    seeds: tuple[int, ...]
    reference: str
    measurements: tuple[str, ...] | None  # by name; the task's own choice if None
    variants_title: str | None
    variants: Mapping[str, Variant]
    points_title: str | None
    figure: str | None  # of several points
    tuned: bool  # whether points are choices to be made for each variant
    baseline: str | None  # the point that others are compared with
    points: Mapping[str, Point]
    usual_points: tuple[str, ...]

    def plain(self, variant: Variant) -> Variant:
        """Return the variant with the same steps whose number is given."""
        return next(other for other in self.variants.values() if _is_plain(other, variant))


def read_study(name: str) -> Study:
    """Read studies/<name>.yaml, or the file at the path `name`.

    Raises InputError for a missing file, an unknown or missing key, a setting that no configuration has, or
    variants that cannot be compared.
    """
    path = find_yaml(name, STUDY_FOLDER, "study")
    merged = read_yaml(path, StudyFile)
    with one_line_errors(str(path)):
        file = OmegaConf.to_object(merged)
    try:
        study = Study(
            title=file.title,
            config=file.config,
            settings=_as_settings("settings", file.settings),
            quick=_as_settings("quick", file.quick),
            seeds=tuple(dict.fromkeys(file.seeds)),
            reference=file.reference,
            measurements=None if file.measurements is None else tuple(file.measurements),
            variants_title=file.variants_title,
            variants={variant: _read_variant(variant, given) for variant, given in file.variants.items()},
            points_title=file.across.title if file.across else None,
            figure=file.across.figure if file.across else None,
            tuned=file.across.tuned if file.across else False,
            baseline=file.across.baseline if file.across else None,
            points=_read_points(file.across),
            usual_points=_usual_points(file.across),
        )
        _check(study)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return study


def _read_variant(name: str, given: dict[str, Any]) -> Variant:
    settings = _own_settings(
        "variants", name, {key: value for key, value in given.items() if key != SAME_TIME_AS}
    )
    return Variant(name, settings, str(given[SAME_TIME_AS]) if SAME_TIME_AS in given else None)


def _read_points(file: AcrossFile | None) -> dict[str, Point]:
    if file is None:
        return {"": Point("", ())}
    return {
        name: Point(name, _own_settings("across.points", name, given)) for name, given in file.points.items()
    }


def _usual_points(file: AcrossFile | None) -> tuple[str, ...]:
    if file is None:
        return ("",)
    return tuple(file.points if file.usual is None else dict.fromkeys(file.usual))


def _own_settings(where: str, name: str, given: dict[str, Any]) -> tuple[str, ...]:
    """Return the settings of the variant or point called `name`."""
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise InputError(f"{where}: {name!r} cannot name a folder: take letters, digits, _, . and -")
    settings = _as_settings(f"{where}.{name}", given)
    for setting in settings:
        if setting.startswith(tuple(f"{key}=" for key in SAME_FOR_ALL)):
            raise InputError(f"{where}.{name}: {setting}: has to be the same for all: put it into settings")
    return settings


def _as_settings(where: str, tree: dict[str, Any]) -> tuple[str, ...]:
    """Return key=value for every leaf; raise InputError for those that no configuration takes."""
    flat = _flatten(tree)
    settings = []
    for key, value in flat.items():
        setting = f"{key}={value if isinstance(value, str) else json.dumps(value)}"
        if key in SET_BY_RUNS:
            raise InputError(f"{where}.{key}: every run has its own: leave it out")
        try:
            OmegaConf.merge(OmegaConf.structured(Config), OmegaConf.from_dotlist([setting]))
        except (OmegaConfBaseException, YAMLError) as error:
            raise InputError(f"{where}.{key}: {first_line(error)}") from None
        settings.append(setting)
    return tuple(settings)


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _is_plain(other: Variant, variant: Variant) -> bool:
    """Tell whether the steps of `other`, whose number is given, are those of `variant`."""
    ours, theirs = (
        {setting for setting in each.settings if not setting.startswith(NOT_OF_STEPS)}
        for each in (variant, other)
    )
    return other.same_time_as is None and ours == theirs


def _check(study: Study) -> None:
    """Raise InputError for what has the right types and cannot be meant."""
    names = ", ".join(study.variants)
    if not study.variants:
        raise InputError("variants: there are none: add one")
    if not study.seeds:
        raise InputError("seeds: there are none: add one")
    if study.reference not in study.variants:
        raise InputError(f"reference: there is no variant {study.reference!r}: give one of {names}")
    if not study.points:
        raise InputError("across.points: there are none: add one")
    for point in study.usual_points:
        if point not in study.points:
            raise InputError(
                f"across.usual: there is no point {point!r}: give some of {', '.join(study.points)}"
            )
    if study.baseline is not None and study.baseline not in study.points:
        raise InputError(
            f"across.baseline: there is no point {study.baseline!r}: give one of {', '.join(study.points)}"
        )
    if not study.usual_points:
        raise InputError("across.usual: there are none: add one, or leave it out")
    own = {key: variant.name for variant in study.variants.values() for key in keys_of(variant.settings)}
    for point in study.points.values():
        for key in keys_of(point.settings) & own.keys():
            raise InputError(
                f"across.points.{point.name}: {key} is set by variant {own[key]} too: leave it out of one"
            )
    cells = [f"{variant}-{point}" for variant in study.variants for point in study.points]
    for cell in cells:
        if cells.count(cell) > 1:
            raise InputError(f"variants and points: two of them are called {cell}: rename one")
    for variant in study.variants.values():
        if variant.same_time_as is None:
            continue
        where = f"variants.{variant.name}.{SAME_TIME_AS}"
        other = study.variants.get(variant.same_time_as)
        if other is None:
            raise InputError(f"{where}: there is no variant {variant.same_time_as!r}: give one of {names}")
        if other.same_time_as is not None:
            raise InputError(f"{where}: {other.name} has a {SAME_TIME_AS} of its own: give another")
        if not any(_is_plain(plain, variant) for plain in study.variants.values()):
            raise InputError(
                f"{where}: no other variant has the same settings, to tell how long a step takes: add it"
            )


def keys_of(settings: Sequence[str]) -> set[str]:
    """Return the keys of settings given as key=value."""
    return {setting.partition("=")[0] for setting in settings}
