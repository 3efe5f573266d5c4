"""The model as a player: cached play equals play without a cache, masks, temperature, invalid guesses."""

from collections import Counter

import numpy as np
import pytest
import torch

from data.wordle.game_batch import GameBatch
from data.wordle.game_rows import Games
from data.wordle.players import play_games
from data.wordle.rules import ALL_GREEN, EMPTY_LETTER, NO_PATTERN, feedback_codes, words_of
from data.wordle.token_games import game_tokens
from data.wordle.words import WordLists, load_word_lists
from eval.wordle.model_player import ModelPlayer
from models.modeling_value_transformer import ValueTransformerForTokenValue
from models.tokenization_wordle import END_OF_ACTION, START, TOKENS
from tests.support.wordle_models import tiny_token_model


WORDS = load_word_lists("american_446")
LETTERS = WORDS.guess_letters
SECRETS = np.arange(0, 446, 6)


@pytest.fixture(scope="module")
def model() -> ValueTransformerForTokenValue:
    return tiny_token_model(hidden_size=32, num_attention_heads=4)


def play(player: ModelPlayer, rule: str = "official", words: WordLists = WORDS, secrets=SECRETS) -> Games:
    return play_games(player, words, rule, secrets, np.random.default_rng(0))


def replayed_word(model, guesses: np.ndarray, patterns: np.ndarray, masked: bool) -> list[int]:
    """Return the next six tokens after one game's history, chosen with a full forward pass for each."""
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


@pytest.mark.slow
def test_cached_play_is_what_full_passes_over_the_history_choose(model):
    games = play(ModelPlayer(model, games_at_once=40))
    known = {bytes(word) for word in LETTERS}
    for game in range(0, len(SECRETS), 5):
        num_turns = games.num_turns[game]
        guesses, patterns = games.guesses[game, :num_turns], games.patterns[game, :num_turns]
        assert all(bytes(guess) in known for guess in guesses)
        assert (patterns == feedback_codes(LETTERS[SECRETS[game]], guesses, "official")).all()
        for turn in range(num_turns):
            word = replayed_word(model, guesses[:turn], patterns[:turn], masked=True)
            assert word == [*guesses[turn], END_OF_ACTION]
        assert games.won[game] == (patterns[-1] == ALL_GREEN)
        assert num_turns == 6 or games.won[game]


def test_a_guess_after_a_history_is_the_one_of_play(model):
    player = ModelPlayer(model, games_at_once=30)
    games = play(player, "simplified")
    for turn in (0, 1, 4):
        rows = np.flatnonzero(games.num_turns > turn)
        batch = GameBatch.after(WORDS, "simplified", games.guesses[rows, :turn], games.patterns[rows, :turn])
        assert (LETTERS[player.choose(batch)] == games.guesses[rows, turn]).all()


class WatchedPlayer(ModelPlayer):
    """Plays as its base class, and records for every group of games the values and the tokens chosen."""

    def __post_init__(self):
        super().__post_init__()
        self.turns, self._seen = [], []

    def _choose_token(self, values, legal):
        tokens = super()._choose_token(values, legal)
        self._seen.append((values, tokens))
        return tokens

    def choose(self, batch, rng):
        self._seen.clear()
        choices = super().choose(batch, rng)
        for i, (group, letters, _) in enumerate(batch.memory):
            seen = zip(*self._seen[6 * i : 6 * i + 6], strict=True)
            self.turns.append(
                (batch.turn, group.rows, *(torch.stack(parts, dim=1) for parts in seen), letters)
            )
        return choices


def test_without_a_mask_an_invalid_guess_costs_the_turn_and_is_not_read():
    """Values in play equal those of full passes over the allowed turns alone, for every game."""
    model = tiny_token_model()
    letters = np.array(np.meshgrid(*[[0, 1]] * 5)).reshape(5, -1).T.astype(np.uint8)  # 32 words of a and b
    with torch.no_grad():
        # About one guess in 15 is then five of these letters and </a>.
        bias = model.head.bias.view(len(TOKENS), -1)
        bias[[0, 1], -1] += 12
        bias[END_OF_ACTION, -1] += 11
    player = WatchedPlayer(model, masked=False, temperature=0.25)
    words = WordLists(*[tuple(words_of(letters))] * 2)
    games = play(player, "official", words, np.arange(400) % 32)

    histories = [[START] for _ in range(400)]
    num_compared = Counter()
    for turn, rows, values, tokens, written in player.turns:
        (length,) = {len(histories[row]) for row in rows}
        history = torch.tensor([histories[row] for row in rows])
        with torch.no_grad():
            expected = model(torch.cat([history, tokens[:, :5]], dim=1)).value[:, length - 1 :]
        torch.testing.assert_close(values, expected, rtol=0, atol=1e-5)
        num_compared[length] += len(rows)
        codes = games.patterns[rows, turn]
        for i in np.flatnonzero(codes != NO_PATTERN):
            (read,) = game_tokens(written[i, None, None], codes[i, None, None])
            histories[rows[i]] += read[1:].tolist()
    assert min(num_compared[length] for length in (1, 13, 25)) > 5
    refused = games.patterns == NO_PATTERN
    assert (games.guesses[refused] == EMPTY_LETTER).all()
    assert (games.returns() == -(games.num_turns - games.won)).all()
    assert games.won.any() and 0.5 < refused[games.is_played].mean() < 0.99


@pytest.mark.parametrize("masked", [True, False])
def test_no_temperature_is_too_low_or_too_high(model, masked):
    coldest = play(ModelPlayer(model, masked=masked, temperature=1e-300))
    greedy = play(ModelPlayer(model, masked=masked))
    assert (coldest.guesses == greedy.guesses).all()
    hottest = play(ModelPlayer(model, masked=masked, temperature=1e300))
    assert len(np.unique(hottest.guesses[:, 0], axis=0)) > (50 if masked else 0)


def test_temperature_draws_with_the_seed(model):
    draws = [play(ModelPlayer(model, temperature=1.0, seed=seed)) for seed in (1, 1, 2)]
    assert (draws[0].guesses == draws[1].guesses).all()
    assert (draws[0].guesses != draws[2].guesses).any()
    known = set(WORDS.guesses)
    first_words = words_of(draws[0].guesses[:, 0])
    assert set(first_words) <= known and len(set(first_words)) > 10
