"""Measure a Wordle agent: a trained model, or a scripted player.

    python -m eval.wordle --model runs/wordle_tiny/model --protocol official --json wordle.json
    python -m eval.wordle --policy greedy --words american_446

What the protocols measure is said in eval/wordle/protocols.py. With --compare two agents get the same
secrets:

    python -m eval.wordle --model runs/hl_gauss/model --compare runs/mse/model --protocol lmrl

and with --play a person watches a model, or plays with its advice.
"""

import argparse
from collections.abc import Sequence

import numpy as np

from cli.errors import command
from cli.files import check_output
from cli.options import (
    add_device_options,
    add_json_option,
    positive_int,
    positive_number,
    seed_number,
    write_json,
)
from data.wordle.games import GameDescription
from data.wordle.players import LMRL_BEHAVIOR, PLAYERS
from eval.paired_comparison import compare_pairs
from eval.wordle.agents import Agent, Contestant, add_game_options, game_to_play
from eval.wordle.play import play_in_terminal
from eval.wordle.protocols import (
    FIRST_AGENT,
    PROTOCOLS,
    RESAMPLES,
    SECOND_AGENT,
    derived_seed,
    held_out_games,
    lmrl_results,
    lmrl_secrets,
    official_results,
    one_turn,
    roll_out,
)
from eval.wordle.tables import format_comparison, format_results


NUM_GAMES = 4096
POLICY_PREFIX = "policy:"


def parse_arguments() -> argparse.Namespace:
    parser = make_parser()
    arguments = parser.parse_args()
    if arguments.policy is not None:
        arguments.agents = [POLICY_PREFIX + arguments.policy]
    else:
        arguments.agents = [arguments.model]
    if arguments.compare is not None:
        arguments.agents.append(arguments.compare)
        if arguments.protocol not in ("lmrl", "official"):
            parser.error("--compare needs --protocol lmrl or official")
    if arguments.games is not None and arguments.behavior is not None:
        parser.error("--games and --behavior exclude each other")
    names_games = arguments.games is not None or arguments.behavior is not None
    if names_games and arguments.protocol not in ("one_turn", "all"):
        parser.error("--games and --behavior are for one_turn")
    if arguments.num_games is not None and arguments.protocol == "official":
        parser.error("--num-games is not for official, which plays every secret once")
    if arguments.temperature is not None and arguments.protocol == "official":
        parser.error("--temperature is not for official, which is played greedily")
    has_model = not all(name.startswith(POLICY_PREFIX) for name in arguments.agents)
    measures = arguments.compare or arguments.json or arguments.num_games or arguments.protocol != "all"
    if arguments.play and (arguments.policy or measures or names_games):
        parser.error("--play takes a model and its settings alone")
    if (arguments.temperature is not None or arguments.no_mask or arguments.play) and not has_model:
        parser.error("--temperature, --no-mask and --play are for models")
    arguments.num_games = arguments.num_games or NUM_GAMES
    return arguments


def make_parser() -> argparse.ArgumentParser:
    players = "; ".join(f"{spec}: {what}" for spec, what in PLAYERS.items())
    parser = argparse.ArgumentParser(
        prog="python -m eval.wordle",
        description="Measure a Wordle agent. one_turn: how often its next guess is right in partially played "
        "games, beside the best that can be expected; lmrl: its mean return with secrets drawn at random, "
        "and LMRL-Gym's score; official: its success and mean number of guesses with every secret once.",
        epilog=f"Players: {players}.",
    )
    add = parser.add_argument
    agent = parser.add_mutually_exclusive_group(required=True)
    agent.add_argument(
        "--model",
        metavar="DIR",
        help="a trained model: the folder <output_dir>/model of a run, or an id on the hub such as user/name",
    )
    agent.add_argument("--policy", metavar="PLAYER", help="a scripted player, see below")
    add("--protocol", choices=[*PROTOCOLS, "all"], default="all", help="what to measure (all)")
    add("--play", action="store_true", help="measure nothing: watch a model, or play with its advice")
    add(
        "--compare",
        metavar="DIR|policy:PLAYER",
        help="in lmrl or official: another agent to play with the same secrets, and tests of the difference",
    )
    add(
        "--num-games",
        type=positive_int,
        metavar="N",
        help=f"how many games lmrl plays, and how many one_turn takes its states from ({NUM_GAMES})",
    )
    add(
        "--behavior",
        metavar="PLAYER",
        help="who plays the games of one_turn; also several with their shares, such as "
        f"mixture:0.33=0.8,greedy=0.2 ({LMRL_BEHAVIOR})",
    )
    add(
        "--games",
        metavar="FILE",
        help="a Parquet file, a folder, or a dataset on the hub such as user/name, to take the games of "
        "one_turn from",
    )
    add("--seed", type=seed_number, default=0, help="decides all that is drawn (0)")
    add_json_option(parser)
    add_game_options(parser)
    models = parser.add_argument_group("models")
    models.add_argument(
        "--no-mask",
        action="store_true",
        help="let them write any tokens; what is not an allowed guess loses the turn and shows nothing",
    )
    models.add_argument(
        "--temperature",
        type=positive_number,
        metavar="T",
        help="draw tokens from softmax(Q / T) instead of taking the best; official is always greedy",
    )
    models.add_argument(
        "--batch-size",
        type=positive_int,
        default=512,
        metavar="GAMES",
        help="games played at a time; lower it if memory runs out (512)",
    )
    add_device_options(models)
    return parser


def main() -> None:
    arguments = parse_arguments()
    if arguments.json:
        check_output(arguments.json, overwrite=True)
    contestants = load_contestants(arguments.agents, arguments.device, arguments.dtype)
    game = game_to_play(contestants, arguments.words, arguments.guesses, arguments.rule)
    if arguments.play:
        agent = make_agent(contestants[0], game, "play", FIRST_AGENT, arguments)
        play_in_terminal(agent.token_agent, game, arguments.seed)
        return
    protocols = PROTOCOLS if arguments.protocol == "all" else (arguments.protocol,)
    games = behavior = None
    if "one_turn" in protocols:
        games, behavior = held_out_games(
            game,
            arguments.num_games,
            arguments.seed,
            arguments.behavior or LMRL_BEHAVIOR,
            arguments.games,
        )
    num_answers, num_guesses = len(game.words.answers), len(game.words.guesses)
    title = f"{num_answers:,} secret words, {num_guesses:,} allowed guesses, {game.rule} rule"
    print(f"{' and '.join(contestant.name for contestant in contestants)}: {title}, seed {arguments.seed}")

    measured = {}
    for protocol in protocols:
        agents = [
            make_agent(contestant, game, protocol, purpose, arguments)
            for contestant, purpose in zip(contestants, (FIRST_AGENT, SECOND_AGENT), strict=False)
        ]
        if protocol == "one_turn":
            measured[protocol] = one_turn(agents[0], game, games, behavior)
            print(f"\n{format_results(measured[protocol])}")
        else:
            secrets = np.arange(num_answers)
            if protocol == "lmrl":
                secrets = lmrl_secrets(game, arguments.num_games, arguments.seed)
            measured[protocol] = play_and_compare(
                contestants, agents, game, protocol, secrets, arguments.seed
            )
    if arguments.json:
        settings = {
            "agent": contestants[0].identify(),
            "num_answers": num_answers,
            "num_guesses": num_guesses,
            "rule": game.rule,
            "seed": arguments.seed,
            "masked": not arguments.no_mask,
        }
        for protocol, results in measured.items():
            results["temperature"] = _temperature(protocol, arguments)
        results = measured if arguments.protocol == "all" else measured[arguments.protocol]
        write_json(arguments.json, {**settings, **results})


def load_contestants(names: Sequence[str], device: str, dtype: str) -> list[Contestant]:
    """Return the agents, models or `policy:PLAYER`. Raises InputError for those that are not there."""
    # A misspelt player is found before a model is loaded.
    players = {
        name: Contestant.from_policy(name.removeprefix(POLICY_PREFIX))
        for name in names
        if name.startswith(POLICY_PREFIX)
    }
    return [players.get(name) or Contestant.from_model(name, device, dtype) for name in names]


def make_agent(
    contestant: Contestant,
    game: GameDescription,
    protocol: str,
    purpose: int,
    arguments: argparse.Namespace,
) -> Agent:
    """Return an agent for one protocol. What it draws does not depend on what was measured before."""
    return contestant.agent(
        game,
        seed=derived_seed(arguments.seed, purpose),
        masked=not arguments.no_mask,
        temperature=_temperature(protocol, arguments),
        batch_size=arguments.batch_size,
    )


def play_and_compare(
    contestants: Sequence[Contestant],
    agents: Sequence[Agent],
    game: GameDescription,
    protocol: str,
    secrets: np.ndarray,
    seed: int,
) -> dict:
    """Have one or two agents play with the secrets of lmrl or official; print the results and return them."""
    summarise = lmrl_results if protocol == "lmrl" else official_results
    all_played, all_results = [], []
    for contestant, agent in zip(contestants, agents, strict=True):
        played, games_per_second = roll_out(agent, secrets, f"{protocol} {contestant.name}")
        results = {**summarise(played, game), "games_per_second": games_per_second}
        heading = f"{contestant.name}\n" if len(agents) > 1 else ""
        print(f"\n{heading}{format_results(results)}")
        all_played.append(played)
        all_results.append(results)
    results = all_results[0]
    if len(agents) > 1:
        won = [played.is_won for played in all_played]
        returns = [played.returns() for played in all_played]
        comparison = compare_pairs(*won, *returns, derived_seed(seed, RESAMPLES))
        names = [contestant.name for contestant in contestants]
        print(f"\n{format_comparison(*names, comparison)}")
        results |= {"compared_with": {"agent": names[1], **all_results[1]}, "comparison": comparison}
    return results


def _temperature(protocol: str, arguments: argparse.Namespace) -> float:
    """Return the temperature of a protocol; `official` is greedy."""
    return 0.0 if protocol == "official" else arguments.temperature or 0.0


if __name__ == "__main__":
    command(main)
