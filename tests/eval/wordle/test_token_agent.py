"""The language agent: cached play equals replay without a cache, masks, temperature, refused guesses."""

from collections import Counter

import numpy as np
import pytest
import torch

from data.wordle.rules import ALL_GREEN, feedback_codes, words_of
from data.wordle.token_games import game_tokens
from data.wordle.word_trie import WordTrie
from data.wordle.words import load_word_lists
from eval.wordle.token_agent import NO_PATTERN, TokenAgent
from models.modeling_value_transformer import ValueTransformerForTokenValue
from models.tokenization_wordle import END_OF_ACTION, START, TOKENS
from tests.support.wordle_models import tiny_token_model


WORDS = load_word_lists("american_446")
LETTERS = WORDS.guess_letters
TRIE = WordTrie(LETTERS)
SECRETS = LETTERS[np.arange(0, 446, 6)]


@pytest.fixture(scope="module")
def model() -> ValueTransformerForTokenValue:
    return tiny_token_model(hidden_size=32, num_attention_heads=4)


def replayed_word(model, guesses: np.ndarray, patterns: np.ndarray, masked: bool) -> list[int]:
    """The next six tokens after one game's history, chosen with a full forward pass for each."""
    tokens = game_tokens(guesses[None], patterns[None])
    chosen = []
    for _ in range(6):
        with torch.no_grad():
            values = model(torch.from_numpy(tokens)).value[0, -1].numpy().copy()
        if masked:
            legal = [
                any(
                    bytes(word[: len(chosen)]) == bytes(chosen) and word[len(chosen)] == token
                    for word in LETTERS
                )
                if len(chosen) < 5
                else token == END_OF_ACTION
                for token in range(len(TOKENS))
            ]
            values[~np.array(legal)] = -np.inf
        chosen.append(int(values.argmax()))
        tokens = np.concatenate([tokens, [[chosen[-1]]]], axis=1)
    return chosen


def test_cached_play_is_what_full_passes_over_the_history_choose(model):
    played = TokenAgent(model, TRIE, batch_size=40).play(SECRETS, "official")
    known = {bytes(word) for word in LETTERS}
    for game in range(0, len(SECRETS), 5):
        num_turns = played.num_turns[game]
        guesses, patterns = played.guesses[game, :num_turns], played.patterns[game, :num_turns]
        assert all(bytes(guess) in known for guess in guesses)
        assert (patterns == feedback_codes(SECRETS[game], guesses, "official")).all()
        for turn in range(num_turns):
            word = replayed_word(model, guesses[:turn], patterns[:turn], masked=True)
            assert word == [*guesses[turn], END_OF_ACTION]
        assert played.is_won[game] == (patterns[-1] == ALL_GREEN)
        assert num_turns == 6 or played.is_won[game]
    assert (played.returns() == -(played.num_turns - played.is_won)).all()


def test_one_guess_from_a_partial_game_is_the_one_of_play(model):
    agent = TokenAgent(model, TRIE, batch_size=30)
    played = agent.play(SECRETS, "simplified")
    for turn in (0, 1, 4):
        rows = np.flatnonzero(played.num_turns > turn)
        words, allowed = agent.guess(played.guesses[rows, :turn], played.patterns[rows, :turn])
        assert (words == played.guesses[rows, turn]).all() and allowed.all()


class WatchedAgent(TokenAgent):
    """Plays as ever, and notes for every group of games the values it saw and the tokens it chose."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.turns, self._seen = [], []

    def _choose_token(self, values, nodes):
        tokens = super()._choose_token(values, nodes)
        self._seen.append((values, tokens))
        return tokens

    def _continued(self, group, words, codes, cache):
        values, tokens = (torch.stack(parts, dim=1) for parts in zip(*self._seen[-6:], strict=True))
        self.turns.append((group.games, values, tokens, words, codes))
        return super()._continued(group, words, codes, cache)


def test_without_a_mask_a_refused_guess_costs_the_turn_and_leaves_no_trace_in_what_is_read():
    """Values seen in play equal those of full passes over the allowed turns alone, for every game."""
    model = tiny_token_model()
    letters = np.array(np.meshgrid(*[[0, 1]] * 5)).reshape(5, -1).T.astype(np.uint8)  # 32 words of a and b
    with torch.no_grad():
        # About one guess in 15 is then five of these letters and </a>.
        bias = model.head.bias.view(len(TOKENS), -1)
        bias[[0, 1], -1] += 12
        bias[END_OF_ACTION, -1] += 11
    agent = WatchedAgent(model, WordTrie(letters), masked=False, temperature=0.25)
    secrets = letters[np.arange(400) % len(letters)]
    played = agent.play(secrets, "official")

    histories = [[START] for _ in secrets]
    num_compared = Counter()
    for games, values, tokens, words, codes in agent.turns:
        (length,) = {len(histories[game]) for game in games}
        history = torch.tensor([histories[game] for game in games])
        with torch.no_grad():
            expected = model(torch.cat([history, tokens[:, :5]], dim=1)).value[:, length - 1 :]
        torch.testing.assert_close(values, expected, rtol=0, atol=1e-5)
        num_compared[length] += len(games)
        for row in np.flatnonzero(codes != NO_PATTERN):
            (turn,) = game_tokens(words[row, None, None], codes[row, None, None])
            histories[games[row]] += turn[1:].tolist()
    assert min(num_compared[length] for length in (1, 13, 25)) > 5
    refused = played.patterns == NO_PATTERN
    is_turn = np.arange(6) < played.num_turns[:, None]
    assert (played.returns() == -(is_turn.sum(1) - played.is_won)).all()
    assert played.is_won.any() and 0.5 < refused[is_turn].mean() < 0.99


@pytest.mark.parametrize("masked", [True, False])
def test_no_temperature_is_too_low_or_too_high(model, masked):
    trie = WordTrie(LETTERS)
    coldest = TokenAgent(model, trie, masked, temperature=1e-45).play(SECRETS, "official")
    greedy = TokenAgent(model, trie, masked).play(SECRETS, "official")
    assert (coldest.guesses == greedy.guesses).all()
    hottest = TokenAgent(model, trie, masked, temperature=1e300).play(SECRETS, "official")
    assert len(np.unique(hottest.guesses[:, 0], axis=0)) > (50 if masked else 0)


def test_temperature_draws_with_the_seed(model):
    draws = [
        TokenAgent(model, TRIE, temperature=1.0, seed=seed).play(SECRETS, "official") for seed in (1, 1, 2)
    ]
    assert (draws[0].guesses == draws[1].guesses).all()
    assert (draws[0].guesses != draws[2].guesses).any()
    known = set(WORDS.guesses)
    turn_zero = words_of(draws[0].guesses[:, 0])
    assert set(turn_zero) <= known and len(set(turn_zero)) > 10


def test_a_low_temperature_is_greedy(model):
    greedy = TokenAgent(model, TRIE).play(SECRETS, "official")
    cold = TokenAgent(model, TRIE, temperature=1e-6).play(SECRETS, "official")
    assert (greedy.guesses == cold.guesses).mean() > 0.999
