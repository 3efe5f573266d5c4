"""Players of Wordle: the scripted ones, and the loop in which all players play.

The scripted players are those that ILQL (arXiv 2206.11871) and LMRL-Gym (arXiv 2311.18232) made their offline
data with, and one that plays the best strategy found. A word is consistent if it agrees with all feedback so
far. The model that plays is eval/wordle/model_player.py.

    player = make_player("mixture:0.33")
    games = play_games(player, words, "simplified", secrets, np.random.default_rng(0))
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
from tqdm import tqdm

from cli.errors import InputError
from data.wordle.environment import WordleVectorEnv
from data.wordle.game_batch import GameBatch
from data.wordle.game_rows import Games
from data.wordle.optimum import find_strategy
from data.wordle.rules import NO_PATTERN, NUM_LETTERS, NUM_PATTERNS, NUM_TURNS, codes_of_digits
from data.wordle.words import WordLists


LMRL_BEHAVIOR = "mixture:0.33"  # the policy of LMRL-Gym's data
PLAYERS = {
    "uniform": "any allowed guess",
    "consistent": "any consistent secret word",
    "mixture:P": f"consistent with probability P, else uniform; {LMRL_BEHAVIOR} made LMRL-Gym's data",
    "greedy": "the consistent secret word whose feedback has the highest entropy",
    "wrong": "any allowed guess that cannot be the secret",
    "repeat": "a word already guessed in the game, after a uniform first guess",
    "opener:PLAYER": "a uniform first guess, then PLAYER",
    "optimal": "the best strategy found by a search, which takes a second for 446 words and longer for more",
}
GAMES_PER_BATCH = 4096
TIE = 1e-9  # entropies that differ by less are equal up to rounding


class Player(ABC):
    """Chooses the guesses of many games at once."""

    name: str
    games_at_once = GAMES_PER_BATCH

    @abstractmethod
    def choose(self, batch: GameBatch, rng: np.random.Generator) -> np.ndarray:
        """Return the next guess of every game: (n,) int64, indices of allowed guesses; -1 for another word.

        Scripted players sample with `rng`.
        """

    def identify(self) -> str:
        """Return the name for results; that of a model has the digest of its weights."""
        return self.name


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
    """While every allowed guess could be the secret, it guesses any of them."""

    name = "wrong"

    def choose(self, batch: GameBatch, rng: np.random.Generator) -> np.ndarray:
        words, candidates = batch.words, batch.candidates
        is_answer = np.zeros(len(words.guesses), dtype=bool)
        is_answer[words.answer_indices] = True
        others = np.flatnonzero(~is_answer)
        if candidates.rest is None:
            return rng.choice(others if len(others) else words.answer_indices, size=len(batch))
        # With the answers first, the r-th guess that is not a candidate comes after r other guesses and after
        # the candidates with at most r other guesses before them.
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
    """Draws among words of equal entropy. The best words of every situation are cached."""

    name = "greedy"

    def __init__(self) -> None:
        self._best: dict[tuple[str, str, bytes], np.ndarray] = {}

    def choose(self, batch: GameBatch, rng: np.random.Generator) -> np.ndarray:
        # With one or two candidates, every choice is as good.
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
    """Yield the games of a batch by situation, (games,), each with the candidates of that situation.

    Games with fewer than `at_least` candidates are left out.
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
    """Return the candidates whose feedback has the highest entropy if every candidate is as likely."""
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
    """Return a scripted player by its name, such as `opener:mixture:0.33`. Raises InputError for others."""
    name, _, argument = spec.partition(":")
    simple = (UniformPlayer, ConsistentPlayer, GreedyPlayer, WrongPlayer, RepeatPlayer, OptimalPlayer)
    for player in simple:
        if spec == player.name:
            return player()
    if name == "opener" and argument:
        return OpenerPlayer(make_player(argument))
    if name == "mixture":
        return MixturePlayer(_probability(spec, argument))
    raise InputError(f"unknown player {spec!r}: choose one of {', '.join(PLAYERS)}")


def _probability(spec: str, text: str) -> float:
    try:
        probability = float(text)
    except ValueError:
        probability = -1.0
    if not 0 <= probability <= 1:
        raise InputError(f"{spec!r} needs a probability from 0 to 1, such as mixture:0.33")
    return probability


def play_games(
    player: Player,
    words: WordLists,
    rule: str,
    secrets: np.ndarray,
    rng: np.random.Generator,
    title: str | None = None,
) -> Games:
    """Play one game for each secret, an index among the answers (n,). A `title` shows a progress bar."""
    parts = []
    with tqdm(total=len(secrets), unit=" games", desc=title, disable=None if title else True) as bar:
        for start in range(0, len(secrets), player.games_at_once):
            some = secrets[start : start + player.games_at_once]
            parts.append(_play_batch(player, words, rule, some, rng))
            bar.update(len(some))
    return Games.concatenate(parts)


def _play_batch(
    player: Player, words: WordLists, rule: str, secrets: np.ndarray, rng: np.random.Generator
) -> Games:
    num_games = len(secrets)
    envs = WordleVectorEnv(num_games, words, rule)
    envs.reset(options={"secret": [words.answers[secret] for secret in secrets]})
    guesses = np.zeros((num_games, NUM_TURNS, NUM_LETTERS), dtype=np.uint8)
    patterns = np.zeros((num_games, NUM_TURNS), dtype=np.uint8)
    num_turns = np.zeros(num_games, dtype=np.int8)
    batch = GameBatch.start(words, rule, num_games)
    # The environment restarts games that are over; what happens in them then is ignored.
    actions = np.zeros(num_games, dtype=np.int64)
    while batch.turn < NUM_TURNS and len(batch):
        running, turn = batch.rows, batch.turn
        actions[running] = player.choose(batch, rng)
        observation, _, is_over, _, infos = envs.step(actions)
        guesses[running, turn] = observation["guesses"][running, turn]
        codes = codes_of_digits(observation["colours"][running, turn])
        patterns[running, turn] = np.where(infos["invalid"][running], NO_PATTERN, codes)
        num_turns[running] += 1
        batch.add_turn(actions[running], patterns[running, turn])
        batch = batch.select(~is_over[running])
    secret_letters = words.guess_letters[words.answer_indices[secrets]]
    return Games(secret_letters, guesses, patterns, num_turns, np.full(num_games, player.name))
