"""The settings that the training runs of all domains share: defaults, bounds and meaning.

Each domain has a file of its own, configs/<domain>.py, so a setting of another domain is an error. A YAML
file in configs/ sets the values that differ from the defaults; configs/loading.py reads it.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from omegaconf import MISSING

from cli.errors import InputError
from data.hub import is_hub_id, read_name


TRACKERS = ("tensorboard", "wandb", "trackio", "mlflow")


class Bound(NamedTuple):
    """The values that a setting may have."""

    expected: str
    contains: Callable[[Any], bool]


AT_LEAST_ONE = Bound("at least 1", lambda value: value >= 1)
AT_LEAST_TWO = Bound("at least 2", lambda value: value >= 2)
POSITIVE = Bound("positive", lambda value: 0 < value < math.inf)
NOT_NEGATIVE = Bound("at least 0", lambda value: 0 <= value < math.inf)
BELOW_ONE = Bound("in [0, 1)", lambda value: 0 <= value < 1)
FRACTION = Bound("in [0, 1]", lambda value: 0 <= value <= 1)
SEED = Bound("from 0 to 2**32 - 1", lambda value: 0 <= value < 2**32)


def setting(default: Any = MISSING, bound: Bound | None = None, may_differ: bool = False) -> Any:
    """Declare a setting. One that `may_differ` on resume does not change the result."""
    return field(default=default, metadata={"bound": bound, "may_differ": may_differ})


def section(structure: type, may_differ: bool = False) -> Any:
    """Declare a group of settings, with the defaults of its dataclass."""
    return field(default_factory=structure, metadata={"may_differ": may_differ})


@dataclass
class ValueLossConfig:
    """The arguments of make_value_loss (models/value_losses.py)."""

    name: Literal["mse", "mse_sigmoid", "mse_softmax", "one_hot", "two_hot", "hl_gauss", "c51"] = "hl_gauss"
    value_min: float = 0.0  # the range of the values; for chess, win probabilities
    value_max: float = 1.0
    num_bins: int = setting(128, AT_LEAST_TWO)
    sigma_ratio: float = setting(0.75, POSITIVE)  # σ of hl_gauss in bin widths
    sigma: float | None = setting(None, POSITIVE)  # σ in units of the value, instead of sigma_ratio
    padding: float = setting(0.0, NOT_NEGATIVE)  # widen the support by this many σ on each side
    match_mean: bool = False  # move the Gaussian so that the mean of the target is the value

    @property
    def has_bins(self) -> bool:
        """Whether the model predicts a distribution."""
        return self.name not in ("mse", "mse_sigmoid")


@dataclass
class ModelConfig:
    # Recompute activations in the backward pass: less memory, more time.
    activation_checkpointing: bool = setting(False, may_differ=True)


@dataclass
class TransformerSizes(ModelConfig):
    """The sizes of a transformer."""

    hidden_size: int = setting(256, AT_LEAST_ONE)
    num_hidden_layers: int = setting(8, AT_LEAST_ONE)
    num_attention_heads: int = setting(8, AT_LEAST_ONE)
    # Width of the feed-forward layers; 4 × hidden_size by default.
    intermediate_size: int | None = setting(None, AT_LEAST_ONE)
    # By default 0.02 × √hidden_size for chess, 0.02 for Wordle, 0.5 for the robot; ChessBench has 0.02.
    position_initializer_range: float | None = setting(None, POSITIVE)

    def check(self) -> None:
        """Raise ValueError for sizes that contradict each other."""
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"model.hidden_size={self.hidden_size} must be a multiple of model.num_attention_heads="
                f"{self.num_attention_heads}"
            )


@dataclass
class QLearningConfig:
    """Q-learning with CQL; models/q_learning.py has the equations."""

    # q_learning: the best next action; sarsa: the next action of the data; monte_carlo: the return of the
    # data; behavior_cloning: no target, imitation of the data's actions.
    target: Literal["q_learning", "sarsa", "monte_carlo", "behavior_cloning"] = "q_learning"
    discount: float = setting(0.99, FRACTION)  # per action
    double: bool = False  # the online network chooses the best next action, the target network values it
    cql_alpha: float = setting(0.1, NOT_NEGATIVE)  # weight of the conservative term
    cql_temperature: float = setting(1.0, POSITIVE)  # of its softmax over Q
    # With cross-entropy, divide the gradient of CQL by twice the variance of each prediction, for the
    # balance with the value loss that mse has.
    cql_matched: bool = False
    target_network: Literal["polyak", "periodic"] = "polyak"
    target_tau: float = setting(0.005, FRACTION)  # polyak: step of the target network towards the model
    target_every: int = setting(1000, AT_LEAST_ONE)  # periodic: steps between copies

    def check(self) -> None:
        """Raise ValueError for settings that contradict each other."""
        if self.double and self.target != "q_learning":
            raise ValueError(f"q_learning.double is a variant of q_learning; the target is {self.target}")
        if self.target == "behavior_cloning" and not self.cql_alpha:
            raise ValueError(
                "q_learning.target=behavior_cloning learns by CQL's term: cql_alpha must not be 0"
            )
        if self.cql_matched and (self.target == "behavior_cloning" or not self.cql_alpha):
            raise ValueError(
                "q_learning.cql_matched balances CQL's term with the value loss: it needs cql_alpha above 0, "
                "and a target other than behavior_cloning"
            )


@dataclass
class OptimizerConfig:
    # muon: Muon for the matrices of the blocks, AdamW for all other parameters; adamw: AdamW for all.
    name: Literal["muon", "adamw"] = "muon"
    learning_rate: float = setting(1e-3, POSITIVE)  # of AdamW
    muon_learning_rate: float = setting(0.02, POSITIVE)
    beta1: float = setting(0.9, BELOW_ONE)  # of AdamW
    beta2: float = setting(0.95, BELOW_ONE)
    eps: float = setting(1e-8, POSITIVE)
    weight_decay: float = setting(0.0, NOT_NEGATIVE)  # decoupled; only for the matrices of the blocks
    # The norm of all gradients together is clipped to it; null: not at all.
    max_grad_norm: float | None = setting(1.0, POSITIVE)


@dataclass
class TrainingConfig:
    steps: int = setting(bound=AT_LEAST_ONE)
    batch_size: int = setting(bound=AT_LEAST_ONE)  # per step, over all processes and micro-batches
    # Micro-batches per step on each process.
    gradient_accumulation_steps: int = setting(1, AT_LEAST_ONE, may_differ=True)
    warmup_steps: int = setting(0, NOT_NEGATIVE)  # the learning rate rises linearly from 0
    decay: Literal["constant", "linear", "cosine"] = "linear"  # of the learning rate, up to the last step
    # The last steps, in which the learning rate decays; by default all after the warm-up. Until then, a run
    # can be given another number of steps (warm-up, stable, decay: arXiv 2404.06395).
    decay_steps: int | None = setting(None, AT_LEAST_ONE)
    final_learning_rate: float = setting(0.0, FRACTION)  # at the last step, as a fraction of the peak
    ema_decay: float = setting(0.99, BELOW_ONE)  # of the weights that are evaluated and saved; 0: no EMA
    precision: Literal["fp32", "bf16"] = "bf16"  # bf16: autocast; weights and losses stay in float32
    compile: bool = setting(False, may_differ=True)  # torch.compile the blocks of the model

    @property
    def steps_before_decay(self) -> float:
        """The number of steps whose learning rate does not depend on how many follow."""
        if self.decay == "constant":
            return math.inf
        return self.warmup_steps if self.decay_steps is None else self.steps - self.decay_steps


@dataclass
class CheckpointConfig:
    every: int = setting(1000, AT_LEAST_ONE)  # steps
    keep: int = setting(2, AT_LEAST_ONE)  # this many of the newest are kept
    keep_every: int | None = setting(None, AT_LEAST_ONE)  # the checkpoints of these steps are always kept


@dataclass
class DataConfig:
    # A Parquet file, a folder of them, or a dataset on the hub: user/name, user/name@REVISION or
    # user/name:SPLIT.
    train: str | None = setting(may_differ=True)  # it may have moved; its content is checked

    def check_files(self) -> None:
        """Raise InputError for a local file that does not exist."""
        if self.train is not None:
            check_source(self.train)


@dataclass
class OfflineDataConfig(DataConfig):
    train: str = setting(may_differ=True)


@dataclass
class EvaluationConfig:
    every: int = setting(1000, AT_LEAST_ONE)  # steps, in addition to before the first and after the last


@dataclass
class Config:
    """A run: the sections that all domains share."""

    task: str = MISSING
    seed: int = setting(0, SEED)  # of the initial weights and of the order of the data
    output_dir: str = setting(may_differ=True)
    resume: bool = setting(False, may_differ=True)  # continue from the newest checkpoint in output_dir
    log_every: int = setting(10, AT_LEAST_ONE, may_differ=True)  # steps
    # Any of TRACKERS; metrics.jsonl is always written.
    trackers: list[str] = field(default_factory=lambda: ["tensorboard"], metadata={"may_differ": True})
    # Publish the trained model on the hub under this id, such as user/name.
    push_to_hub: str | None = setting(None, may_differ=True)
    push_checkpoints: bool = setting(False, may_differ=True)  # also kept checkpoints, as branches step_N
    model: ModelConfig = section(ModelConfig)
    value_loss: ValueLossConfig = section(ValueLossConfig)
    data: DataConfig = section(DataConfig)
    optimizer: OptimizerConfig = section(OptimizerConfig)
    training: TrainingConfig = section(TrainingConfig)
    evaluation: EvaluationConfig = section(EvaluationConfig, may_differ=True)
    checkpoint: CheckpointConfig = section(CheckpointConfig, may_differ=True)

    @staticmethod
    def defaults_of(given: Any) -> dict[str, Any]:
        """Return the defaults that depend on settings that are `given`, such as the value loss."""
        return {}

    @property
    def is_online(self) -> bool:
        """Whether the run plays its own training data, which takes one process."""
        return False

    def check_files(self) -> None:
        """Raise InputError for files that do not exist, and for games that cannot be played."""
        self.data.check_files()

    def check(self) -> None:
        """Raise ValueError for settings that contradict each other."""
        for tracker in self.trackers:
            if tracker not in TRACKERS:
                raise ValueError(f"trackers: {tracker!r} is unknown: choose from {', '.join(TRACKERS)}")
        training = self.training
        if training.steps < (needed := training.warmup_steps + (training.decay_steps or 0)):
            raise ValueError(
                f"training.steps={training.steps} is below warmup_steps + decay_steps = {needed}"
            )
        loss = self.value_loss
        if not loss.value_min < loss.value_max:
            raise ValueError("value_loss.value_min must be below value_max")
        has_padding = loss.padding not in (0, type(loss).padding)
        if loss.name != "hl_gauss" and (loss.sigma is not None or has_padding or loss.match_mean):
            raise ValueError(
                f"value_loss: sigma, padding and match_mean are for hl_gauss, not for {loss.name}"
            )
        if self.push_to_hub is not None and not is_hub_id(self.push_to_hub):
            raise ValueError(f"push_to_hub={self.push_to_hub} is no hub id: give one like user/name")
        if self.push_checkpoints and self.push_to_hub is None:
            raise ValueError("push_checkpoints without push_to_hub: add push_to_hub=user/name")


def check_source(source: str) -> None:
    """Raise InputError for a local file or folder that does not exist."""
    if read_name(source) is None and not Path(source).exists():
        raise InputError(f"{source}: no such file or folder")


def walk_settings(config: Any, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field]]:
    """Yield every setting of a configuration: its key, such as training.steps, and its field.

    All settings of a section that may differ on resume may differ.
    """
    for declared in dataclasses.fields(config):
        value, key = getattr(config, declared.name), prefix + declared.name
        if not dataclasses.is_dataclass(value):
            yield key, declared
            continue
        for inner_key, inner in walk_settings(value, f"{key}."):
            yield inner_key, declared if declared.metadata.get("may_differ") else inner
