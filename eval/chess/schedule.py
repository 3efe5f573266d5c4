"""Which games are played: a round is one opening, played with both colours, and the seed decides its lots."""

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cli.errors import InputError
from eval.chess.openings import Opening


class ScheduledGame(NamedTuple):
    """A game to be played; engines that draw lots draw them by `seed`, which no other game has."""

    opening: Opening
    player_is_white: bool
    seed: int
    headers: dict[str, str]


def shuffled_openings(openings: Sequence[Opening], seed: int) -> list[Opening]:
    """Return the openings in the order in which they are played."""
    return random.Random(f"openings {seed}").sample(openings, len(openings))


def games_of_round(opening: Opening, round_number: int, seed: int) -> tuple[ScheduledGame, ScheduledGame]:
    """Return the two games of a round, numbered from 0; the player is White in the first."""
    first, second = (
        ScheduledGame(
            opening,
            game == 0,
            seed * 1_000_003 + 2 * round_number + game,
            {"Round": f"{round_number + 1}.{game + 1}"},
        )
        for game in range(2)
    )
    return first, second


def scheduled_games(openings: Sequence[Opening], num_games: int, seed: int) -> Iterator[ScheduledGame]:
    """Yield the games against one opponent, round by round, from the first opening again after the last."""
    order = shuffled_openings(openings, seed)
    for number in range(num_games):
        yield games_of_round(order[number // 2 % len(order)], number // 2, seed)[number % 2]


def check_games_differ(num_games: int, num_different: int) -> None:
    """Raise InputError for more games than differ, between players who never play an opening in another way.

    Copies of a game tell nothing new, and counted as if they did they make intervals too narrow.
    """
    if num_games > num_different:
        raise InputError(
            f"--games {num_games}: neither side draws its moves, and the book gives only {num_different} "
            "different games; ask for no more, or give more --openings or a --temperature"
        )
