"""The settings of Atari."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cli.errors import InputError
from cli.files import check_output
from configs.schema import (
    AT_LEAST_ONE,
    AT_LEAST_TWO,
    BELOW_ONE,
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    Config,
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    OptimizerConfig,
    QLearningConfig,
    ValueLossConfig,
    section,
    setting,
    walk_settings,
)
from data.atari.games import Game, make_game


# By `studies atari_rates`; mse_sigmoid, which it does not train, has that of mse. 3e-3 for cross-entropy.
MINATAR_RATES = {"mse": 1e-3, "mse_sigmoid": 1e-3, "mse_softmax": 3e-4}


@dataclass
class AtariModelConfig(ModelConfig):
    # The networks of models/modeling_value_convnet.py.
    architecture: Literal["minatar", "nature", "impala", "resnet18", "resnet34", "resnet50", "resnet101"] = (
        "nature"
    )
    num_experts: int = setting(0, NOT_NEGATIVE)  # impala: experts of a SoftMoE instead of the dense layer
    hidden_size: int = setting(512, AT_LEAST_ONE)  # of the last layer before the values, or of an expert


@dataclass
class AtariDataConfig(DataConfig):
    # Recordings to learn from offline, one or several games; by default the agent plays itself.
    train: str | None = setting(None, may_differ=True)
    # Folder of the memory-mapped frames; by default next to the recording.
    prepared_dir: str | None = setting(None, may_differ=True)
    # Frames in an observation; by default 4, and 1 for MinAtar, whose frames show movement.
    stack: int | None = setting(None, AT_LEAST_ONE)
    clip_rewards: bool = True  # to [-1, 1], for learning; results are of true rewards
    # Offline: add noise from U(0, η) to every reward, sampled once: η.
    reward_noise: float = setting(0.0, NOT_NEGATIVE)


@dataclass
class AtariPlayConfig:
    """Online learning: the game, how the agent explores it, and the replay memory."""

    # breakout, space_invaders, …, or minatar_breakout, …; docs/atari.md lists all.
    game: str | None = None
    # Sticky actions; by default 0.25 in ALE and 0.1 in MinAtar.
    repeat_action_probability: float | None = setting(None, FRACTION)
    frame_size: int | None = setting(None, AT_LEAST_ONE)  # height and width of frames; 84 by default
    max_episode_steps: int = setting(27_000, AT_LEAST_TWO)  # an episode is cut off there
    full_action_space: bool = False  # all actions of the console instead of those that the game uses
    mode: int | None = None  # variants of the game
    difficulty: int | None = None
    num_environments: int = setting(1, AT_LEAST_ONE)  # copies of the game that act together
    # The settings below count steps of all copies together.
    memory_steps: int = setting(1_000_000, AT_LEAST_ONE)
    first_training_step: int = setting(20_000, AT_LEAST_ONE)  # actions are random until then
    update_every: int = setting(4, AT_LEAST_ONE)  # steps per training step
    # Fraction of random actions, after a linear decrease from 1 over epsilon_decay_steps.
    epsilon: float = setting(0.01, FRACTION)
    epsilon_decay_steps: int = setting(250_000, AT_LEAST_ONE)
    record: str | None = None  # write all finished episodes to this Parquet file, for offline learning


@dataclass
class AtariQLearningConfig(QLearningConfig):
    n_step: int = setting(1, AT_LEAST_ONE)  # rewards before the value of the target network
    cql_alpha: float = setting(0.0, NOT_NEGATIVE)
    target_network: Literal["polyak", "periodic"] = "periodic"
    target_every: int = setting(2000, AT_LEAST_ONE)


@dataclass
class AtariOptimizerConfig(OptimizerConfig):
    # Adam as in Dopamine. The defaults of learning_rate and eps depend on the value loss.
    name: Literal["muon", "adamw"] = "adamw"
    beta2: float = setting(0.999, BELOW_ONE)
    max_grad_norm: float | None = setting(None, POSITIVE)


@dataclass
class AtariValueLossConfig(ValueLossConfig):
    value_min: float = -10.0
    value_max: float = 10.0
    num_bins: int = setting(51, AT_LEAST_TWO)


@dataclass
class AtariEvaluationConfig(EvaluationConfig):
    episodes: int = setting(10, AT_LEAST_ONE)  # of each game
    epsilon: float = setting(0.001, FRACTION)  # fraction of random actions


@dataclass
class AtariConfig(Config):
    """Atari: online DQN, or offline Q-learning with CQL from recordings."""

    task: Literal["atari"] = "atari"
    model: AtariModelConfig = section(AtariModelConfig)
    value_loss: AtariValueLossConfig = section(AtariValueLossConfig)
    data: AtariDataConfig = section(AtariDataConfig)
    atari: AtariPlayConfig = section(AtariPlayConfig)
    q_learning: AtariQLearningConfig = section(AtariQLearningConfig)
    optimizer: AtariOptimizerConfig = section(AtariOptimizerConfig)
    evaluation: AtariEvaluationConfig = section(AtariEvaluationConfig, may_differ=True)

    @staticmethod
    def defaults_of(given: Any) -> dict[str, Any]:
        """Return the learning rate and eps: the paper's, of DQN for regression and of C51 for the others.

        The network of MinAtar has learning rates of its own.
        """
        value_loss = given.value_loss.name
        regresses = value_loss in ("mse", "mse_sigmoid", "mse_softmax")
        learning_rate, eps = (6.25e-5, 1.5e-4) if regresses else (2.5e-4, 3.125e-4)
        if given.model.architecture == "minatar":
            learning_rate = MINATAR_RATES.get(value_loss, 3e-3)
        return {"optimizer": {"learning_rate": learning_rate, "eps": eps}}

    @property
    def is_online(self) -> bool:
        return self.data.train is None

    def make_game(self) -> Game:
        """Return the game of online learning; raise InputError if there is no such game."""
        play = self.atari
        assert play.game is not None, "`check` requires a game"
        return make_game(
            play.game,
            play.repeat_action_probability,
            play.frame_size,
            play.max_episode_steps,
            play.full_action_space,
            play.mode,
            play.difficulty,
        )

    def check_files(self) -> None:
        super().check_files()
        if self.is_online:
            self.make_game()
        if self.atari.record is not None:
            is_resumed = self.resume and (Path(self.output_dir) / "checkpoints").is_dir()
            if Path(self.atari.record).exists() and not is_resumed:
                raise InputError(f"atari.record: {self.atari.record} exists: choose another file")
            check_output(Path(self.atari.record), overwrite=True)

    def check(self) -> None:
        super().check()
        self.q_learning.check()
        if self.model.num_experts and self.model.architecture != "impala":
            raise ValueError(f"model.num_experts is for impala, not for {self.model.architecture}")
        if not self.is_online:
            for key, declared in walk_settings(self.atari):
                if getattr(self.atari, key) != declared.default:
                    raise ValueError(f"atari.{key} is for online learning: leave it out, or data.train")
            return
        if self.atari.game is None:
            raise ValueError(
                "neither atari.game, to play online, nor data.train, to learn offline, is set: choose one"
            )
        if self.q_learning.target in ("monte_carlo", "behavior_cloning"):
            raise ValueError(
                f"q_learning.target={self.q_learning.target} learns from recorded episodes: set data.train"
            )
        if self.data.reward_noise:
            raise ValueError("data.reward_noise is for offline learning: set data.train")
        play = self.atari
        if play.memory_steps < play.first_training_step:
            raise ValueError(
                f"atari.memory_steps={play.memory_steps} is below atari.first_training_step="
                f"{play.first_training_step}"
            )
        # Sampling needs a transition in each copy of the game.
        least = play.num_environments * (self.q_learning.n_step + 1)
        if play.first_training_step < least:
            raise ValueError(
                f"atari.first_training_step={play.first_training_step} is too early to sample: at least "
                f"num_environments × (q_learning.n_step + 1) = {least}"
            )
