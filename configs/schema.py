"""The configuration of a training run: every setting, its default, its bounds, and its meaning.

A YAML file in configs/ sets the values that differ from these defaults; `key=value` on the command line sets
single fields, nested ones with dots: `training.steps=2000 optimizer.learning_rate=1e-3`.

Each domain has a dataclass of its own, so a setting of another domain is an error. To add a domain, write its
dataclass and add it to DOMAINS.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException, ValidationError
from yaml import YAMLError

from cli.errors import InputError
from cli.files import atomic_write
from data.chess.rows import Target
from data.hub import is_hub_id, read_name
from data.parquet import parquet_files
from data.wordle.words import load_word_lists


CONFIG_FOLDER = Path(__file__).parent
# Training rows and the test set of data.chess.chessbench, in the configurations for GPUs.
CHESSBENCH = (Path("runs/chessbench"), Path("runs/chessbench/test"))
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
    """Offline Q-learning with CQL; models/q_learning.py has the equations."""

    # q_learning: the best next action; sarsa: the next action of the data; monte_carlo: the return of the
    # data; behavior_cloning: no target, imitation of the data's actions.
    target: Literal["q_learning", "sarsa", "monte_carlo", "behavior_cloning"] = "q_learning"
    discount: float = setting(0.99, FRACTION)  # per action
    double: bool = False  # the online network chooses the best next action, the target network values it
    mask_illegal_in_max: bool = False  # the best next action is one that leads to an allowed word
    cql_alpha: float = setting(0.1, NOT_NEGATIVE)  # weight of the conservative term
    cql_temperature: float = setting(1.0, POSITIVE)  # of its softmax over Q
    target_network: Literal["polyak", "periodic"] = "polyak"
    target_tau: float = setting(0.005, FRACTION)  # polyak: step of the target network towards the model
    target_every: int = setting(1000, AT_LEAST_ONE)  # periodic: steps between copies


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
    max_grad_norm: float = setting(1.0, POSITIVE)  # the norm of all gradients together is clipped to it


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
    train: str = setting(may_differ=True)  # it may have moved; its content is checked

    def check_files(self) -> None:
        """Raise InputError for a local file that does not exist."""
        _check_source(self.train)


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


@dataclass
class ChessModelConfig(TransformerSizes):
    # full: every (board, action) pair is a sequence of its own, as in ChessBench; prefix: all actions of a
    # board are valued in one pass, the board is bidirectional; causal: likewise, the board is causal.
    attention: Literal["full", "prefix", "causal"] = "prefix"
    # board: a move is embedded with its two squares and the pieces on them; table: one vector per move.
    action_embedding: Literal["board", "table"] = "board"
    # With two, a move has a token for its start and one for its end square; more are scratch tokens.
    tokens_per_action: int = 1
    board_rotation: bool = True  # rotary positions on the board (models/board_rotation.py)

    def check(self) -> None:
        super().check()
        is_even = self.num_attention_heads % 2 == 0 and self.hidden_size // self.num_attention_heads % 2 == 0
        if self.board_rotation and not is_even:
            raise ValueError(
                "model.board_rotation needs an even number of heads of even width: change "
                "model.num_attention_heads or model.hidden_size"
            )


@dataclass
class ChessDataConfig(DataConfig):
    # The prediction, as in ChessBench: the values of moves, the value of the position, or the move
    # played there. Rows of action values serve all of them: the position has the value of its best move, and
    # the move played is the best. state_value and move also read rows of their own (docs/data.md).
    target: Target = "action_value"
    # Held-out boards for the periodic evaluation, given like `train`; of a dataset on the hub, the split
    # validation or else test. No evaluation by default.
    validation: str | None = setting(None, may_differ=True)
    # Folder of the memory-mapped arrays; by default next to the Parquet file.
    prepared_dir: str | None = setting(None, may_differ=True)
    check_moves: bool = setting(True, may_differ=True)  # check once that every move is legal
    # The unit of a batch: boards with all their labelled moves, or single (board, move) pairs as in
    # ChessBench.
    example: Literal["board", "action"] = "board"
    orient: bool = True  # show every position from the side to move
    # Train also on every board mirrored left to right, which doubles the epoch. Boards with castling rights
    # cannot be mirrored; they appear twice, unchanged.
    mirror: bool = False
    # Add noise from U(-n/2, n/2) to every training label, sampled once per label: n.
    label_noise: float = setting(0.0, NOT_NEGATIVE)

    def check_files(self) -> None:
        for source in filter(None, (self.train, self.validation)):
            folder = Path(source)
            if folder in CHESSBENCH and not (folder.is_dir() and parquet_files(folder)):
                raise InputError(
                    f"{folder} has no boards: `python -m data.chess.chessbench --download 20 --output "
                    f"{CHESSBENCH[0]}` downloads 20 of ChessBench's 2,148 shards, about 11 GB, and its test "
                    "set; data.train=FILE and data.validation=FILE (or null) name other boards"
                )
            _check_source(source)


@dataclass
class RankingLossConfig:
    """A second head, which ranks the moves of a board (docs/chess.md). The paper has none."""

    weight: float = setting(0.0, NOT_NEGATIVE)  # of its loss, added to the value loss; 0: no such head
    temperature: float = setting(0.02, POSITIVE)  # in win probability: a move this much worse counts 1 / e
    # Moves are chosen by value + scale × log-probability of being the best.
    scale: float = setting(0.1, POSITIVE)


@dataclass
class UnlabelledMovesConfig:
    """Training on legal moves without a label, which is needed if only the best moves have labels."""

    # bound: such a move is at most as good as the worst labelled move of its board; if the model values it
    # higher, it is trained towards that label. conservative: CQL's term over all legal moves, for every
    # labelled move. training/unlabelled_moves.py has the equations.
    loss: Literal["none", "bound", "conservative"] = "none"
    weight: float = setting(1.0, POSITIVE)  # of a move without a label, compared with a label
    temperature: float = setting(0.1, POSITIVE)  # of conservative, in win probability


@dataclass
class ChessEvaluationConfig(EvaluationConfig):
    boards: int | None = setting(None, AT_LEAST_ONE)  # evaluate on the first boards only; on all by default
    batch_size: int = setting(64, AT_LEAST_ONE)  # boards


@dataclass
class ChessConfig(Config):
    """Chess without search: distil Stockfish's action values, state values or moves."""

    task: Literal["chess"] = "chess"
    model: ChessModelConfig = section(ChessModelConfig)
    data: ChessDataConfig = section(ChessDataConfig)
    ranking_loss: RankingLossConfig = section(RankingLossConfig)
    unlabelled_moves: UnlabelledMovesConfig = section(UnlabelledMovesConfig)
    evaluation: ChessEvaluationConfig = section(ChessEvaluationConfig, may_differ=True)

    def check(self) -> None:
        super().check()
        self.model.check()
        if self.data.mirror and self.data.example == "action":
            raise ValueError("data.mirror is for data.example=board")
        if self.data.target != "action_value":
            for key, is_set in {
                "data.example": self.data.example != "board",
                "data.label_noise": self.data.label_noise,
                "model.tokens_per_action": self.model.tokens_per_action != 1,
                "ranking_loss.weight": self.ranking_loss.weight,
                "unlabelled_moves.loss": self.unlabelled_moves.loss != "none",
            }.items():
                if is_set:
                    raise ValueError(f"{key} is for data.target=action_value, not for {self.data.target}")
        if self.ranking_loss.weight and self.data.example == "action":
            raise ValueError("ranking_loss compares the moves of a board: it is for data.example=board")
        if self.unlabelled_moves.loss != "none" and self.data.example == "action":
            raise ValueError("unlabelled_moves.loss is for data.example=board")
        if self.unlabelled_moves.loss != "none" and not self.data.check_moves:
            raise ValueError("unlabelled_moves.loss needs the legal moves: set data.check_moves=true")


@dataclass
class WordleDataConfig(DataConfig):
    # The game, for files of games that do not say so themselves: the secret words, a file or the name of a
    # list in data/wordle/words; the allowed guesses, by default the secret words; the rule of the feedback.
    words: str | None = setting(None, may_differ=True)
    guesses: str | None = setting(None, may_differ=True)
    rule: Literal["official", "simplified"] | None = None
    # Add noise from U(0, n) to every reward, sampled once: n.
    reward_noise: float = setting(0.0, NOT_NEGATIVE)

    def check_files(self) -> None:
        super().check_files()
        if self.words:
            load_word_lists(self.words, self.guesses)


@dataclass
class WordleEvaluationConfig(EvaluationConfig):
    games: int = setting(500, AT_LEAST_ONE)  # at most one per secret


@dataclass
class WordleConfig(Config):
    """Wordle as a language agent: offline Q-learning over tokens."""

    task: Literal["wordle"] = "wordle"
    model: TransformerSizes = section(TransformerSizes)
    data: WordleDataConfig = section(WordleDataConfig)
    q_learning: QLearningConfig = section(QLearningConfig)
    evaluation: WordleEvaluationConfig = section(WordleEvaluationConfig, may_differ=True)

    def check(self) -> None:
        super().check()
        self.model.check()
        if self.data.guesses and not self.data.words:
            raise ValueError("data.guesses without data.words: give the secret words too")
        target = self.q_learning.target
        if self.q_learning.mask_illegal_in_max and target != "q_learning":
            raise ValueError(f"q_learning.mask_illegal_in_max is for target q_learning, not {target}")
        if self.q_learning.double and target != "q_learning":
            raise ValueError(f"q_learning.double is a variant of q_learning; the target is {target}")
        if target == "behavior_cloning" and not self.q_learning.cql_alpha:
            raise ValueError(
                "q_learning.target=behavior_cloning learns by CQL's term: cql_alpha must not be 0"
            )


@dataclass
class RobotValueLossConfig(ValueLossConfig):
    num_bins: int = setting(31, AT_LEAST_TWO)
    # Without padding, the bias of hl_gauss at the smallest value grows with every dimension of the action.
    padding: float = setting(3.0, NOT_NEGATIVE)  # of hl_gauss; other losses ignore it


@dataclass
class RobotModelConfig(TransformerSizes):
    hidden_size: int = setting(64, AT_LEAST_ONE)
    num_hidden_layers: int = setting(2, AT_LEAST_ONE)
    num_attention_heads: int = setting(4, AT_LEAST_ONE)
    observation: Literal["states", "images", "both"] = "states"
    history: int = setting(1, AT_LEAST_ONE)  # frames of an observation, the newest included
    num_state_tokens: int = setting(4, AT_LEAST_ONE)  # for the states of all frames
    # convolutions: four strided ones; resnet18: the trunk of ResNet-18 with group normalisation.
    image_encoder: Literal["convolutions", "resnet18"] = "convolutions"
    num_action_bins: int = setting(32, AT_LEAST_TWO)  # of every dimension, from −1 to 1
    # A model of transformers, such as sentence-transformers/all-MiniLM-L6-v2 or a folder, that encodes
    # instructions and is not trained; by default words are embedded, and other words are unknown.
    instruction_encoder: str | None = None


@dataclass
class RobotDataConfig(DataConfig):
    # A LeRobotDataset folder, such as `python -m data.robot.generate` writes, or one on the hub: user/name.
    train: str = setting(may_differ=True)
    only_successes: bool = False  # leave out the episodes without success, as behaviour cloning may want
    # Add noise from U(0, n) to every reward, sampled once: n.
    reward_noise: float = setting(0.0, NOT_NEGATIVE)

    def check_files(self) -> None:
        if read_name(self.train) is None and not Path(self.train).exists():
            raise InputError(
                f"{self.train}: no such folder: `python -m data.robot.generate --tasks drawer-open-v3 "
                f"--episodes 800 --output {self.train}` makes one; data.train=FOLDER names another"
            )


@dataclass
class DimensionLearningConfig:
    """Offline Q-learning over the dimensions of an action; models/q_learning.py has the equations."""

    # q_learning: the best bin of the next dimension, and after the last one the best first bin of the next
    # decision; n_step: the latter for all dimensions; monte_carlo: the return of the data; behavior_cloning:
    # no target, imitation of the data's actions.
    target: Literal["q_learning", "n_step", "monte_carlo", "behavior_cloning"] = "q_learning"
    discount: float = setting(0.97, FRACTION)  # per decision
    monte_carlo_floor: bool = True  # a target is at least the return of the data
    # smallest_value: bins that the data does not have are trained towards value_loss.value_min; cql: the
    # cross-entropy of softmax(Q / cql_temperature), which behavior_cloning consists of.
    conservative: Literal["smallest_value", "cql", "none"] = "smallest_value"
    conservative_weight: float = setting(1.0, NOT_NEGATIVE)
    cql_temperature: float = setting(0.1, POSITIVE)  # of its softmax over Q
    target_tau: float = setting(0.01, FRACTION)  # step of the target network towards the model (Polyak)


@dataclass
class RobotEvaluationConfig(EvaluationConfig):
    # Of every task, from starts that are the same in every evaluation; 0: no evaluation, and no simulator.
    episodes: int = setting(20, NOT_NEGATIVE)


@dataclass
class RobotConfig(Config):
    """A robot that follows instructions: offline Q-learning over the dimensions of its actions."""

    task: Literal["robot"] = "robot"
    model: RobotModelConfig = section(RobotModelConfig)
    value_loss: RobotValueLossConfig = section(RobotValueLossConfig)
    data: RobotDataConfig = section(RobotDataConfig)
    q_learning: DimensionLearningConfig = section(DimensionLearningConfig)
    evaluation: RobotEvaluationConfig = section(RobotEvaluationConfig, may_differ=True)

    def check(self) -> None:
        super().check()
        self.model.check()
        learning = self.q_learning
        if learning.target == "behavior_cloning" and (
            learning.conservative != "cql" or not learning.conservative_weight
        ):
            raise ValueError(
                "q_learning.target=behavior_cloning learns by CQL's term: set q_learning.conservative=cql, "
                "and a conservative_weight above 0"
            )


def _check_source(source: str) -> None:
    if read_name(source) is None and not Path(source).exists():
        raise InputError(f"{source}: no such file or folder")


DOMAINS: dict[str, type[Config]] = {"chess": ChessConfig, "wordle": WordleConfig, "robot": RobotConfig}


def find_yaml(name: str, folder: Path, what: str) -> Path:
    """Return the path of the file with this path, or with this name in a folder, there also without .yaml.

    Raises InputError, which says that no `what` was found.
    """
    candidates = (Path(name), folder / name, folder / f"{name}.yaml")
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
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
    except (YAMLError, UnicodeDecodeError) as error:
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
    domains = {task: _flatten(OmegaConf.to_container(OmegaConf.structured(d))) for task, d in DOMAINS.items()}
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
        raise InputError(f"{path}: task {task!r} is unknown: choose one of {', '.join(DOMAINS)}")
    with one_line_errors(str(path)):
        merged = OmegaConf.merge(OmegaConf.structured(DOMAINS[task]), given)
    with one_line_errors("command line"):
        merged = OmegaConf.merge(merged, given_later)
    with one_line_errors(str(path), or_else=", or {}=VALUE on the command line"):
        config: Any = OmegaConf.to_object(merged)
    _check_bounds(config, str(path))
    try:
        config.check()
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    return config


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
    if not path.is_file() or not (saved := _flatten(OmegaConf.to_container(read_yaml(path)))):
        raise InputError(f"{path}: the settings that the run was started with are missing")
    # Settings added since the run was started have their defaults.
    saved = _flatten(OmegaConf.to_container(OmegaConf.structured(type(config)))) | saved
    now = _flatten(OmegaConf.to_container(OmegaConf.structured(config)))
    may_differ = {key for key, field in walk_settings(config) if field.metadata.get("may_differ")}
    keys = [key for key in sorted(saved.keys() | now.keys()) if key not in may_differ]
    return {
        key: f"{key}: {saved.get(key)}, now {now.get(key)}" for key in keys if saved.get(key) != now.get(key)
    }


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


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _check_bounds(config: Any, source: str, prefix: str = "") -> None:
    for declared in dataclasses.fields(config):
        value, key = getattr(config, declared.name), prefix + declared.name
        bound = declared.metadata.get("bound")
        if dataclasses.is_dataclass(value):
            _check_bounds(value, source, f"{key}.")
        elif bound is not None and value is not None and not bound.contains(value):
            raise InputError(f"{source}: {key} must be {bound.expected}, not {value}")
