"""Every speed figure of Wordle beside a naive baseline, as one table: environment, scripted players, model.

    python -m benchmarks.wordle --words american_446

All ways take turns in one run, so that whatever else the machine does hits all of them alike: trust the
ratios more than the rates. A slow way does less of the same work, and rates are compared.
"""

import argparse
from collections.abc import Sequence

import numpy as np
import torch

from benchmarks.timing import Way, compare, format_rows, rate_rows
from cli.errors import InputError, command
from cli.files import check_output
from cli.options import add_json_option, positive_int, seed_number, write_json
from configs.schema import load_config
from data.wordle.environment import Observation, WordleEnv, WordleVectorEnv
from data.wordle.game_rows import Games
from data.wordle.games import GameDescription
from data.wordle.players import GAMES_PER_BATCH, LMRL_BEHAVIOR, make_player, play_games
from data.wordle.rules import ALL_GREEN, NUM_LETTERS, NUM_TURNS, feedback_codes
from data.wordle.token_games import game_tokens
from data.wordle.word_trie import WordTrie
from eval.loading import choose_device
from eval.wordle.game_options import add_game_options, game_to_play
from eval.wordle.model_player import ModelPlayer
from models.modeling_value_transformer import ValueTransformerForTokenValue
from training.tasks.wordle import WordleTask


CONFIG = "wordle_tiny.yaml"
PLAYERS = ("consistent", LMRL_BEHAVIOR)
NUM_ENVS = 4096
DEFAULT_GAMES = 128
# How much of its work a way does in a round. A game that nobody wins takes six guesses and a reset.
STEPS_OF_EACH = 20 * (NUM_TURNS + 1)
STEPS_OF_ONE = 1000 * (NUM_TURNS + 1)
SCRIPTED_GAMES_ONE_BY_ONE = 512
MODEL_GAMES_ONE_BY_ONE = 8

ENVIRONMENT = "environment, random guesses"
MODEL = "model"
RANDOM_MODEL = "model with random weights"


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


def compare_environments(game: GameDescription, repeats: int, seed: int) -> dict:
    """Compare environment steps, resets among them, with guesses drawn beforehand."""
    envs = WordleVectorEnv(NUM_ENVS, game.words, game.rule)
    env = WordleEnv(game.words, game.rule)
    envs.reset(seed=seed)
    env.reset(seed=seed)

    def step_all(actions: np.ndarray) -> None:
        for step in actions:
            envs.step(step)

    def step_one(actions: np.ndarray) -> None:
        step_one_game(env, actions.reshape(-1)[:STEPS_OF_ONE].tolist())

    rng = np.random.default_rng(seed)
    actions = rng.integers(len(game.words.guesses), size=(STEPS_OF_EACH, NUM_ENVS))
    ways = {
        f"WordleVectorEnv, {NUM_ENVS:,} games at once": Way(step_all, STEPS_OF_EACH * NUM_ENVS),
        "WordleEnv, one game at a time": Way(step_one, STEPS_OF_ONE),
    }
    return compare(ways, [actions] * repeats, ENVIRONMENT, warm_up=actions)


def compare_scripted(spec: str, game: GameDescription, repeats: int, seed: int) -> dict:
    """Compare the games of a scripted player in a batch, and one after the other."""
    player, rng = make_player(spec), np.random.default_rng(seed)

    def play(secrets: np.ndarray) -> None:
        play_games(player, game.words, game.rule, secrets, rng)

    def play_one_by_one(secrets: np.ndarray) -> None:
        for start in range(SCRIPTED_GAMES_ONE_BY_ONE):
            play(secrets[start : start + 1])

    rounds = rng.integers(len(game.words.answers), size=(repeats, GAMES_PER_BATCH))
    ways = {
        f"play_games, {GAMES_PER_BATCH:,} games at once": Way(play, GAMES_PER_BATCH),
        "play_games, one game after the other": Way(play_one_by_one, SCRIPTED_GAMES_ONE_BY_ONE),
    }
    return compare(ways, rounds, spec, warm_up=rounds[0])


@torch.no_grad()
def play_without_cache(
    model: ValueTransformerForTokenValue, trie: WordTrie, secrets: np.ndarray, rule: str
) -> Games:
    """Play as a masked, greedy ModelPlayer, but with a forward pass over the whole history for every letter.

    All games whose secrets (n, 5) are not found yet are one batch.
    """
    legal, children = (torch.from_numpy(array).to(model.device) for array in (trie.legal, trie.children))
    guesses = np.zeros((len(secrets), NUM_TURNS, NUM_LETTERS), dtype=np.uint8)
    patterns = np.zeros((len(secrets), NUM_TURNS), dtype=np.uint8)
    num_turns = np.zeros(len(secrets), dtype=np.int8)
    for turn in range(NUM_TURNS):
        games = np.flatnonzero((patterns != ALL_GREEN).all(axis=1))
        if not len(games):
            break
        history = torch.from_numpy(game_tokens(guesses[games, :turn], patterns[games, :turn]))
        history = history.to(model.device)  # (games, 1 + 12 · turn)
        nodes = torch.zeros(len(games), dtype=torch.int64, device=model.device)
        for _ in range(NUM_LETTERS):
            values = model(history, logits_to_keep=1).value[:, 0]  # (games, vocab)
            letters = values.masked_fill(~legal[nodes], -torch.inf).argmax(dim=-1)
            nodes = children[nodes, letters]
            history = torch.cat([history, letters[:, None]], dim=1)
        guesses[games, turn] = history[:, -NUM_LETTERS:].cpu().numpy()
        patterns[games, turn] = feedback_codes(secrets[games], guesses[games, turn], rule)
        num_turns[games] += 1
    return Games(secrets, guesses, patterns, num_turns, np.full(len(secrets), "model"))


def compare_model(
    model: ValueTransformerForTokenValue, game: GameDescription, secrets: np.ndarray, repeats: int
) -> dict:
    """Compare the games of a model with a cache, one after the other, and without; secrets (n,)."""
    words, rule, rng = game.words, game.rule, np.random.default_rng(0)
    trie, letters = WordTrie(words.guess_letters), words.guess_letters[words.answer_indices]
    num_games, num_one_by_one = len(secrets), min(len(secrets), MODEL_GAMES_ONE_BY_ONE)
    at_once, one_by_one = (ModelPlayer(model, games_at_once=size) for size in (num_games, 1))

    def play(secrets: np.ndarray) -> None:
        play_games(at_once, words, rule, secrets, rng)

    def play_one_by_one(secrets: np.ndarray) -> None:
        play_games(one_by_one, words, rule, secrets[:num_one_by_one], rng)

    def play_naively(secrets: np.ndarray) -> None:
        play_without_cache(model, trie, letters[secrets], rule)

    ways = {
        f"ModelPlayer, {num_games:,} games at once": Way(play, num_games),
        "ModelPlayer, one game after the other": Way(play_one_by_one, num_one_by_one),
        f"without a cache, {num_games:,} games at once": Way(play_naively, num_games),
    }
    # Two games do to warm up: a round without a cache takes seconds.
    return compare(ways, [secrets] * repeats, MODEL, warm_up=secrets[:2])


def format_table(per_second: dict) -> str:
    """Lay out all comparisons, with how many times the time of the first way each takes."""
    width = 2 + max(len(name) for title, rates in per_second.items() for name in (title, *rates))
    blocks = []
    for title, rates in per_second.items():
        unit = "steps/s" if title == ENVIRONMENT else "games/s"
        blocks.append(format_rows(title, unit, rate_rows(rates), width))
    return "\n\n".join(blocks)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.wordle",
        description="Measure the steps per second of the environment, and the games per second of scripted "
        "players and of a model that plays greedily among the allowed words, each beside a naive way to do "
        "the same.",
    )
    add = parser.add_argument
    add(
        "--model",
        metavar="DIR",
        help=f"a trained model; the one of {CONFIG} with random weights unless given",
    )
    add_game_options(parser)
    add("--device", default="auto", help="cpu, cuda, cuda:1, ... for the model (the GPU if there is one)")
    add("--threads", type=positive_int, metavar="N", help="threads of torch (as many as it takes by itself)")
    add("--repeats", type=positive_int, default=5, metavar="N", help="rounds, in which all take turns (5)")
    add(
        "--games",
        type=positive_int,
        metavar="N",
        help=f"games that the model plays at once, each with another secret ({DEFAULT_GAMES}, or all)",
    )
    add("--seed", type=seed_number, default=0, help="draws weights, secrets and guesses (0)")
    add_json_option(parser)
    return parser.parse_args()


def random_model(device: str, seed: int) -> ValueTransformerForTokenValue:
    """Return the model that CONFIG trains, before it is trained."""
    chosen = choose_device(device)
    torch.manual_seed(seed)
    return WordleTask(load_config(CONFIG, [])).model.to(chosen).eval()


def main() -> None:
    arguments = parse_arguments()
    repeats, seed = arguments.repeats, arguments.seed
    if arguments.json:
        check_output(arguments.json, overwrite=True)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    players = []
    if arguments.model:
        players.append(ModelPlayer.load(arguments.model, arguments.device, "float32"))
    game = game_to_play(players, arguments.words, arguments.guesses, arguments.rule)
    num_answers = len(game.words.answers)
    num_games = arguments.games or min(DEFAULT_GAMES, num_answers)
    if num_games > num_answers:
        raise InputError(f"--games {num_games}: there are {num_answers} secret words; give no more than that")
    model = players[0].model if players else random_model(arguments.device, seed)
    some = np.random.default_rng(seed).permutation(num_answers)[:num_games]
    rates = {
        ENVIRONMENT: compare_environments(game, repeats, seed),
        **{f"player {spec}": compare_scripted(spec, game, repeats, seed) for spec in PLAYERS},
    }
    title = MODEL if players else RANDOM_MODEL
    rates[title] = compare_model(model, game, some, repeats)
    results = {
        "model": arguments.model or f"{CONFIG} with random weights",
        "num_parameters": model.num_parameters(),
        "device": torch.cuda.get_device_name() if model.device.type == "cuda" else model.device.type,
        "threads": torch.get_num_threads(),
        "num_answers": num_answers,
        "num_guesses": len(game.words.guesses),
        "rule": game.rule,
        "repeats": repeats,
        "seed": seed,
        "per_second": rates,
    }
    if arguments.json:
        write_json(arguments.json, results)
    print(
        f"{num_answers:,} secret words, {len(game.words.guesses):,} allowed guesses, {game.rule} rule, "
        f"seed {seed}; medians of {repeats} rounds\n"
        "environment and players: one thread of the CPU\n"
        f"model: {results['model']}, {results['num_parameters'] / 1e6:.1f}M parameters, {results['device']}, "
        f"{results['threads']} threads, greedy among the allowed words\n\n{format_table(rates)}"
    )


if __name__ == "__main__":
    command(main)
