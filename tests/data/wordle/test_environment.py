"""Wordle as Gymnasium environments: the API, the game, and many games at once equal many single games."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import SyncVectorEnv

from cli.errors import InputError
from data.wordle.environment import INVALID_GUESS, NO_COLOUR, WordleEnv, WordleVectorEnv
from data.wordle.rules import EMPTY_LETTER, RULES, letters_of, pattern_text, words_of
from data.wordle.words import WordLists, load_word_lists
from tests.support.wordle_feedback import feedback


WORDS = load_word_lists("american_446")
ABLER = WordLists(("abler",), WORDS.guesses)


def play(env, guesses, **reset):
    """Play words; return what every step gave."""
    env.reset(**reset)
    return [env.step(env.words.index(guess)) for guess in guesses]


def lose(env, **reset):
    """Play a game to its end; return its secret."""
    env.reset(**reset)
    is_over = False
    while not is_over:
        *_, is_over, _, info = env.step(WORDS.index("zebra"))
    return info["secret"]


def shown(observation, turn):
    """Return the colours of a turn as text."""
    return "".join("byg?"[colour] for colour in observation["colours"][turn])


@pytest.mark.parametrize("settings", [{}, {"rule": "simplified"}, {"render_mode": "ansi"}])
def test_the_environment_passes_gymnasiums_own_check(settings):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make("data.wordle.environment:Wordle-v0", words=WORDS, **settings)
        check_env(env.unwrapped)
    assert isinstance(env.unwrapped, WordleEnv)


def test_words_may_be_given_by_the_name_of_their_list():
    env = gymnasium.make("data.wordle.environment:Wordle-v0", words="american_446")
    assert len(env.unwrapped.words.answers) == WordleVectorEnv(2, "american_446").single_action_space.n == 446


def test_gymnasium_makes_vector_environments_by_name():
    envs = gymnasium.make_vec(
        "data.wordle.environment:Wordle-v0",
        num_envs=3,
        vectorization_mode="vector_entry_point",
        words=WORDS,
    )
    assert isinstance(envs, WordleVectorEnv)
    assert envs.reset(seed=0)[0]["guesses"].shape == (3, 6, 5)


@pytest.mark.parametrize("rule", RULES)
def test_a_game_costs_one_for_every_wrong_guess_and_shows_its_colours(rule):
    env = WordleEnv(WORDS, rule)
    secret, guesses = WORDS.answers[7], [*WORDS.answers[20:24], WORDS.answers[7]]
    steps = play(env, guesses, options={"secret": secret})
    assert [step[1] for step in steps] == [-1, -1, -1, -1, 0]
    assert [step[2] for step in steps] == [False] * 4 + [True]
    assert not any(step[3] for step in steps)
    assert [step[4]["won"] for step in steps] == [False] * 4 + [True]
    assert [step[4].get("secret") for step in steps] == [None] * 4 + [secret]
    for turn, (observation, *_) in enumerate(steps):
        assert observation in env.observation_space
        assert observation["turn"] == turn + 1
        assert words_of(observation["guesses"][: turn + 1]) == guesses[: turn + 1]
        assert (observation["guesses"][turn + 1 :] == EMPTY_LETTER).all()
        assert (observation["colours"][turn + 1 :] == NO_COLOUR).all()
        for past in range(turn + 1):
            assert shown(observation, past) == feedback(secret, guesses[past], rule)


def test_a_game_is_over_after_six_wrong_guesses():
    env = WordleEnv(WORDS)
    steps = play(env, WORDS.answers[10:16], options={"secret": WORDS.answers[0]})
    assert [step[1] for step in steps] == [-1] * 6
    assert [step[2] for step in steps] == [False] * 5 + [True]
    assert steps[-1][4]["won"] is False
    assert steps[-1][4]["secret"] == WORDS.answers[0]
    with pytest.raises(ResetNeeded, match="the game is over"):
        env.step(0)


def test_seeds_decide_the_secrets():
    def secrets(env, seed):
        return [lose(env, seed=seed), *(lose(env) for _ in range(20))]

    first = secrets(WordleEnv(WORDS), 5)
    assert first == secrets(WordleEnv(WORDS), 5)
    assert first != secrets(WordleEnv(WORDS), 6)
    assert set(first) <= set(WORDS.answers)


def test_guesses_may_be_more_words_than_the_secrets():
    env = WordleEnv(WordLists(("trace", "crane"), ("abide", "brand", "crane", "slate", "trace")))
    assert env.action_space.n == 5
    steps = play(env, ["abide", "crane"], options={"secret": "crane"})
    assert [step[1:3] for step in steps] == [(-1.0, False), (0.0, True)]
    with pytest.raises(InputError, match="'abide' is not one of the 2 secret words"):
        env.reset(options={"secret": "abide"})


def test_the_game_is_drawn_in_squares():
    env = WordleEnv(WORDS, render_mode="ansi")
    play(env, ["aches", "abler"], options={"secret": "abler"})
    assert env.render() == "aches 🟩⬛⬛🟩⬛\nabler 🟩🟩🟩🟩🟩"


def equal(left, right):
    """Return whether nested infos or observations are equal, types of arrays included."""
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(equal(left[key], right[key]) for key in left)
    if isinstance(left, np.ndarray):
        if left.dtype == object:
            return len(left) == len(right) and all(map(equal, left, right))
        return left.dtype == right.dtype and np.array_equal(left, right)
    return type(left) is type(right) and left == right


def test_seeds_decide_the_secrets_of_many_games():
    def secrets(seed):
        envs = WordleVectorEnv(50, WORDS)
        envs.reset(seed=seed)
        for _ in range(6):
            infos = envs.step(np.zeros(50, dtype=np.int64))[4]
        return infos["secret"].tolist()

    assert secrets(3) == secrets(3)
    assert secrets(3) != secrets(4)
    assert len(set(secrets(3))) > 30


def test_a_guess_that_is_not_an_allowed_word_takes_a_turn_and_shows_nothing():
    env = WordleEnv(ABLER)
    env.reset()
    observation, reward, is_over, _, info = env.step(INVALID_GUESS)
    assert (observation["turn"], reward, is_over, info) == (1, -1.0, False, {"won": False, "invalid": True})
    assert (observation["guesses"] == EMPTY_LETTER).all() and (observation["colours"] == NO_COLOUR).all()
    assert [env.step(INVALID_GUESS)[2] for _ in range(5)] == [False] * 4 + [True]


@pytest.mark.parametrize("rule", RULES)
def test_many_games_at_once_are_many_single_games(rule):
    num_games, rng = 7, np.random.default_rng(0)
    together = WordleVectorEnv(num_games, ABLER, rule)
    alone = SyncVectorEnv([lambda: WordleEnv(ABLER, rule)] * num_games)
    assert together.metadata["autoreset_mode"] == alone.metadata["autoreset_mode"]
    assert together.observation_space == alone.observation_space
    assert together.action_space == alone.action_space
    assert equal(together.reset()[0], alone.reset()[0])
    num_over = num_invalid = 0
    for _ in range(60):
        actions = rng.integers(INVALID_GUESS, len(WORDS.guesses), size=num_games)
        actions[rng.random(num_games) < 0.2] = WORDS.index("abler")
        actions[rng.random(num_games) < 0.1] = INVALID_GUESS
        results = together.step(actions), alone.step(actions)
        assert results[0][0] in together.observation_space
        for mine, theirs in zip(*results, strict=True):
            assert equal(mine, theirs)
        num_over += results[0][2].sum()
        num_invalid += results[0][4]["invalid"].sum() if "invalid" in results[0][4] else 0
    assert num_over > 30 and num_invalid > 30


def test_secrets_may_be_given_for_each_game():
    envs = WordleVectorEnv(3, WORDS)
    envs.reset(options={"secret": WORDS.answers[:3]})
    _, rewards, over, _, infos = envs.step(WORDS.answer_indices[[0, 9, 2]])
    assert rewards.tolist() == [0, -1, 0]
    assert over.tolist() == [True, False, True]
    assert infos["secret"].tolist() == [WORDS.answers[0], None, WORDS.answers[2]]
    envs.reset(options={"secret": WORDS.answers[5]})
    assert envs.step(np.full(3, WORDS.answer_indices[5]))[1].tolist() == [0, 0, 0]


def test_earlier_observations_are_not_overwritten():
    envs = WordleVectorEnv(4, ABLER)
    kept = [envs.reset()[0]]
    kept += [envs.step(np.full(4, action))[0] for action in (3, 5, WORDS.index("abler"), 7, 7)]
    turns = [observation["turn"].tolist() for observation in kept]
    assert turns == [[turn] * 4 for turn in (0, 1, 2, 3, 0, 1)]
    assert (kept[0]["guesses"] == EMPTY_LETTER).all()
    assert np.array_equal(kept[2]["guesses"][0, :2], letters_of([WORDS.guesses[3], WORDS.guesses[5]]))
    assert pattern_text(kept[5]["colours"][0, 0] @ 3 ** np.arange(5)) == feedback("abler", WORDS.guesses[7])


def test_an_unknown_rule_or_secret_is_an_error():
    for make in (WordleEnv, lambda *arguments: WordleVectorEnv(2, *arguments)):
        with pytest.raises(InputError, match="unknown rule 'hard': choose official or simplified"):
            make(WORDS, "hard")
        with pytest.raises(InputError, match="'zzzzz' is not one of the 446 secret words"):
            make(WORDS).reset(options={"secret": "zzzzz"})


def test_an_unknown_action_is_an_error():
    env = WordleEnv(WORDS)
    with pytest.raises(ResetNeeded):
        env.step(0)
    env.reset()
    for action in (446, -2, 1.5, "aches"):
        with pytest.raises(InputError, match=f"action {action!r} is not the index of one of 446 guesses"):
            env.step(action)


def test_unknown_actions_and_secrets_of_many_games_are_errors():
    envs = WordleVectorEnv(3, WORDS)
    with pytest.raises(ResetNeeded):
        envs.step(np.zeros(3, dtype=int))
    envs.reset(options={"secret": "aches"})
    with pytest.raises(InputError, match="action 446 of game 1 is not the index of one of 446 guesses"):
        envs.step(np.array([0, 446, 0]))
    with pytest.raises(InputError, match="actions must be 3 integers, not float64"):
        envs.step(np.zeros(3))
    with pytest.raises(InputError, match="actions must be 3 integers"):
        envs.step(np.zeros(4, dtype=int))
    with pytest.raises(InputError, match="2 secrets for 3 games: give one for each"):
        envs.reset(options={"secret": ["aches", "abler"]})


def test_the_mean_return_of_random_games_is_the_expected_one():
    words = WordLists(WORDS.answers[:8], WORDS.answers[:8])
    envs = WordleVectorEnv(1000, words)
    envs.reset(seed=0)
    # Another seed: with the same one the guesses would equal the secrets.
    rng, returns, is_over = np.random.default_rng(1), np.zeros(1000), np.zeros(1000, dtype=bool)
    for _ in range(6):
        _, rewards, over, _, _ = envs.step(rng.integers(8, size=1000))
        returns += np.where(is_over, 0, rewards)
        is_over |= over
    assert is_over.all()
    assert returns.min() == -6
    assert returns.max() == 0
    # A guess is right one time in eight: the mean is −Σ (7/8)ⁱ over i from 1 to 6.
    assert returns.mean() == pytest.approx(-sum(0.875**i for i in range(1, 7)), abs=0.2)
