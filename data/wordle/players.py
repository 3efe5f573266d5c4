"""Scripted players of Wordle, each acting on thousands of games at once.

They are the ones that ILQL (arXiv 2206.11871) and LMRL-Gym (arXiv 2311.18232) made their offline data with,
and one that plays the best strategy found. Consistent is a word that agrees with all feedback so far.

    player = make_player("mixture:0.33")
    games = play_games(player, words, "simplified", secrets, np.random.default_rng(0))
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np

from cli.errors import InputError
from data.wordle.game_rows import Games
from data.wordle.games import GameBatch
from data.wordle.optimum import find_strategy
from data.wordle.rules import ALL_GREEN, NUM_PATTERNS, NUM_TURNS
from data.wordle.words import WordLists


LMRL_BEHAVIOR = "mixture:0.33"  # who played LMRL-Gym's data
PLAYERS = {
    "uniform": "any allowed guess",
    "consistent": "any secret word that is consistent",
    "mixture:P": f"consistent with probability P, else uniform; LMRL-Gym's data is of {LMRL_BEHAVIOR}",
    "greedy": "the consistent word whose feedback has the highest entropy",
    "wrong": "any allowed guess that is known not to be the secret",
    "repeat": "a word guessed before in the game, the first of them any",
    "opener:PLAYER": "any allowed guess first, then like PLAYER",
    "optimal": "the best strategy found by search; the search takes a while once per word list",
}
GAMES_PER_BATCH = 4096
TIE = 1e-9  # differences of entropy that are rounding


class Player(ABC):
    """Who chooses the guesses, many games at a time."""

    name: str

    @abstractmethod
    def choose(self, batch: GameBatch, rng: np.random.Generator) -> np.ndarray:
        """Return the next guess of every game, as places among the allowed guesses: (n,) int64."""


class UniformPlayer(Player):
    name = "uniform"

    def choose(self, batch: GameBatch, rng: np.random.Generator) -> np.ndarray:
        return rng.integers(len(batch.words.guesses), size=len(batch))


class ConsistentPlayer(Player):
    name = "consistent"

    def choose(self, batch: GameBatch, rng: np.random.Generator) -> np.ndarray:
        return batch.words.answer_indices[batch.candidates.choose(rng)]


class MixturePlayer(Player):
    def __init__(self, probability: float):
        self.name = f"mixture:{probability:g}"
        self._probability = probability

    def choose(self, batch: GameBatch, rng: np.random.Generator) -> np.ndarray:
        is_consistent = rng.random(len(batch)) < self._probability
        choices = UniformPlayer().choose(batch, rng)
        choices[is_consistent] = ConsistentPlayer().choose(batch.select(is_consistent), rng)
        return choices


class WrongPlayer(Player):
    """While every allowed guess may be the secret, any of them."""

    name = "wrong"

    def choose(self, batch: GameBatch, rng: np.random.Generator) -> np.ndarray:
        words, candidates = batch.words, batch.candidates
        is_answer = np.zeros(len(words.guesses), dtype=bool)
        is_answer[words.answer_indices] = True
        others = np.flatnonzero(~is_answer)
        if candidates.rest is None:
            return rng.choice(others if len(others) else words.answer_indices, size=len(batch))
        # With the answers put first, the r-th guess that is no candidate comes after r others and after those
        # candidates that have at most r others before them.
        ranks = rng.integers(len(words.guesses) - candidates.counts)
        games, answers = candidates.games, candidates.answers
        others_before = answers - (np.arange(len(games)) - candidates.starts[games])
        candidates_before = np.bincount(games[others_before <= ranks[games]], minlength=len(batch))
        return np.concatenate([words.answer_indices, others])[ranks + candidates_before]


class RepeatPlayer(Player):
    name = "repeat"

    def choose(self, batch: GameBatch, rng: np.random.Generator) -> np.ndarray:
        if batch.turn == 0:
            return UniformPlayer().choose(batch, rng)
        return batch.guesses[np.arange(len(batch)), rng.integers(batch.turn, size=len(batch))]


class OpenerPlayer(Player):
    def __init__(self, player: Player):
        self.name = f"opener:{player.name}"
        self._player = player

    def choose(self, batch: GameBatch, rng: np.random.Generator) -> np.ndarray:
        return (UniformPlayer() if batch.turn == 0 else self._player).choose(batch, rng)


class GreedyPlayer(Player):
    """Among words of equal entropy any. It remembers the best ones of every situation that it met."""

    name = "greedy"

    def __init__(self) -> None:
        self._best: dict[tuple[str, str, bytes], np.ndarray] = {}

    def choose(self, batch: GameBatch, rng: np.random.Generator) -> np.ndarray:
        # Of two words, either tells them apart; of one there is no choice.
        choices = batch.candidates.choose(rng)
        for games, candidates in situations(batch, at_least=3):
            key = (batch.words.digest, batch.rule, candidates.tobytes())
            if key not in self._best:
                self._best[key] = most_informative(batch, candidates)
            choices[games] = rng.choice(self._best[key], size=len(games))
        return batch.words.answer_indices[choices]


class OptimalPlayer(Player):
    name = "optimal"

    def choose(self, batch: GameBatch, rng: np.random.Generator) -> np.ndarray:
        strategy = find_strategy(batch.words, batch.rule)
        choices = np.empty(len(batch), dtype=np.int64)
        for games, candidates in situations(batch, at_least=1):
            choices[games] = strategy.best_guess(candidates, NUM_TURNS - batch.turn)
        return choices


def situations(batch: GameBatch, at_least: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield each situation that games of a batch are in: those games, and the answers still consistent.

    Games with fewer than `at_least` such answers are left out.
    """
    candidates = batch.candidates
    histories = np.zeros(len(batch), dtype=np.int64)
    for turn in range(batch.turn):
        steps = histories * len(batch.words.guesses) + batch.guesses[:, turn]
        histories = np.unique(steps * NUM_PATTERNS + batch.patterns[:, turn], return_inverse=True)[1]
    games = np.flatnonzero(candidates.counts >= at_least)
    games = games[np.argsort(histories[games], kind="stable")]
    borders = np.flatnonzero(np.diff(histories[games])) + 1
    starts = candidates.starts
    for group in np.split(games, borders) if len(games) else []:
        start, count = starts[group[0]], candidates.counts[group[0]]
        if candidates.rest is None:
            yield group, np.arange(count)
        else:
            yield group, candidates.rest[start : start + count]


def most_informative(batch: GameBatch, candidates: np.ndarray) -> np.ndarray:
    """Return the candidates whose feedback, with any candidate as the secret, has the highest entropy."""
    size = len(candidates)
    guesses = batch.words.answer_indices[candidates]
    patterns = batch.table[guesses[:, None], candidates]  # (size, size)
    cells = np.arange(size)[:, None] * NUM_PATTERNS + patterns
    counts = np.bincount(cells.reshape(-1), minlength=size * NUM_PATTERNS).reshape(size, NUM_PATTERNS)
    numbers = np.arange(size + 1)
    # The entropy is log n − Σ c log c / n.
    remaining = (numbers * np.log(np.maximum(numbers, 1)))[counts].sum(axis=1)
    return candidates[remaining <= remaining.min() + TIE]


def make_player(spec: str) -> Player:
    """Return the player that a text such as `opener:mixture:0.33` names. Raises InputError for others."""
    name, _, argument = spec.partition(":")
    simple = (UniformPlayer, ConsistentPlayer, GreedyPlayer, WrongPlayer, RepeatPlayer, OptimalPlayer)
    for player in simple:
        if spec == player.name:
            return player()
    if name == "opener" and argument:
        return OpenerPlayer(make_player(argument))
    if name == "mixture":
        return MixturePlayer(_probability(spec, argument))
    raise InputError(f"there is no player {spec!r}: choose among {', '.join(PLAYERS)}")


def _probability(spec: str, text: str) -> float:
    try:
        probability = float(text)
    except ValueError:
        probability = -1.0
    if not 0 <= probability <= 1:
        raise InputError(f"{spec!r} needs a probability from 0 to 1, such as mixture:0.33")
    return probability


def play_games(
    player: Player, words: WordLists, rule: str, secrets: np.ndarray, rng: np.random.Generator
) -> Games:
    """Play one game for each secret, a place among the answers: (n,) int64."""
    parts = np.split(secrets, np.arange(GAMES_PER_BATCH, len(secrets), GAMES_PER_BATCH))
    return Games.concatenate([_play_batch(player, words, rule, part, rng) for part in parts])


def _play_batch(
    player: Player, words: WordLists, rule: str, secrets: np.ndarray, rng: np.random.Generator
) -> Games:
    num_games = len(secrets)
    guesses = np.zeros((num_games, NUM_TURNS), dtype=np.int64)
    patterns = np.zeros((num_games, NUM_TURNS), dtype=np.uint8)
    num_turns = np.zeros(num_games, dtype=np.int8)
    batch, running = GameBatch.start(words, rule, secrets), np.arange(num_games)
    for turn in range(NUM_TURNS):
        batch.play(player.choose(batch, rng))
        guesses[running, turn] = batch.guesses[:, turn]
        patterns[running, turn] = batch.patterns[:, turn]
        num_turns[running] += 1
        goes_on = batch.patterns[:, turn] != ALL_GREEN
        batch, running = batch.select(goes_on), running[goes_on]
    letters = words.guess_letters[guesses]
    letters[np.arange(NUM_TURNS) >= num_turns[:, None]] = 0
    secret_letters = words.guess_letters[words.answer_indices[secrets]]
    return Games(secret_letters, letters, patterns, num_turns, np.full(num_games, player.name))
