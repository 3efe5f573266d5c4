"""A match between a player and its opponents: the engines, and the schedule of the games.

A round is one opening, played with both colours.
"""

import random
from collections.abc import Sequence
from typing import NamedTuple

from eval.chess.engines import Engine
from eval.chess.games import PlayedGame, play_game
from eval.chess.openings import Opening
from eval.chess.players import Player


class ScheduledGame(NamedTuple):
    """A game to play; engines that sample moves use `seed`, which is unique."""

    opening: Opening
    player_is_white: bool
    seed: int
    headers: dict[str, str]


class Match:
    """A player and its opponents; their engines start when they are needed.

    An engine that crashed is started again for its next game. `close` ends all of them.
    """

    def __init__(self, player: Player, opponents: Sequence[Player]):
        self._players = [player, *opponents]
        self._engines: dict[int, Engine] = {}

    def play(self, opponent: int, game: ScheduledGame) -> PlayedGame:
        """Play a game against the opponent of this index. Raises InputError if an engine cannot start."""
        ours, theirs = self._engine(0), self._engine(opponent + 1)
        for engine in (ours, theirs):
            engine.new_game(game.seed)
        white, black = (ours, theirs) if game.player_is_white else (theirs, ours)
        played = play_game(white, black, game.opening, game.headers)
        if played.crash is not None:
            # The loser crashed; the other engine keeps running, because a model takes seconds to load.
            ours_crashed = played.points(game.player_is_white) == 0.0
            self._engines.pop(0 if ours_crashed else opponent + 1).close()
        return played

    def _engine(self, index: int) -> Engine:
        if index not in self._engines:
            self._engines[index] = self._players[index].start()
        return self._engines[index]

    def close(self) -> None:
        while self._engines:
            self._engines.popitem()[1].close()


def shuffled_openings(openings: Sequence[Opening], seed: int) -> list[Opening]:
    """Return the openings in the order in which they are played."""
    return random.Random(f"openings {seed}").sample(openings, len(openings))


def games_of_round(
    opening: Opening, round_number: int, seed: int, headers: dict[str, str] | None = None
) -> tuple[ScheduledGame, ScheduledGame]:
    """Return the two games of a round, numbered from 0; the player is White in the first."""
    first, second = (
        ScheduledGame(
            opening,
            game == 0,
            seed * 1_000_003 + 2 * round_number + game,
            {**(headers or {}), "Round": f"{round_number + 1}.{game + 1}"},
        )
        for game in range(2)
    )
    return first, second
