"""Rate a model: games against opponents of known ratings, and the Elo that explains the scores best.

    python -m eval.elo --model runs/chess_tiny/model --opponents stockfish:0-8 --games 400

Every opening is played with both colours. Games and picture are in the folder --output, and the same command
continues an interrupted tournament. The formulas are in eval/ratings.py.
"""

import argparse
import functools
import math
import os
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from tqdm import tqdm

from data.chess.engine_work import Skipped, results_in_order
from data.command_line import InputError, command
from data.files import check_output
from eval.elo_plot import plot_scores
from eval.game_log import GameLog
from eval.games import PlayedGame, Table
from eval.openings import DEFAULT_BOOK, Opening, read_openings
from eval.options import (
    add_json_option,
    add_limit_options,
    add_model_options,
    add_move_options,
    non_negative_int,
    positive_int,
    positive_number,
    write_json,
)
from eval.players import KINDS, ModelPlayer, Player, SearchLimit, known_rating, parse_player
from eval.ratings import Rating, expected_score, fit_rating, likelihood_of_superiority
from eval.tally import Tally, rating_as_json
from eval.uci_engines import MIN_UCI_ELO


MAX_PROCESSES = 8


class Opponent(NamedTuple):
    """An opponent of known rating; the name tells it from all others."""

    player: Player
    name: str
    rating: float


class Pairing(NamedTuple):
    """An opening to be played with both colours, as which round, from 0, and against which opponent."""

    round_number: int
    opponent: int
    opening: Opening
    seed: int


class Tournament:
    """The standing of a tournament, from which follows who is met next.

    It is over after `num_rounds`, or as soon as the interval's half-width is at most `half_width` Elo.
    """

    def __init__(
        self,
        opponents: Sequence[Opponent],
        openings: Sequence[Opening],
        num_rounds: int,
        half_width: float,
        seed: int,
    ):
        self.opponents = opponents
        self.tallies = [Tally(opponent.rating) for opponent in opponents]
        self.num_rounds, self.half_width, self.seed = num_rounds, half_width, seed
        self.num_played = 0
        self._openings = random.Random(f"openings {seed}").sample(openings, len(openings))
        self._num_met = [0] * len(opponents)

    @property
    def rating(self) -> Rating | None:
        """The rating so far; None before the first round."""
        return fit_rating([tally.match_score() for tally in self.tallies]) if self.num_played else None

    def add_round(self, opponent: int, points: Sequence[float]) -> None:
        """Count both games of a round that has been played."""
        for scored in points:
            self.tallies[opponent].add_game(scored)
        self.tallies[opponent].add_pair(points)
        self.num_played += 1

    def resume(self, opponents: Sequence[int], points: Sequence[Sequence[float]]) -> None:
        """Count the rounds that were played before an interruption."""
        for opponent, scored in zip(opponents, points, strict=True):
            self._num_met[opponent] += 1
            self.add_round(opponent, scored)

    def pairings(self) -> Iterator[Pairing]:
        """Yield rounds to play until it is over, each chosen by the results that are in by then."""
        for number in range(self.num_played, self.num_rounds):
            rating = self.rating
            if rating is not None and rating.half_width <= self.half_width:
                return
            opponent = self._next_opponent(rating)
            self._num_met[opponent] += 1
            opening = self._openings[number % len(self._openings)]
            yield Pairing(number, opponent, opening, self.seed * 1_000_003 + 2 * number)

    def _next_opponent(self, rating: Rating | None) -> int:
        """Return the opponent who falls most short of a share of games in proportion to what they tell.

        A game tells e (1 − e) of the rating, e being the expected score: most against equals.
        """
        ratings = [opponent.rating for opponent in self.opponents]
        elo = sum(ratings) / len(ratings) if rating is None else rating.elo
        # After losses alone, or wins alone, there is no estimate but the side on which it will be.
        elo = min(max(elo, min(ratings) - 400), max(ratings) + 400)
        told = [expected_score(elo - other) * expected_score(other - elo) for other in ratings]
        return max(range(len(told)), key=lambda index: told[index] / (self._num_met[index] + 1))


def start_table(player: Player, opponents: Sequence[Player], num_threads: int) -> Table:
    """Set up the table of a process of its own, which takes `num_threads` cores."""
    torch.set_num_threads(num_threads)
    return Table(player, opponents)


def play_round(table: Table, pairing: Pairing) -> list[PlayedGame]:
    """Play the two games of a round, the player being White in the first."""
    return [
        table.play(
            pairing.opponent,
            pairing.opening,
            game == 0,
            pairing.seed + game,
            {"Event": "Rating", "Round": f"{pairing.round_number + 1}.{game + 1}"},
        )
        for game in range(2)
    ]


def play_tournament(
    tournament: Tournament, player: ModelPlayer, name: str, log: GameLog, processes: int
) -> None:
    """Play what is left of a tournament, writing every round to `log`, with a progress bar."""
    num_threads = max(1, (os.cpu_count() or 1) // processes)
    rounds_left = tournament.num_rounds - tournament.num_played
    processes = min(processes, rounds_left)
    if processes < 1:
        return
    start = functools.partial(
        start_table, player, [opponent.player for opponent in tournament.opponents], num_threads
    )
    asked: dict[int, Pairing] = {}

    def pairings() -> Iterator[Pairing]:
        for pairing in tournament.pairings():
            asked[pairing.round_number] = pairing
            yield pairing

    with tqdm(total=2 * tournament.num_rounds, initial=len(log), unit="game", disable=None) as bar:
        for number, games in enumerate(
            results_in_order(play_round, pairings(), processes, start), start=tournament.num_played
        ):
            if isinstance(games, Skipped):
                raise InputError(f"a game cannot be played: {games.reason}; run again to continue")
            log.append(games)
            for game in games:
                if game.crash is not None:
                    tqdm.write(f"round {number + 1}: {game.crash}; the game is lost for it")
            tournament.add_round(
                asked.pop(number).opponent, [game.points(game.white == name) for game in games]
            )
            bar.set_postfix_str(format_rating(tournament.rating))
            bar.update(2)


def read_rounds(
    log: GameLog, name: str, opponents: Sequence[Opponent]
) -> tuple[list[int], list[list[float]]]:
    """Return the opponent's index and our points in every whole round of a log; half a round is given up.

    Raises InputError if the games are not between these players.
    """
    index = {opponent.name: number for number, opponent in enumerate(opponents)}
    met, points = [], []
    for number, headers in enumerate(log.headers):
        white, black = headers.get("White"), headers.get("Black")
        other = black if white == name else white
        if name not in (white, black) or other not in index:
            raise InputError(
                f"{log.path} holds a game of {white} against {black}, who do not meet now: "
                "choose another --output, or remove that one"
            )
        scored = {"1-0": 1.0, "0-1": 0.0}.get(headers["Result"], 0.5)
        ours = scored if white == name else 1.0 - scored
        if number == len(log) - 1 and number % 2 == 0:
            log.keep(number)
            break
        if number % 2 == 0:
            met.append(index[other])
            points.append([ours])
        else:
            points[-1].append(ours)
    return met, points


def parse_opponents(names: Sequence[str], limit: SearchLimit, model: ModelPlayer) -> list[Opponent]:
    """Return the opponents of names such as stockfish:0-8, stockfish:1400,1600 and uci:PROGRAM=2200.

    Raises InputError for an unknown one, one whose rating is neither known nor given, and one named twice.
    """
    opponents: list[Opponent] = []
    for name in names:
        text, equals, rating = name.rpartition("=")
        if not (equals and re.fullmatch(r"-?\d+(\.\d+)?", rating)):
            text, rating = name, ""
        for single in _expand(text):
            # A Skill Level is rated as it is; only other programs need to be told when to stop.
            player = parse_player(single, limit if single.startswith("uci:") else SearchLimit(), model)
            known = float(rating) if rating else known_rating(player)
            if known is None:
                raise InputError(f"the rating of {single} is not known: give it, as in {single}=1500")
            opponent = Opponent(player, player.identify(), known)
            if opponent.name == model.identify():
                raise InputError(f"opponent {single} is the model that is rated: name another")
            if opponent.name in [other.name for other in opponents]:
                raise InputError(f"opponent {single} is named twice: name it once")
            opponents.append(opponent)
    return opponents


def _expand(name: str) -> list[str]:
    """Turn stockfish:0-2,5 into stockfish:0, stockfish:1, stockfish:2, stockfish:5."""
    kind, _, numbers = name.partition(":")
    if kind != "stockfish" or not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", numbers):
        return [name]
    levels: list[int] = []
    for part in numbers.split(","):
        first, _, last = part.partition("-")
        if last and int(last) >= MIN_UCI_ELO:
            raise InputError(
                f"{name}: ranges are of Skill Levels; list every UCI_Elo, as in stockfish:1400,1600"
            )
        if last and int(last) < int(first):
            raise InputError(
                f"{name}: there is no Skill Level from {first} to {last}; give the lower one first"
            )
        levels += range(int(first), int(last or first) + 1)
    return [f"stockfish:{level}" for level in levels]


def summarise(tournament: Tournament) -> dict:
    """Return elo, low and high (None where infinite), num_games, and the same of every opponent."""
    rating = tournament.rating
    return {
        **rating_as_json(rating),
        "num_games": sum(tally.num_games for tally in tournament.tallies),
        "opponents": [
            {
                "name": opponent.name,
                "rating": opponent.rating,
                "num_games": tally.num_games,
                "wins": tally.wins,
                "draws": tally.draws,
                "losses": tally.losses,
                "score": tally.score,
                "expected_score": expected_score(rating.elo - opponent.rating),
                "pentanomial": tally.pentanomial,
                "likelihood_of_superiority": likelihood_of_superiority(tally.pentanomial),
            }
            for opponent, tally in zip(tournament.opponents, tournament.tallies, strict=True)
            if tally.num_games
        ],
    }


def format_rating(rating: Rating) -> str:
    """Write a rating with its 95% interval; at a score of 0 or 1 there is but a bound."""
    if rating.elo == -math.inf:
        return f"Elo below {rating.high:.0f} (95%)"
    if rating.elo == math.inf:
        return f"Elo above {rating.low:.0f} (95%)"
    return f"Elo {rating.elo:.0f} ({rating.low:.0f} to {rating.high:.0f})"


def format_table(results: dict) -> str:
    """Lay out what `summarise` returned."""
    width = max(len(row["name"]) for row in results["opponents"])
    lines = [
        f"{'opponent':<{width}}{'rating':>8}{'games':>7}{'won':>6}{'drawn':>7}{'lost':>6}{'score':>8}"
        f"{'expected':>10}{'superior':>10}"
    ]
    lines += [
        f"{row['name']:<{width}}{row['rating']:>8.0f}{row['num_games']:>7}{row['wins']:>6}{row['draws']:>7}"
        f"{row['losses']:>6}{row['score']:>8.1%}{row['expected_score']:>10.1%}"
        f"{row['likelihood_of_superiority']:>10.1%}"
        for row in results["opponents"]
    ]
    return "\n".join(lines)


def remark(tournament: Tournament) -> str | None:
    """Return what to say where no opponent is weaker, or none stronger, than the model; else None."""
    ratings = [opponent.rating for opponent in tournament.opponents]
    elo = tournament.rating.elo
    if min(ratings) <= elo <= max(ratings):
        return None
    side = "weaker" if elo < min(ratings) else "stronger"
    return f"No opponent is {side} than the model: the rating is extrapolated, and the less certain for it."


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m eval.elo",
        description="Rate a model on the scale of its opponents' known ratings, for Stockfish's Skill Levels "
        "CCRL Blitz. Every opening is played with both colours; most games go to the opponents nearest in "
        "strength. Prints the score against each, and the rating with its 95% interval. The same command "
        "continues a tournament that was interrupted.",
    )
    add_model_options(parser)
    add_move_options(parser)
    parser.add_argument(
        "--opponents",
        nargs="+",
        default=["stockfish:0-8"],
        metavar="WHO",
        help=f"{KINDS}; stockfish:0-8 is nine Skill Levels (the default). A rating that is not "
        "known is given after the name: uci:/usr/games/gnuchess=2200",
    )
    parser.add_argument(
        "--games",
        type=positive_int,
        default=400,
        metavar="N",
        help="most games to play, an even number (400)",
    )
    parser.add_argument(
        "--half-width",
        type=positive_number,
        default=0.0,
        metavar="ELO",
        help="stop as soon as the 95% interval reaches no farther than this to either side (never)",
    )
    parser.add_argument(
        "--processes",
        type=positive_int,
        default=min(MAX_PROCESSES, os.cpu_count() or 1),
        metavar="N",
        help="games played at once, each with a model of its own (one per core, at most 8)",
    )
    parser.add_argument(
        "--openings",
        default=DEFAULT_BOOK,
        metavar="FILE",
        help="an opening book: .pgn, .epd, .fen or .txt (ours)",
    )
    parser.add_argument(
        "--output", default="elo", metavar="DIR", help="folder for games.pgn and elo.png (elo)"
    )
    parser.add_argument(
        "--seed", type=non_negative_int, default=0, help="draws the openings, and moves at a temperature (0)"
    )
    add_limit_options(parser, "opponents other than Stockfish")
    add_json_option(parser)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    if arguments.games % 2:
        raise InputError(f"--games {arguments.games}: openings are played in pairs; give an even number")
    model = ModelPlayer.from_options(arguments)
    openings = read_openings(arguments.openings)
    if arguments.json:
        check_output(arguments.json, overwrite=True)
    folder = Path(arguments.output)
    name = model.identify()
    limit = SearchLimit(arguments.nodes, arguments.depth, arguments.time)
    opponents = parse_opponents(arguments.opponents, limit, model)
    log = GameLog(folder / "games.pgn")
    tournament = Tournament(opponents, openings, arguments.games // 2, arguments.half_width, arguments.seed)
    tournament.resume(*read_rounds(log, name, opponents))
    if len(log):
        print(f"{log.path}: continuing after {len(log)} games")
    try:
        play_tournament(tournament, model, name, log, arguments.processes)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{len(log)} games are in {log.path}; the same command continues") from None
    results = summarise(tournament)
    plot_scores(results, folder / "elo.png", name)
    if arguments.json:
        write_json(arguments.json, {"player": name, "seed": arguments.seed, **results})
    print(f"\n{name}\n\n{format_table(results)}\n")
    print(
        f"{format_rating(tournament.rating)} from {results['num_games']} games, 95% interval from their pairs"
    )
    if extrapolated := remark(tournament):
        print(extrapolated)
    print(f"Games and picture: {folder}/games.pgn, {folder}/elo.png")


if __name__ == "__main__":
    command(main)
