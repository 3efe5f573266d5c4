"""Play many games of Wordle with scripted players and write them, a Parquet row each.

The data set of LMRL-Gym (arXiv 2311.18232) is of `mixture:0.33`, the default, on its own list of words:

    python -m data.wordle.generate --games 200000 --output games.parquet

The same seed gives the same games, and a longer run begins with the games of a shorter one.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cli.errors import InputError, command
from cli.files import check_output
from data.wordle.game_rows import Games
from data.wordle.games import GameDescription, write_games
from data.wordle.players import GAMES_PER_BATCH, LMRL_BEHAVIOR, PLAYERS, Player, make_player, play_games
from data.wordle.words import WordLists, add_word_options, load_word_lists


def parse_arguments() -> argparse.Namespace:
    players = "; ".join(f"{spec}: {what}" for spec, what in PLAYERS.items())
    parser = argparse.ArgumentParser(
        prog="python -m data.wordle.generate",
        description="Play many games of Wordle with scripted players and write them, a Parquet row each, to "
        "train an agent on.",
        epilog=f"Players: {players}.",
    )
    add = parser.add_argument
    add("--games", required=True, type=int, help="how many games to play")
    add("--output", required=True, type=Path, help="the Parquet file to write")
    add(
        "--policy",
        default=LMRL_BEHAVIOR,
        help="who plays, see below; or several with their shares, such as mixture:0.33=0.8,greedy=0.2 "
        f"({LMRL_BEHAVIOR})",
    )
    add_word_options(parser)
    add("--seed", type=int, default=0, help="decides secrets and guesses (0)")
    add("--overwrite", action="store_true", help="replace the output if it exists")
    arguments = parser.parse_args()
    if arguments.games < 1:
        parser.error(f"--games must be at least 1, not {arguments.games}")
    if arguments.seed < 0:
        parser.error(f"--seed must be at least 0, not {arguments.seed}")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    check_output(arguments.output, arguments.overwrite)
    players, shares = read_policy(arguments.policy)
    words = load_word_lists(arguments.words, arguments.guesses)
    description = GameDescription(words, arguments.rule, arguments.policy, arguments.seed)
    total_return = num_won = 0.0

    def played() -> Iterator[Games]:
        nonlocal total_return, num_won
        with tqdm(total=arguments.games, unit=" games", desc="playing") as progress:
            for games in generate(players, shares, words, arguments.rule, arguments.games, arguments.seed):
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
    """Read one player, or several with their shares. Raises InputError for what is neither."""
    parts = [part.rpartition("=") for part in text.split(",")]
    if len(parts) == 1 and not parts[0][1]:
        return [make_player(text)], np.ones(1)
    try:
        shares = np.array([float(share) for _, _, share in parts])
    except ValueError:
        shares = np.zeros(1)
    if not ((shares > 0) & np.isfinite(shares)).all():
        raise InputError(f"policy {text!r}: give every player a positive share: mixture:0.33=0.8,greedy=0.2")
    return [make_player(spec) for spec, _, _ in parts], shares / shares.sum()


def generate(
    players: list[Player], shares: np.ndarray, words: WordLists, rule: str, num_games: int, seed: int
) -> Iterator[Games]:
    """Yield games in parts. Each part has its own random numbers and is always played in full."""
    for part, first_game in enumerate(range(0, num_games, GAMES_PER_BATCH)):
        rng = np.random.default_rng([seed, part])
        secrets = rng.integers(len(words.answers), size=GAMES_PER_BATCH)
        places = rng.choice(len(players), p=shares, size=GAMES_PER_BATCH)
        by_player = [play_games(p, words, rule, secrets[places == i], rng) for i, p in enumerate(players)]
        # The games stand sorted by player; put each back where it was dealt.
        back = np.argsort(np.argsort(places, kind="stable"), kind="stable")
        yield Games.concatenate(by_player)[back][: num_games - first_game]


if __name__ == "__main__":
    command(main)
