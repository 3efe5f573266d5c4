"""Let a model play: against Stockfish, another model, any UCI engine, or yourself at the terminal.

    python -m eval.chess.play --model DIR --opponent stockfish --skill 3 --games 20 --pgn games.pgn
    python -m eval.chess.play --model DIR --opponent human

Every opening is played twice, with both colours.
"""

import argparse
import os
from contextlib import closing

import chess
from tqdm import tqdm

from cli.errors import InputError, command
from cli.files import check_output
from cli.options import (
    add_json_option,
    add_limit_options,
    add_model_options,
    add_move_options,
    positive_int,
    seed_number,
    write_json,
)
from eval.chess.game_log import GameLog
from eval.chess.games import Table, play_game
from eval.chess.human import HELP, HumanEngine, draw_board
from eval.chess.openings import DEFAULT_BOOK, Opening, read_openings
from eval.chess.players import KINDS, ModelPlayer, SearchLimit, parse_player
from eval.chess.ratings import difference, likelihood_of_superiority
from eval.chess.schedule import check_games_differ, scheduled_games
from eval.chess.tally import Tally, rating_as_json
from eval.chess.uci_engines import MAX_SKILL


OPPONENT_KINDS = f"human, {KINDS}"
DEFAULT_GAMES = 20
STANDARD_START = Opening("standard", chess.STARTING_FEN, ())


def play_match(
    table: Table, openings: list[Opening], num_games: int, seed: int, log: GameLog | None
) -> tuple[Tally, list[str]]:
    """Play the games with a progress bar; return the score and how engines crashed."""
    tally, crashes = Tally(), []
    pair: list[float] = []
    with tqdm(total=num_games, unit="game", disable=None) as bar:
        for number, scheduled in enumerate(scheduled_games(openings, num_games, seed)):
            game = table.play(0, *scheduled)
            if log is not None:
                log.append([game])
            pair.append(game.points(scheduled.player_is_white))
            tally.add_game(pair[-1])
            if len(pair) == 2:
                tally.add_pair(pair)
                pair = []
            if game.crash is not None:
                crashes.append(game.crash)
                tqdm.write(f"game {number + 1}: {game.crash}; the game is lost for it")
            bar.set_postfix_str(f"{tally} score {tally.score:.1%}")
            bar.update()
    return tally, crashes


def play_human(
    model: ModelPlayer, openings: list[Opening], num_games: int, seed: int, colour: str, log: GameLog | None
) -> Tally:
    """Play games at the terminal; the score is the person's."""
    tally = Tally()
    with model.start() as engine:
        human = HumanEngine(adviser=engine)
        print(f"You play {engine.name}. Say {HELP}.")
        for opening, player_is_white, game_seed, headers in scheduled_games(openings, num_games, seed):
            is_white = player_is_white if colour == "both" else colour == "white"
            engine.new_game(game_seed)
            white, black = (human, engine) if is_white else (engine, human)
            game = play_game(white, black, opening, headers)
            tally.add_game(game.points(is_white))
            if log is not None:
                log.append([game])
            print(f"\n{draw_board(game.final_board, is_white)}\n\n{game.result}: {game.ending}")
    return tally


def format_table(white: str, opponent: str, tally: Tally) -> str:
    """Lay out the score of a match and, where there are whole pairs, the difference in rating."""
    lines = [f"{white}", f"  against {opponent}", ""]
    lines.append(f"{'games':>6}{'won':>6}{'drawn':>7}{'lost':>6}{'score':>8}")
    lines.append(f"{tally.num_games:>6}{tally.wins:>6}{tally.draws:>7}{tally.losses:>6}{tally.score:>8.1%}")
    if any(tally.pentanomial):
        rating = difference(tally.pentanomial)
        lines.append(
            f"\nElo difference {rating.elo:+z.0f} (95% interval {rating.low:+z.0f} to {rating.high:+z.0f}), "
            f"likelihood of superiority {likelihood_of_superiority(tally.pentanomial):.1%}"
        )
    return "\n".join(lines)


def summarise(names: tuple[str, str], tally: Tally, crashes: list[str]) -> dict:
    """Return the numbers of a match, with the difference in rating where there are whole pairs of games."""
    results = {
        "player": names[0],
        "opponent": names[1],
        "num_games": tally.num_games,
        "wins": tally.wins,
        "draws": tally.draws,
        "losses": tally.losses,
        "score": tally.score,
        "pentanomial": tally.pentanomial,
        "crashes": crashes,
    }
    if any(tally.pentanomial):
        results["elo_difference"] = rating_as_json(difference(tally.pentanomial))
        results["likelihood_of_superiority"] = likelihood_of_superiority(tally.pentanomial)
    return results


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m eval.chess.play",
        description="Let a model play games. Engines play every opening twice, with both colours; the score, "
        "and the difference in rating with its 95% interval, are printed at the end.",
    )
    add_model_options(parser)
    add_move_options(parser)
    parser.add_argument("--opponent", required=True, metavar="WHO", help=f"one of {OPPONENT_KINDS}")
    parser.add_argument(
        "--skill", type=int, metavar="LEVEL", help="Stockfish's Skill Level, 0 to 20 (default: full strength)"
    )
    parser.add_argument(
        "--games", type=positive_int, metavar="N", help=f"games to play ({DEFAULT_GAMES}; 1 against a human)"
    )
    parser.add_argument(
        "--openings",
        metavar="FILE",
        help="an opening book, .pgn, .epd, .fen or .txt (default: the 336 of this project; against a human "
        "the usual start)",
    )
    parser.add_argument(
        "--color", choices=("white", "black", "both"), default="both", help="a human's colour (both in turn)"
    )
    parser.add_argument("--pgn", metavar="FILE", help="write the games, with evaluations, to this file")
    parser.add_argument("--overwrite", action="store_true", help="replace the PGN file if it exists")
    parser.add_argument(
        "--seed", type=seed_number, default=0, help="draws the openings, and moves at a temperature (0)"
    )
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
    limit = SearchLimit(arguments.nodes, arguments.depth, arguments.time)
    opponent_name = arguments.opponent
    if arguments.skill is not None:
        if opponent_name != "stockfish":
            raise InputError(f"--skill weakens Stockfish alone, not {opponent_name}: leave it out")
        if not 0 <= arguments.skill <= MAX_SKILL:
            raise InputError(
                f"Stockfish has no Skill Level {arguments.skill}: choose one from 0 to {MAX_SKILL}"
            )
        opponent_name = f"stockfish:{arguments.skill}"
    is_human = opponent_name == "human"
    if limit.is_given() and (is_human or opponent_name.startswith(("model:", "random"))):
        raise InputError(f"{opponent_name} does not search: leave out --nodes, --depth and --time")
    model = ModelPlayer.from_options(arguments)
    opponent = None if is_human else parse_player(opponent_name, limit, model, OPPONENT_KINDS)
    if arguments.openings or not is_human:
        openings = read_openings(arguments.openings or DEFAULT_BOOK)
    else:
        openings = [STANDARD_START]
    num_games = arguments.games or (1 if is_human else DEFAULT_GAMES)
    if not is_human and model.is_deterministic and opponent.is_deterministic:
        num_different = 2 * len(openings)
        num_games = arguments.games or min(num_games, num_different)
        check_games_differ(num_games, num_different)
    names = model.identify(), "human" if is_human else opponent.identify()
    log = GameLog(arguments.pgn, arguments.overwrite) if arguments.pgn else None
    try:
        if is_human:
            crashes: list[str] = []
            tally = play_human(model, openings, num_games, arguments.seed, arguments.color, log)
            names = names[::-1]
        else:
            with closing(Table(model, [opponent])) as table:
                tally, crashes = play_match(table, openings, num_games, arguments.seed, log)
    except KeyboardInterrupt as interrupt:
        kept = f"{len(log)} finished games are in {log.path}" if log is not None else "no --pgn was given"
        raise KeyboardInterrupt(f"{interrupt}; {kept}".lstrip("; ")) from None
    print(f"\n{format_table(*names, tally)}")
    if arguments.json:
        write_json(arguments.json, summarise(names, tally, crashes))


if __name__ == "__main__":
    command(main)
