"""Play Atari games with a trained model, or at random: mean returns, human-normalised scores, a GIF.

    python -m eval.atari --model runs/atari_tiny/model --episodes 100 --video play.gif
    python -m eval.atari --policy random --games breakout,pong --json random.json

eval/atari/aggregate.py summarises the JSON files of many games and runs.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cli.errors import InputError, command
from cli.files import check_output
from cli.options import (
    add_hardware_options,
    add_json_option,
    add_seed_option,
    add_trained_model_option,
    positive_int,
    write_json,
)
from data.atari.games import OPENCV, Game, make_game, require
from data.atari.scores import normalised
from eval.intervals import Z_95, mean_and_standard_error
from eval.model_folder import MODEL_AND_GAMES, check_model_folder


if TYPE_CHECKING:
    from data.atari.episodes import Episode
    from eval.atari.agent import Agent


def fraction(text: str) -> float:
    """Parse a number from 0 to 1."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return number


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m eval.atari",
        description="Play Atari games with a trained model, or at random; report mean returns with 95% "
        "intervals, and the human-normalised scores of the games that have one. A game has the settings of "
        "training, such as sticky actions.",
    )
    add = parser.add_argument
    player = parser.add_mutually_exclusive_group(required=True)
    add_trained_model_option(player)
    player.add_argument("--policy", choices=["random"], help="play at random")
    add(
        "--games",
        metavar="NAME[,NAME]",
        type=lambda text: text.split(","),
        help="the games, such as breakout or minatar_breakout (default: those of the model)",
    )
    add("--episodes", type=positive_int, default=100, metavar="N", help="of each game (default: 100)")
    add(
        "--epsilon",
        type=fraction,
        metavar="P",
        help="probability of a random action (default: 0.001)",
    )
    add_seed_option(parser, "all random numbers")
    add(
        "--video",
        metavar="FILE.gif",
        type=Path,
        help="also draw the first episode of the first game as a GIF, with the predicted distribution of "
        "each chosen action; needs a model",
    )
    add_json_option(parser)
    add_hardware_options(parser)
    arguments = parser.parse_args()
    if arguments.policy is not None:
        if arguments.video is not None or arguments.epsilon is not None:
            parser.error("--video and --epsilon need --model")
        if arguments.games is None:
            parser.error("--policy needs --games")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    for path in filter(None, (arguments.json, arguments.video)):
        check_output(path, overwrite=True)
    if arguments.video is not None and arguments.video.suffix.lower() != ".gif":
        raise InputError(f"--video {arguments.video}: the film is a GIF; give a name that ends in .gif")
    agent, games = load_player(arguments)
    if arguments.video is not None and not games[0].is_minatar:
        require(OPENCV, "the pictures of a film need")
    epsilon = 1.0 if agent is None else 0.001 if arguments.epsilon is None else arguments.epsilon
    name = "random" if agent is None else agent.name
    print(f"{name}: {arguments.episodes} episodes of each game, epsilon {epsilon:g}, seed {arguments.seed}")
    results = {"player": name, "episodes": arguments.episodes, "epsilon": epsilon, "seed": arguments.seed}
    results["games"] = {}
    print(f"\n{'game':<28}{'mean return':>12}   {'95% interval':<20}{'human-normalised':>16}{'steps/s':>10}")
    for index, game in enumerate(games):
        found, episodes = play(agent, game, arguments.episodes, epsilon, arguments.seed)
        results["games"][game.title] = found
        print(format_row(game, found), flush=True)
        if index == 0 and arguments.video is not None:
            from eval.atari.film import draw_film

            length = draw_film(arguments.video, agent, game, episodes[0])
            print(
                f"{arguments.video}: {length} steps of the first episode, return {episodes[0].total_reward:g}"
            )
    if arguments.json:
        write_json(arguments.json, results)


def load_player(arguments: argparse.Namespace) -> tuple["Agent | None", list[Game]]:
    """Return the agent, None for random play, and the games to play."""
    if arguments.policy is not None:
        return None, [make_game(name) for name in arguments.games]
    check_model_folder(arguments.model, MODEL_AND_GAMES)
    for name in arguments.games or ():
        make_game(name)
    from eval.atari.agent import Agent  # imports torch, which takes seconds

    agent = Agent.load(arguments.model, arguments.device, arguments.dtype)
    return agent, agent.find_games(arguments.games)


def play(
    agent: "Agent | None", game: Game, num_episodes: int, epsilon: float, seed: int
) -> tuple[dict, list["Episode"]]:
    """Play a game; return the results and the episodes."""
    from eval.atari.playing import evaluate_policy

    policy: Callable = (lambda observations: agent.choose(game, observations)) if agent else lambda _: None
    started = time.perf_counter()
    episodes = evaluate_policy(
        game, policy, num_episodes, stack=agent.stack if agent else 1, epsilon=epsilon, seed=seed
    )
    seconds = time.perf_counter() - started
    returns = [episode.total_reward for episode in episodes]
    mean, error = mean_and_standard_error(returns)
    assert mean is not None
    return {
        "settings": game.settings(),
        "emulator": game.emulator,
        "mean_return": mean,
        "standard_error": error,
        "human_normalised": normalised(game.name, mean),
        "mean_steps": sum(len(episode.actions) for episode in episodes) / num_episodes,
        "returns": returns,
        "steps_per_second": sum(len(episode.actions) for episode in episodes) / seconds,
    }, episodes


def format_row(game: Game, found: dict) -> str:
    error, score = found["standard_error"], found["human_normalised"]
    mean = found["mean_return"]
    interval = f"{mean - Z_95 * error:.2f} to {mean + Z_95 * error:.2f}" if error is not None else "–"
    human = "no human score" if score is None else f"{score:.3f}"
    return f"{game.title:<28}{mean:>12.2f}   {interval:<20}{human:>16}{found['steps_per_second']:>10,.0f}"


if __name__ == "__main__":
    command(main)
