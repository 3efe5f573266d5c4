"""Rate a model: games against opponents of known ratings, and the Elo that explains the scores best.

    python -m eval.chess.elo --model runs/chess_tiny/model --opponents stockfish:0-8 --games 400

Every opening is played with both colours. Games and picture are in the folder --output, and the same command
continues an interrupted tournament. The formulas are in eval/chess/ratings.py.
"""

import argparse
import os
from pathlib import Path

from cli.errors import InputError, command
from cli.files import check_output
from cli.options import (
    add_json_option,
    add_limit_options,
    add_model_options,
    add_move_options,
    positive_int,
    positive_number,
    seed_number,
    write_json,
)
from eval.chess.elo_plot import plot_scores
from eval.chess.game_log import GameLog
from eval.chess.openings import DEFAULT_BOOK, identify_openings, read_openings
from eval.chess.opponents import RATED_KINDS, parse_opponents
from eval.chess.players import ModelPlayer, SearchLimit
from eval.chess.ratings import expected_score, likelihood_of_superiority
from eval.chess.tally import format_rating, rating_as_json
from eval.chess.tournament import Tournament, play_tournament, read_rounds


MAX_PROCESSES = 8


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
        prog="python -m eval.chess.elo",
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
        help=f"{RATED_KINDS}; stockfish:0-8 is nine Skill Levels (the default), stockfish:1400,1600 two "
        "UCI_Elo. A rating that is not known is given after the name: uci:/usr/games/gnuchess=2200",
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
        help="stop as soon as the 95%% interval reaches no farther than this to either side (never)",
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
        "--seed", type=seed_number, default=0, help="draws the openings, and moves at a temperature (0)"
    )
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
    openings = read_openings(arguments.openings)
    name = model.identify()
    limit = SearchLimit(arguments.nodes, arguments.depth, arguments.time)
    opponents = parse_opponents(arguments.opponents, limit, model)
    tournament = Tournament(
        opponents,
        openings,
        arguments.games // 2,
        arguments.half_width,
        arguments.seed,
        model.is_deterministic,
    )
    # All else that matters is in the names of the players.
    settings = {"Seed": str(arguments.seed), "Openings": identify_openings(arguments.openings)}
    log = GameLog(folder / "games.pgn")
    tournament.resume(*read_rounds(log, name, opponents, settings))
    if tournament.is_over:
        print(f"{log.path} has {len(log)} games already: no more are played")
    elif len(log):
        print(f"{log.path}: continuing after {len(log)} games")
    try:
        play_tournament(tournament, model, name, log, arguments.processes, settings)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{len(log)} games are in {log.path}; the same command continues") from None
    results = summarise(tournament)
    print(f"\n{name}\n\n{format_table(results)}\n")
    print(
        f"{format_rating(tournament.rating)} from {results['num_games']} games, 95% interval from their pairs"
    )
    if extrapolated := remark(tournament):
        print(extrapolated)
    if arguments.json:
        write_json(arguments.json, {"player": name, "seed": arguments.seed, **results})
    plot_scores(results, folder / "elo.png", name)
    print(f"Games and picture: {folder}/games.pgn, {folder}/elo.png")


if __name__ == "__main__":
    command(main)
