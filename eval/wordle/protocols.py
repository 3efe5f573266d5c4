"""Three protocols that measure a player of Wordle.

- one_turn (Farebrother et al., "Stop Regressing", arXiv 2403.03950, section 4.3): how often the next guess is
  the secret, in every state of held-out games that has an earlier guess and is not the end. No player can
  expect more than the Bayes ceiling, the mean of 1 / the number of answers that fit all feedback, where every
  answer is the secret with the same probability, as in the games of the scripted players.
- lmrl (LMRL-Gym, arXiv 2311.18232): mean return of games with secrets sampled from a seed. The benchmark
  itself has its own 431 words and the simplified rule.
- official: one game with every secret.

Intervals are 95% intervals: of lmrl over games with the same list; of official over words, as if the list
were a sample of them; of one_turn with the dependence between the states of one game.
"""

import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cli.errors import InputError
from data.hub import local_files
from data.wordle.game_batch import GameBatch
from data.wordle.game_rows import Games
from data.wordle.games import GameDescription, read_games
from data.wordle.generate import generate, read_policy
from data.wordle.optimum import best_known
from data.wordle.players import Player, play_games
from data.wordle.rules import ALL_GREEN, NO_PATTERN, NUM_TURNS, feedback_codes
from eval.intervals import clustered_wilson_interval, mean_and_standard_error, wilson_interval
from eval.wordle.scores import lmrl_scale, score


PROTOCOLS = ("one_turn", "lmrl", "official")
FAULTS = ("invalid_rate", "inconsistent_rate", "repeated_rate")
# Purposes of one seed, each with its own random numbers.
SECRETS, HELD_OUT, FIRST_PLAYER, SECOND_PLAYER, RESAMPLES = range(5)


def derived_seed(seed: int, purpose: int) -> int:
    """Return a seed for one of the purposes above, which differs from the seeds of training data."""
    return int(np.random.SeedSequence(seed, spawn_key=(purpose,)).generate_state(1, np.uint64)[0])


def held_out_games(
    game: GameDescription, num_games: int, seed: int, behavior: str, source: str | Path | None = None
) -> tuple[Games, str]:
    """Return the games of one_turn, and their policy.

    The policy `behavior` plays them, unless they are read from a file or folder `source`; of more than
    `num_games` there, a random subset is taken. Raises InputError for games of other words or another rule.
    """
    seed = derived_seed(seed, HELD_OUT)
    if source is None:
        players, fractions = read_policy(behavior)
        parts = list(generate(players, fractions, game.words, game.rule, num_games, seed))
        return Games.concatenate(parts), behavior
    games, description = read_games(local_files(source, "validation"), game.rule, game.words)
    if len(games) > num_games:
        games = games[np.sort(np.random.default_rng(seed).choice(len(games), num_games, replace=False))]
    return games, description.policy or "unknown"


def one_turn(
    player: Player, game: GameDescription, games: Games, behavior: str, rng: np.random.Generator
) -> dict:
    """Measure how often the next guess is right in held-out games, which `behavior` played.

    `behavior_rate` is how often the next guess of the games themselves is right. `by_num_guesses` has the
    same rates after 1 to 5 guesses. Raises InputError if the games have no state.
    """
    num_states = games.num_turns.astype(np.int64) - 1  # per game
    if not num_states.any():
        raise InputError("no held-out game has a second guess: there is nothing to measure")
    is_state = np.arange(1, NUM_TURNS) < games.num_turns[:, None]  # (n, 5)
    is_right = np.zeros(is_state.shape, dtype=bool)
    chance = np.zeros(is_state.shape)
    secrets = game.words.find(games.secrets)
    faults = np.zeros(len(FAULTS))
    seconds = 0.0
    with tqdm(total=int(num_states.sum()), unit=" states", desc="one_turn", disable=None) as bar:
        for turns in range(1, NUM_TURNS):
            rows = np.flatnonzero(is_state[:, turns - 1])
            for start in range(0, len(rows), player.games_at_once):
                part = rows[start : start + player.games_at_once]
                guesses, patterns = games.guesses[part, :turns], games.patterns[part, :turns]
                batch = GameBatch.after(game.words, game.rule, guesses, patterns)
                started = time.perf_counter()
                choices = player.choose(batch, rng)
                seconds += time.perf_counter() - started
                is_right[part, turns - 1] = choices == secrets[part]
                letters = game.words.guess_letters[choices]
                faults += _num_faults(letters, choices >= 0, guesses, patterns, game.rule)
                chance[part, turns - 1] = 1 / batch.candidates.counts
                bar.update(len(part))
    is_own_right = is_state & (games.patterns[:, 1:] == ALL_GREEN)
    arrays = (is_state, is_right, chance, is_own_right)
    rates = _one_turn_rates(*arrays)
    by_num_guesses = {
        str(i + 1): _one_turn_rates(*(array[:, i : i + 1] for array in arrays))
        for i in range(NUM_TURNS - 1)
        if is_state[:, i].any()
    }
    return {
        "protocol": "one_turn",
        **rates,
        "mean_return": None,
        "mean_guesses": None,
        "num_games": len(games),
        "behavior": behavior,
        **dict(zip(FAULTS, (faults / rates["num_states"]).tolist(), strict=True)),
        "by_num_guesses": by_num_guesses,
        "guesses_per_second": rates["num_states"] / seconds,
    }


def _one_turn_rates(
    is_state: np.ndarray, is_right: np.ndarray, chance: np.ndarray, is_own_right: np.ndarray
) -> dict:
    """Summarise states; each array is (games, turns)."""
    has_states = is_state.any(axis=1)
    states, right, chances = (array[has_states].sum(axis=1) for array in (is_state, is_right, chance))
    low, high = clustered_wilson_interval(right, states)
    ratio, ratio_error = mean_and_standard_error(right, chances)
    num_states = int(states.sum())
    return {
        "success_rate": float(right.sum() / num_states),
        "low": low,
        "high": high,
        "bayes_ceiling": float(chances.sum() / num_states),
        "ceiling_ratio": ratio,
        "ceiling_ratio_standard_error": ratio_error,
        "behavior_rate": float(is_own_right.sum() / num_states),
        "num_states": num_states,
    }


def lmrl_secrets(game: GameDescription, num_games: int, seed: int) -> np.ndarray:
    """Draw the secrets of lmrl, indices among the answers (num_games,)."""
    rng = np.random.default_rng(derived_seed(seed, SECRETS))
    return rng.integers(len(game.words.answers), size=num_games)


def roll_out(
    player: Player, game: GameDescription, secrets: np.ndarray, rng: np.random.Generator, title: str
) -> tuple[Games, float]:
    """Play a game for each of the secrets, with a progress bar; return the games, and games per second."""
    started = time.perf_counter()
    games = play_games(player, game.words, game.rule, secrets, rng, title)
    return games, len(games) / (time.perf_counter() - started)


def lmrl_results(games: Games, game: GameDescription) -> dict:
    """Summarise games of lmrl, with scores on LMRL-Gym's scale and on a scale that ends at the optimum."""
    results = {"protocol": "lmrl", **_summarise(games, game)}
    scale = lmrl_scale(game.words, game.rule)
    optimum = best_known(game.words, game.rule)
    mean_return = results["mean_return"]
    return results | {
        "score": score(mean_return, scale.behavior_return, scale.best_return),
        "scale": {"0": -NUM_TURNS, "50": scale.behavior_return, "100": scale.best_return},
        "scale_source": scale.source,
        "optimum_score": score(mean_return, scale.behavior_return, optimum.mean_return),
        "optimum_return": optimum.mean_return,
        "optimum_is_exact": optimum.exact,
        "optimum_source": optimum.source,
    }


def official_results(games: Games, game: GameDescription) -> dict:
    """Summarise one game with every secret, with the distance of the mean return to the optimum."""
    results = {"protocol": "official", **_summarise(games, game)}
    optimum = best_known(game.words, game.rule)
    return results | {
        "optimum_return": optimum.mean_return,
        "optimum_guesses": optimum.mean_guesses,
        "optimum_is_exact": optimum.exact,
        "optimum_source": optimum.source,
        "distance_to_optimum": optimum.mean_return - results["mean_return"],
    }


def _summarise(games: Games, game: GameDescription) -> dict:
    """Return the results that lmrl and official have in common.

    `mean_guesses` is of the solved games. `turns` counts the games solved at each turn, and those that
    failed. The rates of faults are fractions of all guesses.
    """
    num_games, num_won = len(games), int(games.won.sum())
    low, high = wilson_interval(num_won, num_games)
    mean_return, return_error = mean_and_standard_error(games.returns())
    solved_in = np.bincount(games.num_turns[games.won], minlength=NUM_TURNS + 1)
    return {
        "success_rate": num_won / num_games,
        "low": low,
        "high": high,
        "mean_return": mean_return,
        "return_standard_error": return_error,
        "mean_guesses": float(games.num_turns[games.won].mean()) if num_won else None,
        "mean_guesses_failures_as_7": float((games.num_turns + ~games.won).mean()),
        "num_games": num_games,
        "turns": {str(turn): int(solved_in[turn]) for turn in range(1, NUM_TURNS + 1)}
        | {"failed": num_games - num_won},
        **_fault_rates(games, game.rule),
    }


def _fault_rates(games: Games, rule: str) -> dict[str, float]:
    faults = np.zeros(len(FAULTS))
    for turn in range(NUM_TURNS):
        rows = np.flatnonzero(games.num_turns > turn)
        guesses, patterns = games.guesses[rows], games.patterns[rows]
        allowed = patterns[:, turn] != NO_PATTERN
        faults += _num_faults(guesses[:, turn], allowed, guesses[:, :turn], patterns[:, :turn], rule)
    return dict(zip(FAULTS, (faults / games.num_turns.sum()).tolist(), strict=True))


def _num_faults(
    words: np.ndarray, allowed: np.ndarray, guesses: np.ndarray, patterns: np.ndarray, rule: str
) -> np.ndarray:
    """Count the invalid guesses, those that contradict earlier feedback, and the repeated ones: (3,).

    A guess of `words` (n, 5) that is not `allowed` (n,) is invalid, and has no other fault. Of the earlier
    turns, `guesses` (n, turns, 5) and `patterns` (n, turns), those with an allowed guess count.
    """
    is_inconsistent, is_repeated = np.zeros((2, len(words)), dtype=bool)
    for turn in range(patterns.shape[1]):
        was_allowed = patterns[:, turn] != NO_PATTERN
        codes = feedback_codes(words, guesses[:, turn], rule)
        is_inconsistent |= was_allowed & (codes != patterns[:, turn])
        is_repeated |= was_allowed & (guesses[:, turn] == words).all(axis=1)
    return np.array([(~allowed).sum(), (allowed & is_inconsistent).sum(), (allowed & is_repeated).sum()])
