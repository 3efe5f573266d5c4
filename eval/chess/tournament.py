"""A tournament of one player against opponents of known ratings: which game is next, and how it resumes.

Rounds are played by one or several processes. A log of the games is enough to resume.
"""

import functools
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

from tqdm import tqdm

from cli.errors import InputError
from data.chess.engine_work import Skipped, results_in_order
from eval.chess.game_log import GameLog
from eval.chess.games import PlayedGame
from eval.chess.match import Match, ScheduledGame, games_of_round, shuffled_openings
from eval.chess.openings import Opening
from eval.chess.opponents import Opponent
from eval.chess.players import ModelPlayer, Player
from eval.chess.ratings import MatchScore, Rating, expected_score, fit_rating
from eval.chess.sprt import BOUND, Sprt


class Pairing(NamedTuple):
    """A round to play against an opponent."""

    opponent: int
    games: tuple[ScheduledGame, ScheduledGame]


class Tournament:
    """The results of a tournament, which decide the next opponent.

    It is over after `num_rounds`, as soon as the interval's half-width is at most `half_width` Elo, or when
    `sprt`, which is for a single opponent, accepts a hypothesis. If the player `is_deterministic`, such
    opponents get no opening twice; InputError if that leaves too few games. `headers` are added to every
    game.
    """

    def __init__(
        self,
        opponents: Sequence[Opponent],
        openings: Sequence[Opening],
        num_rounds: int,
        half_width: float,
        seed: int,
        is_deterministic: bool = False,
        headers: dict[str, str] | None = None,
        sprt: Sprt | None = None,
    ):
        self.opponents, self.sprt = opponents, sprt
        self.scores = [MatchScore(opponent.rating) for opponent in opponents]
        self.num_rounds, self.half_width, self.seed = num_rounds, half_width, seed
        self.headers = headers or {}
        self.num_played = 0
        self.crashes: list[str] = []
        self._openings = shuffled_openings(openings, seed)
        self._met: list[list[int]] = [[] for _ in opponents]  # indices of openings played against each
        self._games_repeat = [is_deterministic and opponent.player.is_deterministic for opponent in opponents]
        num_distinct = 2 * len(openings) * len(opponents)
        if all(self._games_repeat) and 2 * num_rounds > num_distinct:
            raise InputError(
                f"--games {2 * num_rounds}: neither side samples its moves, and the book gives only "
                f"{num_distinct} different games; ask for no more, or give more --openings or a --temperature"
            )

    @property
    def rating(self) -> Rating | None:
        """The rating so far; None before the first round."""
        return fit_rating(self.scores) if self.num_played else None

    def progress(self) -> str:
        """Return the score against a single opponent, or the rating by several."""
        if self.sprt:
            ratio = self.sprt.log_likelihood_ratio(self.scores[0].pentanomial)
            return f"{self.scores[0]} log-likelihood ratio {ratio:.2f} of ±{BOUND:.2f}"
        if len(self.scores) == 1:
            return f"{self.scores[0]} score {self.scores[0].score:.1%}"
        return str(self.rating)

    @property
    def is_over(self) -> bool:
        if self.num_played >= self.num_rounds:
            return True
        if self.sprt and self.sprt.decide(self.scores[0].pentanomial):
            return True
        rating = self.rating
        return rating is not None and rating.half_width <= self.half_width

    def add_round(self, opponent: int, points: Sequence[float]) -> None:
        """Count both games of a round."""
        self.scores[opponent].add_pair(points)
        self.num_played += 1

    def resume(self, opponents: Sequence[int], points: Sequence[Sequence[float]]) -> None:
        """Count the rounds that were played before an interruption."""
        for opponent, scored in zip(opponents, points, strict=True):
            self._next_opening(opponent, self.num_played)
            self.add_round(opponent, scored)

    def pairings(self) -> Iterator[Pairing]:
        """Yield rounds to play until the tournament is over, each chosen by the results known by then."""
        for number in range(self.num_played, self.num_rounds):
            if self.is_over:
                return
            opponent = self._next_opponent()
            opening = self._next_opening(opponent, number)
            yield Pairing(opponent, games_of_round(opening, number, self.seed, self.headers))

    def _next_opening(self, opponent: int, round_number: int) -> Opening:
        """Return the opening of a round: in turn, without those that would repeat a game."""
        size, met = len(self._openings), self._met[opponent]
        order = [(round_number + step) % size for step in range(size)]
        left = [index for index in order if index not in met] if self._games_repeat[opponent] else []
        met.append((left or order)[0])
        return self._openings[met[-1]]

    def _next_opponent(self) -> int:
        """Return the opponent with the fewest games in proportion to the information of a game.

        The information of a game about the rating is e (1 − e), e being the expected score: most between
        equals.
        """
        rating = self.rating
        ratings = [opponent.rating for opponent in self.opponents]
        elo = sum(ratings) / len(ratings) if rating is None else rating.elo
        # The estimate is infinite after only losses or only wins.
        elo = min(max(elo, min(ratings) - 400), max(ratings) + 400)
        information = [expected_score(elo - other) * expected_score(other - elo) for other in ratings]
        available = [
            index
            for index, met in enumerate(self._met)
            if not self._games_repeat[index] or len(met) < len(self._openings)
        ]
        return max(available, key=lambda index: information[index] / (len(self._met[index]) + 1))


def start_match(player: Player, opponents: Sequence[Player], num_threads: int) -> Match:
    """Return the match of a process, which uses at most `num_threads` cores."""
    if any(isinstance(each, ModelPlayer) and each.runtime == "torch" for each in (player, *opponents)):
        import torch

        torch.set_num_threads(min(num_threads, torch.get_num_threads()))
    return Match(player, opponents)


def play_round(match: Match, pairing: Pairing) -> list[PlayedGame]:
    return [match.play(pairing.opponent, game) for game in pairing.games]


def play_tournament(tournament: Tournament, player: Player, log: GameLog | None, processes: int = 1) -> None:
    """Play the rest of a tournament with a progress bar, and write every round to `log`, if given."""
    if tournament.is_over:
        return
    players = [opponent.player for opponent in tournament.opponents]
    pairings: list[Pairing] = []

    def next_pairings() -> Iterator[Pairing]:
        for pairing in tournament.pairings():
            pairings.append(pairing)
            yield pairing

    processes = min(processes, tournament.num_rounds - tournament.num_played)
    num_threads = max(1, (os.cpu_count() or 1) // processes)
    start = functools.partial(start_match, player, players, num_threads)
    total, initial = 2 * tournament.num_rounds, 2 * tournament.num_played
    with (
        closing(results_in_order(play_round, next_pairings(), processes, start)) as rounds,
        tqdm(total=total, initial=initial, unit="game", disable=None) as bar,
    ):
        for games in rounds:
            if isinstance(games, Skipped):
                raise InputError(f"a game cannot be played: {games.reason}; run again to continue")
            if log is not None:
                log.append(games)
            pairing = pairings.pop(0)
            for game in filter(lambda game: game.crash, games):
                tournament.crashes.append(game.crash)
                tqdm.write(f"round {tournament.num_played + 1}: {game.crash}; the game counts as lost")
            sides = [scheduled.player_is_white for scheduled in pairing.games]
            points = [game.points(is_white) for game, is_white in zip(games, sides, strict=True)]
            tournament.add_round(pairing.opponent, points)
            bar.set_postfix_str(tournament.progress())
            bar.update(2)


def read_rounds(
    log: GameLog, name: str, opponents: Sequence[Opponent], settings: dict[str, str]
) -> tuple[list[int], list[list[float]]]:
    """Return, of every complete round of a log, the opponent's index and the points of `name`.

    An incomplete last round is removed from the log. Raises InputError if the games are between other
    players, or were played with other settings.
    """
    index = {opponent.name: number for number, opponent in enumerate(opponents)}
    remedy = "choose another --output, or remove that file"
    points = []
    for number, headers in enumerate(log.headers):
        is_white = number % 2 == 0
        player, other = (
            headers.get(side) for side in (("White", "Black") if is_white else ("Black", "White"))
        )
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
        points.append(scored if is_white else 1.0 - scored)
    log.keep(len(log) // 2 * 2)
    met = [index[headers["Black"]] for headers in log.headers[::2]]
    return met, [list(pair) for pair in zip(points[::2], points[1::2], strict=False)]
