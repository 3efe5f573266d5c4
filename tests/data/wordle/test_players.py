from collections import Counter
from functools import cache
from math import log

import numpy as np
import pytest

from cli.errors import InputError
from data.wordle.game_batch import GameBatch
from data.wordle.players import GAMES_PER_BATCH, make_player, play_games
from data.wordle.rules import NUM_TURNS, RULES, words_of
from data.wordle.words import WordLists, load_word_lists
from tests.support.wordle_feedback import feedback


SPECS = ["uniform", "consistent", "mixture:0.33", "greedy", "wrong", "repeat", "opener:greedy", "optimal"]


@pytest.fixture(scope="module")
def words():
    return load_word_lists("american_446")


@pytest.fixture(scope="module")
def few_words(words):
    return WordLists(words.answers[::20], words.answers[::10])


def play(spec, words, rule="official", num_games=400, seed=0):
    rng = np.random.default_rng(seed)
    secrets = rng.integers(len(words.answers), size=num_games)
    return play_games(make_player(spec), words, rule, secrets, rng)


def transcripts(games):
    """Return secret and guesses of each game in words."""
    guesses = [words_of(guesses[:n]) for guesses, n in zip(games.guesses, games.num_turns, strict=True)]
    return list(zip(words_of(games.secrets), guesses, strict=True))


def consistent(words, secret, guesses, rule):
    """Return the answers that give each guess the feedback of the secret."""
    return [
        a for a in words.answers if all(feedback(a, g, rule) == feedback(secret, g, rule) for g in guesses)
    ]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("rule", RULES)
def test_every_player_plays_by_the_rules(words, spec, rule):
    words = WordLists(words.answers[::4], words.answers[::2])
    games = play(spec, words, rule, num_games=60)
    assert (games.policies == spec).all()
    for i, (secret, guesses) in enumerate(transcripts(games)):
        assert secret in words.answers and set(guesses) <= set(words.guesses)
        assert secret not in guesses[:-1]
        assert len(guesses) == NUM_TURNS or guesses[-1] == secret
        assert games.won[i] == (guesses[-1] == secret)
    assert not games.guesses[~games.is_played].any() and not games.patterns[~games.is_played].any()


@pytest.mark.parametrize("spec", [*SPECS, "opener:optimal"])
def test_the_same_seed_gives_the_same_games(few_words, spec):
    first, second = play(spec, few_words, seed=3), play(spec, few_words, seed=3)
    assert transcripts(first) == transcripts(second)


def test_games_have_the_secrets_asked_for_in_their_order(words):
    secrets = np.random.default_rng(0).integers(446, size=GAMES_PER_BATCH + 10)
    games = play_games(make_player("greedy"), words, "official", secrets, np.random.default_rng(0))
    assert words_of(games.secrets) == [words.answers[secret] for secret in secrets]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("spec", ["consistent", "mixture:1"])
def test_the_consistent_player_guesses_what_may_be_the_secret(words, spec, rule):
    words = WordLists(words.answers[::4], words.guesses)
    for secret, guesses in transcripts(play(spec, words, rule, num_games=40)):
        for turn, guess in enumerate(guesses):
            assert guess in consistent(words, secret, guesses[:turn], rule)


def test_the_greedy_player_guesses_a_consistent_word_of_highest_entropy(words):
    words = WordLists(words.answers[::8], words.guesses)
    for secret, guesses in transcripts(play("opener:greedy", words, num_games=40)):
        for turn, guess in enumerate(guesses[1:], start=1):
            candidates = consistent(words, secret, guesses[:turn], "official")
            assert guess in candidates
            assert entropy(guess, candidates) >= max(entropy(g, candidates) for g in candidates) - 1e-9


def entropy(guess, candidates):
    counts = Counter(feedback(secret, guess) for secret in candidates)
    return sum(count / len(candidates) * log(len(candidates) / count) for count in counts.values())


def test_the_greedy_player_draws_among_equals():
    words = ("fight", "light", "might", "night")
    games = play("greedy", WordLists(words, words), num_games=1000)
    openers = Counter(guesses[0] for _, guesses in transcripts(games))
    assert set(openers) == set(words)
    assert min(openers.values()) > 180


def test_the_wrong_player_guesses_what_cannot_be_the_secret(few_words):
    others = set(few_words.guesses) - set(few_words.answers)
    games = transcripts(play("wrong", few_words))
    assert {guesses[0] for _, guesses in games} == others
    for secret, guesses in games:
        for turn, guess in enumerate(guesses):
            assert guess not in consistent(few_words, secret, guesses[:turn], "official")


def test_every_impossible_word_is_as_likely_for_the_wrong_player(few_words):
    batch = GameBatch.start(few_words, "official", 20_000)
    batch.add_turn(np.zeros(20_000, dtype=np.int64), np.full(20_000, batch.table[0, 3]))
    choices = make_player("wrong").choose(batch, np.random.default_rng(0))
    counts = Counter(few_words.guesses[choice] for choice in choices)
    possible = consistent(few_words, few_words.answers[3], [few_words.guesses[0]], "official")
    assert 1 < len(possible) < len(few_words.answers)
    impossible = set(few_words.guesses) - set(possible)
    assert set(counts) == impossible
    expected = 20_000 / len(impossible)
    assert all(abs(count - expected) < 5 * expected**0.5 for count in counts.values())


def test_while_all_words_are_possible_the_wrong_player_guesses_any(words):
    openers = {guesses[0] for _, guesses in transcripts(play("wrong", words, num_games=6000))}
    assert openers == set(words.guesses)


def test_the_repeating_player_repeats_its_first_word(words):
    games = transcripts(play("repeat", words))
    assert all(len(set(guesses)) == 1 for _, guesses in games)
    assert len({guesses[0] for _, guesses in games}) > 200


def test_the_repeating_player_chooses_among_all_words_of_the_game(words):
    batch = GameBatch.start(words, "official", 1000)
    for guess in (7, 8):
        batch.add_turn(np.full(1000, guess), np.full(1000, batch.table[guess, 3]))
    counts = np.bincount(make_player("repeat").choose(batch, np.random.default_rng(0)))
    assert counts[7] + counts[8] == 1000 and min(counts[7], counts[8]) > 400


def test_a_random_opener_is_any_allowed_guess(few_words):
    games = transcripts(play("opener:optimal", few_words, num_games=2000))
    assert {guesses[0] for _, guesses in games} == set(few_words.guesses)
    assert all(guesses[-1] == secret for secret, guesses in games)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("probability", [0.33, 0.8])
def test_the_mixture_has_exactly_the_return_that_its_definition_implies(words, rule, probability):
    answers, guesses = words.answers[::20], words.answers[::16]
    words = WordLists(answers, tuple(dict.fromkeys(guesses + answers)))
    pattern = {(s, g): feedback(s, g, rule) for s in words.answers for g in words.guesses}

    @cache
    def expected(candidates, turns_left):
        """Return the sum over the candidates, one of which is the secret, of the expected return."""
        if turns_left == 0:
            return 0.0
        total = 0.0
        for guess in words.guesses:
            chance = (1 - probability) / len(words.guesses)
            chance += probability / len(candidates) if guess in candidates else 0
            rest = [secret for secret in candidates if secret != guess]
            parts = {}
            for secret in rest:
                parts.setdefault(pattern[secret, guess], []).append(secret)
            total += chance * -len(rest)
            total += chance * sum(expected(tuple(part), turns_left - 1) for part in parts.values())
        return total

    mean = expected(words.answers, NUM_TURNS) / len(words.answers)
    returns = play(f"mixture:{probability}", words, rule, num_games=100_000).returns()
    assert abs(returns.mean() - mean) < 4 * returns.std() / len(returns) ** 0.5


@pytest.mark.parametrize("spec", ["", "clever", "opener:", "opener:clever", "greedy:2"])
def test_an_unknown_player_is_an_error_that_lists_the_known(spec):
    with pytest.raises(InputError, match="uniform, consistent, mixture:P, greedy, wrong"):
        make_player(spec)


@pytest.mark.parametrize("spec", ["mixture", "mixture:2", "mixture:-0.1", "mixture:nan", "mixture:half"])
def test_a_mixture_needs_a_probability(spec):
    with pytest.raises(InputError, match=rf"'{spec}' needs a probability from 0 to 1, such as mixture:0\.33"):
        make_player(spec)
