"""Wordle as a language agent: offline Q-learning over tokens, on games of suboptimal players.

Sources: Farebrother et al., "Stop Regressing" (arXiv 2403.03950), section 4.3; Snell et al., ILQL (arXiv
2206.11871) for the game as text. models/q_learning.py has the equations.
"""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from configs.wordle import WordleConfig, WordleDataConfig
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
from models.q_learning import QLearning
from models.tokenization_wordle import GAME_LENGTH, TOKENS, TOKENS_PER_TURN, make_wordle_tokenizer
from training.card_facts import CardFacts, Metric, Result, results_of
from training.q_learning_task import QLearningTask
from training.transformer_config import transformer_config


LEARNING = {
    "q_learning": "by Q-learning",
    "sarsa": "by SARSA",
    "monte_carlo": "by regression on their returns",
    "behavior_cloning": "by imitation",
}
GAME_METRICS = (
    Metric("success_rate", "games solved", ".1%", "data_success_rate", "training games"),
    Metric("mean_return", "mean return", ".3f", "data_return", "training games"),
    Metric("mean_guesses", "mean guesses of solved games", ".2f"),
)
NEXT_GUESS_METRICS = (Metric("success_rate", "next guess right", ".1%", "bayes_ceiling", "ceiling"),)
# Python and Markdown of the model card; {name} and {load} are filled in.
EXAMPLE = """\
from transformers import AutoModel, AutoTokenizer

model = AutoModel.from_pretrained({load})
tokenizer = AutoTokenizer.from_pretrained({load})
inputs = tokenizer("<a>slate</a><b><b><g><y><b></s><a>", return_tensors="pt")
values = model(**inputs).value[0, -1].tolist()
print(dict(zip(tokenizer.convert_ids_to_tokens(range(35)), values)))"""
EXAMPLE_NOTES = """\
These are the values of every token as the next one, here the first letter of the second guess{distributions}.
A game is `<a>`, five letters, `</a>`, five colours `<g>` `<y>` `<b>`, `</s>`, and so on; `wordle.json` holds
the word lists and the rule of the training games."""
COMMANDS = (
    "python -m eval.wordle --model {name} --play    # watch it, or play with its advice",
    "python -m eval.wordle --model {name} --protocol official",
)


def read_training_games(data: WordleDataConfig) -> tuple[Games, GameDescription]:
    """Return the training games, and which game it is; raise InputError for invalid games.

    A name on the hub gets its commit, so that the saved configuration identifies the games.
    """
    words = load_word_lists(data.words, data.guesses) if data.words else None
    data.train = pin(data.train)
    return read_games(local_files(data.train, "train"), rule=data.rule, words=words)


class WordleTask(QLearningTask):
    """Offline Q-learning over tokens; see training/task.py for the methods."""

    config: WordleConfig
    examples: TokenGames
    can_evaluate = True
    objective: QLearning
    unit = "actions"
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

    def __init__(self, config: WordleConfig):
        self.config, learning = config, config.q_learning
        self.model = ValueTransformerForTokenValue(
            transformer_config(
                config.model,
                config.value_loss,
                attention="causal",
                action_embedding="table",
                vocab_size=len(TOKENS),
                max_position_embeddings=GAME_LENGTH,
                position_period=TOKENS_PER_TURN,
            )
        )
        self.set_objective(self.model.value_loss, learning)

    def load_data(self) -> None:
        """Read and check the games."""
        games, self.game = read_training_games(self.config.data)
        self.trie = WordTrie(self.game.words.guess_letters)
        mask_illegal_in_max = self.config.q_learning.mask_illegal_in_max
        rewards = games.rewards()
        if self.config.data.reward_noise:
            indices = np.arange(rewards.size).reshape(rewards.shape)
            noise = self.config.data.reward_noise * uniform_at(indices, self.config.seed)
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
        """Warn if returns of the games are outside the support."""
        return self.outside_support(self.examples.discounted_returns(self.config.q_learning.discount))

    def describe_model(self) -> str:
        return "causal attention"

    def describe_data(self) -> str:
        return (
            f"{len(self.examples):,} games of {len(self.game.words.answers):,} words, {self.game.rule} rule, "
            f"mean return {self.data_return:.3f}, success {self.data_success_rate:.1%}"
        )

    def loss(
        self, wrapped: nn.Module, batch: dict[str, Tensor], with_metrics: bool
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return the mean loss of a micro-batch, the number of its actions, and means of metrics."""
        inputs = {"input_ids": batch["input_ids"], "logits_to_keep": batch["positions"]}
        target = self.target_network
        losses = self.objective.loss(
            wrapped(**inputs),
            batch["actions"],
            batch["rewards"],
            None if target is None else lambda: target.model(**inputs),
            batch.get("legal"),
        )
        return losses.total, (batch["actions"] >= 0).sum(), self.metrics_of(losses)

    def evaluate(self) -> dict:
        """Play games with secrets spread over the list, greedily among the allowed words."""
        words = self.game.words
        num_games = min(self.config.evaluation.games, len(words.answers))
        secrets = np.linspace(0, len(words.answers) - 1, num_games).round().astype(np.int64)
        was_training = self.model.training
        self.model.eval()
        # With a cache that grows by one token at a time, torch would recompile until it gives up, also for
        # training.
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
        """Write the tokenizer, and the game that the model plays."""
        make_wordle_tokenizer().save_pretrained(folder)
        (folder / "wordle.json").write_text(json.dumps(self.game.to_json()) + "\n")

    @staticmethod
    def card_facts(config: WordleConfig, model_folder: Path, name: str, load: str) -> CardFacts:
        has_bins = config.value_loss.has_bins
        learning = LEARNING[config.q_learning.target]
        if config.q_learning.cql_alpha and config.q_learning.target != "behavior_cloning":
            learning += " with CQL"
        game = _read_game(model_folder)
        num_answers = len(game.words.answers)
        players = f", played by `{game.policy}`" if game.policy else ""
        return CardFacts(
            task="Wordle",
            description="A language agent for Wordle. After every token of a game it predicts, for each "
            f"possible next token, {'a *distribution* over returns' if has_bins else 'the return'}.",
            training=f"offline, on games of other players, {learning}",
            papers=(),
            network="causal attention",
            example=EXAMPLE.format(load=load),
            example_notes=EXAMPLE_NOTES.format(
                distributions="; `.logits` holds their distributions" if has_bins else ""
            ),
            commands=tuple(command.format(name=name) for command in COMMANDS),
            results_notes="A return is minus the number of wrong guesses.",
            batch_unit="games",
            data=f"The games have {num_answers:,} secret words and the {game.rule} rule{players}.",
            limits=(
                "The model knows the words and the rule of its training games, and no others.",
                "Its values come from games of other players, and are unreliable for guesses unlike theirs.",
            ),
        )

    @staticmethod
    def results_of_run(row: dict, config: WordleConfig, model_folder: Path) -> list[Result]:
        game = _read_game(model_folder)
        num_answers = len(game.words.answers)
        amount = f"{min(config.evaluation.games, num_answers):,} games"
        data = _describe_words(num_answers, game.rule)
        return results_of(row, GAME_METRICS, amount=amount, data=data, measured=f"{amount}, {data}")

    @staticmethod
    def results_of_evaluation(found: dict) -> list[Result]:
        """Return the results in a --json file of eval.wordle, of one protocol or of all."""
        protocols = [found] if "protocol" in found else [v for v in found.values() if isinstance(v, dict)]
        results = []
        for protocol in protocols:
            is_one_turn = protocol["protocol"] == "one_turn"
            metrics = NEXT_GUESS_METRICS if is_one_turn else GAME_METRICS
            amount = f"{protocol['num_games']:,} games of {protocol['protocol']}"
            if is_one_turn:
                amount = f"{protocol['num_states']:,} states of games of {protocol['behavior']}"
            data = _describe_words(found["num_answers"], found["rule"])
            numbers = protocol | {"standard_errors": {"mean_return": protocol.get("return_standard_error")}}
            results += results_of(numbers, metrics, amount=amount, data=data, measured=f"{amount}, {data}")
        return results


def _read_game(model_folder: Path) -> GameDescription:
    return GameDescription.from_json(json.loads((model_folder / "wordle.json").read_bytes()))


def _describe_words(num_answers: int, rule: str) -> str:
    return f"{num_answers:,} secrets, {rule} rule"
