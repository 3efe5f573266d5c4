"""What probes look for in a Wordle model before each guess: what it returns, words left, letters known."""

import numpy as np
import torch

from cli.errors import InputError
from configs.schema import Config
from data.wordle.game_batch import GameBatch
from data.wordle.games import GameDescription
from data.wordle.rules import PATTERN_DIGITS
from data.wordle.token_games import action_positions, game_tokens
from eval.loading import load_wordle_model
from eval.wordle.protocols import held_out_games
from models.tokenization_wordle import ACTIONS_PER_TURN, LETTERS
from studies.linear_probes import ProbeData, recorded_layers
from studies.measurements import Measure
from studies.wordle import HELD_OUT_SEED, check_policy
from training.tasks.wordle import read_training_games


GAMES_AT_ONCE = 256


class ProbedWordle:
    """States of games that the players of a run's data play anew.

    Returns are those of these players, without a discount: not what Q-learning predicts, the return of the
    best play to come, but what all targets and losses can be compared by.
    """

    measures = (
        Measure("value", "return of the rest of the game, R² ↑", ".3f"),
        Measure("words_left", "log of the words left, R² ↑", ".3f"),
        Measure("present", "letters known present, area under the ROC ↑", ".3f"),
        Measure("absent", "letters known absent, area under the ROC ↑", ".3f"),
    )

    def __init__(self, config: Config, limit: int, device: torch.device):
        _, game = read_training_games(config.data)
        check_policy(game.policy)
        games, behavior = held_out_games(game, limit, HELD_OUT_SEED, game.policy)
        if games.num_turns.max() < 2:
            raise InputError("no held-out game has a second guess: give more --examples")
        self.device = device
        self.description = f"the states of {len(games):,} held-out games by {behavior}"
        # By their number of turns, so that no game of a batch is padded.
        self.by_turns = [
            (turns, np.flatnonzero(games.num_turns == turns)) for turns in range(2, 1 + games.num_turns.max())
        ]
        self.guesses, self.patterns, self.rewards = games.guesses, games.patterns, games.rewards()
        facts = [self._facts(game, turns, rows) for turns, rows in self.by_turns]
        self.targets = {name: np.concatenate([fact[name] for fact in facts]) for name in facts[0]}
        self.is_first = np.concatenate(
            [np.repeat(rows < len(games) // 2, turns - 1) for turns, rows in self.by_turns]
        )
        self.targets_of = {
            "value": ("value",),
            "words_left": ("words_left",),
            "present": tuple(name for name in self.targets if name.startswith("present ")),
            "absent": tuple(name for name in self.targets if name.startswith("absent ")),
        }

    def _facts(self, game: GameDescription, turns: int, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return what is known before every guess but the first, arrays (games · (turns − 1),)."""
        guesses, digits = self.guesses[rows, :turns], PATTERN_DIGITS[self.patterns[rows, :turns]]
        letters = guesses[..., None] == np.arange(len(LETTERS))  # (games, turns, 5, 26)
        present = (letters & (digits[..., None] > 0)).any(axis=2)
        grey = letters.any(axis=2) & ~present
        known_present = np.maximum.accumulate(present, axis=1)[:, :-1]
        known_absent = np.maximum.accumulate(grey, axis=1)[:, :-1] & ~known_present
        left = []
        for number in range(1, turns):
            state = GameBatch.after(game.words, game.rule, guesses[:, :number], self.patterns[rows, :number])
            left.append(state.candidates.counts)
        so_far = self.rewards[rows, :turns].cumsum(axis=1)
        returns = so_far[:, -1:] - so_far[:, :-1]
        facts = {"value": returns.reshape(-1), "words_left": np.log(np.stack(left, axis=1)).reshape(-1)}
        for place, letter in enumerate(LETTERS):
            facts[f"present {letter}"] = known_present[..., place].reshape(-1)
            facts[f"absent {letter}"] = known_absent[..., place].reshape(-1)
        return facts

    def features(self, model_folder: str) -> ProbeData:
        """Run a model on all games."""
        model, parts = load_wordle_model(model_folder, self.device), []
        for turns, rows in self.by_turns:
            for start in range(0, len(rows), GAMES_AT_ONCE):
                some = rows[start : start + GAMES_AT_ONCE]
                tokens = game_tokens(self.guesses[some, :turns], self.patterns[some, :turns])
                with torch.no_grad(), recorded_layers(model.model) as layers:
                    model(torch.as_tensor(tokens, device=self.device))
                # Where the first letter of a guess is chosen.
                before = torch.as_tensor(action_positions(turns)[ACTIONS_PER_TURN::ACTIONS_PER_TURN])
                of_states = torch.stack([layer[:, before.to(layer.device)] for layer in layers])
                parts.append(of_states.flatten(1, 2).float().cpu().numpy())
        binary = frozenset(self.targets) - {"value", "words_left"}
        return ProbeData(np.concatenate(parts, axis=1), self.targets, binary, self.is_first)
