"""A language agent that plays Wordle by its token values: batches of games with a key-value cache.

The next token is the one of the highest Q, or drawn from softmax(Q / temperature). With a mask only tokens
that go on to an allowed word are considered; without, any of the vocabulary, and what is not an allowed word
costs the turn (reward −1), shows nothing, and leaves the history that the agent reads as it was.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import Cache, DynamicCache

from data.wordle.rules import ALL_GREEN, NUM_TURNS, feedback_codes
from data.wordle.token_games import game_tokens
from data.wordle.word_trie import WordTrie
from models.modeling_value_transformer import ValueTransformerForTokenValue
from models.tokenization_wordle import (
    END_OF_ACTION,
    LETTERS,
    NUM_LETTERS,
    START,
)


NO_LETTER = 255  # in a guess where the agent chose something else
NO_PATTERN = 255  # the feedback of a guess that was not allowed


class PlayedGames(NamedTuple):
    """What happened in n games.

    guesses (n, 6, 5) uint8 letters, NO_LETTER where there is none; patterns (n, 6) uint8 codes, NO_PATTERN
    where a guess was not allowed or the game was over; num_turns (n,) int64; is_won (n,) bool.
    """

    guesses: np.ndarray
    patterns: np.ndarray
    num_turns: np.ndarray
    is_won: np.ndarray

    def returns(self) -> np.ndarray:
        """Return the sums of rewards, −1 for every turn that did not find the secret, (n,) float64."""
        return -(self.num_turns - self.is_won).astype(np.float64)


@dataclass
class _Group:
    """Games with as much history: rows of all games, the cache of what was read, tokens still to read."""

    games: np.ndarray
    cache: Cache | None
    unread: Tensor


class TokenAgent:
    """Plays with a model. `trie` holds the allowed words; `masked` says whether only they are considered.

    `temperature` 0 is greedy; otherwise tokens are drawn with `seed`.
    """

    def __init__(
        self,
        model: ValueTransformerForTokenValue,
        trie: WordTrie,
        masked: bool = True,
        temperature: float = 0.0,
        seed: int = 0,
        batch_size: int = 512,
    ):
        self.model, self.trie, self.masked, self.temperature = model, trie, masked, temperature
        self.batch_size, self.device = batch_size, next(model.parameters()).device
        self._legal = torch.from_numpy(trie.legal).to(self.device)
        self._children = torch.from_numpy(trie.children).to(self.device)
        # Without a mask the model is asked once more, whether the word ends.
        self._num_choices = NUM_LETTERS if masked else NUM_LETTERS + 1
        self._generator = torch.Generator(self.device).manual_seed(seed)

    def play(self, secrets: np.ndarray, rule: str) -> PlayedGames:
        """Play a game for each of the secrets (n, 5), letters from 0 to 25."""
        parts = [
            self._play_batch(secrets[start : start + self.batch_size], rule)
            for start in range(0, len(secrets), self.batch_size)
        ]
        return PlayedGames(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def guess(self, guesses: np.ndarray, patterns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the next guess of games with the same number of turns behind them, and which are allowed.

        `guesses` (n, turns, 5) and `patterns` (n, turns) to letters (n, 5) uint8 and (n,) bool.
        """
        chosen = []
        for start in range(0, len(guesses), self.batch_size):
            part = slice(start, start + self.batch_size)
            tokens = torch.from_numpy(game_tokens(guesses[part], patterns[part])).to(self.device)
            chosen.append(self._choose_word(tokens, None)[:2])
        return tuple(np.concatenate(arrays) for arrays in zip(*chosen, strict=True))

    @torch.no_grad()
    def _play_batch(self, secrets: np.ndarray, rule: str) -> PlayedGames:
        num_games = len(secrets)
        played = PlayedGames(
            np.full((num_games, NUM_TURNS, NUM_LETTERS), NO_LETTER, dtype=np.uint8),
            np.full((num_games, NUM_TURNS), NO_PATTERN, dtype=np.uint8),
            np.full(num_games, NUM_TURNS, dtype=np.int64),
            np.zeros(num_games, dtype=bool),
        )
        start = torch.full((num_games, 1), START, device=self.device)
        groups = [_Group(np.arange(num_games), None, start)]
        for turn in range(NUM_TURNS):
            following = []
            for group in groups:
                words, allowed, cache = self._choose_word(group.unread, group.cache)
                games = group.games
                played.guesses[games, turn] = words
                letters = np.where(allowed[:, None], words, 0)
                codes = np.where(allowed, feedback_codes(secrets[games], letters, rule), NO_PATTERN)
                played.patterns[games, turn] = codes
                won = games[codes == ALL_GREEN]
                played.num_turns[won], played.is_won[won] = turn + 1, True
                if turn + 1 < NUM_TURNS:
                    following += self._continued(group, words, codes, cache)
            groups = following
        return played

    def _continued(self, group: _Group, words: np.ndarray, codes: np.ndarray, cache: Cache) -> list[_Group]:
        """Return the games of a group that go on: those with new feedback, and those without."""
        letters_read = self._num_choices - 1
        num_read = cache.get_seq_length()
        groups = []
        informed = np.flatnonzero((codes != NO_PATTERN) & (codes != ALL_GREEN))
        if len(informed):
            turn = game_tokens(words[informed, None], codes[informed, None])[:, 1:]
            unread = torch.from_numpy(turn[:, letters_read:]).to(self.device)
            groups.append(_Group(group.games[informed], _select(cache, informed, num_read), unread))
        refused = np.flatnonzero(codes == NO_PATTERN)
        if len(refused):
            num_before = num_read - letters_read - group.unread.shape[1]
            before = _select(cache, refused, num_before) if num_before else None
            groups.append(_Group(group.games[refused], before, group.unread[refused]))
        return groups

    @torch.no_grad()
    def _choose_word(self, unread: Tensor, cache: Cache | None) -> tuple[np.ndarray, np.ndarray, Cache]:
        """Choose words: letters (n, 5) uint8, which are allowed (n,), and the cache after them."""
        nodes = torch.zeros(len(unread), dtype=torch.int64, device=self.device)
        tokens = []
        for _ in range(self._num_choices):
            output = self.model(unread, cache=cache, use_cache=True, logits_to_keep=1)
            cache = output.cache
            token = self._choose_token(output.value[:, 0], nodes)  # (n,)
            is_letter = token < len(LETTERS)
            nodes = torch.where(is_letter, self._children[nodes, token.clamp(max=len(LETTERS) - 1)], nodes)
            unread = token[:, None]
            tokens.append(token)
        if self.masked:
            tokens.append(torch.full_like(token, END_OF_ACTION))
        word = torch.stack(tokens, dim=1)  # (n, 6)
        letters = word[:, :NUM_LETTERS]
        is_word = (letters < len(LETTERS)).all(1) & (word[:, -1] == END_OF_ACTION)
        allowed = is_word & self._legal[nodes, END_OF_ACTION]
        letters = torch.where(letters < len(LETTERS), letters, NO_LETTER)
        return letters.to(torch.uint8).cpu().numpy(), allowed.cpu().numpy(), cache

    def _choose_token(self, values: Tensor, nodes: Tensor) -> Tensor:
        """Choose from values (n, vocab) the next tokens (n,)."""
        if self.masked:
            values = values.masked_fill(~self._legal[nodes], -torch.inf)
        if not self.temperature:
            return values.argmax(dim=-1)
        # Relative to the best, so that no temperature overflows.
        scaled = (values - values.amax(-1, keepdim=True)) / self.temperature
        probs = torch.softmax(scaled.masked_fill(values == -torch.inf, -torch.inf), dim=-1)
        return torch.multinomial(probs, 1, generator=self._generator).squeeze(-1)


def _select(cache: Cache, rows: np.ndarray, length: int) -> DynamicCache:
    """Return the cache of some rows, up to a length."""
    layers = [(layer.keys[rows, :, :length], layer.values[rows, :, :length]) for layer in cache.layers]
    return DynamicCache(layers)
