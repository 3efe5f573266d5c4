"""A tournament of one player against opponents of known ratings: who is met next, and what was played before.

Rounds are played by several processes, and a log of games is all that is needed to go on with one.
"""

import functools
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from tqdm import tqdm

from cli.errors import InputError
from data.chess.engine_work import Skipped, results_in_order
from eval.chess.game_log import GameLog
from eval.chess.games import PlayedGame, Table
from eval.chess.openings import Opening
from eval.chess.opponents import Opponent
from eval.chess.players import Player
from eval.chess.ratings import Rating, expected_score, fit_rating
from eval.chess.schedule import ScheduledGame, check_games_differ, games_of_round, shuffled_openings
from eval.chess.tally import Tally, format_rating


class Pairing(NamedTuple):
    """A round to be played against an opponent."""

    opponent: int
    games: tuple[ScheduledGame, ScheduledGame]


class Tournament:
    """The standing of a tournament, from which follows who is met next.

    It is over after `num_rounds`, or as soon as the interval's half-width is at most `half_width` Elo. Where
    the player `is_deterministic`, no such opponent gets an opening twice; InputError if that leaves too few.
    """

    def __init__(
        self,
        opponents: Sequence[Opponent],
        openings: Sequence[Opening],
        num_rounds: int,
        half_width: float,
        seed: int,
        is_deterministic: bool = False,
    ):
        self.opponents = opponents
        self.tallies = [Tally(opponent.rating) for opponent in opponents]
        self.num_rounds, self.half_width, self.seed = num_rounds, half_width, seed
        self.num_played = 0
        self._openings = shuffled_openings(openings, seed)
        self._met: list[list[int]] = [[] for _ in opponents]  # openings played against each
        self._games_repeat = [is_deterministic and opponent.player.is_deterministic for opponent in opponents]
        if all(self._games_repeat):
            check_games_differ(2 * num_rounds, 2 * len(openings) * len(opponents))

    @property
    def rating(self) -> Rating | None:
        """The rating so far; None before the first round."""
        return fit_rating([tally.match_score() for tally in self.tallies]) if self.num_played else None

    @property
    def is_over(self) -> bool:
        if self.num_played >= self.num_rounds:
            return True
        rating = self.rating
        return rating is not None and rating.half_width <= self.half_width

    def add_round(self, opponent: int, points: Sequence[float]) -> None:
        """Count both games of a round that has been played."""
        for scored in points:
            self.tallies[opponent].add_game(scored)
        self.tallies[opponent].add_pair(points)
        self.num_played += 1

    def resume(self, opponents: Sequence[int], points: Sequence[Sequence[float]]) -> None:
        """Count the rounds that were played before an interruption."""
        for opponent, scored in zip(opponents, points, strict=True):
            self._draw_opening(opponent, self.num_played)
            self.add_round(opponent, scored)

    def pairings(self) -> Iterator[Pairing]:
        """Yield rounds to play until it is over, each chosen by the results that are in by then."""
        for number in range(self.num_played, self.num_rounds):
            if self.is_over:
                return
            opponent = self._next_opponent()
            yield Pairing(opponent, games_of_round(self._draw_opening(opponent, number), number, self.seed))

    def _draw_opening(self, opponent: int, round_number: int) -> Opening:
        """Return the opening of a round: each in turn, but for those that would give a game again."""
        size, met = len(self._openings), self._met[opponent]
        order = [(round_number + step) % size for step in range(size)]
        left = [index for index in order if index not in met] if self._games_repeat[opponent] else []
        met.append((left or order)[0])
        return self._openings[met[-1]]

    def _next_opponent(self) -> int:
        """Return the opponent who falls most short of a share of games in proportion to what they tell.

        A game tells e (1 − e) of the rating, e being the expected score: most against equals.
        """
        rating = self.rating
        ratings = [opponent.rating for opponent in self.opponents]
        elo = sum(ratings) / len(ratings) if rating is None else rating.elo
        # After losses alone, or wins alone, there is no estimate but the side on which it will be.
        elo = min(max(elo, min(ratings) - 400), max(ratings) + 400)
        told = [expected_score(elo - other) * expected_score(other - elo) for other in ratings]
        can_be_met = [
            index
            for index, met in enumerate(self._met)
            if not self._games_repeat[index] or len(met) < len(self._openings)
        ]
        return max(can_be_met, key=lambda index: told[index] / (len(self._met[index]) + 1))


def start_table(player: Player, opponents: Sequence[Player], num_threads: int) -> Table:
    """Set up the table of a process of its own, which takes `num_threads` cores."""
    torch.set_num_threads(num_threads)
    return Table(player, opponents)


def play_round(table: Table, pairing: Pairing, settings: dict[str, str]) -> list[PlayedGame]:
    """Play the two games of a round, with `settings` among their headers."""
    return [
        table.play(
            pairing.opponent,
            game.opening,
            game.player_is_white,
            game.seed,
            {"Event": "Rating", **game.headers, **settings},
        )
        for game in pairing.games
    ]


def play_tournament(
    tournament: Tournament,
    player: Player,
    name: str,
    log: GameLog,
    processes: int,
    settings: dict[str, str],
) -> None:
    """Play what is left of a tournament, writing every round to `log`, with a progress bar."""
    num_threads = max(1, (os.cpu_count() or 1) // processes)
    if tournament.is_over:
        return
    processes = min(processes, tournament.num_rounds - tournament.num_played)
    start = functools.partial(
        start_table, player, [opponent.player for opponent in tournament.opponents], num_threads
    )
    play = functools.partial(play_round, settings=settings)
    asked: list[int] = []  # the opponent of every round, from the first that is played now

    def pairings() -> Iterator[Pairing]:
        for pairing in tournament.pairings():
            asked.append(pairing.opponent)
            yield pairing

    first = tournament.num_played
    with tqdm(total=2 * tournament.num_rounds, initial=len(log), unit="game", disable=None) as bar:
        for number, games in enumerate(results_in_order(play, pairings(), processes, start)):
            if isinstance(games, Skipped):
                raise InputError(f"a game cannot be played: {games.reason}; run again to continue")
            log.append(games)
            for game in games:
                if game.crash is not None:
                    tqdm.write(f"round {first + number + 1}: {game.crash}; the game is lost for it")
            tournament.add_round(asked[number], [game.points(game.white == name) for game in games])
            bar.set_postfix_str(format_rating(tournament.rating))
            bar.update(2)


def read_rounds(
    log: GameLog, name: str, opponents: Sequence[Opponent], settings: dict[str, str]
) -> tuple[list[int], list[list[float]]]:
    """Return the opponent's index and our points in every whole round of a log; half a round is given up.

    Raises InputError if the games are not between these players, or were played with other settings.
    """
    index = {opponent.name: number for number, opponent in enumerate(opponents)}
    remedy = "choose another --output, or remove that file"
    met, points = [], []
    for number, headers in enumerate(log.headers):
        is_white = number % 2 == 0
        sides = ("White", "Black") if is_white else ("Black", "White")
        player, other = (headers.get(side) for side in sides)
        if player != name:
            raise InputError(f"{log.path} holds games of {player}, not of {name}: {remedy}")
        if other not in index:
            raise InputError(f"{log.path} holds games against {other}, who is no opponent now: {remedy}")
        for setting, value in settings.items():
            if (before := headers.get(setting, "unknown")) != value:
                raise InputError(
                    f"{log.path} was played with --{setting.lower()} {before}, not {value}: give that one, "
                    "or choose another --output"
                )
        scored = {"1-0": 1.0, "0-1": 0.0}.get(headers["Result"], 0.5)
        ours = scored if is_white else 1.0 - scored
        if number == len(log) - 1 and is_white:
            log.keep(number)
            break
        if is_white:
            met.append(index[other])
            points.append([ours])
        else:
            points[-1].append(ours)
    return met, points
