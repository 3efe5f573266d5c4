"""The language agent: cached play equals replay without a cache, masks, temperature, refused guesses."""

import numpy as np
import pytest
import torch

from data.wordle.rules import ALL_GREEN, feedback_codes, words_of
from data.wordle.token_games import game_tokens
from data.wordle.word_trie import WordTrie
from data.wordle.words import load_word_lists
from eval.wordle.token_agent import NO_PATTERN, TokenAgent
from models.configuration_value_transformer import ValueTransformerConfig
from models.modeling_value_transformer import ValueTransformerForTokenValue
from models.tokenization_wordle import END_OF_ACTION, GAME_LENGTH, TOKENS


WORDS = load_word_lists("american_446")
LETTERS = WORDS.guess_letters
TRIE = WordTrie(LETTERS)
SECRETS = LETTERS[np.arange(0, 446, 6)]


@pytest.fixture(scope="module")
def model() -> ValueTransformerForTokenValue:
    torch.manual_seed(0)
    config = ValueTransformerConfig(
        vocab_size=len(TOKENS),
        max_position_embeddings=GAME_LENGTH,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        attention="causal",
        action_embedding="table",
        value_min=-7,
        num_bins=11,
    )
    return ValueTransformerForTokenValue(config).eval()


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


def test_without_a_mask_refused_guesses_cost_the_turn_and_leave_the_history_alone(model):
    """Hot sampling writes words now and then, so games have both kinds of turns, in every order."""
    words = np.array([[a, b, 2, 3, 4] for a in range(26) for b in range(26)], dtype=np.uint8)
    trie = WordTrie(words)
    seen: list[tuple[int, int]] = []

    def choose(values, nodes):
        """Half of all words allowed: the fourth and last tokens follow from the first two."""
        step = len(seen) % 6
        seen.append((step, len(values)))
        if step < 2:
            return torch.randint(26, (len(values),), generator=generator)
        if step == 2:
            return torch.where(torch.rand(len(values), generator=generator) < 0.6, 2, 30)
        return torch.full((len(values),), (3, 4, END_OF_ACTION)[step - 3])

    generator = torch.Generator().manual_seed(0)
    agent = TokenAgent(model, trie, masked=False)
    read = []
    agent._choose_token = choose
    original = agent._choose_word

    def recording(unread, cache):
        read.append((unread, cache.get_seq_length() if cache is not None else 0))
        return original(unread, cache)

    agent._choose_word = recording
    secrets = words[np.arange(0, 676, 10)]
    played = agent.play(secrets, "official")
    refused = played.patterns == NO_PATTERN
    is_turn = np.arange(6) < played.num_turns[:, None]
    assert 0.2 < refused[is_turn].mean() < 0.6
    assert (played.returns() == -(is_turn.sum(1) - played.is_won)).all()
    # What was read before each word is a whole number of turns that were allowed: 12 tokens each, and <a>.
    assert {(unread.shape[1] + before) % 12 for unread, before in read} == {1}


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
