"""Games as token sequences: the tokens that the model reads, the actions of the player, and their rewards.

The tokens of a game end with the last letter of its last guess. Every turn has six actions, five letters and
`</a>`. They are chosen at the positions 12·turn + 0 … 5. The action `</a>` has the reward.
"""

import zlib

import numpy as np

from data.training_set import some_of
from data.wordle.rules import PATTERN_DIGITS
from data.wordle.word_trie import WordTrie
from models.tokenization_wordle import (
    ACTIONS_PER_TURN,
    COLOUR_TOKENS,
    END_OF_ACTION,
    END_OF_STATE,
    NUM_LETTERS,
    PAD,
    START,
    TOKENS_PER_TURN,
)


ACTION_PADDING = -100


def game_tokens(guesses: np.ndarray, patterns: np.ndarray) -> np.ndarray:
    """Return the tokens of games with their feedback, (n, 1 + 12 · turns) int64.

    `guesses` (n, turns, 5) are letters from 0 to 25, `patterns` (n, turns) pattern codes.
    """
    num_games, num_turns = patterns.shape
    tokens = np.full((num_games, 1 + TOKENS_PER_TURN * num_turns), START, dtype=np.int64)
    turns = tokens[:, 1:].reshape(num_games, num_turns, TOKENS_PER_TURN)
    turns[..., :NUM_LETTERS] = guesses
    turns[..., NUM_LETTERS] = END_OF_ACTION
    turns[..., NUM_LETTERS + 1 : -1] = COLOUR_TOKENS[PATTERN_DIGITS[patterns]]
    turns[..., -1] = END_OF_STATE
    return tokens


def action_positions(num_turns: int) -> np.ndarray:
    """Return the positions at which the actions of `num_turns` turns are chosen, (6 · num_turns,) int64."""
    turns = TOKENS_PER_TURN * np.arange(num_turns)[:, None]
    return (turns + np.arange(ACTIONS_PER_TURN)).reshape(-1)


class TokenGames:
    """Finished games as training examples.

    `guesses` (n, 6, 5) are letters, `patterns` (n, 6) codes, `rewards` (n, 6), `num_turns` (n,). With a
    `trie`, batches have the mask `legal` of the tokens that continue to one of its words.
    """

    def __init__(
        self,
        guesses: np.ndarray,
        patterns: np.ndarray,
        rewards: np.ndarray,
        num_turns: np.ndarray,
        trie: WordTrie | None = None,
    ):
        self.guesses, self.patterns, self.rewards, self.trie = guesses, patterns, rewards, trie
        self.num_turns = num_turns.astype(np.int64)

    def __len__(self) -> int:
        return len(self.guesses)

    def num_values(self, indices: np.ndarray) -> np.ndarray:
        return ACTIONS_PER_TURN * self.num_turns[indices]

    def batch(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Return games as arrays; n is six times the turns of the longest one.

        They are input_ids (batch, length) int64; positions (n,) int64, at which actions are chosen; actions
        (batch, n) int64, padded with -100; rewards (batch, n) float32; with a trie legal (batch, n, vocab).
        """
        num_turns = self.num_turns[indices]
        longest = int(num_turns.max())
        guesses, patterns = self.guesses[indices, :longest], self.patterns[indices, :longest]
        tokens = game_tokens(guesses, patterns)
        is_turn = np.arange(longest) < num_turns[:, None]  # (batch, turns)
        tokens[:, 1:][np.repeat(~is_turn, TOKENS_PER_TURN, axis=1)] = PAD

        actions = np.full((*is_turn.shape, ACTIONS_PER_TURN), END_OF_ACTION, dtype=np.int64)
        actions[..., :NUM_LETTERS] = guesses
        actions[~is_turn] = ACTION_PADDING
        rewards = np.zeros(actions.shape, dtype=np.float32)
        rewards[..., -1] = np.where(is_turn, self.rewards[indices, :longest], 0)
        flat = (len(indices), -1)
        batch = {
            "input_ids": tokens[:, : NUM_LETTERS - TOKENS_PER_TURN],
            "positions": action_positions(longest),
            "actions": actions.reshape(flat),
            "rewards": rewards.reshape(flat),
        }
        if self.trie is not None:
            legal = self.trie.legal[self.trie.nodes(guesses)]  # (batch, turns, 6, vocab)
            batch["legal"] = legal.reshape(*batch["actions"].shape, -1)
        return batch

    def discounted_returns(self, discount: float) -> np.ndarray:
        """Return Σ_j γ^j r_{i+j} for every action i of every game, in order: (actions of all games,)."""
        at_end = np.zeros_like(self.rewards, dtype=np.float64)  # (n, turns), return of `</a>`
        following = np.zeros(len(self))
        for turn in reversed(range(at_end.shape[1])):
            at_end[:, turn] = following = self.rewards[:, turn] + discount**ACTIONS_PER_TURN * following
        to_end = discount ** np.arange(NUM_LETTERS, -1, -1)  # (6,)
        is_turn = np.arange(at_end.shape[1]) < self.num_turns[:, None]
        return (at_end[is_turn][:, None] * to_end).reshape(-1)

    def fingerprint(self) -> dict[str, int]:
        some = some_of(len(self))
        return {
            "num_games": len(self),
            "num_turns": int(self.num_turns.sum()),
            "guesses": zlib.crc32(self.guesses[some].tobytes()),
            "patterns": zlib.crc32(self.patterns[some].tobytes()),
            "rewards": zlib.crc32(self.rewards[some].tobytes()),
            "legal": 0 if self.trie is None else zlib.crc32(self.trie.legal.tobytes()),
        }
