"""Advice on the next word: values with a cache equal full passes over every word, and the beam search."""

import numpy as np
import pytest
import torch

from data.wordle.rules import letters_of, pattern_code
from data.wordle.token_games import game_tokens
from data.wordle.words import load_word_lists
from eval.wordle.advice import WordAdvisor
from models.tokenization_wordle import END_OF_ACTION, LETTERS
from tests.wordle_models import tiny_token_model


WORDS = load_word_lists("american_446")
HISTORY = (["abler", "clang"], ["bbgyb", "bgbby"])


@torch.no_grad()
def full_passes(model, guesses: list[str], patterns: list[str], letters: np.ndarray):
    """The values (n, vocab) and logits (n, vocab, outputs) after a history and letters, from the start."""
    codes = np.array([[pattern_code(pattern) for pattern in patterns]], dtype=np.uint8)
    history = game_tokens(letters_of(guesses)[None], codes)
    output = model(torch.from_numpy(np.concatenate([history.repeat(len(letters), 0), letters], axis=1)))
    return output.value[:, -1].numpy(), output.logits[:, -1]


@pytest.mark.parametrize("value_loss", ["hl_gauss", "mse"])
@pytest.mark.parametrize(("guesses", "patterns"), [([], []), HISTORY], ids=["start", "two guesses"])
def test_top_words_are_those_of_full_passes_over_every_word(value_loss, guesses, patterns):
    model = tiny_token_model(value_loss=value_loss)
    values, logits = full_passes(model, guesses, patterns, WORDS.guess_letters)
    best = np.argsort(-values[:, END_OF_ACTION])[:20]
    top = WordAdvisor(model, WORDS.guess_letters, batch_size=100).top_words(guesses, patterns, 20)
    assert [advice.word for advice in top] == [WORDS.guesses[i] for i in best]
    assert [advice.value for advice in top] == pytest.approx(values[best, END_OF_ACTION], abs=1e-5)
    for advice, i in zip(top, best, strict=True):
        if value_loss == "mse":
            assert advice.probabilities is None
        else:
            assert advice.probabilities == pytest.approx(
                logits[i, END_OF_ACTION].softmax(-1).numpy(), abs=1e-6
            )
            assert advice.probabilities @ model.value_loss.support().numpy() == pytest.approx(advice.value)


def test_given_words_are_valued_in_their_order_whether_in_the_list_or_not():
    model = tiny_token_model()
    words = ["zesty", "qqqqq", "abler"]
    values, _ = full_passes(model, *HISTORY, letters_of(words))
    scored = WordAdvisor(model, WORDS.guess_letters).score(*HISTORY, words)
    assert [advice.word for advice in scored] == words
    assert [advice.value for advice in scored] == pytest.approx(values[:, END_OF_ACTION], abs=1e-5)


def test_a_beam_that_holds_all_prefixes_finds_all_words_in_the_same_order():
    model = tiny_token_model()
    every_word = WordAdvisor(model, WORDS.guess_letters).top_words(*HISTORY, 446)
    wide = WordAdvisor(model, WORDS.guess_letters, largest_scored=0, beam_width=446)
    found = wide.top_words(*HISTORY, 446)
    assert [advice.word for advice in found] == [advice.word for advice in every_word]
    assert len(found) == 446


def test_a_narrow_beam_keeps_the_prefixes_that_the_model_values_most():
    model = tiny_token_model()
    prefixes = sorted({word[:1] for word in WORDS.guesses})
    values = {}
    for length in range(1, 5):
        letters = np.array([[LETTERS.index(letter) for letter in prefix] for prefix in prefixes])
        following, _ = full_passes(model, *HISTORY, letters)
        values = {
            prefix + letter: following[row, LETTERS.index(letter)]
            for row, prefix in enumerate(prefixes)
            for letter in LETTERS
            if any(word.startswith(prefix + letter) for word in WORDS.guesses)
        }
        prefixes = sorted(values, key=values.get, reverse=True)[:7]
        assert all(len(prefix) == length + 1 for prefix in prefixes)
    narrow = WordAdvisor(model, WORDS.guess_letters, largest_scored=0, beam_width=7)
    found = narrow.top_words(*HISTORY, 20)
    assert sorted(advice.word for advice in found) == sorted(prefixes)
    assert [advice.value for advice in found] == sorted((advice.value for advice in found), reverse=True)
