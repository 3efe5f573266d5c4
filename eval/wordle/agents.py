"""Who is measured at Wordle: a trained model or a scripted player, behind one small interface."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import torch
from transformers.utils import cached_file

from cli.errors import InputError, first_line
from data.wordle.games import GameBatch, GameDescription
from data.wordle.players import GAMES_PER_BATCH, Player, make_player, play_games
from data.wordle.rules import RULES, word_numbers
from data.wordle.word_trie import WordTrie
from data.wordle.words import WordLists, add_word_options, load_word_lists, read_words
from eval.loading import check_finite, identify_model, load_wordle_model
from eval.wordle.token_agent import NO_LETTER, NO_PATTERN, PlayedGames, TokenAgent
from models.modeling_value_transformer import ValueTransformerForTokenValue
from models.tokenization_wordle import GAME_LENGTH, TOKENS


class Agent(Protocol):
    """Plays one game of Wordle, with its rule and words; `games_at_once` is how many it takes at a time."""

    games_at_once: int

    def play(self, secrets: np.ndarray) -> PlayedGames:
        """Play a game for each of the secrets, places among the answers (n,)."""
        ...

    def guess(self, guesses: np.ndarray, patterns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the next guess of games with the same number of turns behind them, and which are allowed.

        `guesses` (n, turns, 5), letters, and `patterns` (n, turns) to letters (n, 5) uint8 and (n,) bool.
        """
        ...


class ModelAgent:
    """A model that plays by its token values; `settings` are those of a TokenAgent."""

    def __init__(self, model: ValueTransformerForTokenValue, game: GameDescription, **settings):
        self._rule = game.rule
        self._answer_letters = game.words.guess_letters[game.words.answer_indices]
        self.token_agent = TokenAgent(model, WordTrie(game.words.guess_letters), **settings)
        self.games_at_once = self.token_agent.batch_size

    def play(self, secrets: np.ndarray) -> PlayedGames:
        return self.token_agent.play(self._answer_letters[secrets], self._rule)

    def guess(self, guesses: np.ndarray, patterns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.token_agent.guess(guesses, patterns)


class ScriptedAgent:
    """A scripted player."""

    games_at_once = GAMES_PER_BATCH

    def __init__(self, player: Player, game: GameDescription, seed: int = 0):
        self._player, self._words, self._rule = player, game.words, game.rule
        self._rng = np.random.default_rng(seed)

    def play(self, secrets: np.ndarray) -> PlayedGames:
        games = play_games(self._player, self._words, self._rule, secrets, self._rng)
        is_played = games.is_played
        return PlayedGames(
            np.where(is_played[..., None], games.guesses, NO_LETTER),
            np.where(is_played, games.patterns, NO_PATTERN),
            games.num_turns.astype(np.int64),
            games.won,
        )

    def guess(self, guesses: np.ndarray, patterns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        batch = batch_after(self._words, self._rule, guesses, patterns)
        letters = self._words.guess_letters[self._player.choose(batch, self._rng)]
        return letters, np.ones(len(letters), dtype=bool)


def batch_after(words: WordLists, rule: str, guesses: np.ndarray, patterns: np.ndarray) -> GameBatch:
    """Return games as a player sees them after `guesses` (n, turns, 5), letters, and `patterns` (n, turns).

    The guesses are allowed words. Nothing is known of the secrets, which are -1.
    """
    num_games, num_turns = patterns.shape
    places = places_of(guesses, words)
    batch = GameBatch.start(words, rule, np.full(num_games, -1))
    for turn in range(num_turns):
        batch.guesses[:, turn], batch.patterns[:, turn] = places[:, turn], patterns[:, turn]
        batch.candidates = batch.candidates.after(batch.table, places[:, turn], patterns[:, turn])
    batch.turn = num_turns
    return batch


def places_of(letters: np.ndarray, words: WordLists) -> np.ndarray:
    """Return the places of words (..., 5), which must be there, among the allowed guesses: (...) int64."""
    numbers = word_numbers(words.guess_letters)
    order = np.argsort(numbers)
    return order[np.searchsorted(numbers, word_numbers(letters), sorter=order)]


@dataclass(frozen=True)
class Contestant:
    """A model or a player before it is settled what is played; `game` is what a model was trained for."""

    name: str
    plays: ValueTransformerForTokenValue | Player
    game: GameDescription | None = None

    @classmethod
    def from_policy(cls, spec: str) -> Self:
        return cls(spec, make_player(spec))

    @classmethod
    def from_model(cls, name: str, device: str, dtype: str) -> Self:
        """Raises InputError if there is no such model, or if it is not one that plays Wordle."""
        model = load_wordle_model(name, device, dtype)
        # Every token and every place.
        tokens = torch.arange(GAME_LENGTH, device=model.device) % len(TOKENS)
        with torch.no_grad():
            check_finite(model(tokens[None]).value.cpu().numpy())
        return cls(name, model, read_game(name))

    @property
    def is_model(self) -> bool:
        return not isinstance(self.plays, Player)

    def identify(self) -> str:
        """Return the name, of a model with what tells its weights from others."""
        return identify_model(self.name, ValueTransformerForTokenValue) if self.is_model else self.name

    def agent(self, game: GameDescription, seed: int, **settings) -> Agent:
        """Return the agent that plays a game; `settings` are for models, those of a TokenAgent."""
        if isinstance(self.plays, Player):
            return ScriptedAgent(self.plays, game, seed)
        return ModelAgent(self.plays, game, seed=seed, **settings)


def read_game(name: str) -> GameDescription | None:
    """Return the game that a model was trained for, which stands in its wordle.json; None without that file.

    `name` is a folder or an id on the hub. Raises InputError for a file that describes no game.
    """
    try:
        path = cached_file(name, "wordle.json")
    except OSError:
        return None
    try:
        with open(path, encoding="utf-8") as file:
            return GameDescription.from_json(json.load(file))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{name}: its wordle.json does not say which game it plays ({first_line(error)}): save it again"
        ) from None


def add_game_options(parser: argparse.ArgumentParser) -> None:
    """Add --words, --guesses and --rule, for `game_to_play`."""
    title = "the game; a model's own is played unless these are given"
    about = "--words alone leaves a model its allowed guesses, if the words are among them"
    add_word_options(parser.add_argument_group(title, about))
    parser.set_defaults(rule=None)


def game_to_play(
    contestants: Sequence[Contestant], words: str | None, guesses: str | None, rule: str | None
) -> GameDescription:
    """Return the game that the options give, what they leave out being the models' own.

    Raises InputError if that is not known, or not the same for all models.
    """
    models = [contestant for contestant in contestants if contestant.is_model]
    games = []
    for model in models:
        if model.game is None and not (words and rule):
            raise InputError(
                f"{model.name} does not say which game it plays (no wordle.json): give --words and --rule"
            )
        games.append(_with_options(model.game, words, guesses, rule))
        if not _are_same(games[0], games[-1]):
            raise InputError(
                f"{models[0].name} and {model.name} were trained for different games: say which one to play "
                "with --words, --guesses and --rule"
            )
    return games[0] if games else _with_options(None, words, guesses, rule)


def _with_options(
    game: GameDescription | None, words: str | None, guesses: str | None, rule: str | None
) -> GameDescription:
    if game is None:
        return GameDescription(load_word_lists(words, guesses), rule or RULES[0])
    if words:
        lists = load_word_lists(words, guesses)
        if not guesses and set(lists.answers) <= set(game.words.guesses):
            lists = WordLists(lists.answers, game.words.guesses)
    elif guesses:
        lists = WordLists(game.words.answers, tuple(read_words(guesses)))
    else:
        lists = game.words
    return GameDescription(lists, rule or game.rule, game.policy)


def _are_same(first: GameDescription, second: GameDescription) -> bool:
    """Tell whether two games are the same but for the order of their words."""
    return (
        first.rule == second.rule
        and set(first.words.answers) == set(second.words.answers)
        and set(first.words.guesses) == set(second.words.guesses)
    )
