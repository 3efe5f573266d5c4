"""Rate a chess model at several temperatures by games between them, which advance together.

    python scripts/temperature_ratings.py --rounds 25 --elo 1253

Every temperature plays the next two. `--elo` is the rating of the best move (temperature 0) from
eval.chess.elo; the other ratings are those of maximum likelihood, with errors from a bootstrap of the pairs
of games. It made the table of eval/chess/strength.py.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.optimize
from tqdm import tqdm


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import chess

from cli.errors import command
from cli.options import add_model_options, add_seed_option, positive_int
from eval.chess.engines import MoveChoice, ValueEngine
from eval.chess.match import shuffled_openings
from eval.chess.openings import DEFAULT_BOOK, read_openings
from eval.chess.ratings import expected_score
from eval.chess.rules import game_end


TEMPERATURES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4)
BOARDS_AT_ONCE = 256
BOOTSTRAPS = 200


class OpenGame(NamedTuple):
    """A game between two temperatures, by index; `pair` numbers the two games of an opening."""

    pair: int
    white: int
    black: int
    board: chess.Board


def play_all(engine: ValueEngine, rounds: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the players of every pair of games, (pairs, 2), and the first player's points of 2, (pairs,)."""
    openings = read_openings(DEFAULT_BOOK)
    count = len(TEMPERATURES)
    meetings = [(first, first + step) for step in (1, 2) for first in range(count - step)]
    pairs = np.array([meeting for meeting in meetings for _ in range(rounds)])
    games = []
    for number, (first, second) in enumerate(meetings):
        order = shuffled_openings(openings, number)
        for index in range(rounds):
            opening = order[index % len(order)]
            for white, black in ((first, second), (second, first)):
                games.append(OpenGame(number * rounds + index, white, black, opening.board()))
    points = np.zeros(len(pairs))
    engine.new_game(seed)
    with tqdm(total=len(games), unit="game") as bar:
        while games:
            going = []
            for game in games:
                if (end := game_end(game.board)) is None:
                    going.append(game)
                elif not end.is_mate:
                    points[game.pair] += 0.5
                else:
                    winner = game.black if game.board.turn == chess.WHITE else game.white
                    points[game.pair] += winner == pairs[game.pair, 0]
            bar.update(len(games) - len(going))
            games = going
            for start in range(0, len(games), BOARDS_AT_ONCE):
                part = games[start : start + BOARDS_AT_ONCE]
                analyses = engine.analyse_many([game.board for game in part])
                for game, analysis in zip(part, analyses, strict=True):
                    player = game.white if game.board.turn == chess.WHITE else game.black
                    engine.choice = MoveChoice(TEMPERATURES[player])
                    game.board.push(analysis.moves[engine.choose_index(analysis, range(len(analysis.moves)))])
    return pairs, points


def fit(pairs: np.ndarray, points: np.ndarray, elo: float) -> np.ndarray:
    """Return the ratings of maximum likelihood, (temperatures,), the first of which is `elo`."""

    def negative_likelihood(others: np.ndarray) -> float:
        ratings = np.append(0, 100 * others)
        expected = expected_score(ratings[pairs[:, 0]] - ratings[pairs[:, 1]])
        return -float(points @ np.log(expected) + (2 - points) @ np.log1p(-expected))

    found = scipy.optimize.minimize(negative_likelihood, np.zeros(len(TEMPERATURES) - 1))
    return elo + np.append(0, 100 * found.x)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Rate a chess model at several temperatures.")
    add_model_options(parser)
    parser.add_argument("--rounds", type=positive_int, default=25, help="openings per pairing (default: 25)")
    parser.add_argument("--elo", type=float, required=True, help="the rating at temperature 0")
    add_seed_option(parser, "the sampled moves")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    engine = ValueEngine(arguments.model, device=arguments.device, dtype=arguments.dtype)
    pairs, points = play_all(engine, arguments.rounds, arguments.seed)
    rng = np.random.default_rng(arguments.seed)
    samples = [rng.integers(len(pairs), size=len(pairs)) for _ in range(BOOTSTRAPS)]
    errors = np.std([fit(pairs[sample], points[sample], arguments.elo) for sample in samples], axis=0)
    for temperature, rating, error in zip(
        TEMPERATURES, fit(pairs, points, arguments.elo), errors, strict=True
    ):
        print(f"temperature {temperature:<5g} Elo {rating:.0f} ± {error:.0f} (standard error)")


if __name__ == "__main__":
    command(main)
