"""Wordle as Gymnasium environments: the API, the game, and that many games at once are so many games."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from cli.errors import InputError
from data.wordle.environment import NO_COLOUR, WordleEnv, WordleVectorEnv
from data.wordle.rules import EMPTY_LETTER, RULES, feedback, letters_of, pattern_text, words_of
from data.wordle.words import WordLists, load_word_lists


WORDS = load_word_lists("american_446")
CRANE = WordLists(*[("abide", "brand", "crane", "slate", "trace")] * 2)
SETTINGS = [
    {},
    {"rule": "simplified"},
    {"secrets": ["aches", "abler"]},
    {"hard_mode": True},
    {"hard_mode": True, "invalid_guess": "mask"},
    {"hard_mode": True, "invalid_guess": "mask", "rule": "simplified"},
    {"invalid_guess": "mask"},
]


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


@pytest.mark.parametrize("settings", [*SETTINGS, {"render_mode": "ansi"}])
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
    with pytest.raises(ResetNeeded, match="no game is being played"):
        env.step(0)


def test_seeds_decide_the_secrets():
    def secrets(env, seed):
        return [lose(env, seed=seed), *(lose(env) for _ in range(20))]

    first = secrets(WordleEnv(WORDS), 5)
    assert first == secrets(WordleEnv(WORDS), 5)
    assert first != secrets(WordleEnv(WORDS), 6)
    assert set(first) <= set(WORDS.answers)


def test_fixed_secrets_come_in_their_order_and_from_the_first_again_with_a_seed():
    fixed = list(WORDS.answers[100:103])
    env = WordleEnv(WORDS, secrets=fixed)
    assert [lose(env) for _ in range(5)] == [*fixed, *fixed[:2]]
    assert lose(env, seed=1) == fixed[0]
    assert lose(env, options={"secret": WORDS.answers[50]}) == WORDS.answers[50]
    assert lose(env) == fixed[1]


def test_guesses_may_be_more_words_than_the_secrets():
    env = WordleEnv(WordLists(("trace", "crane"), CRANE.guesses))
    assert env.action_space.n == 5
    steps = play(env, ["abide", "crane"], options={"secret": "crane"})
    assert [step[1:3] for step in steps] == [(-1.0, False), (0.0, True)]
    with pytest.raises(InputError, match="'abide' is not one of the 2 secret words"):
        env.reset(options={"secret": "abide"})


def test_penalised_guesses_take_a_turn_and_show_nothing():
    env = WordleEnv(CRANE, hard_mode=True)
    slate, abide, crane = play(env, ["slate", "abide", "crane"], options={"secret": "crane"})
    assert not slate[4]["invalid"]
    assert abide[1:3] == (-1.0, False)
    assert abide[4] == {"won": False, "invalid": True}
    assert words_of(abide[0]["guesses"][1:2]) == ["abide"]
    assert [shown(abide[0], turn) for turn in range(3)] == ["bbgbg", "?????", "?????"]
    assert crane[1:3] == (0.0, True)
    assert shown(crane[0], 2) == "ggggg"
    steps = play(env, ["slate", *["abide"] * 5], options={"secret": "crane"})
    assert sum(step[1] for step in steps) == -6
    assert steps[-1][2]


def test_with_masks_a_forbidden_guess_is_an_error_that_says_why():
    env = WordleEnv(CRANE, hard_mode=True, invalid_guess="mask")
    _, info = env.reset(options={"secret": "crane"})
    assert info["action_mask"].all()
    _, _, _, _, info = env.step(CRANE.index("slate"))
    allowed = [CRANE.guesses[action] for action in np.flatnonzero(info["action_mask"])]
    assert allowed == ["crane", "slate", "trace"]
    with pytest.raises(InputError, match="hard mode forbids 'abide': letter 3 is known to be 'a'"):
        env.step(CRANE.index("abide"))
    # The error cost nothing: the game goes on.
    assert env.step(CRANE.index("crane"))[1:3] == (0.0, True)


@pytest.mark.parametrize("rule", RULES)
def test_games_can_be_played_by_sampling_with_the_mask(rule):
    env = WordleEnv(WORDS, rule, hard_mode=True, invalid_guess="mask")
    env.action_space.seed(0)
    for _ in range(50):
        _, info = env.reset(seed=None)
        is_over = False
        while not is_over:
            observation, _, is_over, _, info = env.step(env.action_space.sample(info["action_mask"]))
            assert not info["invalid"]
        assert observation["turn"] <= 6
        assert info["action_mask"][WORDS.index(info["secret"])]


def test_the_game_is_drawn_in_squares():
    env = WordleEnv(WORDS, render_mode="ansi")
    play(env, ["aches", "abler"], options={"secret": "abler"})
    assert env.render() == "aches 🟩⬛⬛🟩⬛\nabler 🟩🟩🟩🟩🟩"


def equal(left, right):
    """Tell whether nested infos or observations are equal, types of arrays included."""
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(equal(left[key], right[key]) for key in left)
    if isinstance(left, np.ndarray):
        if left.dtype == object:
            return len(left) == len(right) and all(map(equal, left, right))
        return left.dtype == right.dtype and np.array_equal(left, right)
    return type(left) is type(right) and left == right


def allowed_actions(rng, masks):
    """Choose actions at random that masks (num_games, num_guesses) allow, one in five the secret."""
    actions = np.array([rng.choice(np.flatnonzero(mask)) for mask in masks])
    actions[rng.random(len(masks)) < 0.2] = WORDS.index("abler")
    return actions


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize("settings", SETTINGS)
def test_many_games_at_once_are_so_many_single_games(settings, mode):
    num_games, rng = 7, np.random.default_rng(0)
    # All games have one secret, as games that start at once take theirs from one list together.
    settings = settings | {"secrets": ["abler"]}
    together = WordleVectorEnv(num_games, WORDS, **settings, autoreset_mode=mode)
    alone = SyncVectorEnv([lambda: WordleEnv(WORDS, **settings)] * num_games, autoreset_mode=mode)
    assert together.metadata["autoreset_mode"] == alone.metadata["autoreset_mode"]
    assert together.observation_space == alone.observation_space
    assert together.action_space == alone.action_space
    results = together.reset(), alone.reset()
    assert equal(results[0][0], results[1][0])
    assert equal(results[0][1], results[1][1])
    masks = np.ones((num_games, len(WORDS.guesses)), dtype=np.int8)
    num_over = 0
    for _ in range(40):
        actions = allowed_actions(rng, masks)
        results = together.step(actions), alone.step(actions)
        assert results[0][0] in together.observation_space
        for mine, theirs in zip(*results, strict=True):
            assert equal(mine, theirs)
        _, _, over, _, infos = results[0]
        num_over += over.sum()
        masks = infos.get("action_mask", masks)
        if mode is AutoresetMode.DISABLED and over.any():
            # SyncVectorEnv takes the mask out of the options that it is given.
            results = [envs.reset(options={"reset_mask": over.copy()}) for envs in (together, alone)]
            assert equal(results[0][0], results[1][0])
            assert equal(results[0][1], results[1][1])
            masks[over] = 1
    assert num_over > 30


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


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_fixed_secrets_are_dealt_to_whichever_game_starts_next(mode):
    envs = WordleVectorEnv(16, WORDS, secrets=WORDS.answers, autoreset_mode=mode)
    envs.reset(seed=0)
    rng, seen = np.random.default_rng(0), []
    while len(seen) < len(WORDS.answers):
        *_, infos = envs.step(rng.integers(len(WORDS.guesses), size=16))
        infos = infos.get("final_info", infos)
        seen += infos["secret"][infos["_secret"]].tolist() if "secret" in infos else []
    # The last ones may overtake each other, and the list begins again.
    assert set(WORDS.answers[:400]) <= set(seen)
    assert len(set(seen[:400])) == 400


def test_secrets_may_be_given_for_each_game():
    envs = WordleVectorEnv(3, WORDS, autoreset_mode=AutoresetMode.DISABLED)
    envs.reset(options={"secret": WORDS.answers[:3]})
    actions = WORDS.answer_indices[[0, 9, 2]]
    observation, rewards, over, _, infos = envs.step(actions)
    assert rewards.tolist() == [0, -1, 0]
    assert over.tolist() == [True, False, True]
    assert infos["secret"].tolist() == [WORDS.answers[0], None, WORDS.answers[2]]
    observation, _ = envs.reset(options={"reset_mask": over, "secret": WORDS.answers[3:5]})
    assert observation["turn"].tolist() == [0, 1, 0]
    assert envs.step(WORDS.answer_indices[[3, 1, 4]])[1].tolist() == [0, 0, 0]


def test_what_was_returned_is_not_written_to_again():
    envs = WordleVectorEnv(4, WORDS, secrets=["abler"], autoreset_mode=AutoresetMode.SAME_STEP)
    kept = [envs.reset()[0]]
    kept += [envs.step(np.full(4, action))[0] for action in (3, 5, WORDS.index("abler"), 7)]
    assert [observation["turn"].tolist() for observation in kept] == [[turn] * 4 for turn in (0, 1, 2, 0, 1)]
    assert (kept[0]["guesses"] == EMPTY_LETTER).all()
    assert np.array_equal(kept[2]["guesses"][0, :2], letters_of([WORDS.guesses[3], WORDS.guesses[5]]))
    assert pattern_text(kept[4]["colours"][0, 0] @ 3 ** np.arange(5)) == feedback("abler", WORDS.guesses[7])


@pytest.mark.parametrize(
    "settings, error",
    [
        ({"rule": "hard"}, "no rule 'hard': choose official or simplified"),
        ({"invalid_guess": "ignore"}, "invalid_guess cannot be 'ignore': choose penalise or mask"),
        ({"secrets": []}, "the list of fixed secrets is empty"),
        ({"secrets": ["aches", "zzzzz"]}, "'zzzzz' is not one of the 446 secret words"),
    ],
)
def test_settings_that_do_not_exist_are_errors(settings, error):
    for make in (WordleEnv, lambda **settings: WordleVectorEnv(2, **settings)):
        with pytest.raises(InputError, match=error):
            make(words=WORDS, **settings)


def test_actions_and_options_that_do_not_exist_are_errors():
    env = WordleEnv(WORDS)
    with pytest.raises(ResetNeeded):
        env.step(0)
    with pytest.raises(InputError, match="reset knows no option 'word': it takes secret"):
        env.reset(options={"word": "aches"})
    env.reset()
    for action in (446, -1, 1.5, "aches"):
        with pytest.raises(InputError, match=f"action {action!r} is not a place among the 446 allowed"):
            env.step(action)


def test_actions_and_options_that_do_not_exist_are_errors_of_many_games_too():
    with pytest.raises(InputError, match="num_envs must be at least 1"):
        WordleVectorEnv(0, WORDS)
    envs = WordleVectorEnv(3, WORDS, autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(ResetNeeded):
        envs.step(np.zeros(3, dtype=int))
    with pytest.raises(ResetNeeded):
        envs.reset(options={"reset_mask": np.array([True, False, False])})
    envs.reset(options={"secret": "aches"})
    with pytest.raises(InputError, match="action 446 of game 1 is not a place among the 446 allowed guesses"):
        envs.step(np.array([0, 446, 0]))
    with pytest.raises(InputError, match="actions must be 3 integers, not float64"):
        envs.step(np.zeros(3))
    with pytest.raises(InputError, match="actions must be 3 integers"):
        envs.step(np.zeros(4, dtype=int))
    with pytest.raises(InputError, match="reset_mask must be 3 booleans"):
        envs.reset(options={"reset_mask": np.array([0, 1, 0])})
    with pytest.raises(InputError, match="2 secrets were given for 3 games"):
        envs.reset(options={"secret": ["aches", "abler"]})
    with pytest.raises(InputError, match="knows no option 'mask': it takes secret and reset_mask"):
        envs.reset(options={"mask": None})
    envs.step(np.array([0, WORDS.index("aches"), 0]))
    with pytest.raises(ResetNeeded, match="game 1 is over"):
        envs.step(np.array([0, 0, 0]))


def test_a_forbidden_guess_in_one_of_many_games_changes_none():
    envs = WordleVectorEnv(2, CRANE, secrets=["crane"], hard_mode=True, invalid_guess="mask")
    envs.reset()
    envs.step(np.full(2, CRANE.index("slate")))
    with pytest.raises(InputError, match="game 1: hard mode forbids 'abide'"):
        envs.step(np.array([CRANE.index("crane"), CRANE.index("abide")]))
    observation, rewards, *_ = envs.step(np.full(2, CRANE.index("crane")))
    assert rewards.tolist() == [0, 0]
    assert observation["turn"].tolist() == [2, 2]


def test_the_returns_of_random_games_lie_between_minus_six_and_zero():
    words = WordLists(WORDS.answers[:8], WORDS.answers[:8])
    envs = WordleVectorEnv(1000, words, autoreset_mode=AutoresetMode.DISABLED)
    envs.reset(seed=0)
    # Another seed, as guesses would else be drawn like the secrets.
    rng, returns, is_over = np.random.default_rng(1), np.zeros(1000), np.zeros(1000, dtype=bool)
    for _ in range(6):
        _, rewards, over, _, _ = envs.step(rng.integers(8, size=1000))
        returns += np.where(is_over, 0, rewards)
        is_over |= over
        envs.reset(options={"reset_mask": over})
    assert is_over.all()
    assert returns.min() == -6
    assert returns.max() == 0
    # A guess is right one time in eight: the mean is −Σ (7/8)ⁱ over i from 1 to 6.
    assert returns.mean() == pytest.approx(-sum(0.875**i for i in range(1, 7)), abs=0.2)
