"""Games as tokens: the text of ILQL, where actions are chosen, and which tokens may follow."""

import numpy as np
import pytest

from data.wordle.rules import ALL_GREEN, feedback_codes, letters_of
from data.wordle.token_games import TokenGames, action_positions, game_tokens
from data.wordle.word_trie import WordTrie
from data.wordle.words import load_word_lists
from models.tokenization_wordle import END_OF_ACTION, GAME_LENGTH, PAD, TOKENS, make_wordle_tokenizer


WORDS = ("crane", "slate", "crate", "stale")


@pytest.fixture
def games() -> TokenGames:
    """The secret is slate; the first game takes three turns, the second two."""
    guesses = letters_of(["crane", "crate", "slate", *["aaaaa"] * 3, "stale", "slate", *["aaaaa"] * 4])
    guesses = guesses.reshape(2, 6, 5)
    patterns = feedback_codes(letters_of(["slate"])[None], guesses, "official")
    rewards = np.where(patterns == ALL_GREEN, 0, -1).astype(np.float32)
    return TokenGames(guesses, patterns, rewards, np.array([3, 2]), WordTrie(letters_of(WORDS)))


def test_the_tokenizer_has_the_35_tokens_of_ilql_and_round_trips():
    tokenizer = make_wordle_tokenizer()
    text = "<a>crane</a><b><y><b><g><g></s>slate</a></eod>"
    ids = tokenizer(text).input_ids
    assert len(tokenizer) == len(TOKENS) == 35
    assert ids[:7] == [33, 2, 17, 0, 13, 4, 30]
    assert tokenizer.decode(ids) == text
    assert tokenizer.pad_token_id == PAD
    with pytest.raises(Exception, match="UNK"):
        tokenizer("<a>Crane</a>")


def test_a_game_reads_as_in_ilql(games):
    tokens = game_tokens(games.guesses[:1, :3], games.patterns[:1, :3])[0]
    text = make_wordle_tokenizer().decode(tokens)
    assert text == ("<a>crane</a><b><b><g><b><g></s>crate</a><b><b><g><g><g></s>slate</a><g><g><g><g><g></s>")
    assert 1 + 6 * 12 + len(["</eod>"]) == GAME_LENGTH


def test_every_action_is_the_token_after_its_position(games):
    batch = games.batch(np.array([0, 1]))
    assert batch["actions"].shape == (2, 18) and batch["input_ids"].shape == (2, 30)
    whole = game_tokens(games.guesses[:, :3], games.patterns[:, :3])
    for row, num_turns in enumerate((3, 2)):
        taken = batch["actions"][row, : 6 * num_turns]
        assert (taken == whole[row, batch["positions"][: 6 * num_turns] + 1]).all()
        read = 12 * num_turns - 6
        assert (batch["input_ids"][row, :read] == whole[row, :read]).all()
    assert (batch["actions"][1, 12:] == -100).all() and (batch["input_ids"][1, 25:] == PAD).all()


def test_rewards_stand_on_the_end_of_a_guess(games):
    rewards = games.batch(np.array([0, 1]))["rewards"]
    expected = np.zeros((2, 18), dtype=np.float32)
    expected[0, [5, 11]] = -1
    expected[1, 5] = -1
    assert (rewards == expected).all()


def test_positions_of_actions_are_twelve_tokens_apart():
    assert action_positions(2).tolist() == [0, 1, 2, 3, 4, 5, 12, 13, 14, 15, 16, 17]


def test_legal_tokens_are_those_that_go_on_to_a_word(games):
    legal = games.batch(np.array([0, 1]))["legal"]
    names = [[TOKENS[token] for token in np.flatnonzero(legal[0, i])] for i in range(6)]
    assert names == [["c", "s"], ["r"], ["a"], ["n", "t"], ["e"], ["</a>"]]
    taken = games.batch(np.array([0]))["actions"][0]
    assert all(legal[0, i, action] for i, action in enumerate(taken))


def test_the_number_of_values_is_six_a_turn(games):
    assert games.num_values(np.array([0, 1])).tolist() == [18, 12]


def test_batches_of_short_games_are_short(games):
    assert games.batch(np.array([1]))["input_ids"].shape == (1, 18)


def test_fingerprints_tell_games_apart(games):
    other = TokenGames(games.guesses[::-1], games.patterns[::-1], games.rewards, games.num_turns)
    assert games.fingerprint() == games.fingerprint() != other.fingerprint()
    colours = TokenGames(games.guesses, games.patterns[:, ::-1], games.rewards, games.num_turns, games.trie)
    words = WordTrie(letters_of([*WORDS, "trace"]))
    lists = TokenGames(games.guesses, games.patterns, games.rewards, games.num_turns, words)
    assert len({str(each.fingerprint()) for each in (games, other, colours, lists)}) == 4


def test_a_trie_accepts_its_words_and_no_others():
    words = load_word_lists("american_446").guess_letters
    trie = WordTrie(words)
    generator = np.random.default_rng(0)
    others = generator.integers(26, size=(2000, 5)).astype(np.uint8)
    others[:500] = words[generator.integers(len(words), size=500)]
    others[:500, 4] = generator.integers(26, size=500)
    known = {bytes(word) for word in words}
    accepted = trie.legal[trie.nodes(others)[:, 5], END_OF_ACTION]
    assert accepted.tolist() == [bytes(word) in known for word in others] and accepted.any()
    assert trie.legal[trie.nodes(words)[:, 5], END_OF_ACTION].all()
    prefixes = {bytes(word[:length]) for word in words for length in range(6)}
    assert len(trie.legal) == len(prefixes) + 1
