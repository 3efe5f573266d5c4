"""Wordle as a language agent: offline Q-learning over tokens, on games of suboptimal players.

Sources: Farebrother et al., "Stop Regressing" (arXiv 2403.03950), section 4.3; Snell et al., ILQL (arXiv
2206.11871) for the game as text. The equations stand in models/q_learning.py.
"""

import json
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from configs.schema import Config, DataConfig
from data.hub import local_files, pin
from data.noise import uniform_at
from data.wordle.game_rows import Games
from data.wordle.games import GameDescription, read_games
from data.wordle.players import play_games
from data.wordle.token_games import TokenGames
from data.wordle.word_trie import WordTrie
from data.wordle.words import load_word_lists
from eval.wordle.model_player import ModelPlayer
from models.modeling_value_transformer import ValueTransformerForTokenValue
from models.q_learning import TokenQLearning
from models.tokenization_wordle import GAME_LENGTH, TOKENS, TOKENS_PER_TURN, make_wordle_tokenizer
from training.optimization import TargetNetwork
from training.sharding import Weights
from training.transformer_config import transformer_config


def read_training_games(data: DataConfig) -> tuple[Games, GameDescription]:
    """Return the games to learn from, and which game it is. Raises InputError for games that are bad.

    A name on the hub gets its commit, so that the saved configuration says which games these are.
    """
    words = load_word_lists(data.words, data.guesses) if data.words else None
    data.train = pin(data.train)
    return read_games(local_files(data.train, "train"), rule=data.rule, words=words)


class WordleTask:
    can_evaluate = True
    unit = "actions"
    metrics = ("td", "cql", "target", "out_of_support")
    evaluation_columns = (
        ("mean_return", "return", "data_return"),
        ("success_rate", "success", "data_success_rate"),
    )
    panels = (
        ("loss", "loss", None),
        ("target", "mean target", None),
        ("mean_return", "mean return", "data_return"),
        ("success_rate", "success rate", "data_success_rate"),
    )

    def __init__(self, config: Config):
        self.config, learning = config, config.q_learning
        if learning.mask_illegal_in_max and learning.target != "q_learning":
            raise ValueError(f"mask_illegal_in_max is for q_learning; the target is {learning.target}")
        self.model = ValueTransformerForTokenValue(
            transformer_config(
                config,
                action_embedding="table",
                tokens_per_action=1,
                board_rotation=False,
                vocab_size=len(TOKENS),
                max_position_embeddings=GAME_LENGTH,
                position_period=TOKENS_PER_TURN,
            )
        )
        self.objective = TokenQLearning(
            self.model.value_loss,
            target=learning.target,
            discount=learning.discount,
            alpha=learning.cql_alpha,
            temperature=learning.cql_temperature,
            double=learning.double,
        )
        self.target_network: TargetNetwork | None = None

    def load_data(self) -> None:
        """Read and check the games."""
        games, self.game = read_training_games(self.config.data)
        self.trie = WordTrie(self.game.words.guess_letters)
        mask_illegal_in_max = self.config.q_learning.mask_illegal_in_max
        rewards = games.rewards()
        if self.config.data.reward_noise:
            places = np.arange(rewards.size).reshape(rewards.shape)
            noise = self.config.data.reward_noise * uniform_at(places, self.config.seed)
            rewards += np.where(games.is_played, noise, 0.0).astype(np.float32)
        self.examples = TokenGames(
            games.guesses,
            games.patterns,
            rewards,
            games.num_turns,
            self.trie if mask_illegal_in_max else None,
        )
        self.data_return, self.data_success_rate = float(games.returns().mean()), float(games.won.mean())

    def warnings(self) -> list[str]:
        """Say which share of the games' returns the support does not cover, if any."""
        loss = self.model.value_loss
        if loss.num_outputs == 1 or self.objective.target == "behavior_cloning":
            return []  # a range means nothing there
        returns = self.examples.discounted_returns(self.config.q_learning.discount)
        outside = float(((returns < loss.value_min) | (returns > loss.value_max)).mean())
        if not outside:
            return []
        return [
            f"{outside:.1%} of the returns lie outside [value_min, value_max] = [{loss.value_min:g}, "
            f"{loss.value_max:g}]; they reach from {returns.min():.2f} to {returns.max():.2f}"
        ]

    def describe_data(self) -> str:
        return (
            f"{len(self.examples):,} games of {len(self.game.words.answers):,} words, {self.game.rule} rule, "
            f"mean return {self.data_return:.3f}, success {self.data_success_rate:.1%}"
        )

    def start(self, accelerator: Accelerator) -> dict[str, TargetNetwork]:
        """Make the target network where one is needed; return what checkpoints hold besides the model."""
        if not self.objective.needs_target_network:
            return {}
        learning = self.config.q_learning
        every = learning.target_every if learning.target_network == "periodic" else None
        self.target_network = TargetNetwork(self.model, learning.target_tau, every)
        self.target_network.model.to(accelerator.device)
        if self.config.training.compile:
            # A copy does not keep what was compiled.
            for block in self.target_network.model.model.blocks:
                block.compile()
        return {"target": self.target_network}

    def loss(
        self, wrapped: nn.Module, batch: dict[str, Tensor], with_metrics: bool
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return the mean loss of a micro-batch, the number of its actions, and means of metrics."""
        inputs = {"input_ids": batch["input_ids"], "logits_to_keep": batch["positions"]}

        losses = self.objective.loss(
            wrapped(**inputs),
            batch["actions"],
            batch["rewards"],
            lambda: self.target_network.model(**inputs),
            batch.get("legal"),
        )
        metrics = {
            "td": losses.temporal_difference,
            "cql": losses.conservative,
            "target": losses.target,
            "out_of_support": losses.fraction_out_of_support,
        }
        return losses.total, (batch["actions"] >= 0).sum(), metrics

    def after_step(self, step: int, weights: Weights) -> None:
        if self.target_network is not None:
            self.target_network.update(step, weights)

    def evaluate(self) -> dict:
        """Play games with secrets spread over the list, greedily among the allowed words."""
        words = self.game.words
        num_games = min(self.config.evaluation.games, len(words.answers))
        secrets = np.linspace(0, len(words.answers) - 1, num_games).round().astype(np.int64)
        was_training = self.model.training
        self.model.eval()
        # With a cache that grows by a token each time, code would be compiled again and again, until torch
        # gives compiling up, also for training.
        with torch.compiler.set_stance("force_eager"):
            player = ModelPlayer(self.model)
            games = play_games(player, words, self.game.rule, secrets, np.random.default_rng(0))
        self.model.train(was_training)
        return {
            "mean_return": float(games.returns().mean(dtype=np.float64)),
            "success_rate": float(games.won.mean()),
            "data_return": self.data_return,
            "data_success_rate": self.data_success_rate,
        }

    def save(self, folder: Path) -> None:
        """Write what belongs to the model besides its weights: the tokenizer and the game it plays."""
        make_wordle_tokenizer().save_pretrained(folder)
        (folder / "wordle.json").write_text(json.dumps(self.game.to_json()) + "\n")
