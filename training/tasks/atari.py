"""Atari: online DQN, or offline Q-learning with CQL from recordings, one game or many.

Sources: Farebrother et al., "Stop Regressing" (arXiv 2403.03950), section 4.1 and 4.2; Mnih et al. (2015) for
DQN; Kumar et al. (arXiv 2211.15144) for many games. models/q_learning.py has the equations.
"""

import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from configs.atari import AtariConfig
from data.atari.collector import Collector
from data.atari.games import make_environments, make_game
from data.atari.preparation import FORMAT, prepare
from data.atari.recorded_steps import RecordedSteps
from data.hub import pin
from data.prepared_folder import read_meta
from data.replay import Sampling
from eval.atari.agent import SETTINGS_FILE, write_settings
from eval.atari.playing import evaluate_policy
from models.configuration_value_convnet import ValueConvNetConfig
from models.modeling_value_convnet import ValueConvNet
from models.q_learning import QLearning
from training.card_facts import CardFacts, Metric, Result, results_of
from training.online_batches import OnlineBatches
from training.q_learning_task import QLearningTask
from training.task import Batches, Column
from training.transformer_config import value_loss_fields


LEARNING = {
    "q_learning": "Q-learning",
    "sarsa": "SARSA",
    "monte_carlo": "regression on returns",
    "behavior_cloning": "imitation",
}
METRICS = (
    Metric("mean_return", "mean return", ".2f", "data_return", "training data"),
    Metric("human_normalised", "human-normalised score", ".3f"),
)
EXAMPLE = """\
import torch
from transformers import AutoModel

model = AutoModel.from_pretrained({load})
pixels = torch.zeros(1, *model.config.input_shape, dtype=torch.uint8)
print(model(pixels).value)"""


class AtariTask(QLearningTask):
    """Q-learning from pixels; see training/task.py for the methods."""

    config: AtariConfig
    examples: RecordedSteps
    model: ValueConvNet
    collector: Collector | None = None  # of online learning
    can_evaluate = True
    objective: QLearning
    unit = "transitions"

    def __init__(self, config: AtariConfig):
        self.config, data = config, config.data
        if data.train is None:
            self.games = [config.make_game()]
        else:
            data.train = pin(data.train)
            self.folder = prepare(data.train, data.prepared_dir)
            self.games = [make_game(**settings) for settings in read_meta(self.folder, FORMAT)["games"]]
        is_minatar = self.games[0].is_minatar
        stack = data.stack or (1 if is_minatar else 4)
        learning = config.q_learning
        self.sampling = Sampling(stack, learning.n_step, learning.discount, data.clip_rewards)
        environments = [make_environments(game, 1, 1) for game in self.games]
        channels, *size = environments[0].frame_shape
        self.model = ValueConvNet(
            ValueConvNetConfig(
                architecture=config.model.architecture,
                num_experts=config.model.num_experts,
                hidden_size=config.model.hidden_size,
                input_shape=[stack * channels, *size],
                pixel_max=1 if is_minatar else 255,
                games=[game.name for game in self.games],
                num_actions=[environment.num_actions for environment in environments],
                **value_loss_fields(config.value_loss),
            )
        )
        self.set_objective(self.model.value_loss, learning)
        if config.is_online:
            self.metrics = (*self.metrics, "play_return")

    @property
    def evaluation_columns(self) -> tuple[Column, ...]:
        return (("mean_return", "return", "data_return" if self.has_data_return else None),)

    @property
    def panels(self) -> tuple[Column, ...]:
        played: tuple[Column, ...] = (("play_return", "return with exploration", None),)
        return (
            ("loss", "loss", None),
            ("target", "mean target", None),
            *(played if self.config.is_online else ()),
            *((key, "mean return", reference) for key, _, reference in self.evaluation_columns),
        )

    def load_data(self) -> None:
        """Read the recorded steps of offline learning."""
        if not self.config.is_online:
            noise = self.config.data.reward_noise
            self.examples = RecordedSteps(self.folder, self.sampling, noise, self.config.seed)

    def warnings(self) -> list[str]:
        """Warn if returns of the recordings are outside the support."""
        return [] if self.config.is_online else self.outside_support(self.examples.returns)

    def describe_model(self) -> str:
        experts = f" with {self.model.config.num_experts} experts" if self.model.config.num_experts else ""
        return f"{self.model.config.architecture}{experts}"

    def describe_data(self) -> str:
        names = ", ".join(game.title for game in self.games)
        if self.config.is_online:
            play = self.config.atari
            return f"{names}, {play.num_environments} at once, a memory of {play.memory_steps:,} steps"
        mean = f", mean return {self.examples.mean_return:.2f}" if self.has_data_return else ""
        return f"{len(self.examples.actions):,} steps of {names}{mean}"

    @property
    def has_data_return(self) -> bool:
        """Whether the returns of the recordings are known; those of DQN's replay memories are not."""
        return not self.config.is_online and self.examples.mean_return is not None

    def make_training_set(self, accelerator: Accelerator) -> Batches:
        """Return the batches; those of online learning play the game."""
        if not self.config.is_online:
            return super().make_training_set(accelerator)
        play, training = self.config.atari, self.config.training
        self.collector = Collector(
            self.games[0],
            play.num_environments,
            play.memory_steps,
            self.sampling,
            self.config.seed,
            str(accelerator.device),
            play.record,
        )
        return OnlineBatches(
            self.collector,
            self.choose_actions,
            play,
            training.batch_size,
            training.gradient_accumulation_steps,
        )

    @torch.no_grad()
    def choose_actions(self, pixels: Tensor, game: int = 0) -> np.ndarray:
        """Return the actions of highest value in observations of a game, (batch,)."""
        games = torch.full((len(pixels),), game, device=self.device)
        return self.model(pixels.to(self.device), games).value.argmax(-1).cpu().numpy()

    def loss(
        self, wrapped: nn.Module, batch: dict[str, Tensor], with_metrics: bool
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return the mean loss of a micro-batch, the number of its transitions, and means of metrics."""
        game = {"game": batch["games"]} if len(self.games) > 1 else {}
        following = {"pixels": batch["next_observations"], **game}
        next_value, target = None, self.target_network
        if self.objective.double:
            with torch.no_grad():
                next_value = wrapped(**following).value
        losses = self.objective.transition_loss(
            wrapped(pixels=batch["observations"], **game),
            batch["actions"],
            batch["returns"] if self.objective.target == "monte_carlo" else batch["rewards"],
            batch["discounts"],
            None if target is None else lambda: target.model(**following),
            next_online=next_value,
            next_actions=batch["next_actions"],
        )
        metrics = self.metrics_of(losses)
        if self.collector is not None and with_metrics:
            recent = self.collector.recent_returns
            metrics["play_return"] = losses.total.new_tensor(np.mean(recent) if recent else math.nan)
        return losses.total, torch.tensor(len(batch["actions"])), metrics

    def evaluate(self) -> dict:
        """Play episodes of every game; return the mean return, also by game if there are several."""
        evaluation, stack = self.config.evaluation, self.sampling.stack
        means = []
        for number, game in enumerate(self.games):
            episodes = evaluate_policy(
                game,
                partial(self.choose_actions, game=number),
                evaluation.episodes,
                stack=stack,
                epsilon=evaluation.epsilon,
            )
            means.append(float(np.mean([episode.total_reward for episode in episodes])))
        results: dict[str, float | None] = {"mean_return": float(np.mean(means))}
        if len(means) > 1:
            results |= {f"return of {game.title}": mean for game, mean in zip(self.games, means, strict=True)}
        if self.has_data_return:
            results["data_return"] = self.examples.mean_return
        return results

    def save(self, folder: Path) -> None:
        """Write the settings of the games, which evaluation plays."""
        write_settings(folder, self.games, self.sampling.stack)

    @staticmethod
    def card_facts(config: AtariConfig, model_folder: Path, name: str, load: str) -> CardFacts:
        games = _read_games(model_folder)
        learning = LEARNING[config.q_learning.target]
        if config.q_learning.cql_alpha and config.q_learning.target != "behavior_cloning":
            learning += " with CQL"
        steps = config.atari.first_training_step + config.training.steps * config.atari.update_every
        has_bins = config.value_loss.has_bins
        return CardFacts(
            task="Atari",
            description=f"An agent for {', '.join(games)}. From pixels it predicts, for each action, "
            f"{'a *distribution* over returns' if has_bins else 'the return'}.",
            training=f"online, by {learning}" if config.is_online else f"offline, by {learning}",
            papers=(),
            network=f"{config.model.architecture} network",
            example=EXAMPLE.format(load=load),
            example_notes="An observation has the newest frame last; values are discounted sums of "
            f"{'rewards clipped to [-1, 1]' if config.data.clip_rewards else 'rewards'}"
            f"{'; `.logits` holds their distributions' if has_bins else ''}.",
            commands=(f"python -m eval.atari --model {name} --video play.gif",),
            results_notes="Returns are sums of unclipped rewards.",
            batch_unit="transitions",
            data=f"It played {steps:,} steps itself." if config.is_online else "",
            limits=("The model plays the games above, with their settings in `atari.json`, and no others.",),
        )

    @staticmethod
    def results_of_run(row: dict, config: AtariConfig, model_folder: Path) -> list[Result]:
        amount = f"{config.evaluation.episodes:,} episodes of each game"
        data = ", ".join(_read_games(model_folder))
        return results_of(row, METRICS, amount=amount, data=data, measured=f"{amount}: {data}")

    @staticmethod
    def results_of_evaluation(found: dict) -> list[Result]:
        """Return the results in a --json file of eval.atari."""
        results = []
        for name, measured in found["games"].items():
            amount = f"{found['episodes']:,} episodes"
            numbers = measured | {"standard_errors": {"mean_return": measured["standard_error"]}}
            results += results_of(numbers, METRICS, amount=amount, data=name, measured=f"{amount} of {name}")
        return results


def _read_games(model_folder: Path) -> list[str]:
    """Return the titles of the games that a saved model plays."""
    games = json.loads((model_folder / SETTINGS_FILE).read_bytes())["games"]
    return [make_game(**game).title for game in games]
