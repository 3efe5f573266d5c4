"""The settings of Wordle."""

from dataclasses import dataclass
from typing import Literal

from configs.schema import (
    AT_LEAST_ONE,
    NOT_NEGATIVE,
    Config,
    EvaluationConfig,
    OfflineDataConfig,
    QLearningConfig,
    TransformerSizes,
    section,
    setting,
)
from data.wordle.words import load_word_lists


@dataclass
class WordleQLearningConfig(QLearningConfig):
    mask_illegal_in_max: bool = False  # the best next action is one that leads to an allowed word


@dataclass
class WordleDataConfig(OfflineDataConfig):
    # The game, for files of games that do not say so themselves: the secret words, a file or the name of a
    # list in data/wordle/words; the allowed guesses, by default the secret words; the rule of the feedback.
    words: str | None = setting(None, may_differ=True)
    guesses: str | None = setting(None, may_differ=True)
    rule: Literal["official", "simplified"] | None = None
    # Add noise from U(0, η) to every reward, sampled once: η.
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
    q_learning: WordleQLearningConfig = section(WordleQLearningConfig)
    evaluation: WordleEvaluationConfig = section(WordleEvaluationConfig, may_differ=True)

    def check(self) -> None:
        super().check()
        self.model.check()
        if self.data.guesses and not self.data.words:
            raise ValueError("data.guesses without data.words: give the secret words too")
        target = self.q_learning.target
        if self.q_learning.mask_illegal_in_max and target != "q_learning":
            raise ValueError(f"q_learning.mask_illegal_in_max is for target q_learning, not {target}")
        self.q_learning.check()
