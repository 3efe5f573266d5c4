"""The settings of the robot."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cli.errors import InputError
from configs.schema import (
    AT_LEAST_ONE,
    AT_LEAST_TWO,
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    Config,
    EvaluationConfig,
    OfflineDataConfig,
    TransformerSizes,
    ValueLossConfig,
    section,
    setting,
)
from data.hub import read_name


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
class RobotDataConfig(OfflineDataConfig):
    # A LeRobotDataset folder, such as `python -m data.robot.generate` writes, or one on the hub: user/name.
    train: str = setting(may_differ=True)
    only_successes: bool = False  # leave out the episodes without success, as behaviour cloning may want
    # Add noise from U(0, η) to every reward, sampled once: η.
    reward_noise: float = setting(0.0, NOT_NEGATIVE)
    # The largest random shift of images in training, in pixels; it reduces overfitting.
    image_shift: int = setting(0, NOT_NEGATIVE)

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
    conservative: Literal["smallest_value", "cql"] = "smallest_value"
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
        if self.data.image_shift and self.model.observation == "states":
            raise ValueError(
                "data.image_shift shifts images, which model.observation=states has not: set "
                "data.image_shift=0, or model.observation=images or both"
            )
        learning = self.q_learning
        if learning.target == "behavior_cloning" and (
            learning.conservative != "cql" or not learning.conservative_weight
        ):
            raise ValueError(
                "q_learning.target=behavior_cloning learns by CQL's term: set q_learning.conservative=cql, "
                "and a conservative_weight above 0"
            )
