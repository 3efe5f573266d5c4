"""Speed of Wordle: many games at a time compared with one, in the environment, of players and of a model."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from benchmarks.settings import Settings
from benchmarks.timing import Alternative, Table, compare
from configs.loading import load_config
from data.wordle.environment import Observation, WordleEnv, WordleVectorEnv
from data.wordle.games import GameDescription
from data.wordle.players import LMRL_BEHAVIOR, make_player, play_games
from data.wordle.rules import RULES
from data.wordle.words import load_word_lists
from eval.loading import WORDLE, load_model
from eval.model_folder import local_folder
from eval.wordle.model_player import ModelPlayer, read_game
from training.tasks import make_task


CONFIG = "wordle_study.yaml"  # of the model with random weights
WORDS = "american_446"
PLAYERS = ("consistent", LMRL_BEHAVIOR)
# Games at a time, and games one after the other, which are slower: rates are compared.
NUM_GAMES, FEW_GAMES = 4096, 512
NUM_MODEL_GAMES, FEW_MODEL_GAMES = 128, 8
STEPS_OF_MANY, STEPS_OF_ONE = 140, 7000  # a game that is not won takes six guesses and a reset


def step_one_game(env: WordleEnv, actions: Sequence[int]) -> Observation:
    """Guess in one game after the other; as in WordleVectorEnv, the action after a game's end is a reset."""
    observation, _ = env.reset()
    is_over = False
    for action in actions:
        if is_over:
            observation, _ = env.reset()
            is_over = False
        else:
            observation, _, is_over, _, _ = env.step(action)
    return observation


def environments(game: GameDescription, settings: Settings) -> Table:
    """Compare environment steps, resets included, with guesses drawn beforehand."""
    num_envs, num_steps = (8, 7) if settings.quick else (NUM_GAMES, STEPS_OF_MANY)
    num_steps_of_one = 14 if settings.quick else STEPS_OF_ONE
    envs = WordleVectorEnv(num_envs, game.words, game.rule)
    env = WordleEnv(game.words, game.rule)
    envs.reset(seed=settings.seed)
    env.reset(seed=settings.seed)
    rng = np.random.default_rng(settings.seed)
    actions = rng.integers(len(game.words.guesses), size=(num_steps, num_envs))

    def step_all(_: int) -> None:
        for step in actions:
            envs.step(step)

    def step_one(_: int) -> None:
        step_one_game(env, actions.reshape(-1)[:num_steps_of_one].tolist())

    alternatives = {
        f"WordleVectorEnv, {num_envs:,} games at a time": Alternative(step_all, num_steps * num_envs),
        "WordleEnv, one game at a time": Alternative(step_one, num_steps_of_one),
    }
    return compare("environment, random guesses", "step", alternatives, range(settings.repeats), warm_up=0)


def scripted_player(spec: str, game: GameDescription, settings: Settings) -> Table:
    """Compare the games of a scripted player in one batch, and one after the other."""
    num_games, few_games = (16, 3) if settings.quick else (NUM_GAMES, FEW_GAMES)
    player, rng = make_player(spec), np.random.default_rng(settings.seed)
    secrets = rng.integers(len(game.words.answers), size=num_games)

    def play(secrets: np.ndarray) -> None:
        play_games(player, game.words, game.rule, secrets, rng)

    def play_one_by_one(_: int) -> None:
        for start in range(few_games):
            play(secrets[start : start + 1])

    alternatives = {
        f"{num_games:,} games at a time": Alternative(lambda _: play(secrets), num_games),
        "one game at a time": Alternative(play_one_by_one, few_games),
    }
    return compare(f"player {spec}", "game", alternatives, range(settings.repeats), warm_up=0)


def model_player(game: GameDescription, settings: Settings) -> Table:
    """Compare the games of a model in one batch and one after the other, greedy among the allowed words."""
    num_games, few_games = (4, 2) if settings.quick else (NUM_MODEL_GAMES, FEW_MODEL_GAMES)
    if settings.model:
        model, _ = load_model(settings.model, settings.device, settings.dtype, WORDLE)
        title = settings.model
    else:
        torch.manual_seed(settings.seed)
        model = make_task(load_config(CONFIG, [])).model.eval()
        model, title = model.to(settings.device, getattr(torch, settings.dtype)), f"{CONFIG}, random weights"
    rng = np.random.default_rng(settings.seed)
    secrets = rng.permutation(len(game.words.answers))[:num_games]
    many, one = (ModelPlayer(model, games_at_once=size) for size in (len(secrets), 1))
    few = secrets[:few_games]
    alternatives = {
        f"{len(secrets):,} games at a time": Alternative(
            lambda _: play_games(many, game.words, game.rule, secrets, rng), len(secrets)
        ),
        "one game at a time": Alternative(
            lambda _: play_games(one, game.words, game.rule, few, rng), len(few)
        ),
    }
    table = compare(f"model {title}", "game", alternatives, range(settings.repeats), warm_up=0)
    table.notes.append(f"{model.num_parameters() / 1e6:.1f}M parameters, {settings.dtype}")
    return table


def measure(settings: Settings) -> Iterator[Table]:
    """Measure steps and games per second, of the model's own game or of the default one."""
    game = read_game(local_folder(settings.model)) if settings.model else None
    game = game or GameDescription(load_word_lists(WORDS), RULES[0])
    table = environments(game, settings)
    words = f"{len(game.words.answers):,} secret words, {len(game.words.guesses):,} allowed guesses"
    table.notes.append(f"{words}, {game.rule} rule")
    yield table
    for spec in PLAYERS:
        yield scripted_player(spec, game, settings)
    yield model_player(game, settings)
