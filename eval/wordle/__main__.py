"""Measure a player of Wordle: a trained model, or a scripted player.

    python -m eval.wordle --model runs/wordle_tiny/model --protocol official --json wordle.json
    python -m eval.wordle --policy greedy --words american_446

eval/wordle/protocols.py defines the protocols. With --compare, two players get the same secrets:

    python -m eval.wordle --model runs/hl_gauss/model --compare runs/mse/model --protocol lmrl

With --play, a person watches a model, or plays with its advice.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cli.errors import command
from cli.files import check_output
from cli.options import (
    add_hardware_options,
    add_json_option,
    add_seed_option,
    add_trained_model_option,
    positive_int,
    positive_number,
    write_json,
)
from data.wordle.games import GameDescription
from data.wordle.players import LMRL_BEHAVIOR, PLAYERS, Player, make_player
from eval.model_folder import check_model_folder
from eval.paired_comparison import compare_pairs
from eval.wordle.game_options import add_game_options, game_to_play
from eval.wordle.protocols import (
    FIRST_PLAYER,
    PROTOCOLS,
    RESAMPLES,
    SECOND_PLAYER,
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
        arguments.players = [POLICY_PREFIX + arguments.policy]
    else:
        arguments.players = [arguments.model]
    if arguments.compare is not None:
        arguments.players.append(arguments.compare)
        if arguments.protocol not in ("lmrl", "official"):
            parser.error("--compare needs --protocol lmrl or --protocol official")
    if arguments.games is not None and arguments.behavior is not None:
        parser.error("--games and --behavior are incompatible: give one of them")
    names_games = arguments.games is not None or arguments.behavior is not None
    if names_games and arguments.protocol not in ("one_turn", "all"):
        parser.error("--games and --behavior need --protocol one_turn or --protocol all")
    if arguments.num_games is not None and arguments.protocol == "official":
        parser.error("--num-games has no effect with --protocol official, which plays every secret once")
    if arguments.temperature is not None and arguments.protocol == "official":
        parser.error("--temperature has no effect with --protocol official, which is greedy")
    has_model = not all(name.startswith(POLICY_PREFIX) for name in arguments.players)
    measures = arguments.compare or arguments.json or arguments.num_games or arguments.protocol != "all"
    if arguments.play and (arguments.policy or measures or names_games):
        parser.error("--play takes only a model and its options")
    if (arguments.temperature is not None or arguments.no_mask) and not has_model:
        parser.error("--temperature and --no-mask need a model")
    arguments.num_games = arguments.num_games or NUM_GAMES
    return arguments


def make_parser() -> argparse.ArgumentParser:
    players = "; ".join(f"{spec}: {meaning}" for spec, meaning in PLAYERS.items())
    parser = argparse.ArgumentParser(
        prog="python -m eval.wordle",
        description="Measure a player of Wordle. one_turn: how often its next guess is right in partially "
        "played games, next to the best expected rate; lmrl: its mean return with random secrets, and "
        "LMRL-Gym's score; official: its success rate and mean number of guesses, with every secret once.",
        epilog=f"Players: {players}.",
    )
    add = parser.add_argument
    player = parser.add_mutually_exclusive_group(required=True)
    add_trained_model_option(player)
    player.add_argument("--policy", metavar="PLAYER", help="a scripted player, listed below")
    add(
        "--protocol",
        choices=[*PROTOCOLS, "all"],
        default="all",
        help="the protocols to measure (default: all)",
    )
    add("--play", action="store_true", help="do not measure: watch a model, or play with its advice")
    add(
        "--compare",
        metavar="DIR|policy:PLAYER",
        help="another player, which gets the same secrets in lmrl or official; tests the difference",
    )
    add(
        "--num-games",
        type=positive_int,
        metavar="N",
        help=f"number of games of lmrl, and of the held-out games of one_turn (default: {NUM_GAMES})",
    )
    add(
        "--behavior",
        metavar="PLAYER",
        help="the player of the held-out games of one_turn, or several with their fractions, such as "
        f"mixture:0.33=0.8,greedy=0.2 (default: {LMRL_BEHAVIOR})",
    )
    add(
        "--games",
        metavar="FILE",
        help="held-out games of one_turn: a Parquet file, a folder, or a hub dataset such as user/name",
    )
    add_seed_option(parser, "all random numbers")
    add_json_option(parser)
    add_game_options(parser)
    models = parser.add_argument_group("models")
    models.add_argument(
        "--no-mask",
        action="store_true",
        help="let models write any tokens; a guess that is not an allowed word costs the turn and gets no "
        "colours",
    )
    models.add_argument(
        "--temperature",
        type=positive_number,
        metavar="T",
        help="sample tokens from softmax(Q / T) instead of taking the best one; official is always greedy",
    )
    models.add_argument(
        "--batch-size",
        type=positive_int,
        default=512,
        metavar="GAMES",
        help="games played at once; reduce it if memory runs out (default: 512)",
    )
    add_hardware_options(models)
    return parser


def main() -> None:
    arguments = parse_arguments()
    if arguments.json:
        check_output(arguments.json, overwrite=True)
    players = load_players(arguments)
    game = game_to_play(players, arguments.words, arguments.guesses, arguments.rule)
    if arguments.play:
        from eval.wordle.play import play_in_terminal

        player = seeded(players[0], derived_seed(arguments.seed, FIRST_PLAYER), arguments.temperature or 0.0)
        play_in_terminal(player, game, arguments.seed)
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
    print(f"{' and '.join(player.name for player in players)}: {title}, seed {arguments.seed}")

    measured = {}
    for protocol in protocols:
        temperature = 0.0 if protocol == "official" else arguments.temperature or 0.0
        if protocol == "one_turn":
            seed = derived_seed(arguments.seed, FIRST_PLAYER)
            player, rng = seeded(players[0], seed, temperature), np.random.default_rng(seed)
            measured[protocol] = one_turn(player, game, games, behavior, rng)
            print(f"\n{format_results(measured[protocol])}")
        else:
            secrets = np.arange(num_answers)
            if protocol == "lmrl":
                secrets = lmrl_secrets(game, arguments.num_games, arguments.seed)
            measured[protocol] = play_and_compare(
                players, game, protocol, secrets, temperature, arguments.seed
            )
        measured[protocol]["temperature"] = temperature
    if arguments.json:
        settings = {
            "player": players[0].identify(),
            "num_answers": num_answers,
            "num_guesses": num_guesses,
            "rule": game.rule,
            "seed": arguments.seed,
            "masked": not arguments.no_mask,
        }
        results = measured if arguments.protocol == "all" else measured[arguments.protocol]
        write_json(arguments.json, {**settings, **results})


def load_players(arguments: argparse.Namespace) -> list[Player]:
    """Return the players, models or `policy:PLAYER`. Raises InputError for those that do not exist."""
    # A misspelt player is found before a model is loaded.
    scripted = {
        name: make_player(name.removeprefix(POLICY_PREFIX))
        for name in arguments.players
        if name.startswith(POLICY_PREFIX)
    }
    for name in arguments.players:
        if name not in scripted:
            check_model_folder(name)
    from eval.wordle.model_player import ModelPlayer  # imports torch, which takes seconds

    settings = {"masked": not arguments.no_mask, "games_at_once": arguments.batch_size}
    return [
        scripted.get(name) or ModelPlayer.load(name, arguments.device, arguments.dtype, **settings)
        for name in arguments.players
    ]


def seeded(player: Player, seed: int, temperature: float) -> Player:
    """Return a player whose random numbers do not depend on earlier measurements."""
    from eval.wordle.model_player import ModelPlayer

    return replace(player, seed=seed, temperature=temperature) if isinstance(player, ModelPlayer) else player


def play_and_compare(
    players: Sequence[Player],
    game: GameDescription,
    protocol: str,
    secrets: np.ndarray,
    temperature: float,
    seed: int,
) -> dict:
    """Let one or two players play with the secrets of lmrl or official; print and return the results."""
    summarise = lmrl_results if protocol == "lmrl" else official_results
    all_games, all_results = [], []
    for player, purpose in zip(players, (FIRST_PLAYER, SECOND_PLAYER), strict=False):
        player_seed = derived_seed(seed, purpose)
        games, games_per_second = roll_out(
            seeded(player, player_seed, temperature),
            game,
            secrets,
            np.random.default_rng(player_seed),
            f"{protocol} {player.name}",
        )
        results = {**summarise(games, game), "games_per_second": games_per_second}
        heading = f"{player.name}\n" if len(players) > 1 else ""
        print(f"\n{heading}{format_results(results)}")
        all_games.append(games)
        all_results.append(results)
    results = all_results[0]
    if len(players) > 1:
        won = [games.won for games in all_games]
        returns = [games.returns().astype(np.float64) for games in all_games]
        comparison = compare_pairs(*won, *returns, derived_seed(seed, RESAMPLES))
        names = [player.name for player in players]
        print(f"\n{format_comparison(*names, comparison)}")
        results |= {
            "compared_with": {"player": players[1].identify(), **all_results[1]},
            "comparison": comparison,
        }
    return results


if __name__ == "__main__":
    command(main)
