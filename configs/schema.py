"""The configuration of a training run: every setting, its default, and what it does.

A YAML file in configs/ sets what differs from these defaults; `key=value` on the command line sets single
fields, nested ones with dots: `training.steps=2000 optimizer.learning_rate=1e-3`.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from cli.errors import InputError
from cli.files import atomic_write
from data.hub import is_hub_id


CONFIG_FOLDER = Path(__file__).parent


@dataclass
class ModelConfig:
    # full: every (board, action) pair is a sequence of its own, as in ChessBench; prefix: all actions of a
    # board are valued in one pass, the board is bidirectional; causal: likewise, the board is causal.
    attention: Literal["full", "prefix", "causal"] = "prefix"
    # board: a move is embedded with the squares it joins and what stands there; table: a vector for each
    # move.
    action_embedding: Literal["board", "table"] = "board"
    # With two, a move is a token for the square where it starts and one for where it ends; more are scratch.
    tokens_per_action: int = 1
    board_rotation: bool = True  # attention sees how squares lie to each other (models/board_rotation.py)
    hidden_size: int = 256
    num_hidden_layers: int = 8
    num_attention_heads: int = 8
    intermediate_size: int | None = None  # of the feed-forward layers; 4 × hidden_size unless given
    position_initializer_range: float | None = None  # 0.02 × √hidden_size unless given; ChessBench has 0.02
    activation_checkpointing: bool = False  # recompute activations: less memory, more time


@dataclass
class ValueLossConfig:
    name: Literal["mse", "mse_softmax", "one_hot", "two_hot", "hl_gauss", "c51"] = "hl_gauss"
    value_min: float = 0.0  # the range of the values; for chess, probabilities of winning
    value_max: float = 1.0
    num_bins: int = 128
    sigma_ratio: float = 0.75  # σ of hl_gauss in bin widths
    sigma: float | None = None  # σ in units of the value, instead of sigma_ratio
    padding: float = 0.0  # widen the support by this many σ on each side
    match_mean: bool = False  # move the Gaussian so that the target's mean is the value, also near the ends


@dataclass
class DataConfig:
    # Parquet file of labelled boards, or of Wordle games; a folder of them; or a dataset on the hub, such as
    # user/name, user/name@REVISION or user/name:SPLIT.
    train: str = MISSING
    # Chess only, from here on:
    # Held-out boards for the periodic evaluation, likewise; of the hub's datasets, the split validation or
    # else test.
    validation: str | None = None  # none without
    prepared_dir: str | None = None  # where memory-mapped arrays go; beside the Parquet file unless given
    check_moves: bool = True  # check once, when preparing, that every move is legal
    # What a batch counts: boards with all their labelled moves, or single (board, move) pairs as in
    # ChessBench.
    example: Literal["board", "action"] = "board"
    orient: bool = True  # show every position from the side to move
    # Train also on every board mirrored left to right: an epoch then is twice as long. Boards on which
    # somebody has a right to castle come twice as they are.
    mirror: bool = False
    # Add a draw of U(-n/2, n/2) to every label of the training boards, once for all: n.
    label_noise: float = 0.0
    # Wordle only: which game it is, for files of games that do not say so themselves.
    words: str | None = None  # the secret words: a file, or the name of a list that ships with the repository
    guesses: str | None = None  # the allowed guesses; the secret words unless given
    rule: Literal["official", "simplified"] | None = None
    reward_noise: float = 0.0  # add a draw of U(0, this) to every reward, once for all


@dataclass
class QLearningConfig:
    """Of Wordle; the equations stand in models/q_learning.py."""

    # q_learning: the best next action; sarsa: the next action of the data; monte_carlo: the return of the
    # data; behavior_cloning: none, the action of the data is imitated.
    target: Literal["q_learning", "sarsa", "monte_carlo", "behavior_cloning"] = "q_learning"
    discount: float = 0.99  # per action, that is per letter
    double: bool = False  # the online network chooses the best next action, the target network values it
    mask_illegal_in_max: bool = False  # the best next action is one that goes on to an allowed word
    cql_alpha: float = 0.1  # weight of the conservative term
    cql_temperature: float = 1.0  # of the softmax over Q in it
    target_network: Literal["polyak", "periodic"] = "polyak"
    target_tau: float = 0.005  # polyak: how far the target network moves towards the model, each step
    target_every: int = 1000  # periodic: steps between copies


@dataclass
class OptimizerConfig:
    # muon: Muon for the matrices of the blocks, AdamW for everything else; adamw: AdamW for all.
    name: Literal["muon", "adamw"] = "muon"
    learning_rate: float = 1e-3  # of AdamW
    muon_learning_rate: float = 0.02
    beta1: float = 0.9  # of AdamW
    beta2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.0  # decoupled; on the matrices of the blocks alone
    max_grad_norm: float = 1.0  # gradients are clipped to this norm, taken over all parameters


@dataclass
class TrainingConfig:
    steps: int = MISSING
    batch_size: int = MISSING  # examples per step, over all processes and micro-batches
    gradient_accumulation_steps: int = 1  # micro-batches a step, on each process
    warmup_steps: int = 0  # the learning rate rises linearly from 0
    decay: Literal["constant", "linear", "cosine"] = "linear"  # from the end of the warm-up to the last step
    final_learning_rate: float = 0.0  # at the last step, as a share of the peak
    ema_decay: float = 0.99  # of the averaged weights that are evaluated and saved; 0 for none
    precision: Literal["fp32", "bf16"] = "bf16"  # bf16: autocast; weights and losses stay in float32
    compile: bool = False  # torch.compile the transformer's blocks


@dataclass
class EvaluationConfig:
    every: int = 1000  # steps between evaluations, besides before the first and at the last
    boards: int | None = None  # chess: evaluate on the first so many; on all unless given
    batch_size: int = 64  # chess: boards
    games: int = 500  # wordle: secrets that are played, at most once each


@dataclass
class CheckpointConfig:
    every: int = 1000  # steps
    keep: int = 2  # the newest so many are kept
    keep_every: int | None = None  # those of every so many steps are kept for ever; none unless given


@dataclass
class Config:
    """A whole run."""

    task: Literal["chess", "wordle"] = "chess"
    seed: int = 0  # of the initial weights and of the order of the data
    output_dir: str = MISSING
    resume: bool = False  # continue from the newest checkpoint in output_dir, if there is one
    log_every: int = 10  # steps
    tensorboard: bool = True  # also log to <output_dir>/tensorboard
    push_to_hub: str | None = None  # publish the trained model on the hub under this id, such as user/name
    push_checkpoints: bool = False  # also the checkpoints that were kept, each as a branch step_N
    model: ModelConfig = field(default_factory=ModelConfig)
    value_loss: ValueLossConfig = field(default_factory=ValueLossConfig)
    data: DataConfig = field(default_factory=DataConfig)
    q_learning: QLearningConfig = field(default_factory=QLearningConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)


# Settings that may differ when a run is resumed: those that do not change what it learns. The training data
# may have moved; that it is the same is checked by what it holds.
FREE_ON_RESUME = (
    "resume",
    "output_dir",
    "log_every",
    "tensorboard",
    "push_to_hub",
    "push_checkpoints",
    "evaluation",
    "checkpoint",
    "data.train",
    "data.validation",
    "data.prepared_dir",
    "data.check_moves",
    "data.words",
    "data.guesses",
    # These have to suit the machines.
    "model.activation_checkpointing",
    "training.gradient_accumulation_steps",
    "training.compile",
)


# What settings were of a task before they existed, where that is not their default.
BEFORE = {"chess": {"model.board_rotation": False}}


# Settings that only one task reads; `data.` ones that both read are not among them.
ONLY_FOR = {
    "chess": (
        "model.action_embedding",
        "model.tokens_per_action",
        "model.board_rotation",
        "data.validation",
        "data.prepared_dir",
        "data.check_moves",
        "data.example",
        "data.orient",
        "data.mirror",
        "data.label_noise",
        "evaluation.boards",
        "evaluation.batch_size",
    ),
    "wordle": (
        "q_learning.",
        "data.words",
        "data.guesses",
        "data.rule",
        "data.reward_noise",
        "evaluation.games",
    ),
}


def find_yaml(name: str, folder: Path, what: str) -> Path:
    """Return the file that is named by its path, or in a folder, there also without .yaml.

    Raises InputError, which says `what` was not found.
    """
    candidates = (Path(name), folder / name, folder / f"{name}.yaml")
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if path is None:
        known = ", ".join(sorted(path.name for path in folder.glob("*.yaml")))
        raise InputError(f"no {what} {name!r}: give the path of a YAML file, or one of {known}")
    return path


def read_yaml(path: Path, structure: type, before: Sequence[str] = ()) -> DictConfig:
    """Read a YAML file as the fields of a dataclass; raise InputError for what it does not have.

    Fields that it lacks have their defaults, or what `before` says as key=value.
    """
    with one_line_errors(str(path)):
        loaded = OmegaConf.load(path)
        if not OmegaConf.is_dict(loaded):
            raise InputError(f"{path}: expected lines of key: value")
        return OmegaConf.merge(OmegaConf.structured(structure), OmegaConf.from_dotlist(list(before)), loaded)


@contextmanager
def one_line_errors(source: str, or_else: str = "") -> Iterator[None]:
    """Turn what OmegaConf and YAML raise of a `source` into an InputError.

    `or_else` is what else helps against a missing key, whose name is put in for {}.
    """
    try:
        yield
    except (YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None
    except MissingMandatoryValue as error:
        remedy = f"add it there{or_else.format(error.full_key)}"
        raise InputError(f"{source}: {error.full_key} is not set: {remedy}") from None
    except OmegaConfBaseException as error:
        key = f"{error.full_key}: " if error.full_key else ""
        raise InputError(f"{source}: {key}{str(error).splitlines()[0]}") from None


def load_config(name: str, overrides: list[str]) -> Config:
    """Read configs/<name>, or the file at the path `name`, and apply `overrides`, each "key=value".

    Raises InputError for a missing file, an unknown or missing key, or a value of the wrong type or range.
    """
    path = find_yaml(name, CONFIG_FOLDER, "configuration")
    for override in overrides:
        if "=" not in override:
            raise InputError(f"argument {override!r}: expected key=value, such as training.steps=1000")
    source = str(path)
    merged = read_yaml(path, Config)
    with one_line_errors("command line"):
        merged = OmegaConf.merge(merged, OmegaConf.from_dotlist(overrides))
    with one_line_errors(source, or_else=", or {}=VALUE on the command line"):
        config = OmegaConf.to_object(merged)
    _check(config, source)
    return config


def load_run_config(run: Path) -> Config:
    """Read what a run was trained with, from the config.yaml in its folder.

    Settings that it lacks are newer than the run, and are as they were before. Raises InputError for a file
    that `save_config` did not write.
    """
    path = run / "config.yaml"
    if not path.is_file():
        raise InputError(f"{run} holds no run: there is no {path.name}")
    task = read_yaml(path, Config).task
    merged = read_yaml(path, Config, [f"{key}={value}" for key, value in BEFORE.get(task, {}).items()])
    with one_line_errors(str(path)):
        config = OmegaConf.to_object(merged)
    _check(config, str(path))
    return config


def save_config(config: Config, path: Path) -> None:
    """Write the resolved configuration, which `load_run_config` reads back."""
    with atomic_write(path) as unfinished:
        OmegaConf.save(OmegaConf.structured(config), unfinished)


def differences(config: Config, path: Path) -> list[str]:
    """List the settings that differ from those saved at `path` and may not, as "key: saved, now".

    Settings that the saved ones lack are newer than the run, and are as they were before.
    Raises InputError if `path` is not what `save_config` wrote.
    """
    try:
        saved = _flatten(OmegaConf.to_container(OmegaConf.load(path)))
        if not saved:
            raise AttributeError("it is empty")
    except (OSError, YAMLError, UnicodeDecodeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: cannot read the settings that the run was started with ({reason})"
        ) from None
    saved = _settings(Config) | BEFORE.get(saved.get("task", Config.task), {}) | saved
    now = _settings(config)
    keys = sorted(saved.keys() | now.keys())
    fixed = [key for key in keys if not key.startswith(FREE_ON_RESUME)]
    return [f"{key}: {saved.get(key)}, now {now.get(key)}" for key in fixed if saved.get(key) != now.get(key)]


def _settings(config: Config | type[Config]) -> dict:
    """Return every setting by its key, such as training.steps; of the class, the defaults."""
    return _flatten(OmegaConf.to_container(OmegaConf.structured(config)))


def _flatten(tree: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _check(config: Config, source: str) -> None:
    """Raise InputError for values that have the right type and cannot be meant."""
    optimizer, training, evaluation = config.optimizer, config.training, config.evaluation
    at_least_one = {
        "log_every": config.log_every,
        "model.hidden_size": config.model.hidden_size,
        "model.intermediate_size": config.model.intermediate_size,
        "model.num_hidden_layers": config.model.num_hidden_layers,
        "model.num_attention_heads": config.model.num_attention_heads,
        "training.steps": training.steps,
        "training.batch_size": training.batch_size,
        "training.gradient_accumulation_steps": training.gradient_accumulation_steps,
        "evaluation.every": evaluation.every,
        "evaluation.boards": evaluation.boards,
        "evaluation.batch_size": evaluation.batch_size,
        "evaluation.games": evaluation.games,
        "q_learning.target_every": config.q_learning.target_every,
        "checkpoint.every": config.checkpoint.every,
        "checkpoint.keep": config.checkpoint.keep,
        "checkpoint.keep_every": config.checkpoint.keep_every,
    }
    positive = {
        "model.position_initializer_range": config.model.position_initializer_range,
        "optimizer.learning_rate": optimizer.learning_rate,
        "optimizer.muon_learning_rate": optimizer.muon_learning_rate,
        "optimizer.eps": optimizer.eps,
        "optimizer.max_grad_norm": optimizer.max_grad_norm,
        "q_learning.cql_temperature": config.q_learning.cql_temperature,
    }
    not_negative = {
        "optimizer.weight_decay": optimizer.weight_decay,
        "training.warmup_steps": training.warmup_steps,
        "q_learning.cql_alpha": config.q_learning.cql_alpha,
        "data.label_noise": config.data.label_noise,
        "data.reward_noise": config.data.reward_noise,
    }
    below_one = {
        "optimizer.beta1": optimizer.beta1,
        "optimizer.beta2": optimizer.beta2,
        "training.ema_decay": training.ema_decay,
    }
    share = {
        "training.final_learning_rate": training.final_learning_rate,
        "q_learning.discount": config.q_learning.discount,
        "q_learning.target_tau": config.q_learning.target_tau,
    }
    for settings, is_allowed, expected in (
        (at_least_one, lambda value: value >= 1, "at least 1"),
        ({"seed": config.seed}, lambda value: 0 <= value < 2**32, "from 0 to 2**32 - 1"),
        (positive, lambda value: 0 < value < math.inf, "positive"),
        (not_negative, lambda value: 0 <= value < math.inf, "at least 0"),
        (below_one, lambda value: 0 <= value < 1, "in [0, 1)"),
        (share, lambda value: 0 <= value <= 1, "in [0, 1]"),
    ):
        for key, value in settings.items():
            if value is not None and not is_allowed(value):
                raise InputError(f"{source}: {key} must be {expected}, not {value}")
    given, defaults = _settings(config), _settings(Config)
    for task, keys in ONLY_FOR.items():
        foreign = [key for key in given if key.startswith(keys) and given[key] != defaults[key]]
        if task != config.task and foreign:
            raise InputError(f"{source}: {foreign[0]} is for task {task}, not {config.task}: leave it out")
    if config.data.guesses and not config.data.words:
        raise InputError(f"{source}: data.guesses without data.words: give the secret words too")
    if training.warmup_steps > training.steps:
        raise InputError(f"{source}: training.warmup_steps exceeds training.steps")
    if config.push_to_hub is not None and not is_hub_id(config.push_to_hub):
        raise InputError(f"{source}: push_to_hub={config.push_to_hub} is no hub id: give one like user/name")
    if config.push_checkpoints and config.push_to_hub is None:
        raise InputError(f"{source}: push_checkpoints without push_to_hub: say where, push_to_hub=user/name")
