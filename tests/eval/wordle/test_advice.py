"""Advice on the next word: ranks and values with a cache and a search equal full passes over every word."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from cli.errors import InputError
from data.wordle.game_batch import GameBatch
from data.wordle.rules import letters_of, pattern_code
from data.wordle.token_games import game_tokens
from data.wordle.word_trie import WordTrie
from data.wordle.words import WordLists, load_word_lists
from eval.wordle.advice import WordAdvisor
from eval.wordle.model_player import ModelPlayer
from models.tokenization_wordle import END_OF_ACTION, LETTERS
from tests.support.wordle_feedback import feedback
from tests.support.wordle_models import tiny_token_model


WORDS = load_word_lists("american_446")
TRIE = WordTrie(WORDS.guess_letters)
HISTORY = (["abler", "clang"], ["bbgyb", "bgbby"])


@torch.no_grad()
def full_passes(model, guesses: list[str], patterns: list[str], letters: np.ndarray):
    """Return the values (n, vocab) and logits (n, vocab, outputs) after a history and letters."""
    codes = np.array([[pattern_code(pattern) for pattern in patterns]], dtype=np.uint8)
    history = game_tokens(letters_of(guesses)[None], codes)
    output = model(torch.from_numpy(np.concatenate([history.repeat(len(letters), 0), letters], axis=1)))
    return output.value[:, -1].numpy(), output.logits[:, -1]


def advantages_of(model, guesses: list[str], patterns: list[str], words: tuple[str, ...]) -> np.ndarray:
    """Return the sums of Q(s, a) − max Q(s, ·) over the letters that continue to a word: (n,)."""
    letters = letters_of(words)
    sums = np.zeros(len(words))
    for index in range(5):
        values, _ = full_passes(model, guesses, patterns, letters[:, :index])
        following = {word[:index]: set() for word in words}
        for word in words:
            following[word[:index]].add(LETTERS.index(word[index]))
        for row, word in enumerate(words):
            best = max(values[row, letter] for letter in following[word[:index]])
            sums[row] += values[row, letters[row, index]] - best
    return sums


def games(num_turns: int, count: int) -> list[tuple[list[str], list[str]]]:
    """Return random guesses and their colours."""
    rng = np.random.default_rng(num_turns)
    drawn = []
    for _ in range(count):
        secret, *guesses = (str(word) for word in rng.choice(WORDS.guesses, num_turns + 1))
        drawn.append((guesses, [feedback(secret, guess) for guess in guesses]))
    return drawn


@pytest.mark.parametrize("value_loss", ["hl_gauss", "mse"])
@pytest.mark.parametrize(("guesses", "patterns"), [([], []), HISTORY], ids=["start", "two guesses"])
def test_top_words_are_those_of_full_passes_over_every_word(value_loss, guesses, patterns):
    model = tiny_token_model(value_loss=value_loss)
    advantages = advantages_of(model, guesses, patterns, WORDS.guesses)
    best = np.argsort(-advantages)[:20]
    top = WordAdvisor(model, TRIE).top_words(guesses, patterns, 20)
    assert [advice.word for advice in top] == [WORDS.guesses[i] for i in best]
    assert [advice.advantage for advice in top] == pytest.approx(advantages[best], abs=1e-5)
    assert top[0].advantage == 0 > top[1].advantage

    values, logits = full_passes(model, guesses, patterns, WORDS.guess_letters)
    assert [advice.value for advice in top] == pytest.approx(values[best, END_OF_ACTION], abs=1e-5)
    for advice, i in zip(top, best, strict=True):
        if value_loss == "mse":
            assert advice.probabilities is None
        else:
            assert advice.probabilities == pytest.approx(
                logits[i, END_OF_ACTION].softmax(-1).numpy(), abs=1e-6
            )
            assert advice.probabilities @ model.value_loss.support().numpy() == pytest.approx(advice.value)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 1000])
def test_every_word_is_ranked_however_many_prefixes_are_read_at_a_time(batch_size):
    model = tiny_token_model()
    ranked = WordAdvisor(model, TRIE, batch_size).top_words(*HISTORY, 1000)
    assert sorted(advice.word for advice in ranked) == sorted(WORDS.guesses)
    expected = dict(zip(WORDS.guesses, advantages_of(model, *HISTORY, WORDS.guesses), strict=True))
    assert [advice.advantage for advice in ranked] == pytest.approx(
        [expected[advice.word] for advice in ranked], abs=1e-5
    )
    assert all(first.advantage >= second.advantage for first, second in pairwise(ranked))


@pytest.mark.parametrize("value_loss", ["hl_gauss", "mse"])
@pytest.mark.parametrize("num_turns", range(6))
def test_the_first_word_is_what_the_masked_greedy_player_guesses(value_loss, num_turns):
    model = tiny_token_model(seed=1, value_loss=value_loss, initializer_range=0.2)
    advisor, player = WordAdvisor(model, TRIE), ModelPlayer(model)
    for guesses, patterns in games(num_turns, 8):
        codes = np.array([[pattern_code(pattern) for pattern in patterns]], dtype=np.uint8)
        batch = GameBatch.after(WORDS, "official", letters_of(guesses)[None], codes)
        (first,) = advisor.top_words(guesses, patterns, 1)
        assert first.word == WORDS.guesses[player.choose(batch)[0]] and first.advantage == 0


def test_equal_words_are_in_the_order_of_the_players_argmax():
    model = tiny_token_model(value_loss="mse")
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.zero_()
    words = WordLists(*[("zesty", "crane", "abler", "crank", "abbey")] * 2)
    top = WordAdvisor(model, WordTrie(words.guess_letters)).top_words(*HISTORY, 4)
    assert [(advice.word, advice.advantage) for advice in top] == [
        (word, 0) for word in ("abbey", "abler", "crane", "crank")
    ]
    (choice,) = ModelPlayer(model).choose(GameBatch.start(words, "official", 1))
    assert words.guesses[choice] == "abbey"


def test_letters_that_continue_to_no_word_do_not_count_as_the_best():
    model = tiny_token_model(value_loss="mse")
    with torch.no_grad():
        model.head.bias[LETTERS.index("q")] += 100
        model.head.bias[END_OF_ACTION] += 100
    trie = WordTrie(letters_of(("crane", "crank", "abler")))
    assert WordAdvisor(model, trie).top_words([], [], 1)[0].advantage == 0
    assert WordAdvisor(model, trie).top_words([], [], 3)[-1].advantage > -50


def test_few_of_the_prefixes_are_read_for_the_top_words():
    model = tiny_token_model(initializer_range=0.5)
    num_read = 0

    def count(module, inputs, output):
        nonlocal num_read
        num_read += len(inputs[0])

    model.register_forward_hook(count)
    WordAdvisor(model, TRIE, batch_size=8).top_words(*HISTORY, 5)
    assert 10 < num_read < len(TRIE.children) / 5


def test_values_that_are_not_finite_are_an_error():
    model = tiny_token_model()
    with torch.no_grad():
        model.head.bias[0] = torch.nan
    with pytest.raises(InputError, match="values that are not finite"):
        WordAdvisor(model, TRIE).top_words(*HISTORY, 5)


def test_words_are_valued_in_their_order_whether_allowed_or_not():
    model = tiny_token_model()
    words = ["zesty", "qqqqq", "abler"]
    values, _ = full_passes(model, *HISTORY, letters_of(words))
    scored = WordAdvisor(model, TRIE).score(*HISTORY, words)
    assert [advice.word for advice in scored] == words
    assert [advice.value for advice in scored] == pytest.approx(values[:, END_OF_ACTION], abs=1e-5)
    assert all(advice.advantage is None for advice in scored)
