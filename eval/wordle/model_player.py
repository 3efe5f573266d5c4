"""A model that plays Wordle by its token values: batches of games with a key-value cache.

The next token is the one with the highest Q, or sampled from softmax(Q / temperature). With the mask, only
tokens that continue to an allowed word are considered. Without it, the model may write any token; a guess
that is not an allowed word costs the turn (reward −1), gets no colours, and is not in the history that the
model reads.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor
from transformers import Cache, DynamicCache

from cli.errors import InputError, first_line
from data.wordle.game_batch import GameBatch
from data.wordle.games import GameDescription
from data.wordle.players import Player
from data.wordle.rules import NO_PATTERN
from data.wordle.token_games import game_tokens
from data.wordle.word_trie import WordTrie
from data.wordle.words import WordLists
from eval.loading import WORDLE, identify_model, load_model
from eval.model_folder import local_folder, model_name
from eval.predictions import check_finite
from models.modeling_value_transformer import ValueTransformerForTokenValue
from models.tokenization_wordle import (
    END_OF_ACTION,
    GAME_LENGTH,
    LETTERS,
    NUM_LETTERS,
    TOKENS,
)


class _Group(NamedTuple):
    """Games with the same number of tokens read: what the model knows of them before their next guess."""

    rows: np.ndarray  # (n,) which games of the batch
    cache: Cache | None
    unread: Tensor  # (n, tokens)


class _Guessed(NamedTuple):
    """A group after its guess: the letters (n, 5) and the cache that has read all but the last of them."""

    group: _Group
    letters: np.ndarray
    cache: Cache


@dataclass(eq=False)
class ModelPlayer(Player):
    """Plays with a model. `masked` says whether it considers allowed words alone.

    With `temperature` 0 it is greedy; otherwise it samples tokens with `seed`, not with the `rng` of
    `choose`. `game` is the one that the model was trained for, if it is known, and `source` the folder or hub
    id that it was loaded from.
    """

    model: ValueTransformerForTokenValue
    name: str = "model"
    game: GameDescription | None = None
    masked: bool = True
    temperature: float = 0.0
    seed: int = 0
    games_at_once: int = 512
    source: str = ""

    def __post_init__(self) -> None:
        self._device = next(self.model.parameters()).device
        # Without a mask, the model also chooses whether the word ends after five letters.
        self._num_choices = NUM_LETTERS if self.masked else NUM_LETTERS + 1
        self._generator = torch.Generator(self._device).manual_seed(self.seed)

    @classmethod
    def load(cls, name: str, device: str, dtype: str, **settings) -> Self:
        """Load a model from a folder or the hub. Raises InputError unless it is one that plays Wordle."""
        model, _ = load_model(name, device, dtype, WORDLE)
        # Every token and every position.
        tokens = torch.arange(GAME_LENGTH, device=model.device) % len(TOKENS)
        with torch.no_grad():
            check_finite(model(tokens[None]).value.cpu().numpy())
        return cls(model, model_name(name), read_game(local_folder(name)), source=name, **settings)

    def identify(self) -> str:
        return identify_model(self.source, WORDLE)

    @torch.no_grad()
    def choose(self, batch: GameBatch, rng: np.random.Generator | None = None) -> np.ndarray:
        choices = np.full(len(batch), -1, dtype=np.int64)
        guessed = []
        for group in self._groups(batch):
            letters, is_word, cache = self._choose_word(batch.words, group.unread, group.cache)
            # Letters that are no words may have any value, and may look like a word's.
            indices = np.where(is_word, batch.words.find(np.where(is_word[:, None], letters, 0)), -1)
            choices[np.searchsorted(batch.rows, group.rows)] = indices
            guessed.append(_Guessed(group, letters, cache))
        batch.memory = guessed
        return choices

    def _groups(self, batch: GameBatch) -> list[_Group]:
        """Return the games of a batch by the number of tokens that the model has read."""
        if batch.memory is None:
            letters = batch.words.guess_letters[batch.guesses[:, : batch.turn]]
            tokens = torch.from_numpy(game_tokens(letters, batch.patterns[:, : batch.turn]))
            return [_Group(batch.rows, None, tokens.to(self._device))]
        groups = []
        for group, letters, cache in batch.memory:
            is_left = np.isin(group.rows, batch.rows)
            codes = np.zeros(len(group.rows), dtype=np.uint8)
            codes[is_left] = batch.patterns[np.isin(batch.rows, group.rows), batch.turn - 1]
            groups += self._continued(group, letters, cache, codes, is_left)
        return groups

    def _continued(
        self, group: _Group, letters: np.ndarray, cache: Cache, codes: np.ndarray, is_left: np.ndarray
    ) -> list[_Group]:
        """Return the games of a group that are left after its guess: those with new feedback, then others."""
        letters_read = self._num_choices - 1
        num_read = cache.get_seq_length()
        groups = []
        informed = np.flatnonzero(is_left & (codes != NO_PATTERN))
        if len(informed):
            turn = game_tokens(letters[informed, None], codes[informed, None])[:, 1:]
            unread = torch.from_numpy(turn[:, letters_read:]).to(self._device)
            groups.append(_Group(group.rows[informed], _select(cache, informed, num_read), unread))
        refused = np.flatnonzero(is_left & (codes == NO_PATTERN))
        if len(refused):
            num_before = num_read - letters_read - group.unread.shape[1]
            before = _select(cache, refused, num_before) if num_before else None
            groups.append(_Group(group.rows[refused], before, group.unread[refused]))
        return groups

    def _choose_word(
        self, words: WordLists, unread: Tensor, cache: Cache | None
    ) -> tuple[np.ndarray, np.ndarray, Cache]:
        """Return tokens (n, 5), whether they are five letters and `</a>` (n,), and the cache after them."""
        legal, children = _trie_on(words, self._device)
        nodes = torch.zeros(len(unread), dtype=torch.int64, device=self._device)
        tokens = []
        for _ in range(self._num_choices):
            output = self.model(unread, cache=cache, use_cache=True, logits_to_keep=1)
            cache = output.cache
            token = self._choose_token(output.value[:, 0], legal[nodes])  # (n,)
            nodes = children[nodes, token.clamp(max=len(LETTERS) - 1)]
            unread = token[:, None]
            tokens.append(token)
        word = torch.stack(tokens, dim=1)  # (n, 5 or 6)
        is_word = (word[:, :NUM_LETTERS] < len(LETTERS)).all(1)
        if not self.masked:
            is_word &= word[:, -1] == END_OF_ACTION
        return word[:, :NUM_LETTERS].to(torch.uint8).cpu().numpy(), is_word.cpu().numpy(), cache

    def _choose_token(self, values: Tensor, legal: Tensor) -> Tensor:
        """Choose the next tokens (n,) by their values (n, vocab)."""
        if self.masked:
            values = values.masked_fill(~legal, -torch.inf)
        if not self.temperature:
            return values.argmax(dim=-1)
        # Relative to the best and in float64, so that no temperature overflows or is rounded to 0.
        scaled = (values - values.amax(-1, keepdim=True)).double() / self.temperature
        probs = torch.softmax(scaled.masked_fill(values == -torch.inf, -torch.inf), dim=-1)
        return torch.multinomial(probs, 1, generator=self._generator).squeeze(-1)


def read_game(folder: Path) -> GameDescription | None:
    """Return the game that the model in a folder was trained for, from its wordle.json; None without it.

    Raises InputError for a file that does not describe a game.
    """
    path = folder / "wordle.json"
    if not path.is_file():
        return None
    try:
        return GameDescription.from_json(json.loads(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder}: its wordle.json does not describe a game ({first_line(error)}): save the model again"
        ) from None


@lru_cache(maxsize=4)
def word_trie(words: WordLists) -> WordTrie:
    """Return the trie of the allowed guesses."""
    return WordTrie(words.guess_letters)


@lru_cache(maxsize=4)
def _trie_on(words: WordLists, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the trie's `legal` and `children` on a device."""
    trie = word_trie(words)
    return torch.from_numpy(trie.legal).to(device), torch.from_numpy(trie.children).to(device)


def _select(cache: Cache, rows: np.ndarray, length: int) -> DynamicCache:
    """Return the cache of some rows, up to a length."""
    layers = [(layer.keys[rows, :, :length], layer.values[rows, :, :length]) for layer in cache.layers]
    return DynamicCache(layers)
