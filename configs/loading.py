"""Read and write the configuration of a training run.

`key=value` on the command line sets single fields over those of a YAML file, nested ones with dots:
`training.steps=2000 optimizer.learning_rate=1e-3`. To add a domain, add its dataclass to DOMAINS.
"""

import dataclasses
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException, ValidationError
from yaml import YAMLError

from cli.errors import NOT_UTF8, InputError
from cli.files import atomic_write
from configs.atari import AtariConfig
from configs.chess import ChessConfig
from configs.robot import RobotConfig
from configs.schema import Bound, Config, walk_settings
from configs.wordle import WordleConfig


CONFIG_FOLDER = Path(__file__).parent
DOMAINS: dict[str, type[Config]] = {
    "chess": ChessConfig,
    "wordle": WordleConfig,
    "atari": AtariConfig,
    "robot": RobotConfig,
}


def find_yaml(name: str, folder: Path, what: str) -> Path:
    """Return the path of the file with this path, or with this name in a folder, there also without .yaml.

    Raises InputError, which says that no `what` was found.
    """
    candidates = (Path(name), folder / name, folder / f"{name}.yaml")
    # A pipe is no file, but can be read.
    path = next((path for path in candidates if path.exists() and not path.is_dir()), None)
    if path is None:
        known = ", ".join(sorted(path.name for path in folder.glob("*.yaml")))
        raise InputError(f"no {what} {name!r}: give the path of a YAML file, or one of {known}")
    return path


def read_yaml(path: Path, structure: type | None = None) -> Any:
    """Read a YAML file as a DictConfig, with the fields of a dataclass if one is given.

    Raises InputError for a file that is not YAML, and for other fields.
    """
    with one_line_errors(str(path)):
        try:
            loaded = OmegaConf.load(path)
        except OSError as error:
            # OmegaConf raises it, without an error number, for a single number or truth value.
            loaded = None
            if error.errno is not None:
                raise InputError(f"{path} cannot be read: {error.strerror}") from None
        if not OmegaConf.is_dict(loaded):
            raise InputError(f"{path}: expected lines of key: value")
        return OmegaConf.merge(OmegaConf.structured(structure), loaded) if structure else loaded


@contextmanager
def one_line_errors(source: str, or_else: str = "") -> Iterator[None]:
    """Turn the errors of OmegaConf and YAML about a `source` into an InputError.

    `or_else` is another remedy for a missing key, with {} for the key's name.
    """
    try:
        yield
    except UnicodeDecodeError:
        raise InputError(f"{source} {NOT_UTF8}") from None
    except YAMLError as error:
        raise InputError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None
    except MissingMandatoryValue as error:
        remedy = f"add it there{or_else.format(error.full_key)}"
        raise InputError(f"{source}: {error.full_key} is not set: {remedy}") from None
    except OmegaConfBaseException as error:
        tasks = _tasks_with(error.full_key or "") if isinstance(error, ConfigKeyError) else []
        key = f"{error.full_key}: " if error.full_key else ""
        reason = str(error).splitlines()[0]
        if isinstance(error, ValidationError) and "is not a ListConfig" in reason:
            reason = "expected a list, such as [tensorboard]"
        if tasks:
            reason = f"this is a setting of task {', '.join(tasks)}, not of this run's task: leave it out"
        raise InputError(f"{source}: {key}{reason}") from None


def _tasks_with(key: str) -> list[str]:
    """Return the tasks that have a setting or a section of this name."""
    domains = {task: flatten(OmegaConf.to_container(OmegaConf.structured(d))) for task, d in DOMAINS.items()}
    return [task for task, keys in domains.items() if any(f"{name}.".startswith(f"{key}.") for name in keys)]


def load_config(name: str, overrides: list[str]) -> Config:
    """Read configs/<name>, or the file at the path `name`, and apply `overrides`, each "key=value".

    Raises InputError for a missing file, an unknown or missing key, or a value of the wrong type or range.
    """
    path = find_yaml(name, CONFIG_FOLDER, "configuration")
    for override in overrides:
        if "=" not in override:
            raise InputError(f"argument {override!r}: expected key=value, such as training.steps=1000")
    given = read_yaml(path)
    with one_line_errors("command line"):
        given_later = OmegaConf.from_dotlist(overrides)
        task = given_later.get("task", given.get("task", "chess"))
    if not isinstance(task, str) or task not in DOMAINS:
        raise InputError(f"task {task!r} is unknown: choose one of {', '.join(DOMAINS)}")
    with one_line_errors(str(path)):
        merged = OmegaConf.merge(_structure_of(task), given)
    with one_line_errors("command line"):
        merged = OmegaConf.merge(merged, given_later)
    if defaults := DOMAINS[task].defaults_of(merged):
        merged = OmegaConf.merge(_structure_of(task), defaults, given, given_later)
    with one_line_errors(str(path), or_else=", or {}=VALUE on the command line"):
        config: Any = OmegaConf.to_object(merged)
    set_later = flatten(OmegaConf.to_container(given_later))
    for key, value, bound in _bounds_of(config):
        if value is not None and not bound.contains(value):
            source = "command line" if key in set_later else path
            raise InputError(f"{source}: {key} must be {bound.expected}, not {value}")
    try:
        config.check()
    except ValueError as error:
        raise InputError(str(error) if overrides else f"{path}: {error}") from None
    return config


@functools.cache
def _structure_of(task: str) -> Any:
    """Return the settings of a task with their types and defaults, which OmegaConf takes long to find out."""
    return OmegaConf.structured(DOMAINS[task])


def load_run_config(run: Path) -> Config:
    """Read the configuration of a run, the config.yaml in its folder; raise InputError if there is none."""
    if not (run / "config.yaml").is_file():
        raise InputError(f"{run} holds no run: there is no config.yaml")
    return load_config(str(run / "config.yaml"), [])


def save_config(config: Config, path: Path) -> None:
    """Write the resolved configuration, which `load_run_config` reads back."""
    with atomic_write(path) as unfinished:
        OmegaConf.save(OmegaConf.structured(config), unfinished)


def differences(config: Config, path: Path) -> dict[str, str]:
    """Return the settings that differ from those saved at `path` and may not, by key, as "key: saved, now".

    Raises InputError if `path` is not a file that `save_config` wrote.
    """
    if not path.is_file() or not (saved := flatten(OmegaConf.to_container(read_yaml(path)))):
        raise InputError(f"{path}: the settings that the run was started with are missing")
    # Settings added since the run was started have their defaults.
    saved = flatten(OmegaConf.to_container(OmegaConf.structured(type(config)))) | saved
    now = flatten(OmegaConf.to_container(OmegaConf.structured(config)))
    may_differ = {key for key, field in walk_settings(config) if field.metadata.get("may_differ")}
    keys = [key for key in sorted(saved.keys() | now.keys()) if key not in may_differ]
    return {
        key: f"{key}: {saved.get(key)}, now {now.get(key)}" for key in keys if saved.get(key) != now.get(key)
    }


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their keys with dots."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _bounds_of(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, Bound]]:
    """Yield key, value and bound of every setting that has a bound."""
    for declared in dataclasses.fields(config):
        value, key = getattr(config, declared.name), prefix + declared.name
        if dataclasses.is_dataclass(value):
            yield from _bounds_of(value, f"{key}.")
        elif bound := declared.metadata.get("bound"):
            yield key, value, bound
