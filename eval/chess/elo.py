"""Rate a model: games against opponents of known ratings, and the Elo of maximum likelihood.

    python -m eval.chess.elo --model runs/chess_tiny/model --opponents stockfish:0-8 --games 400

Every opening is played with both colours. Games and figure are in the folder --output, and the same command
continues an interrupted tournament. The formulas are in eval/chess/ratings.py.
"""

import argparse
import os
from pathlib import Path

from chess.engine import Limit
from tabulate import tabulate

from cli.errors import InputError, command
from cli.files import check_output
from cli.options import (
    add_json_option,
    add_limit_options,
    add_model_options,
    add_move_options,
    add_seed_option,
    add_skip_bad_games_option,
    positive_int,
    positive_number,
    write_json,
)
from eval.chess.elo_plot import plot_scores
from eval.chess.game_log import GameLog
from eval.chess.openings import DEFAULT_BOOK, identify_openings, read_openings
from eval.chess.opponents import RATED_KINDS, parse_opponents
from eval.chess.players import ModelPlayer
from eval.chess.ratings import expected_score
from eval.chess.tournament import Tournament, play_tournament, read_rounds


MAX_PROCESSES = 8


def summarise(tournament: Tournament) -> dict:
    """Return elo, low and high (None where infinite), num_games, and the results against every opponent."""
    rating = tournament.rating
    return {
        **rating.as_json(),
        "num_games": 2 * tournament.num_played,
        "opponents": [
            {
                "name": opponent.name,
                "rating": opponent.rating,
                **score.as_json(),
                "expected_score": expected_score(rating.elo - opponent.rating),
            }
            for opponent, score in zip(tournament.opponents, tournament.scores, strict=True)
            if score.num_games
        ],
    }


def format_table(results: dict) -> str:
    """Lay out the results of `summarise`."""
    titles = ("opponent", "rating", "games", "won", "drawn", "lost", "score", "expected")
    keys = ("name", "rating", "num_games", "wins", "draws", "losses", "score", "expected_score")
    styles = ("", ".0f", "", "", "", "", ".1%", ".1%")
    rows = [
        [f"{row[key]:{style}}" for key, style in zip(keys, styles, strict=True)]
        for row in results["opponents"]
    ]
    return tabulate(rows, titles, tablefmt="plain", disable_numparse=True, colalign=("left", *["right"] * 7))


def extrapolation_warning(tournament: Tournament) -> str | None:
    """Return a warning if all opponents are stronger, or all weaker, than the model; else None."""
    ratings = [opponent.rating for opponent in tournament.opponents]
    elo = tournament.rating.elo
    if min(ratings) <= elo <= max(ratings):
        return None
    side = "weaker" if elo < min(ratings) else "stronger"
    return f"No opponent is {side} than the model: the rating is extrapolated and less certain."


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m eval.chess.elo",
        description="Estimate the Elo rating of a model from games against opponents of known rating: by "
        "default Stockfish's Skill Levels 0 to 8, on the scale of CCRL Blitz. Every opening is played with "
        "both colours, and most games are against the opponents nearest in strength. Prints the score "
        "against each opponent, and the rating with its 95% interval. The same command continues an "
        "interrupted tournament.",
    )
    add_model_options(parser)
    add_move_options(parser)
    parser.add_argument(
        "--opponents",
        nargs="+",
        default=["stockfish:0-8"],
        metavar="WHO",
        help=f"any of {RATED_KINDS}; stockfish:0-8 means nine Skill Levels, stockfish:1400,1600 two UCI_Elo; "
        "a rating that is not published follows the name, as in uci:/usr/games/gnuchess=2200 "
        "(default: stockfish:0-8)",
    )
    parser.add_argument(
        "--games",
        type=positive_int,
        default=400,
        metavar="N",
        help="largest number of games, an even number (default: 400)",
    )
    parser.add_argument(
        "--half-width",
        type=positive_number,
        default=0.0,
        metavar="ELO",
        help="stop as soon as the half-width of the 95%% interval is at most this (default: play all games)",
    )
    parser.add_argument(
        "--processes",
        type=positive_int,
        default=min(MAX_PROCESSES, os.cpu_count() or 1),
        metavar="N",
        help="games played at the same time, each by its own copy of the model (default: one per core, at "
        f"most {MAX_PROCESSES})",
    )
    parser.add_argument(
        "--openings",
        default=DEFAULT_BOOK,
        metavar="FILE",
        help="an opening book, .pgn, .epd, .fen or .txt (default: 336 openings of this project)",
    )
    add_skip_bad_games_option(parser)
    parser.add_argument(
        "--output", default="elo", metavar="DIR", help="folder for games.pgn and elo.png (default: elo)"
    )
    add_seed_option(parser, "the order of openings and of moves sampled at a temperature")
    add_limit_options(parser, "opponents other than Stockfish")
    add_json_option(parser)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    folder = Path(arguments.output)
    if arguments.games % 2:
        raise InputError(f"--games {arguments.games}: openings are played in pairs; give an even number")
    for path in (arguments.json, folder / "elo.png"):
        if path:
            check_output(path, overwrite=True)
    model = ModelPlayer.from_options(arguments)
    openings = read_openings(arguments.openings, arguments.skip_bad_games)
    name = model.identify()
    limit = Limit(nodes=arguments.nodes, depth=arguments.depth, time=arguments.time)
    opponents = parse_opponents(arguments.opponents, limit, model)
    # The names of the players contain all other settings that change the games.
    settings = {"Seed": str(arguments.seed), "Openings": identify_openings(arguments.openings, openings)}
    tournament = Tournament(
        opponents,
        openings,
        arguments.games // 2,
        arguments.half_width,
        arguments.seed,
        model.is_deterministic,
        headers={"Event": "Rating", **settings},
    )
    log = GameLog(folder / "games.pgn")
    tournament.resume(*read_rounds(log, name, opponents, settings))
    if tournament.is_over:
        print(f"{log.path} has {len(log)} games already: no more games are played")
    elif len(log):
        print(f"{log.path}: continuing after {len(log)} games")
    try:
        play_tournament(tournament, model, log, arguments.processes)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{len(log)} games are in {log.path}; the same command continues") from None
    results = summarise(tournament)
    print(f"\n{name}\n\n{format_table(results)}\n")
    print(f"{tournament.rating} from {results['num_games']} games, 95% interval over pairs of games")
    if warning := extrapolation_warning(tournament):
        print(warning)
    if arguments.json:
        write_json(arguments.json, {"player": name, "seed": arguments.seed, **results})
    plot_scores(results, tournament.rating, folder / "elo.png", model.describe())
    print(f"Games and figure: {folder}/games.pgn, {folder}/elo.png")


if __name__ == "__main__":
    command(main)
