"""What a study of Wordle measures: greedy games with every secret, and the next guess in held-out games."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from cli.errors import InputError
from cli.files import digest
from configs.schema import Config
from data.wordle.games import GameDescription
from data.wordle.generate import read_policy
from data.wordle.players import make_player
from eval.wordle.model_player import ModelPlayer, read_game
from eval.wordle.protocols import held_out_games, one_turn, roll_out
from models.tokenization_wordle import ACTIONS_PER_TURN
from studies.measurements import Level, Measure, Seen, make_measurements
from training.tasks.wordle import read_training_games


SUCCESS = Measure("success_rate", "success ↑", ".1%")
RETURN = Measure("mean_return", "return ↑", ".3f")
ONE_TURN = Measure("one_turn_success_rate", "one turn ↑", ".1%")
NUM_HELD_OUT_GAMES = 2000
HELD_OUT_SEED = 0
GAMES_AT_ONCE = 512


class EverySecret:
    """What the protocol official of eval.wordle measures; `success_rate` and `mean_return` are the data's."""

    name = "every_secret"
    measures = (SUCCESS, RETURN)

    def __init__(self, game: GameDescription, success_rate: float, mean_return: float, device: torch.device):
        self.game, self.device = game, device
        self.data = repr(describe(game))
        self.description = f"a game with each of {len(game.words.answers):,} secret words, {game.rule} rule"
        self.levels = (
            Level(SUCCESS.key, "the data", success_rate),
            Level(RETURN.key, "the data", mean_return),
        )

    def measure(self, model: Path) -> dict[str, float | None]:
        player = load_player(model, self.game, self.device)
        secrets = np.arange(len(self.game.words.answers))
        games, _ = roll_out(player, self.game, secrets, np.random.default_rng(0), model.parent.name)
        return {SUCCESS.key: float(games.won.mean()), RETURN.key: float(games.returns().mean(dtype=float))}


class NextGuess:
    """What the protocol one_turn of eval.wordle measures, in games of `source` or by the data's players.

    Raises InputError if nobody knows how these play, or if the games of `source` are others.
    """

    name = "next_guess"
    measures = (ONE_TURN,)

    def __init__(self, game: GameDescription, source: Path | None, device: torch.device):
        if source is None:
            check_policy(game.policy)
        self.game, self.device = game, device
        self.games, self.behavior = held_out_games(
            game, NUM_HELD_OUT_GAMES, HELD_OUT_SEED, game.policy, source
        )
        self.data = f"{describe(game)} {digest([source]) if source else self.behavior}"
        self.description = (
            f"the next guess (one turn) in {len(self.games):,} held-out games by {self.behavior}"
        )
        # Whoever guesses, these are the same.
        turn = one_turn(make_player("uniform"), game, self.games, self.behavior, np.random.default_rng(0))
        self.levels = (
            Level(ONE_TURN.key, "the data", turn["behavior_rate"]),
            Level(ONE_TURN.key, "Bayes ceiling", turn["bayes_ceiling"]),
        )

    def measure(self, model: Path) -> dict[str, float | None]:
        player, rng = load_player(model, self.game, self.device), np.random.default_rng(0)
        return {ONE_TURN.key: one_turn(player, self.game, self.games, self.behavior, rng)["success_rate"]}


class StudiedWordle:
    """Wordle, measured on the words of the games that `config` trains on, which all variants share.

    `names` are the measurements wanted, all unless given; `games` is a file of held-out games. Raises
    InputError for others, and for games that cannot be read.
    """

    example_unit, value_unit = "games", "actions"
    curves = (
        RETURN._replace(title="mean return ↑"),
        SUCCESS._replace(title="games solved ↑"),
    )

    def __init__(self, config: Config, names: Sequence[str] | None, games: Path | None, device: torch.device):
        data_games, game = read_training_games(config.data)
        self.game = game
        success_rate = float(data_games.won.mean())
        mean_return = float(data_games.returns().mean(dtype=np.float64))
        self._actions_per_game = ACTIONS_PER_TURN * float(data_games.num_turns.mean(dtype=np.float64))
        known = {
            EverySecret.name: lambda: EverySecret(game, success_rate, mean_return, device),
            NextGuess.name: lambda: NextGuess(game, games, device),
        }
        self.measurements = make_measurements(known, names or known)

    def check_model(self, model: Path) -> None:
        """Raise InputError for a model that was trained on other games, by their description."""
        check_game(model, self.game)

    def seen(self, config: Config) -> Seen:
        """Return the games, and the actions, letters and ends of guesses, by their mean number in a game."""
        num_games = config.training.steps * config.training.batch_size
        return Seen(num_games, num_games * self._actions_per_game)


def load_player(model: Path, game: GameDescription, device: torch.device) -> ModelPlayer:
    """Return the player, greedy among the allowed words; raise InputError as `check_game` does."""
    check_game(model, game)
    return ModelPlayer.load(str(model), device, "float32", games_at_once=GAMES_AT_ONCE)


def check_game(model: Path, game: GameDescription) -> None:
    """Raise InputError for a model that was trained on other games, by their description."""
    run = model.parent
    remedy = f"choose another --output, or remove {run}"
    trained_on = read_game(str(model))
    if trained_on is None:
        raise InputError(f"{run} does not say what it was trained on (no model/wordle.json): {remedy}")
    before, now = describe(trained_on), describe(game)
    changed = [f"{key}: {before[key]}, now {now[key]}" for key in now if before[key] != now[key]]
    if changed:
        raise InputError(
            f"{run} was trained on other games than data.train holds: {'; '.join(changed)}: {remedy}"
        )


def describe(game: GameDescription) -> dict[str, str]:
    """Return what tells games from others."""
    words = game.words
    return {
        "words": f"{len(words.answers)} secret and {len(words.guesses)} allowed ({words.digest})",
        "rule": game.rule,
        "policy": repr(game.policy),
        "seed": str(game.seed),
    }


def check_policy(policy: str) -> None:
    """Raise InputError if it is not known how the players of the data play."""
    try:
        read_policy(policy)
    except InputError:
        who = f"by {policy!r}, which no player plays" if policy else "by players it does not name"
        raise InputError(f"the data was played {who}: give held-out games with --games") from None
