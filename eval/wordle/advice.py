"""What a model thinks of the words that could be guessed next: their values, and the returns it predicts.

    advisor = WordAdvisor(model, words)
    advisor.top_words(["crane"], ["bbgyb"], count=5)

The value of a word is Q(s, </a>) with its five letters at the end of s: the discounted return that the model
expects when the word is submitted.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from data.wordle.rules import NUM_LETTERS, letters_of, pattern_code, words_of
from data.wordle.token_games import game_tokens
from data.wordle.word_trie import WordTrie
from eval.loading import check_finite
from models.modeling_value_transformer import ValueTransformerForTokenValue
from models.tokenization_wordle import END_OF_ACTION, LETTERS


# The shipped list of 3,568 words takes some seconds with a small model on a CPU, and the search a fraction.
LARGEST_SCORED = 4096
BEAM_WIDTH = 256


class Advice(NamedTuple):
    """A word, its value, and the probabilities (bins,) of the returns; None of a model that has none."""

    word: str
    value: float
    probabilities: np.ndarray | None


class WordAdvisor:
    """Values words with a model; `words` (n, 5) are letters from 0 to 25.

    Up to `largest_scored` words are all valued, at most `batch_size` at a time. Of more, those that a beam
    search over their letters finds, with the model's values of letters: the best words, if these are right.
    Methods raise InputError if the model's values are not finite.
    """

    def __init__(
        self,
        model: ValueTransformerForTokenValue,
        words: np.ndarray,
        batch_size: int = 512,
        largest_scored: int = LARGEST_SCORED,
        beam_width: int = BEAM_WIDTH,
    ):
        self.model, self.words, self.trie = model.eval(), words, WordTrie(words)
        self.batch_size, self.largest_scored, self.beam_width = batch_size, largest_scored, beam_width
        self.device = next(model.parameters()).device

    def top_words(self, guesses: Sequence[str], patterns: Sequence[str], count: int) -> list[Advice]:
        """Return the words of the highest values after some guesses and their colours, best first."""
        history = self._read(guesses, patterns)
        words = self.words if len(self.words) <= self.largest_scored else self._find_words(history)
        values, outputs = self._submitted(history, words)
        best = np.argsort(-values, kind="stable")[:count]
        return self._advice(words[best], values[best], outputs[best])

    def score(self, guesses: Sequence[str], patterns: Sequence[str], words: Sequence[str]) -> list[Advice]:
        """Value given words, of the list or not, in their order."""
        letters = letters_of(words)
        return self._advice(letters, *self._submitted(self._read(guesses, patterns), letters))

    @torch.inference_mode()
    def _read(self, guesses: Sequence[str], patterns: Sequence[str]) -> DynamicCache:
        """Return the cache of one game's history."""
        codes = np.array([[pattern_code(pattern) for pattern in patterns]], dtype=np.uint8)
        tokens = torch.from_numpy(game_tokens(letters_of(guesses)[None], codes)).to(self.device)
        return self.model(tokens, use_cache=True, logits_to_keep=1).past_key_values

    @torch.inference_mode()
    def _next_values(self, history: DynamicCache, letters: np.ndarray) -> tuple[Tensor, Tensor]:
        """Read letters (n, 1 or more) after the history.

        Gives the values of what comes next (n, vocab), and the outputs behind that of </a> (n, outputs).
        """
        values, outputs = [], []
        for start in range(0, len(letters), self.batch_size):
            part = torch.from_numpy(letters[start : start + self.batch_size].astype(np.int64))
            repeated = [
                (layer.keys.expand(len(part), -1, -1, -1), layer.values.expand(len(part), -1, -1, -1))
                for layer in history.layers
            ]
            cache = DynamicCache(repeated)
            output = self.model(part.to(self.device), past_key_values=cache, logits_to_keep=1)
            values.append(output.value[:, 0])
            outputs.append(output.logits[:, 0, END_OF_ACTION])
        return torch.cat(values), torch.cat(outputs)

    def _submitted(self, history: DynamicCache, words: np.ndarray) -> tuple[np.ndarray, Tensor]:
        """Return the values (n,) of submitting words (n, 5), and the outputs (n, outputs) behind them."""
        values, outputs = self._next_values(history, words)
        submitted = values[:, END_OF_ACTION].cpu().numpy()
        check_finite(submitted)
        return submitted, outputs

    def _find_words(self, history: DynamicCache) -> np.ndarray:
        """Return the words (n, 5) that a beam search finds, n at most its width."""
        first_letters = np.flatnonzero(self.trie.legal[0, : len(LETTERS)])
        prefixes = first_letters[:, None].astype(np.uint8)
        nodes = self.trie.children[0, first_letters]
        for _ in range(1, NUM_LETTERS):
            values = self._next_values(history, prefixes)[0][:, : len(LETTERS)].cpu().numpy()
            rows, letters = np.nonzero(self.trie.legal[nodes, : len(LETTERS)])
            best = np.argsort(-values[rows, letters], kind="stable")[: self.beam_width]
            rows, letters = rows[best], letters[best]
            prefixes = np.concatenate([prefixes[rows], letters[:, None].astype(np.uint8)], axis=1)
            nodes = self.trie.children[nodes[rows], letters]
        return prefixes

    def _advice(self, words: np.ndarray, values: np.ndarray, outputs: Tensor) -> list[Advice]:
        if outputs.shape[-1] == 1:
            probabilities = [None] * len(words)
        else:
            probabilities = list(torch.softmax(outputs.float(), dim=-1).cpu().numpy())
        return [
            Advice(word, float(value), probs)
            for word, value, probs in zip(words_of(words), values, probabilities, strict=True)
        ]
