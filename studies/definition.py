"""The definition of a study: a question, a configuration, and the variants that are compared; a YAML file.

    title: Is one pass for all moves as good as thirty?
    config: chess_tiny.yaml                  # in configs/, or a path
    settings: {training.steps: 400}          # of all variants
    seeds: [0, 1]
    reference: prefix                        # the variant that the others are compared with
    measurements: [held_out_boards]          # of the domain; its default if left out
    variants_title: attention                # axis label of a heat map
    variants:
      prefix: {}
      full: {model.attention: full}
    across:                                  # optional: train every variant at each of these points
      title: boards                          # axis label of the figure
      figure: lines                          # one line for each variant, or heat_map
      tuned: true                            # also compare the variants each at its own best point
      baseline: few                          # also report how differences change from this point
      usual: [few]                           # the points that are trained unless --points names others
      points: {few: {training.steps: 400}, many: {training.steps: 4000}}

The settings of variants and points override `settings`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from omegaconf import MISSING, OmegaConf

from cli.errors import InputError
from configs.loading import find_yaml, flatten, one_line_errors, read_yaml


STUDY_FOLDER = Path(__file__).parent
SET_BY_CELLS = ("seed", "output_dir", "resume")
# Models are compared on the same data.
SAME_FOR_ALL = ("task", "data.validation")


@dataclass
class Across:
    """The points at which all variants are trained."""

    title: str = MISSING
    figure: Literal["lines", "heat_map"] = "lines"
    tuned: bool = False
    baseline: str | None = None
    usual: list[str] | None = None
    points: dict[str, dict[str, Any]] = MISSING


@dataclass
class Study:
    """A study, with the fields of its YAML file."""

    title: str = MISSING
    config: str = MISSING
    settings: dict[str, Any] = field(default_factory=dict)
    seeds: list[int] = MISSING
    reference: str = MISSING
    measurements: list[str] | None = None
    variants_title: str = "variant"
    variants: dict[str, dict[str, Any]] = MISSING
    across: Across | None = None

    @property
    def points(self) -> dict[str, dict[str, Any]]:
        """The points by name; without `across` a single one without a name and without settings."""
        return self.across.points if self.across else {"": {}}

    @property
    def usual_points(self) -> list[str]:
        return list(self.across.usual if self.across and self.across.usual else self.points)


def read_study(name: str) -> Study:
    """Read studies/<name>.yaml, or the file at the path `name`.

    Raises InputError for a missing file, an unknown or missing key, or variants that cannot be compared.
    """
    path = find_yaml(name, STUDY_FOLDER, "study")
    merged = read_yaml(path, Study)
    with one_line_errors(str(path)):
        study = OmegaConf.to_object(merged)
    try:
        _check(study)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return study


def check_names(where: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Raise InputError for a name that is not `known`."""
    known = [name for name in known if name]
    for name in names:
        if name not in known:
            remedy = f"choose from {', '.join(known)}" if known else "this study has none"
            raise InputError(f"{where}: {name!r} is unknown: {remedy}")


def _check(study: Study) -> None:
    """Raise InputError for values of the right type that make no study."""
    for where, entries in (("variants", study.variants), ("points", study.points), ("seeds", study.seeds)):
        if not entries:
            raise InputError(f"{where}: empty: add one")
    check_names("reference", [study.reference], study.variants)
    if study.across:
        check_names("across.usual", study.across.usual or [], study.points)
        check_names("across.baseline", filter(None, [study.across.baseline]), study.points)
    own = [("settings", study.settings)]
    for where, entries in (("variants", study.variants), ("across.points", study.points)):
        for name, settings in entries.items():
            # Names are parts of folder names, joined by -.
            if name and not re.fullmatch(r"\w[\w.]*", name):
                raise InputError(f"{where}: {name!r}: use letters, digits, _ and . in names")
            own.append((f"{where}.{name}", settings))
            for key in flatten(settings).keys() & set(SAME_FOR_ALL):
                raise InputError(f"{where}.{name}: {key} must be equal for all: move it to settings")
    for where, settings in own:
        for key in flatten(settings).keys() & set(SET_BY_CELLS):
            raise InputError(f"{where}: {key} is set by the study: remove it")
