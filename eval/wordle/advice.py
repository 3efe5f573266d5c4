"""A model's next guesses: the best words in order, their values, and the predicted distributions of returns.

    advisor = WordAdvisor(model, trie)
    advisor.top_words(["crane"], ["bbgyb"], count=5)

Words are ranked as the masked player chooses them, letter by letter. A word of the letters a_0 … a_4 has the
sum of their advantages,

    Σ_i A(s_i, a_i),   A(s, a) = Q(s, a) − max_b Q(s, b),

where b are the letters that continue to an allowed word; `</a>`, then the only legal token, adds 0. The word
of the greedy player has 0, the maximum. Equal words are in alphabetical order, as in the player's argmax.

The value of a word is Q(s, </a>) with its five letters at the end of s: the discounted return that the model
expects after the word. It is not used for ranking: for words that the data never guessed it was not trained,
and the highest of such values are over-estimates.
"""

import heapq
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from data.wordle.rules import NUM_LETTERS, letters_of, pattern_code, words_of
from data.wordle.token_games import game_tokens
from data.wordle.word_trie import WordTrie
from eval.predictions import check_finite
from models.modeling_value_transformer import ValueTransformerForTokenValue
from models.tokenization_wordle import END_OF_ACTION, LETTERS


class Advice(NamedTuple):
    """A word, its value, and the probabilities (bins,) of returns if the model predicts them.

    `advantage` is the sum over the word's letters, at most 0; None for words that were not ranked.
    """

    word: str
    value: float
    probabilities: np.ndarray | None
    advantage: float | None = None


class _Prefix(NamedTuple):
    """The first letters of words, their node in the trie, and the negative sum of their advantages.

    Sorted, the best prefix is first; equal ones are in alphabetical order.
    """

    regret: float
    letters: bytes
    node: int


class WordAdvisor:
    """Ranks and values words with a model; `trie` has the allowed guesses.

    The model reads `batch_size` prefixes or words at a time. Methods raise InputError if its values are not
    finite.
    """

    def __init__(self, model: ValueTransformerForTokenValue, trie: WordTrie, batch_size: int = 64):
        self.model, self.trie, self.batch_size = model.eval(), trie, batch_size
        self.device = next(model.parameters()).device

    def top_words(self, guesses: Sequence[str], patterns: Sequence[str], count: int) -> list[Advice]:
        """Return the words with the highest advantages after some guesses and their colours, best first."""
        history, values = self._read(guesses, patterns)
        found = self._find_words(history, values, count)
        letters = np.array([list(word.letters) for word in found], dtype=np.uint8)
        return self._advice(history, letters, [0.0 - word.regret for word in found])

    def score(self, guesses: Sequence[str], patterns: Sequence[str], words: Sequence[str]) -> list[Advice]:
        """Value words, which need not be allowed guesses, in their order."""
        history, _ = self._read(guesses, patterns)
        return self._advice(history, letters_of(words), [None] * len(words))

    @torch.inference_mode()
    def _read(self, guesses: Sequence[str], patterns: Sequence[str]) -> tuple[DynamicCache, np.ndarray]:
        """Return the cache of one game's history, and the values of the next token (1, vocab)."""
        codes = np.array([[pattern_code(pattern) for pattern in patterns]], dtype=np.uint8)
        tokens = torch.from_numpy(game_tokens(letters_of(guesses)[None], codes)).to(self.device)
        output = self.model(tokens, use_cache=True, logits_to_keep=1)
        return output.cache, _finite(output.value[:, 0])

    @torch.inference_mode()
    def _next_values(self, history: DynamicCache, letters: np.ndarray) -> tuple[np.ndarray, Tensor]:
        """Read letters (n, 1 or more) after the history.

        Returns the values of the next token (n, vocab), and the logits of </a> (n, outputs).
        """
        values, outputs = [], []
        for start in range(0, len(letters), self.batch_size):
            part = torch.from_numpy(letters[start : start + self.batch_size].astype(np.int64))
            repeated = [
                (layer.keys.expand(len(part), -1, -1, -1), layer.values.expand(len(part), -1, -1, -1))
                for layer in history.layers
            ]
            cache = DynamicCache(repeated)
            output = self.model(part.to(self.device), cache=cache, logits_to_keep=1)
            values.append(_finite(output.value[:, 0]))
            outputs.append(output.logits[:, 0, END_OF_ACTION])
        return np.concatenate(values), torch.cat(outputs)

    def _find_words(self, history: DynamicCache, values: np.ndarray, count: int) -> list[_Prefix]:
        """Find the best `count` words by uniform-cost search; `values` (1, vocab) are of the first letters.

        A further letter never lowers the regret, so a whole word before all other prefixes is the best.
        """
        prefixes = list(self._extended([_Prefix(0.0, b"", 0)], values))
        heapq.heapify(prefixes)
        words = []
        while prefixes and len(words) < count:
            if len(prefixes[0].letters) == NUM_LETTERS:
                words.append(heapq.heappop(prefixes))
                continue
            # Reading several prefixes at once costs little more than reading one.
            batch = []
            while prefixes and len(prefixes[0].letters) < NUM_LETTERS and len(batch) < self.batch_size:
                batch.append(heapq.heappop(prefixes))
            batch.sort(key=lambda prefix: len(prefix.letters))
            for _, group in groupby(batch, key=lambda prefix: len(prefix.letters)):
                group = list(group)
                letters = np.array([list(prefix.letters) for prefix in group], dtype=np.uint8)
                values, _ = self._next_values(history, letters)
                for prefix in self._extended(group, values):
                    heapq.heappush(prefixes, prefix)
        return words

    def _extended(self, prefixes: list[_Prefix], values: np.ndarray) -> Iterator[_Prefix]:
        """Extend prefixes by letters that continue to a word; `values` (n, vocab) are of the next token."""
        nodes = [prefix.node for prefix in prefixes]
        legal = self.trie.legal[nodes, : len(LETTERS)]
        letter_values = np.where(legal, values[:, : len(LETTERS)], -np.inf)
        regrets = letter_values.max(axis=1, keepdims=True) - letter_values  # (n, 26)
        for row, letter in np.argwhere(legal):
            prefix = prefixes[row]
            yield _Prefix(
                prefix.regret + float(regrets[row, letter]),
                prefix.letters + bytes([letter]),
                int(self.trie.children[prefix.node, letter]),
            )

    def _advice(
        self, history: DynamicCache, letters: np.ndarray, advantages: Sequence[float | None]
    ) -> list[Advice]:
        """Value words, `letters` (n, 5), as the next guess after the history."""
        values, outputs = self._next_values(history, letters)
        if outputs.shape[-1] == 1:
            probabilities = [None] * len(letters)
        else:
            probabilities = list(torch.softmax(outputs.float(), dim=-1).cpu().numpy())
        columns = (words_of(letters), values[:, END_OF_ACTION].tolist(), probabilities, advantages)
        return [Advice(*row) for row in zip(*columns, strict=True)]


def _finite(values: Tensor) -> np.ndarray:
    values = values.cpu().numpy()
    check_finite(values)
    return values
