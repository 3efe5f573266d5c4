"""The Wordle protocols against plain Python on small lists, and known results of players and models."""

import json

import numpy as np
import pytest

from cli.errors import InputError
from data.wordle.game_batch import GameBatch
from data.wordle.game_rows import Games
from data.wordle.games import GameDescription, write_games
from data.wordle.generate import generate
from data.wordle.optimum import best_known
from data.wordle.players import Player, make_player, play_games
from data.wordle.rules import (
    ALL_GREEN,
    EMPTY_LETTER,
    NO_PATTERN,
    NUM_TURNS,
    RULES,
    feedback_codes,
    letters_of,
    words_of,
)
from data.wordle.words import WordLists, load_word_lists
from eval.wordle.model_player import ModelPlayer
from eval.wordle.protocols import (
    FIRST_PLAYER,
    HELD_OUT,
    SECRETS,
    derived_seed,
    held_out_games,
    lmrl_results,
    lmrl_secrets,
    official_results,
    one_turn,
    roll_out,
)
from eval.wordle.scores import lmrl_scale, score
from models.modeling_value_transformer import ValueTransformerForTokenValue
from tests.support.wordle_feedback import feedback
from tests.support.wordle_models import tiny_token_model


ALL_WORDS = load_word_lists("american_446")
SOME_WORDS = WordLists(ALL_WORDS.answers[::6], ALL_WORDS.answers[::3])
BEHAVIOR = "mixture:0.33"


@pytest.fixture(params=RULES)
def game(request) -> GameDescription:
    return GameDescription(SOME_WORDS, request.param)


@pytest.fixture(scope="module")
def model() -> ValueTransformerForTokenValue:
    return tiny_token_model(hidden_size=32, num_attention_heads=4)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def with_every_secret(player: Player, game: GameDescription) -> Games:
    return roll_out(player, game, np.arange(len(game.words.answers)), rng(), "official")[0]


def official(player: Player | str, game: GameDescription) -> dict:
    player = make_player(player) if isinstance(player, str) else player
    return official_results(with_every_secret(player, game), game)


def transcripts(games) -> list[tuple[str, list[str]]]:
    """Return the secret and the guesses of each game as words."""
    return [
        (secret, words_of(guesses[:turns]))
        for secret, guesses, turns in zip(
            words_of(games.secrets), games.guesses, games.num_turns, strict=True
        )
    ]


def fits(answer: str, secret: str, guesses: list[str], rule: str) -> bool:
    return all(feedback(answer, guess, rule) == feedback(secret, guess, rule) for guess in guesses)


class Alphabetical(Player):
    """Guesses the first allowed word after its last guess, which may contradict all feedback."""

    games_at_once = 7

    def __init__(self, words: WordLists):
        self.words, self.guesses = words, sorted(words.guesses)

    def next(self, word: str) -> str:
        return self.guesses[(self.guesses.index(word) + 1) % len(self.guesses)]

    def choose(self, batch: GameBatch, rng: np.random.Generator) -> np.ndarray:
        last = batch.guesses[:, batch.turn - 1]
        return np.array([self.words.index(self.next(self.words.guesses[guess])) for guess in last])


def test_one_turn_is_what_plain_python_counts(game):
    games, behavior = held_out_games(game, 150, seed=5, behavior=BEHAVIOR)
    player = Alphabetical(game.words)
    results = one_turn(player, game, games, behavior, rng())
    states = [
        (secret, guesses[:turns], guesses[turns])
        for secret, guesses in transcripts(games)
        for turns in range(1, len(guesses))
    ]
    for num_guesses in (*range(1, NUM_TURNS), None):
        row = results if num_guesses is None else results["by_num_guesses"][str(num_guesses)]
        some = [state for state in states if num_guesses in (None, len(state[1]))]
        chosen = [player.next(guesses[-1]) for _, guesses, _ in some]
        right = [word == state[0] for word, state in zip(chosen, some, strict=True)]
        ceilings = [
            1 / sum(fits(answer, secret, guesses, game.rule) for answer in game.words.answers)
            for secret, guesses, _ in some
        ]
        assert row["num_states"] == len(some)
        assert row["success_rate"] == pytest.approx(np.mean(right))
        assert row["bayes_ceiling"] == pytest.approx(np.mean(ceilings))
        assert row["ceiling_ratio"] == pytest.approx(np.sum(right) / np.sum(ceilings))
        assert row["behavior_rate"] == pytest.approx(np.mean([own == secret for secret, _, own in some]))
        assert row["low"] <= row["success_rate"] <= row["high"]
    contradicting = [
        not fits(player.next(guesses[-1]), secret, guesses, game.rule) for secret, guesses, _ in states
    ]
    assert results["inconsistent_rate"] == pytest.approx(np.mean(contradicting))
    assert results["repeated_rate"] == pytest.approx(
        np.mean([player.next(guesses[-1]) in guesses for _, guesses, _ in states])
    )
    assert results["invalid_rate"] == 0
    assert results["num_games"] == 150 and results["success_rate"] > 0


def test_consistent_players_reach_the_bayes_ceiling_and_the_behavior_its_own_rate(game):
    games, behavior = held_out_games(game, 4000, seed=0, behavior=BEHAVIOR)
    for spec in ("consistent", "greedy"):
        results = one_turn(make_player(spec), game, games, behavior, rng())
        error = results["ceiling_ratio_standard_error"]
        assert abs(results["ceiling_ratio"] - 1) < 4 * error < 0.05
        assert results["inconsistent_rate"] == 0
    results = one_turn(make_player(BEHAVIOR), game, games, behavior, rng())
    assert results["success_rate"] == pytest.approx(results["behavior_rate"], abs=0.02)


def test_states_are_those_between_the_first_guess_and_the_end(game):
    games, behavior = held_out_games(game, 300, seed=0, behavior="consistent")
    results = one_turn(make_player("uniform"), game, games, behavior, rng())
    assert results["num_states"] == (games.num_turns - 1).sum()
    for turns, row in results["by_num_guesses"].items():
        assert row["num_states"] == (games.num_turns > int(turns)).sum()


def test_games_that_are_over_at_once_have_no_states():
    game = GameDescription(WordLists(("crane",), ("crane",)), "official")
    games, behavior = held_out_games(game, 10, seed=0, behavior="consistent")
    with pytest.raises(InputError, match="no held-out game has a second guess"):
        one_turn(make_player("uniform"), game, games, behavior, rng())


def test_held_out_games_follow_the_seed_and_are_not_those_that_train(game):
    first, again, other = (held_out_games(game, 200, seed, BEHAVIOR)[0] for seed in (1, 1, 2))
    assert (first.guesses == again.guesses).all()
    assert (first.secrets != other.secrets).any()
    training = next(generate([make_player(BEHAVIOR)], np.ones(1), game.words, game.rule, 200, seed=1))
    assert (first.secrets != training.secrets).any()
    seeds = {
        derived_seed(seed, purpose) for seed in range(20) for purpose in (SECRETS, HELD_OUT, FIRST_PLAYER)
    }
    assert len(seeds) == 60


def test_held_out_games_of_a_file_are_some_of_it(game, tmp_path):
    path = tmp_path / "games.parquet"
    games, _ = held_out_games(game, 300, seed=0, behavior="greedy")
    write_games(path, [games], GameDescription(game.words, game.rule, "greedy", 0))
    every, behavior = held_out_games(game, 1000, 0, "unused", path)
    assert behavior == "greedy" and (every.guesses == games.guesses).all()
    some, _ = held_out_games(game, 50, 3, "unused", path)
    assert len(some) == 50 and set(map(str, transcripts(some))) <= set(map(str, transcripts(games)))
    with pytest.raises(InputError, match="other word lists"):
        held_out_games(GameDescription(ALL_WORDS, game.rule), 10, 0, "unused", path)


@pytest.mark.parametrize("spec", ["uniform", "repeat", BEHAVIOR])
def test_official_is_what_plain_python_counts(game, spec):
    games = with_every_secret(make_player(spec), game)
    results = official_results(games, game)
    counts, faults, returns = [], np.zeros(2), []
    for secret, guesses, turns in zip(game.words.answers, games.guesses, games.num_turns, strict=True):
        words = words_of(guesses[:turns])
        assert secret not in words[:-1]
        assert set(words) <= set(game.words.guesses)
        counts.append(turns if words[-1] == secret else None)
        returns.append(-sum(word != secret for word in words))
        for turn in range(turns):
            earlier = words[:turn]
            faults += not fits(words[turn], secret, earlier, game.rule), words[turn] in earlier
    solved = [count for count in counts if count]
    assert results["num_games"] == len(game.words.answers)
    assert results["success_rate"] == pytest.approx(len(solved) / len(counts))
    assert results["mean_return"] == pytest.approx(np.mean(returns))
    assert results["mean_guesses"] == (pytest.approx(np.mean(solved)) if solved else None)
    assert results["mean_guesses_failures_as_7"] == pytest.approx(np.mean([c or 7 for c in counts]))
    assert results["turns"] == {str(turn): counts.count(turn) for turn in range(1, 7)} | {
        "failed": counts.count(None)
    }
    num_guesses = games.num_turns.sum()
    assert results["inconsistent_rate"] == pytest.approx(faults[0] / num_guesses)
    assert results["repeated_rate"] == pytest.approx(faults[1] / num_guesses)
    assert results["distance_to_optimum"] == pytest.approx(
        best_known(game.words, game.rule).mean_return - np.mean(returns)
    )


def test_faults_of_guesses_that_were_not_allowed_are_counted_once():
    words = WordLists(("crane", "slate", "moody"), ("crane", "slate", "moody"))
    game = GameDescription(words, "official")
    # Slate, two guesses that are not words, slate again, moody, which slate ruled out, and the secret.
    guesses = np.full((1, NUM_TURNS, 5), EMPTY_LETTER, dtype=np.uint8)
    patterns = np.full((1, NUM_TURNS), NO_PATTERN, dtype=np.uint8)
    for turn, word in ((0, "slate"), (3, "slate"), (4, "moody"), (5, "crane")):
        guesses[0, turn] = letters_of([word])[0]
        patterns[0, turn] = feedback_codes(letters_of(["crane"]), guesses[:, turn], "official")[0]
    games = Games(letters_of(["crane"]), guesses, patterns, np.array([6]), np.array(["model"]))
    results = official_results(games, game)
    assert patterns[0, 5] == ALL_GREEN
    assert results["invalid_rate"] == pytest.approx(2 / 6)
    assert results["repeated_rate"] == pytest.approx(1 / 6)
    assert results["inconsistent_rate"] == pytest.approx(2 / 6)
    assert results["mean_return"] == -5 and results["mean_guesses"] == 6


def test_known_results_of_players_are_reproduced(game):
    greedy, optimal, wrong = (official(spec, game) for spec in ("greedy", "optimal", "wrong"))
    assert greedy["success_rate"] == optimal["success_rate"] == greedy["high"] == 1
    assert greedy["inconsistent_rate"] == greedy["repeated_rate"] == 0
    assert optimal["distance_to_optimum"] == pytest.approx(0, abs=1e-9)
    assert optimal["mean_guesses"] == pytest.approx(best_known(game.words, game.rule).mean_guesses)
    assert 0 <= greedy["distance_to_optimum"] < 0.3
    assert wrong["success_rate"] < 0.1
    assert official("repeat", game)["repeated_rate"] > 0.8


def test_a_player_guesses_after_a_history_as_in_play(game):
    player = make_player("optimal")
    games = with_every_secret(player, game)
    for turn in range(1, games.num_turns.max()):
        rows = np.flatnonzero(games.num_turns > turn)
        history = games.guesses[rows, :turn], games.patterns[rows, :turn]
        choices = player.choose(GameBatch.after(game.words, game.rule, *history), rng())
        assert (game.words.guess_letters[choices] == games.guesses[rows, turn]).all()


def test_lmrl_draws_secrets_from_the_seed_alone(game):
    first, again, other = (lmrl_secrets(game, 500, seed) for seed in (0, 0, 1))
    assert (first == again).all() and (first != other).any()
    assert set(first) == set(range(len(game.words.answers)))


def test_lmrl_means_are_of_the_games_played(game):
    secrets = lmrl_secrets(game, 300, seed=0)
    games, _ = roll_out(make_player(BEHAVIOR), game, secrets, rng(), "lmrl")
    results = lmrl_results(games, game)
    returns = [
        -sum(word != game.words.answers[secret] for word in words_of(guesses[:turns]))
        for secret, guesses, turns in zip(secrets, games.guesses, games.num_turns, strict=True)
    ]
    assert results["mean_return"] == pytest.approx(np.mean(returns))
    assert results["return_standard_error"] == pytest.approx(np.std(returns, ddof=1) / np.sqrt(300))
    assert results["success_rate"] == games.won.mean()
    assert results["num_games"] == 300 and results["low"] < results["success_rate"] < results["high"]


def test_scores_are_0_50_and_100_for_those_who_make_the_scale(game):
    scale = lmrl_scale(game.words, game.rule)
    assert scale.source == "mixture:0.33 and greedy on this list, 20,025 games each"
    by_spec = {}
    for spec in (BEHAVIOR, "greedy", "optimal"):
        games, _ = roll_out(make_player(spec), game, lmrl_secrets(game, 4000, 0), rng(9), "lmrl")
        by_spec[spec] = lmrl_results(games, game)
    assert by_spec[BEHAVIOR]["score"] == pytest.approx(50, abs=2)
    assert by_spec["greedy"]["score"] == pytest.approx(100, abs=2)
    assert by_spec["optimal"]["optimum_score"] == pytest.approx(100, abs=2)
    assert by_spec["greedy"]["optimum_score"] <= by_spec["greedy"]["score"]
    lost = games[games.num_turns > 1][:1]
    lost.num_turns[:], lost.patterns[:] = 6, 0
    assert lmrl_results(lost, game)["score"] == 0


def test_the_score_is_linear_on_both_sides_of_the_data_and_goes_on_beyond_100():
    returns = [-6, -5.06, -4.12, -3.03, -1.94, -0.85]
    assert [score(mean, -4.12, -1.94) for mean in returns] == pytest.approx([0, 25, 50, 75, 100, 125])
    assert score(0, behavior_return=0, best_return=0) is None


def test_a_model_is_measured_by_the_games_that_it_plays(model, game):
    results = official(ModelPlayer(model, games_at_once=32), game)
    games = play_games(ModelPlayer(model), game.words, game.rule, np.arange(len(game.words.answers)), rng())
    assert results["mean_return"] == games.returns().mean(dtype=np.float64)
    assert results["success_rate"] == games.won.mean()
    assert results["invalid_rate"] == 0


def test_a_model_without_a_mask_loses_turns_to_what_is_no_word(model, game):
    player = ModelPlayer(model, masked=False)
    assert official(player, game)["invalid_rate"] == 1
    games, behavior = held_out_games(game, 40, seed=0, behavior=BEHAVIOR)
    results = one_turn(player, game, games, behavior, rng())
    assert results["invalid_rate"] == 1 and results["success_rate"] == results["inconsistent_rate"] == 0


def test_a_sampling_model_draws_from_its_seed(model, game):
    secrets = np.zeros(60, dtype=np.int64)
    first, again, other = (
        play_games(ModelPlayer(model, temperature=1.0, seed=seed), game.words, game.rule, secrets, rng())
        for seed in (0, 0, 1)
    )
    assert (first.guesses == again.guesses).all() and (first.guesses != other.guesses).any()


def test_results_are_numbers_that_json_holds(model, game):
    player = ModelPlayer(model)
    games, behavior = held_out_games(game, 40, seed=0, behavior=BEHAVIOR)
    assert json.dumps(one_turn(player, game, games, behavior, rng()), allow_nan=False)
    games, _ = roll_out(player, game, lmrl_secrets(game, 40, 0), rng(), "lmrl")
    assert json.dumps([lmrl_results(games, game), official_results(games, game)], allow_nan=False)
