"""Play many games of Wordle with scripted players, and write one Parquet row per game.

The default policy, `mixture:0.33`, is that of LMRL-Gym's dataset (arXiv 2311.18232), which has its own word
list and the simplified rule:

    python -m data.wordle.generate --words wordle_lists/lmrl_431.txt --rule simplified \\
        --games 100000 --output games.parquet

Equal seeds give equal games, and a longer run starts with the games of a shorter one.
"""

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cli.errors import InputError, command
from cli.files import check_output
from cli.options import add_seed_option, positive_int
from data.wordle.game_rows import Games
from data.wordle.games import GameDescription, write_games
from data.wordle.players import GAMES_PER_BATCH, LMRL_BEHAVIOR, PLAYERS, Player, make_player, play_games
from data.wordle.words import WordLists, add_word_options, load_word_lists


def parse_arguments() -> argparse.Namespace:
    players = "; ".join(f"{spec}: {meaning}" for spec, meaning in PLAYERS.items())
    parser = argparse.ArgumentParser(
        prog="python -m data.wordle.generate",
        description="Play many games of Wordle with scripted players, and write one Parquet row per game, as "
        "training data.",
        epilog=f"Players: {players}.",
    )
    add = parser.add_argument
    add("--games", required=True, type=positive_int, metavar="N", help="number of games")
    add("--output", required=True, type=Path, metavar="FILE", help="the Parquet file to write")
    add(
        "--policy",
        default=LMRL_BEHAVIOR,
        help="a player, listed below, or several with their fractions of the games, such as "
        f"mixture:0.33=0.8,greedy=0.2 (default: {LMRL_BEHAVIOR})",
    )
    add_word_options(parser)
    add_seed_option(parser, "secrets and guesses")
    add("--overwrite", action="store_true", help="replace the output if it exists")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    check_output(arguments.output, arguments.overwrite)
    players, fractions = read_policy(arguments.policy)
    words = load_word_lists(arguments.words, arguments.guesses)
    description = GameDescription(words, arguments.rule, arguments.policy, arguments.seed)
    total_return = num_won = 0.0

    def played() -> Iterator[Games]:
        nonlocal total_return, num_won
        with tqdm(total=arguments.games, unit=" games", desc="playing") as progress:
            for games in generate(players, fractions, words, arguments.rule, arguments.games, arguments.seed):
                total_return += float(games.returns().sum())
                num_won += int(games.won.sum())
                yield games
                progress.update(len(games))

    num_games = write_games(arguments.output, played(), description)
    print(
        f"{arguments.output}: {num_games} games of {arguments.policy} by the {arguments.rule} rule, "
        f"{len(words.answers)} words: mean return {total_return / num_games:.3f}, "
        f"success {num_won / num_games:.2%}"
    )


def read_policy(text: str) -> tuple[list[Player], np.ndarray]:
    """Read one player, or several with their fractions. Raises InputError for other texts."""
    parts = [part.rpartition("=") for part in text.split(",")]
    if len(parts) == 1 and not parts[0][1]:
        return [make_player(text)], np.ones(1)
    try:
        fractions = np.array([float(fraction) for _, _, fraction in parts])
    except ValueError:
        fractions = np.zeros(1)
    if not ((fractions > 0).all() and math.isfinite(sum(fractions.tolist()))):
        raise InputError(
            f"policy {text!r}: give every player a positive fraction, as in mixture:0.33=0.8,greedy=0.2"
        )
    return [make_player(spec) for spec, _, _ in parts], fractions / fractions.sum()


def generate(
    players: list[Player], fractions: np.ndarray, words: WordLists, rule: str, num_games: int, seed: int
) -> Iterator[Games]:
    """Yield games in parts. Each part has its own random generator, and is always played in full."""
    for part, first_game in enumerate(range(0, num_games, GAMES_PER_BATCH)):
        rng = np.random.default_rng([seed, part])
        secrets = rng.integers(len(words.answers), size=GAMES_PER_BATCH)
        chosen = rng.choice(len(players), p=fractions, size=GAMES_PER_BATCH)
        by_player = [
            play_games(player, words, rule, secrets[chosen == i], rng)
            for i, player in enumerate(players)
            if (chosen == i).any()
        ]
        # The games are sorted by player; return them to the order of `secrets`.
        order = np.argsort(np.argsort(chosen, kind="stable"), kind="stable")
        yield Games.concatenate(by_player)[order][: num_games - first_game]


if __name__ == "__main__":
    command(main)
