"""The best that can be done at Wordle: known optima, and strategies found by search.

A strategy is searched for with the recursion of dynamic programming. Write S for the answers that are still
consistent, T for the turns left, and cost for the sum over S of the wrong guesses to come, which is minus the
sum of returns:

    cost(S, T) = min over guesses g of |S| − [g in S] + Σ over patterns p ≠ ggggg of cost(S_p, T − 1)

with cost(S, 0) = 0. On small lists all guesses are tried, but for those that cannot be better than the best,
and the result is exact. On larger ones only the most promising guesses are, and the result is a lower bound
on the return. On the game's own lists that search finds the published optimum.
"""

import contextlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from cli.files import atomic_write
from data.wordle.feedback_table import cache_folder, feedback_table
from data.wordle.rules import ALL_GREEN, NUM_PATTERNS, NUM_TURNS
from data.wordle.words import WordLists


# Tables of feedback up to this size, such as that of 500 words, are searched exhaustively, unless their words
# are so alike that this many situations do not suffice.
LARGEST_EXACT = 250_000
MOST_SITUATIONS = 20_000
# How many guesses are tried at the first turn, at the second, and at every later one.
WIDTHS = (20, 10, 5)
# Guesses are sorted out by their number of patterns before this many per place are looked at closely.
PRESELECTED = 4
SMALLEST_PRESELECTION = 40
# Strategies for smaller tables are found too quickly to keep.
SMALLEST_CACHED = 100_000

# Turns left and the bytes of the candidates, to cost and guess.
Decisions = dict[tuple[int, bytes], tuple[int, int]]


@dataclass(frozen=True)
class Optimum:
    """Means over all secrets, a lost game being six guesses long; `exact` if nothing better is possible."""

    mean_return: float
    mean_guesses: float
    exact: bool
    source: str


# By rule and by digest of both lists, sorted.
_PUBLISHED = {
    ("official", "7ab3158bd60518d5"): Optimum(
        1 - 7920 / 2315,
        7920 / 2315,
        True,
        "published: 7,920 guesses for 2,315 words (github.com/alex1770/wordle)",
    ),
}


def best_known(words: WordLists, rule: str) -> Optimum:
    """Return the value of optimal play where it is known, else that of the best strategy found."""
    digest = WordLists(tuple(sorted(words.answers)), tuple(sorted(words.guesses))).digest
    if (rule, digest) in _PUBLISHED:
        return _PUBLISHED[rule, digest]
    strategy = find_strategy(words, rule)
    source = "exhaustive search" if strategy.exact else "best strategy found by search"
    return Optimum(strategy.mean_return, strategy.mean_guesses, strategy.exact, source)


def exact_values(
    words: WordLists, rule: str, candidates: np.ndarray | None = None, turns_left: int = NUM_TURNS
) -> np.ndarray:
    """Return Q*: the expected return of every allowed guess, optimal play following: (num_guesses,) float64.

    The secret is any of `candidates`, places among the answers, by default all of them. It takes seconds on
    lists of some hundred words, and is hopeless on thousands.
    """
    search = Search(words, rule, widths=None)
    candidates = np.arange(len(words.answers)) if candidates is None else np.sort(candidates).astype(np.int64)
    costs = [search.cost_of(guess, candidates, turns_left) for guess in range(len(words.guesses))]
    return -np.array(costs) / len(candidates)


class TooManySituations(Exception):
    """A search is longer than it was to be."""


class Search:
    """Finds the best guess in any situation, remembering those it has seen.

    `widths` are the guesses tried at each turn, the last one at all later ones. None tries all: exact search.
    Raises TooManySituations when it would have to remember more than `most`.
    """

    def __init__(self, words: WordLists, rule: str, widths: tuple[int, ...] | None, most: int | None = None):
        self._table = feedback_table(words, rule)
        self._answer_indices = words.answer_indices
        self._widths, self._most = widths, most
        self.decisions: Decisions = {}
        # About what a set of n answers costs: one wrong guess for all but one of them, and some more.
        sizes = np.arange(len(words.answers) + 1)
        self._typical_cost = np.maximum(sizes - 1, 0) + 0.2 * sizes * np.log(np.maximum(sizes, 1))

    def solve(self, candidates: np.ndarray, turns_left: int, show_progress: bool = False) -> tuple[int, int]:
        """Return the cost of the best play found, and its guess as a place among the allowed guesses.

        `candidates` are places among the answers, int64 and rising.
        """
        if len(candidates) <= 2 or turns_left <= 1:
            return (len(candidates) - 1 if turns_left else 0), int(self._answer_indices[candidates[0]])
        key = turns_left, candidates.tobytes()
        if key not in self.decisions:
            if self._most is not None and len(self.decisions) >= self._most:
                raise TooManySituations
            found = self._solve_among(candidates)
            self.decisions[key] = found or self._solve(candidates, turns_left, show_progress)
        return self.decisions[key]

    def cost_of(self, guess: int, candidates: np.ndarray, turns_left: int) -> int:
        """Return the cost of a guess with the best play found after it."""
        if turns_left == 0:
            return 0
        parts = self.split(guess, candidates)
        cost = len(candidates) - (ALL_GREEN in parts)
        return cost + sum(
            self.solve(part, turns_left - 1)[0] for pattern, part in parts.items() if pattern != ALL_GREEN
        )

    def split(self, guess: int, candidates: np.ndarray) -> dict[int, np.ndarray]:
        """Return the candidates by the pattern that they would show."""
        patterns = self._table[guess, candidates]
        order = np.argsort(patterns, kind="stable")
        patterns, candidates = patterns[order], candidates[order]
        starts = np.flatnonzero(np.diff(patterns, prepend=-1))
        return dict(zip(patterns[starts].tolist(), np.split(candidates, starts[1:]), strict=True))

    def _solve_among(self, candidates: np.ndarray) -> tuple[int, int] | None:
        """Return cost and guess if a candidate tells all others apart, or all but two.

        It costs |S| − 1 or |S|. No guess costs less than |S| − 1, and no other word costs less than |S|.
        """
        size = len(candidates)
        if size > NUM_PATTERNS:
            return None
        guesses = self._answer_indices[candidates]
        num_parts = _count_distinct(self._table[guesses[:, None], candidates])
        best = int(num_parts.argmax())
        if num_parts[best] < size - 1:
            return None
        return 2 * size - 1 - int(num_parts[best]), int(guesses[best])

    def _solve(self, candidates: np.ndarray, turns_left: int, show_progress: bool) -> tuple[int, int]:
        size = len(candidates)
        patterns = self._table[:, candidates]  # (num_guesses, size)
        is_candidate = (patterns == ALL_GREEN).any(axis=1)
        # Each part but the right word costs at least one wrong guess for all but one of its words.
        bounds = 2 * (size - is_candidate) - (_count_distinct(patterns) - is_candidate)
        best_cost, best_guess = size * turns_left + 1, -1
        guesses = self._promising(patterns, bounds, turns_left)
        # The bar appears only where it takes longer than a few seconds.
        for guess in tqdm(guesses, desc="searching", unit=" first words", delay=3, disable=not show_progress):
            if bounds[guess] >= best_cost:
                continue
            cost = self._cost_below(best_cost, int(guess), int(bounds[guess]), candidates, turns_left)
            if cost < best_cost:
                best_cost, best_guess = cost, int(guess)
        return best_cost, best_guess

    def _promising(self, patterns: np.ndarray, bounds: np.ndarray, turns_left: int) -> np.ndarray:
        """Return the guesses to try, those first that seem to cost least."""
        num_guesses = len(patterns)
        width = num_guesses if self._widths is None else self._widths[: NUM_TURNS + 1 - turns_left][-1]
        num_preselected = min(num_guesses, max(PRESELECTED * width, SMALLEST_PRESELECTION))
        some = np.sort(np.argsort(bounds, kind="stable")[:num_preselected])
        cells = np.arange(len(some))[:, None] * NUM_PATTERNS + patterns[some]
        counts = np.bincount(cells.reshape(-1), minlength=len(some) * NUM_PATTERNS).reshape(-1, NUM_PATTERNS)
        costs = self._typical_cost[counts].sum(axis=1) - counts[:, ALL_GREEN]
        return some[np.argsort(costs, kind="stable")[:width]]

    def _cost_below(self, limit: int, guess: int, bound: int, candidates: np.ndarray, turns_left: int) -> int:
        """Return the cost of a guess, or `limit` or more once it must be as much."""
        cost = bound
        parts = self.split(guess, candidates)
        parts.pop(ALL_GREEN, None)
        for part in sorted(parts.values(), key=len, reverse=True):
            if len(part) <= 2 or cost >= limit:
                break
            if len(part) == len(candidates):
                # A guess that tells nothing is a turn lost.
                return limit
            cost += self.solve(part, turns_left - 1)[0] - (len(part) - 1)
        return cost


def _count_distinct(patterns: np.ndarray) -> np.ndarray:
    """Return the number of different values in each row."""
    in_order = np.sort(patterns, axis=1)
    return 1 + np.count_nonzero(in_order[:, 1:] != in_order[:, :-1], axis=1)


class Strategy:
    """A guess for every situation, whether this play leads to it or not. Means are over all secrets."""

    def __init__(self, words: WordLists, rule: str, decisions: Decisions, exact: bool):
        self.exact = exact
        # Where this play does not lead, guesses are searched for when they are asked for.
        self._search = Search(words, rule, WIDTHS)
        self._search.decisions = decisions
        reached: Decisions = {}
        waiting = [(NUM_TURNS, np.arange(len(words.answers)))]
        num_guesses = num_solved = 0
        while waiting:
            turns_left, candidates = waiting.pop()
            parts = self._search.split(self.best_guess(candidates, turns_left), candidates)
            num_guesses += len(candidates)
            num_solved += len(parts.pop(ALL_GREEN, ()))
            if turns_left > 1:
                waiting.extend((turns_left - 1, part) for part in parts.values())
            key = turns_left, candidates.tobytes()
            if key in decisions:
                reached[key] = decisions[key]
        # What else a search came across is left out, so that play is the same if only this was kept.
        self._search.decisions = reached
        self.mean_guesses = num_guesses / len(words.answers)
        self.mean_return = (num_solved - num_guesses) / len(words.answers)
        self.success_rate = num_solved / len(words.answers)

    def best_guess(self, candidates: np.ndarray, turns_left: int) -> int:
        """Return a place among the allowed guesses; `candidates` are the answers left, int64 and rising."""
        return self._search.solve(candidates, turns_left)[1]

    def to_json(self) -> dict[str, Any]:
        rows = [
            (turns_left, np.frombuffer(candidates, dtype=np.int64).tolist(), cost, guess)
            for (turns_left, candidates), (cost, guess) in self._search.decisions.items()
        ]
        return {"exact": self.exact, "decisions": rows}


@lru_cache(maxsize=4)
def find_strategy(words: WordLists, rule: str) -> Strategy:
    """Search for the best strategy, or read it from where an earlier search left it.

    It takes a second for 446 words and half a minute for the game's own lists. A cache that cannot be read or
    written costs time and is no error.
    """
    if len(words.answers) * len(words.guesses) < SMALLEST_CACHED:
        return _search(words, rule)
    path = cache_folder() / f"{words.digest}-{rule}-strategy.json"
    strategy = _read(path, words, rule)
    if strategy is None:
        strategy = _search(words, rule)
        with contextlib.suppress(OSError), atomic_write(path) as unfinished:
            unfinished.write_text(json.dumps(strategy.to_json()))
    return strategy


def _search(words: WordLists, rule: str) -> Strategy:
    everything = np.arange(len(words.answers))
    if len(words.answers) * len(words.guesses) <= LARGEST_EXACT:
        search = Search(words, rule, None, MOST_SITUATIONS)
        with contextlib.suppress(TooManySituations):
            search.solve(everything, NUM_TURNS, show_progress=True)
            return Strategy(words, rule, search.decisions, exact=True)
    search = Search(words, rule, WIDTHS)
    search.solve(everything, NUM_TURNS, show_progress=True)
    return Strategy(words, rule, search.decisions, exact=False)


def _read(path: Path, words: WordLists, rule: str) -> Strategy | None:
    """Read a strategy; None if there is none or the file is damaged."""
    try:
        kept = json.loads(path.read_text())
        decisions = {
            (turns_left, np.array(candidates, dtype=np.int64).tobytes()): (cost, guess)
            for turns_left, candidates, cost, guess in kept["decisions"]
        }
        return Strategy(words, rule, decisions, kept["exact"])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
