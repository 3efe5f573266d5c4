import random
from functools import cache

import numpy as np
import pytest

from data.wordle.optimum import Search, best_known, find_strategy
from data.wordle.players import make_player, play_games
from data.wordle.rules import NUM_TURNS, RULES
from data.wordle.words import WordLists, load_word_lists
from tests.support.wordle_feedback import feedback


# Words that only their first letter tells apart: the worst there is.
ALIKE = tuple(letter + "ight" for letter in "abcdefghijkl")


@pytest.fixture(scope="module")
def shipped():
    return load_word_lists("american_446")


def plain_values(words, rule, candidates, turns_left):
    """Return the sum over the candidates of the best return after each guess, by trying all guesses."""
    pattern = cache(feedback)

    @cache
    def value(candidates, turns_left):
        return max(value_of(guess, candidates, turns_left) for guess in words.guesses) if turns_left else 0

    def value_of(guess, candidates, turns_left):
        parts = {}
        for secret in candidates:
            if secret != guess:
                parts.setdefault(pattern(secret, guess, rule), []).append(secret)
        wrong = sum(map(len, parts.values()))
        return -wrong + sum(value(tuple(part), turns_left - 1) for part in parts.values())

    return [value_of(guess, candidates, turns_left) for guess in words.guesses]


def draw_lists(shipped, rng, num_answers, num_others):
    """Draw word lists, half of them from words that are alike."""
    source = list(shipped.answers) if rng.random() < 0.5 else [w for w in shipped.answers if w[1] in "ao"]
    guesses = rng.sample(source, num_answers + num_others)
    return WordLists(tuple(rng.sample(guesses, num_answers)), tuple(guesses))


@pytest.mark.parametrize("seed", range(12))
def test_an_exact_search_costs_what_trying_all_guesses_does(shipped, seed):
    rng = random.Random(seed)
    rule = RULES[seed % 2]
    words = draw_lists(shipped, rng, num_answers=rng.randint(1, 9), num_others=rng.randint(0, 4))
    turns_left = rng.choice([1, 2, 3, NUM_TURNS])
    candidates = sorted(rng.sample(range(len(words.answers)), rng.randint(1, len(words.answers))))
    values = plain_values(words, rule, tuple(words.answers[i] for i in candidates), turns_left)
    cost, guess = Search(words, rule, widths=None).solve(np.array(candidates), turns_left)
    assert -cost == max(values) == values[guess]


@pytest.mark.parametrize("rule", RULES)
def test_the_strategy_of_a_small_list_is_optimal(shipped, rule):
    for seed in range(5):
        words = draw_lists(shipped, random.Random(seed), num_answers=9, num_others=3)
        best = max(plain_values(words, rule, words.answers, NUM_TURNS)) / 9
        optimum = best_known(words, rule)
        assert optimum.exact and optimum.source == "exhaustive search"
        assert optimum.mean_return == pytest.approx(best, abs=1e-12)


def test_words_that_cannot_all_be_found_in_time_cost_six_turns():
    strategy = find_strategy(WordLists(ALIKE, ALIKE), "official")
    # Each guess rules out one word alone: six are found, at turns 1 to 6, and six are not.
    assert strategy.mean_return == -(0 + 1 + 2 + 3 + 4 + 5 + 6 * 6) / 12
    assert strategy.mean_guesses == (1 + 2 + 3 + 4 + 5 + 6 + 6 * 6) / 12
    assert strategy.mean_return + strategy.mean_guesses == 0.5


def test_a_guess_that_is_no_answer_can_be_the_best():
    helper = "fecal"  # tells five of the letters from one another, and two more by their absence
    words = WordLists(ALIKE, (*ALIKE, helper))
    strategy = find_strategy(words, "official")
    assert strategy.mean_return > -(0 + 1 + 2 + 3 + 4 + 5 + 6 * 6) / 12
    assert strategy.best_guess(np.arange(12), NUM_TURNS) == words.guesses.index(helper)


@pytest.mark.parametrize("rule", RULES)
def test_what_a_strategy_promises_is_what_its_play_gets(shipped, rule):
    words = WordLists(shipped.answers[::3], shipped.guesses)
    secrets = np.arange(len(words.answers))
    games = play_games(make_player("optimal"), words, rule, secrets, np.random.default_rng(0))
    optimum = best_known(words, rule)
    assert games.returns().mean(dtype=np.float64) == pytest.approx(optimum.mean_return, abs=1e-12)
    assert games.num_turns.mean(dtype=np.float64) == pytest.approx(optimum.mean_guesses, abs=1e-12)


def test_the_shipped_list_is_solved_exactly(shipped):
    optimum = best_known(shipped, "official")
    assert optimum.exact
    assert optimum.mean_return * 446 == pytest.approx(-850, abs=1e-9)
    assert optimum.mean_guesses * 446 == pytest.approx(850 + 446, abs=1e-9)
    greedy = play_games(make_player("greedy"), shipped, "official", np.arange(446), np.random.default_rng(0))
    assert greedy.returns().mean() < optimum.mean_return


def test_a_search_among_the_promising_guesses_is_a_bound_on_the_optimum(shipped):
    everything = np.arange(446)
    exact = -best_known(shipped, "official").mean_return * 446
    costs = [
        Search(shipped, "official", widths).solve(everything, NUM_TURNS)[0] for widths in ((1,), (20, 10, 5))
    ]
    assert exact - 1e-9 <= costs[1] <= costs[0]
    assert costs[1] <= 1.002 * exact


def test_a_list_of_words_too_much_alike_is_searched_among_the_promising_guesses(shipped, monkeypatch):
    monkeypatch.setattr("data.wordle.optimum.MOST_SITUATIONS", 5)
    words = WordLists(shipped.answers[:200], shipped.answers[:200])
    optimum = best_known(words, "official")
    assert not optimum.exact and optimum.source == "best strategy found by search"
