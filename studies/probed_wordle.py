"""Probes of Wordle models before each guess: the return, the number of words left, and letters known."""

from pathlib import Path

import numpy as np
import torch

from cli.errors import InputError
from data.wordle.game_batch import GameBatch
from data.wordle.game_rows import Games
from data.wordle.games import GameDescription
from data.wordle.rules import PATTERN_DIGITS
from data.wordle.token_games import action_positions, game_tokens
from eval.loading import WORDLE, load_model
from models.tokenization_wordle import ACTIONS_PER_TURN, LETTERS
from studies.linear_probes import Targets, recorded_layers
from studies.measurements import Measure


GAMES_AT_ONCE = 256


class ProbedWordle:
    """The states of finished games before every guess but the first.

    Returns are those of the players of the games, undiscounted. Q-learning predicts other returns, those of
    the best continuation, but these are the same for all targets and losses.
    """

    measures = (
        Measure("value", "return of the rest of the game, R²", ".3f"),
        Measure("words_left", "log of the words left, R²", ".3f"),
        Measure("present", "letters known present, area under the ROC", ".3f"),
        Measure("absent", "letters known absent, area under the ROC", ".3f"),
    )

    def __init__(self, game: GameDescription, games: Games, source: str, device: torch.device):
        if games.num_turns.max() < 2:
            raise InputError("no held-out game has a second guess: increase --examples")
        self.game, self.games, self.device = game, games, device
        self.description = f"the states of {len(games):,} {source}"
        # Grouped by the number of turns, so that no game of a batch is padded.
        self.by_turns = [
            (turns, np.flatnonzero(games.num_turns == turns)) for turns in range(2, 1 + games.num_turns.max())
        ]
        facts = [self._facts(turns, rows) for turns, rows in self.by_turns]
        values = {name: np.concatenate([fact[name] for fact in facts]) for name in facts[0]}
        is_first = [np.repeat(rows < len(games) // 2, turns - 1) for turns, rows in self.by_turns]
        of_letters = {
            kind: [name for name in values if name.startswith(kind)] for kind in ("present", "absent")
        }
        self.targets = Targets(
            values,
            frozenset(values) - {"value", "words_left"},
            np.concatenate(is_first),
            {"value": ["value"], "words_left": ["words_left"], **of_letters},
        )

    def _facts(self, turns: int, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the known facts before every guess but the first of games, arrays (games · (turns − 1),)."""
        guesses, patterns = self.games.guesses[rows, :turns], self.games.patterns[rows, :turns]
        digits = PATTERN_DIGITS[patterns]
        letters = guesses[..., None] == np.arange(len(LETTERS))  # (games, turns, 5, 26)
        present = (letters & (digits[..., None] > 0)).any(axis=2)
        absent = letters.any(axis=2) & ~present
        known_present = np.maximum.accumulate(present, axis=1)[:, :-1]
        known_absent = np.maximum.accumulate(absent, axis=1)[:, :-1]
        words_left = [
            GameBatch.after(
                self.game.words, self.game.rule, guesses[:, :n], patterns[:, :n]
            ).candidates.counts
            for n in range(1, turns)
        ]
        so_far = self.games.rewards()[rows, :turns].cumsum(axis=1)
        facts = {
            "value": (so_far[:, -1:] - so_far[:, :-1]).reshape(-1),
            "words_left": np.log(np.stack(words_left, axis=1)).reshape(-1),
        }
        for index, letter in enumerate(LETTERS):
            facts[f"present {letter}"] = known_present[..., index].reshape(-1)
            facts[f"absent {letter}"] = known_absent[..., index].reshape(-1)
        return facts

    def features(self, model: Path) -> np.ndarray:
        """Return the features where the first letter of each guess is chosen, float32 (layers, n, width)."""
        loaded, _ = load_model(model, self.device, kind=WORDLE)
        parts = []
        for turns, rows in self.by_turns:
            for start in range(0, len(rows), GAMES_AT_ONCE):
                some = rows[start : start + GAMES_AT_ONCE]
                tokens = game_tokens(self.games.guesses[some, :turns], self.games.patterns[some, :turns])
                with torch.no_grad(), recorded_layers(loaded.model) as layers:
                    loaded(torch.as_tensor(tokens, device=self.device))
                before = torch.as_tensor(action_positions(turns)[ACTIONS_PER_TURN::ACTIONS_PER_TURN])
                of_states = torch.stack([layer[:, before.to(layer.device)] for layer in layers])
                parts.append(of_states.flatten(1, 2).float().cpu().numpy())
        return np.concatenate(parts, axis=1)
