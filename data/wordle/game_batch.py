"""Wordle games in progress, as players see them: the guesses, the feedback, and the consistent answers."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from data.wordle.feedback_table import feedback_table
from data.wordle.rules import NO_PATTERN, NUM_TURNS
from data.wordle.words import WordLists


@dataclass
class GameBatch:
    """Games in progress, all at the same turn. They do not contain the secrets.

    `memory` is for a player that keeps something from turn to turn; a new batch has None.
    """

    words: WordLists
    rule: str
    table: np.ndarray  # (num_guesses, num_answers) uint8, the pattern of every guess and answer
    rows: np.ndarray  # (n,) int64, which games of the batch at its start are left, ascending
    guesses: np.ndarray  # (n, 6) int64, indices of allowed guesses; -1 for others and for turns to come
    patterns: np.ndarray  # (n, 6) uint8
    turn: int
    candidates: "Candidates"
    memory: Any = None

    @classmethod
    def start(cls, words: WordLists, rule: str, num_games: int) -> Self:
        """Start games without guesses."""
        return cls(
            words,
            rule,
            feedback_table(words, rule),
            rows=np.arange(num_games),
            guesses=np.full((num_games, NUM_TURNS), -1, dtype=np.int64),
            patterns=np.zeros((num_games, NUM_TURNS), dtype=np.uint8),
            turn=0,
            candidates=Candidates.all(num_games, len(words.answers)),
        )

    @classmethod
    def after(cls, words: WordLists, rule: str, guesses: np.ndarray, patterns: np.ndarray) -> Self:
        """Return games after allowed guesses, letters (n, turns, 5), with their patterns (n, turns)."""
        batch = cls.start(words, rule, len(guesses))
        indices = words.find(guesses)
        for turn in range(patterns.shape[1]):
            batch.add_turn(indices[:, turn], patterns[:, turn])
        return batch

    def __len__(self) -> int:
        return len(self.guesses)

    def add_turn(self, choices: np.ndarray, patterns: np.ndarray) -> None:
        """Add one guess (n,) and its pattern (n,) to every game."""
        self.guesses[:, self.turn] = choices
        self.patterns[:, self.turn] = patterns
        self.candidates = self.candidates.after(self.table, choices, patterns)
        self.turn += 1

    def select(self, is_kept: np.ndarray) -> Self:
        """Return the games where `is_kept` (n,) bool is true."""
        return type(self)(
            self.words,
            self.rule,
            self.table,
            self.rows[is_kept],
            self.guesses[is_kept],
            self.patterns[is_kept],
            self.turn,
            self.candidates.select(is_kept),
            self.memory,
        )


@dataclass(frozen=True)
class Candidates:
    """The answers that are consistent with all feedback so far, for each of many games.

    `rest` has those of all games in one array, ascending within a game; None while nothing is ruled out.
    """

    num_answers: int
    counts: np.ndarray  # (n,) int64, number of candidates of each game
    rest: np.ndarray | None  # (counts.sum(),) int64

    @classmethod
    def all(cls, num_games: int, num_answers: int) -> Self:
        return cls(num_answers, np.full(num_games, num_answers), None)

    @property
    def answers(self) -> np.ndarray:
        """The candidates of all games, ascending within a game: (counts.sum(),) int64."""
        return np.tile(np.arange(self.num_answers), len(self.counts)) if self.rest is None else self.rest

    @property
    def games(self) -> np.ndarray:
        """The game of each of `answers`."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @property
    def starts(self) -> np.ndarray:
        """The index in `answers` of the first candidate of each game: (n,) int64."""
        return np.cumsum(self.counts) - self.counts

    def choose(self, rng: np.random.Generator) -> np.ndarray:
        """Draw one candidate of every game, uniformly: (n,) int64."""
        ranks = rng.integers(self.counts)
        return ranks if self.rest is None else self.rest[self.starts + ranks]

    def select(self, is_kept: np.ndarray) -> Self:
        """Return the candidates of the games where `is_kept` (n,) bool is true."""
        rest = None if self.rest is None else self.rest[np.repeat(is_kept, self.counts)]
        return type(self)(self.num_answers, self.counts[is_kept], rest)

    def after(self, table: np.ndarray, choices: np.ndarray, patterns: np.ndarray) -> Self:
        """Return the candidates left after a guess (n,) and its pattern (n,) in each game."""
        told_nothing = patterns == NO_PATTERN
        if self.rest is None:
            fits = (table[choices] == patterns[:, None]) | told_nothing[:, None]
            counts = np.count_nonzero(fits, axis=1)
            rest = np.flatnonzero(fits) - np.repeat(np.arange(len(counts)) * self.num_answers, counts)
        else:
            games = self.games
            fits = (table[choices[games], self.rest] == patterns[games]) | told_nothing[games]
            counts = np.bincount(games[fits], minlength=len(self.counts))
            rest = self.rest[fits]
        return type(self)(self.num_answers, counts, rest)
