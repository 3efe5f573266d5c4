"""Measurements of Wordle studies: games with every secret, next guesses and imitation in held-out games."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from cli.errors import InputError
from cli.files import digest
from configs.schema import Config
from data.hub import local_files
from data.parquet import list_files
from data.wordle.game_rows import Games
from data.wordle.games import GameDescription
from data.wordle.generate import read_policy
from data.wordle.players import make_player
from data.wordle.token_games import TokenGames
from eval.wordle.model_player import ModelPlayer, read_game
from eval.wordle.protocols import held_out_games, one_turn, roll_out
from models.q_learning import conservative_loss
from models.tokenization_wordle import ACTIONS_PER_TURN
from studies.measurements import Level, Measure, Measurement, choose_measurements
from studies.probed_wordle import ProbedWordle
from training.tasks.wordle import read_training_games


SUCCESS = Measure("success_rate", "success", ".1%")
RETURN = Measure("mean_return", "return", ".3f")
ONE_TURN = Measure("one_turn_success_rate", "one turn", ".1%")
IMITATION = (
    Measure("imitation_loss_won", "imitation of won games", ".3f", higher_is_better=False),
    Measure("imitation_loss_lost", "imitation of lost games", ".3f", higher_is_better=False),
)
NUM_HELD_OUT_GAMES = 2000
HELD_OUT_SEED = 0
GAMES_AT_ONCE = 512


class StudiedWordle:
    """Wordle, with the words, the rule and the players of the training games."""

    example_unit, value_unit = "games", "actions"

    def __init__(self, config: Config, device: torch.device, games: Path | None = None):
        self.device, self.source = device, games
        self.temperature = config.q_learning.cql_temperature
        self.data_games, self.game = read_training_games(config.data)

    def measurements(self, names: Sequence[str] | None) -> list[Measurement]:
        """Return the measurements with these names, or the default ones."""
        known = {
            "every_secret": self._every_secret,
            "next_guess": self._next_guess,
            "imitation": self._imitation,
        }
        return choose_measurements(known, names or ["every_secret", "next_guess"])

    def seen(self, config: Config) -> tuple[float, float]:
        """Return the numbers of games and of actions (letters and ends of guesses), by the mean of a game."""
        num_games = config.training.steps * config.training.batch_size
        mean_turns = float(self.data_games.num_turns.mean(dtype=np.float64))
        return num_games, num_games * ACTIONS_PER_TURN * mean_turns

    def probed(self, limit: int) -> ProbedWordle:
        """Return the states of at most `limit` new games by the players of the training data."""
        check_policy(self.game.policy)
        games, behavior = held_out_games(self.game, limit, HELD_OUT_SEED, self.game.policy)
        return ProbedWordle(self.game, games, f"held-out games by {behavior}", self.device)

    def _every_secret(self) -> Measurement:
        """Measure the protocol `official` of eval.wordle."""
        num_secrets = len(self.game.words.answers)

        def measure(model: Path) -> dict[str, float | None]:
            secrets, rng = np.arange(num_secrets), np.random.default_rng(0)
            played, _ = roll_out(self._player(model), self.game, secrets, rng, model.parent.name)
            mean_return = float(played.returns().mean(dtype=np.float64))
            return {SUCCESS.key: float(played.won.mean()), RETURN.key: mean_return}

        levels = (
            Level(SUCCESS.key, "the data", float(self.data_games.won.mean())),
            Level(RETURN.key, "the data", float(self.data_games.returns().mean(dtype=np.float64))),
        )
        description = f"a game with each of {num_secrets:,} secret words, {self.game.rule} rule"
        return Measurement(
            "every_secret", description, identify(self.game), (SUCCESS, RETURN), measure, levels
        )

    def _next_guess(self) -> Measurement:
        """Measure the protocol `one_turn` of eval.wordle."""
        game = self.game
        games, behavior, data = self._held_out()

        def measure(model: Path) -> dict[str, float | None]:
            rates = one_turn(self._player(model), game, games, behavior, np.random.default_rng(0))
            return {ONE_TURN.key: rates["success_rate"]}

        # The rates of the data and the ceiling do not depend on the player.
        rates = one_turn(make_player("uniform"), game, games, behavior, np.random.default_rng(0))
        levels = (
            Level(ONE_TURN.key, "the data", rates["behavior_rate"]),
            Level(ONE_TURN.key, "Bayes ceiling", rates["bayes_ceiling"]),
        )
        description = f"the next guess (one turn) in {len(games):,} held-out games by {behavior}"
        return Measurement("next_guess", description, data, (ONE_TURN,), measure, levels)

    def _imitation(self) -> Measurement:
        """Measure CQL's term, which is the loss of behaviour cloning, for the actions of held-out games."""
        games, behavior, data = self._held_out()
        examples = TokenGames(games.guesses, games.patterns, games.rewards(), games.num_turns)
        rows = np.arange(len(games))
        num_actions = examples.num_values(rows)

        def measure(model: Path) -> dict[str, float | None]:
            network = self._player(model).model
            losses = np.zeros(len(games))  # summed over the actions of each game
            for start in range(0, len(games), GAMES_AT_ONCE):
                part = rows[start : start + GAMES_AT_ONCE]
                batch = {k: torch.as_tensor(v, device=self.device) for k, v in examples.batch(part).items()}
                actions = batch["actions"]
                with torch.inference_mode():
                    values = network(batch["input_ids"], logits_to_keep=batch["positions"]).value
                    loss = conservative_loss(values, actions.clamp(min=0), self.temperature)
                losses[part] = loss.masked_fill(actions < 0, 0).sum(dim=1).cpu().numpy()
            return {
                result.key: float(losses[kind].sum() / num_actions[kind].sum()) if kind.any() else None
                for result, kind in zip(IMITATION, (games.won, ~games.won), strict=True)
            }

        description = f"the actions of {len(games):,} held-out games by {behavior}, nats per action"
        return Measurement("imitation", description, f"{data} T={self.temperature}", IMITATION, measure)

    def _held_out(self) -> tuple[Games, str, str]:
        """Return held-out games, their policy, and a text that identifies them."""
        if self.source is None:
            check_policy(self.game.policy)
        games, behavior = held_out_games(
            self.game, NUM_HELD_OUT_GAMES, HELD_OUT_SEED, self.game.policy, self.source
        )
        files = list_files(local_files(self.source, "validation")) if self.source else None
        return games, behavior, f"{identify(self.game)} {digest(files) if files else behavior}"

    def _player(self, model: Path) -> ModelPlayer:
        """Return a greedy player of a model; raise InputError if it was trained on other games."""
        trained_on = read_game(model)
        if trained_on is None or identify(trained_on) != identify(self.game):
            raise InputError(
                f"{model.parent} was trained on other games than data.train: delete it, "
                "or choose another --output"
            )
        return ModelPlayer.load(str(model), self.device, "float32", games_at_once=GAMES_AT_ONCE)


def identify(game: GameDescription) -> str:
    """Return a text that differs between games of different words, rules, players or seeds."""
    return f"{game.words.digest} {game.rule} {game.policy!r} {game.seed}"


def check_policy(policy: str) -> None:
    """Raise InputError if the policy of the training games is not one that can play again."""
    try:
        read_policy(policy)
    except InputError:
        raise InputError(
            f"data.train was played by {policy or 'an unnamed policy'!r}, which is not a policy of "
            "data.wordle.generate: give held-out games with --games"
        ) from None
