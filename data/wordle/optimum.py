"""The best possible results at Wordle: published optima, and strategies found by search.

A strategy is found by dynamic programming. Let S be the answers that are still consistent, T the turns left,
and cost the sum over S of the wrong guesses to come, which is minus the sum of returns:

    cost(S, T) = min over guesses g of |S| − [g in S] + Σ over patterns p ≠ ggggg of cost(S_p, T − 1)

with cost(S, 0) = 0. On small lists all guesses are tried, except those that a lower bound excludes, and the
result is exact. On larger lists only the most promising guesses are tried, and the result is a lower bound
on the best return. On the original game's lists this search finds the published optimum.
"""

import contextlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from tqdm import tqdm

from data.wordle.feedback_table import feedback_table
from data.wordle.rules import ALL_GREEN, NUM_PATTERNS, NUM_TURNS
from data.wordle.words import WordLists


# Feedback tables up to this size, such as that of 500 words, are searched exhaustively, unless their words
# are so alike that the search would have to remember more than MOST_SITUATIONS.
LARGEST_EXACT = 250_000
MOST_SITUATIONS = 20_000
# Number of guesses tried at the first turn, at the second, and at every later one.
WIDTHS = (20, 10, 5)
# Guesses are first ranked by their number of patterns; this many per guess to try are ranked more closely.
PRESELECTED = 4
SMALLEST_PRESELECTION = 40

# (turns left, bytes of the candidates) to (cost, guess).
Decisions = dict[tuple[int, bytes], tuple[int, int]]


@dataclass(frozen=True)
class Optimum:
    """Means over all secrets, where a lost game has six guesses. `exact` if nothing better is possible."""

    mean_return: float
    mean_guesses: float
    exact: bool
    source: str


# By rule and by the digest of both lists, sorted.
_PUBLISHED = {
    ("official", "7ab3158bd60518d5"): Optimum(
        1 - 7920 / 2315,
        7920 / 2315,
        True,
        "published: 7,920 guesses for 2,315 words (github.com/alex1770/wordle)",
    ),
}


def best_known(words: WordLists, rule: str) -> Optimum:
    """Return the published optimum of these lists, else that of the best strategy found."""
    published = _PUBLISHED.get((rule, words.unordered_digest))
    if published:
        return published
    strategy = find_strategy(words, rule)
    source = "exhaustive search" if strategy.exact else "best strategy found by search"
    return Optimum(strategy.mean_return, strategy.mean_guesses, strategy.exact, source)


class TooManySituations(Exception):
    """The search would have to remember more situations than it may."""


class Search:
    """Finds the best guess in any situation, and remembers the situations that it solved.

    `widths` are the numbers of guesses tried at each turn, the last one at all later turns. None tries all:
    exact search. Raises TooManySituations to remember more than `most`.
    """

    def __init__(self, words: WordLists, rule: str, widths: tuple[int, ...] | None, most: int | None = None):
        self._table = feedback_table(words, rule)
        self._answer_indices = words.answer_indices
        self.widths, self.most = widths, most
        self.decisions: Decisions = {}
        # Estimated cost of n candidates: one wrong guess for all but one of them, and some more.
        sizes = np.arange(len(words.answers) + 1)
        self._typical_cost = np.maximum(sizes - 1, 0) + 0.2 * sizes * np.log(np.maximum(sizes, 1))

    def solve(self, candidates: np.ndarray, turns_left: int, show_progress: bool = False) -> tuple[int, int]:
        """Return the cost of the best play found, and its guess as an index among the allowed guesses.

        `candidates` are indices among the answers, int64 and ascending.
        """
        if len(candidates) <= 2 or turns_left <= 1:
            return (len(candidates) - 1 if turns_left else 0), int(self._answer_indices[candidates[0]])
        key = turns_left, candidates.tobytes()
        if key not in self.decisions:
            if self.most is not None and len(self.decisions) >= self.most:
                raise TooManySituations
            found = self._solve_among(candidates)
            self.decisions[key] = found or self._solve(candidates, turns_left, show_progress)
        return self.decisions[key]

    def split(self, guess: int, candidates: np.ndarray) -> dict[int, np.ndarray]:
        """Return the candidates by the pattern that the guess gets if they are the secret."""
        patterns = self._table[guess, candidates]
        order = np.argsort(patterns, kind="stable")
        patterns, candidates = patterns[order], candidates[order]
        starts = np.flatnonzero(np.diff(patterns, prepend=-1))
        return dict(zip(patterns[starts].tolist(), np.split(candidates, starts[1:]), strict=True))

    def _solve_among(self, candidates: np.ndarray) -> tuple[int, int] | None:
        """Return cost and guess if a candidate gives all candidates different patterns, or all but two.

        Its cost is |S| − 1 or |S|. No guess costs less than |S| − 1, and no other word costs less than |S|.
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
        # Each part except the right word costs at least one wrong guess for all but one of its words.
        bounds = 2 * (size - is_candidate) - (_count_distinct(patterns) - is_candidate)
        best_cost, best_guess = size * turns_left + 1, -1
        guesses = self._promising(patterns, bounds, turns_left)
        for guess in tqdm(guesses, desc="searching", unit=" first words", delay=3, disable=not show_progress):
            if bounds[guess] >= best_cost:
                continue
            cost = self._cost_below(best_cost, int(guess), int(bounds[guess]), candidates, turns_left)
            if cost < best_cost:
                best_cost, best_guess = cost, int(guess)
        return best_cost, best_guess

    def _promising(self, patterns: np.ndarray, bounds: np.ndarray, turns_left: int) -> np.ndarray:
        """Return the guesses to try, by estimated cost."""
        num_guesses = len(patterns)
        width = num_guesses if self.widths is None else self.widths[: NUM_TURNS + 1 - turns_left][-1]
        num_preselected = min(num_guesses, max(PRESELECTED * width, SMALLEST_PRESELECTION))
        some = np.sort(np.argsort(bounds, kind="stable")[:num_preselected])
        cells = np.arange(len(some))[:, None] * NUM_PATTERNS + patterns[some]
        counts = np.bincount(cells.reshape(-1), minlength=len(some) * NUM_PATTERNS).reshape(-1, NUM_PATTERNS)
        costs = self._typical_cost[counts].sum(axis=1) - counts[:, ALL_GREEN]
        return some[np.argsort(costs, kind="stable")[:width]]

    def _cost_below(self, limit: int, guess: int, bound: int, candidates: np.ndarray, turns_left: int) -> int:
        """Return the cost of a guess, or some number of at least `limit` if it costs that much."""
        cost = bound
        parts = self.split(guess, candidates)
        parts.pop(ALL_GREEN, None)
        for part in sorted(parts.values(), key=len, reverse=True):
            if len(part) <= 2 or cost >= limit:
                break
            if len(part) == len(candidates):
                # A guess that rules nothing out wastes a turn.
                return limit
            cost += self.solve(part, turns_left - 1)[0] - (len(part) - 1)
        return cost


def _count_distinct(patterns: np.ndarray) -> np.ndarray:
    """Return the number of distinct values in each row."""
    in_order = np.sort(patterns, axis=1)
    return 1 + np.count_nonzero(in_order[:, 1:] != in_order[:, :-1], axis=1)


class Strategy:
    """A guess for every situation. Means are over all secrets.

    `search` has solved the situations that this play leads to. Others are solved when they are asked for.
    """

    def __init__(self, search: Search, num_answers: int, exact: bool):
        self._search, self.exact = search, exact
        num_guesses = num_solved = 0
        waiting = [(NUM_TURNS, np.arange(num_answers))]
        while waiting:
            turns_left, candidates = waiting.pop()
            parts = search.split(self.best_guess(candidates, turns_left), candidates)
            num_guesses += len(candidates)
            num_solved += len(parts.pop(ALL_GREEN, ()))
            if turns_left > 1:
                waiting.extend((turns_left - 1, part) for part in parts.values())
        self.mean_guesses = num_guesses / num_answers
        self.mean_return = (num_solved - num_guesses) / num_answers

    def best_guess(self, candidates: np.ndarray, turns_left: int) -> int:
        """Return an index among the allowed guesses; `candidates` are int64 and ascending."""
        return self._search.solve(candidates, turns_left)[1]


@lru_cache(maxsize=4)
def find_strategy(words: WordLists, rule: str) -> Strategy:
    """Search for the best strategy. 446 words take a second, the original game's lists half a minute."""
    num_answers = len(words.answers)
    if num_answers * len(words.guesses) <= LARGEST_EXACT:
        search = Search(words, rule, None, MOST_SITUATIONS)
        with contextlib.suppress(TooManySituations):
            search.solve(np.arange(num_answers), NUM_TURNS, show_progress=True)
            # Situations that this play does not reach may have as many candidates as the whole list.
            search.widths, search.most = WIDTHS, None
            return Strategy(search, num_answers, exact=True)
    search = Search(words, rule, WIDTHS)
    search.solve(np.arange(num_answers), NUM_TURNS, show_progress=True)
    return Strategy(search, num_answers, exact=False)
