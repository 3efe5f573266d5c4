"""Let a model play: against Stockfish, another model, any UCI engine, or a person at the terminal.

    python -m eval.chess.play --model DIR --opponent stockfish:3 --games 20 --pgn games.pgn
    python -m eval.chess.play --model DIR --opponent model:OTHER --temperature 0.02 --sprt 0,20
    python -m eval.chess.play --model DIR --opponent human

Every opening is played twice, with both colours.
"""

import argparse
import os
from collections.abc import Sequence

import chess
from chess.engine import Limit

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
    write_json,
)
from eval.chess.game_log import GameLog
from eval.chess.games import play_game
from eval.chess.human import HELP, HumanEngine, draw_board
from eval.chess.match import games_of_round, shuffled_openings
from eval.chess.openings import DEFAULT_BOOK, Opening, read_openings
from eval.chess.opponents import Opponent
from eval.chess.players import KINDS, ModelPlayer, parse_player
from eval.chess.ratings import MatchScore, difference
from eval.chess.sprt import MAX_ELO, Sprt
from eval.chess.tournament import Tournament, play_tournament
from eval.chess.uci_engines import MAX_SKILL


OPPONENT_KINDS = f"human, {KINDS}"
DEFAULT_GAMES = 20
SPRT_GAMES = 20_000
STANDARD_START = Opening("standard", chess.STARTING_FEN, ())


def play_human(
    model: ModelPlayer,
    openings: Sequence[Opening],
    num_games: int,
    seed: int,
    colour: str,
    log: GameLog | None,
) -> MatchScore:
    """Play games at the terminal until the person leaves; return the person's score of finished games."""
    score = MatchScore()
    with model.start() as engine:
        human = HumanEngine(adviser=engine)
        print(f"You play {model.describe()}. Type {HELP}.")
        order = shuffled_openings(openings, seed)
        for number in range(num_games):
            scheduled = games_of_round(order[number // 2 % len(order)], number // 2, seed)[number % 2]
            is_white = scheduled.player_is_white if colour == "both" else colour == "white"
            engine.new_game(scheduled.seed)
            white, black = (human, engine) if is_white else (engine, human)
            headers = {"Event": "Game at the terminal", **scheduled.headers}
            game = play_game(white, black, scheduled.opening, headers)
            if log is not None:
                log.append([game])
            if game.result == "*":
                saved = "no --pgn was given" if log is None else f"it is in {log.path} with the result *"
                print(f"The game was left; {saved}")
                break
            score.add_game(game.points(is_white))
            print(f"\n{draw_board(game.final_board, is_white)}\n\n{game.result}: {game.ending}")
    return score


def summarise(
    names: Sequence[str], score: MatchScore, crashes: Sequence[str], sprt: Sprt | None = None
) -> dict:
    """Return the results of a match; with complete pairs of games also the difference in rating."""
    results = {"player": names[0], "opponent": names[1], **score.as_json(), "crashes": crashes}
    if any(score.pentanomial):
        results["elo_difference"] = difference(score.pentanomial).as_json()
    if sprt:
        results["sprt"] = sprt.as_json(score.pentanomial)
    return results


def format_table(names: Sequence[str], score: MatchScore) -> str:
    """Lay out the results of a match."""
    wins, draws, losses = score.games.values()
    lines = [
        f"{names[0]}\n  against {names[1]}\n",
        f"{'games':>6}{'won':>6}{'drawn':>7}{'lost':>6}{'score':>8}",
        f"{score.num_games:>6}{wins:>6}{draws:>7}{losses:>6}{score.score:>8.1%}",
    ]
    if any(score.pentanomial):
        rating = difference(score.pentanomial)
        lines.append(
            f"\nElo difference {rating.elo:+z.0f} (95% interval {rating.low:+z.0f} to {rating.high:+z.0f})"
        )
    return "\n".join(lines)


def elo_pair(text: str) -> Sprt:
    """Parse the two differences of an SPRT, such as 0,10."""
    first, _, second = text.partition(",")
    try:
        sprt = Sprt(float(first), float(second))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not two numbers such as 0,10") from None
    if not -MAX_ELO <= sprt.elo0 < sprt.elo1 <= MAX_ELO:
        raise argparse.ArgumentTypeError(
            f"{text}: give a smaller and a larger difference from -{MAX_ELO} to {MAX_ELO}, such as 0,10"
        )
    return sprt


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m eval.chess.play",
        description="Play games of chess between a model and an opponent. Against an engine every opening is "
        "played twice, with both colours; the score and the difference in rating with its 95% interval are "
        "printed at the end.",
    )
    add_model_options(parser)
    add_move_options(parser)
    parser.add_argument(
        "--opponent",
        required=True,
        metavar="WHO",
        help=f"one of {OPPONENT_KINDS}, where SKILL is a Skill Level from 0 to {MAX_SKILL} (or a UCI_Elo "
        "from 1320) and COMMAND starts any program that speaks UCI",
    )
    parser.add_argument(
        "--games",
        type=positive_int,
        metavar="N",
        help=f"number of games, even against an engine (default: {DEFAULT_GAMES}; 1 against a human; at most "
        f"{SPRT_GAMES} with --sprt)",
    )
    parser.add_argument(
        "--sprt",
        type=elo_pair,
        metavar="ELO0,ELO1",
        help="stop as soon as a sequential test accepts that the model is better by ELO0 (H0) or by ELO1 "
        "(H1) in normalized Elo, as in fastchess, with errors of 5%%; write --sprt=-5,0 if ELO0 is negative",
    )
    parser.add_argument(
        "--openings",
        metavar="FILE",
        help="an opening book, .pgn, .epd, .fen or .txt (default: 336 openings of this project; against a "
        "human the standard starting position)",
    )
    add_skip_bad_games_option(parser)
    parser.add_argument(
        "--color",
        choices=("white", "black", "both"),
        help="the colour of a human; both alternates (default: both)",
    )
    parser.add_argument("--pgn", metavar="FILE", help="write the games, with win probabilities, to this file")
    parser.add_argument("--overwrite", action="store_true", help="replace the PGN file if it exists")
    add_seed_option(parser, "the order of openings and of moves sampled at a temperature")
    add_limit_options(parser, "the opponent")
    add_json_option(parser)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    if arguments.json:
        check_output(arguments.json, overwrite=True)
    if arguments.pgn:
        # A run that ended before its first game leaves an empty file.
        is_empty = os.path.isfile(arguments.pgn) and os.path.getsize(arguments.pgn) == 0
        check_output(arguments.pgn, arguments.overwrite or is_empty)
    limit = Limit(nodes=arguments.nodes, depth=arguments.depth, time=arguments.time)
    is_human = arguments.opponent == "human"
    if arguments.color and not is_human:
        raise InputError("--color is for a human: engines play every opening with both colours")
    if arguments.sprt and is_human:
        raise InputError("--sprt is for a match between engines: leave it out against a human")
    if limit != Limit() and (is_human or arguments.opponent.startswith(("model:", "random"))):
        raise InputError(f"{arguments.opponent} does not search: leave out --nodes, --depth and --time")
    if not is_human and arguments.games and arguments.games % 2:
        raise InputError(f"--games {arguments.games}: openings are played in pairs; give an even number")
    model = ModelPlayer.from_options(arguments)
    log = None
    crashes: list[str] = []
    try:
        if is_human:
            skip = arguments.skip_bad_games
            openings = read_openings(arguments.openings, skip) if arguments.openings else [STANDARD_START]
            names = ["human", model.identify()]
            if arguments.pgn:
                log = GameLog(arguments.pgn, arguments.overwrite)
            score = play_human(
                model, openings, arguments.games or 1, arguments.seed, arguments.color or "both", log
            )
        else:
            opponent = parse_player(arguments.opponent, limit, model, OPPONENT_KINDS)
            openings = read_openings(arguments.openings or DEFAULT_BOOK, arguments.skip_bad_games)
            names = [model.identify(), opponent.identify()]
            num_games = arguments.games or (SPRT_GAMES if arguments.sprt else DEFAULT_GAMES)
            if not arguments.games and model.is_deterministic and opponent.is_deterministic:
                num_games = min(num_games, 2 * len(openings))
            # Rated 0, so that the model's rating is the difference.
            opponents = [Opponent(opponent, names[1], rating=0.0)]
            tournament = Tournament(
                opponents,
                openings,
                num_games // 2,
                0.0,
                arguments.seed,
                model.is_deterministic,
                sprt=arguments.sprt,
            )
            if arguments.pgn:
                log = GameLog(arguments.pgn, arguments.overwrite)
            play_tournament(tournament, model, log)
            score, crashes = tournament.scores[0], tournament.crashes
    except KeyboardInterrupt as interrupt:
        saved = f"{len(log)} finished games are in {log.path}" if log is not None else "no --pgn was given"
        raise KeyboardInterrupt(f"{interrupt}; {saved}".lstrip("; ")) from None
    if not score.num_games:
        print("No game was finished: there are no results")
        return
    print(f"\n{format_table(names, score)}")
    if arguments.sprt:
        print(arguments.sprt.describe(score.pentanomial))
    if arguments.json:
        write_json(arguments.json, summarise(names, score, crashes, arguments.sprt))


if __name__ == "__main__":
    command(main)
