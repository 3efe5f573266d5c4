"""Write the moves of games (PGN) as rows of played moves, to train models that predict moves.

    python -m data.chess.played_moves games.pgn.zst --output moves.parquet --min-rating 2000

A game is read, written and forgotten: memory does not grow with the file.
"""

import argparse
import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import chess

from cli.errors import InputError, command
from cli.files import check_output
from cli.options import add_skip_bad_games_option, positive_int
from data.chess.game_files import Game, holds_games, read_games
from data.chess.rows import PLAYED_MOVES, PlayedMove, write_rows
from data.text_files import TextSource, text_suffix


def moves_of_game(game: Game, min_rating: int | None = None) -> list[PlayedMove]:
    """Return the moves of a game, in order; those of players with at least `min_rating`, if it is given."""
    plays = {
        colour: min_rating is None or _rating(game.headers.get(f"{name}Elo", "")) >= min_rating
        for colour, name in ((chess.WHITE, "White"), (chess.BLACK, "Black"))
    }
    moves = []
    if any(plays.values()):
        board = game.board.root()
        for move in game.board.move_stack:
            if plays[board.turn]:
                moves.append(PlayedMove(board.fen(), move.uci()))
            board.push(move)
    return moves


def _rating(text: str) -> float:
    """Return the rating in a tag, and below all others if it is not known."""
    return float(text) if text.isdecimal() else float("-inf")


def read_moves(
    source: TextSource, min_rating: int | None, skip_bad_games: bool, counts: Counter
) -> Iterator[PlayedMove]:
    """Yield the moves of all games; `counts` are the numbers of games and of moves, also of weak players."""

    def read(game: Game) -> list[PlayedMove]:
        counts["games"] += 1
        counts["moves"] += len(game.board.move_stack)
        return moves_of_game(game, min_rating)

    for moves in read_games(source, skip_bad_games, read):
        yield from moves


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data.chess.played_moves",
        description="Write every move of games as a row: the board as FEN, and the move. Training with "
        "data.target=move reads them.",
    )
    add = parser.add_argument
    add("games", metavar="GAMES.pgn", help="games in PGN, also compressed; - for standard input")
    add("--output", required=True, type=Path, help="the Parquet file to write")
    add(
        "--min-rating",
        type=positive_int,
        metavar="ELO",
        help="only moves of players with at least this rating, by the tags WhiteElo and BlackElo "
        "(default: all)",
    )
    add_skip_bad_games_option(parser)
    add("--overwrite", action="store_true", help="replace the output if it exists")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    check_output(arguments.output, arguments.overwrite)
    source = TextSource(arguments.games)
    if text_suffix(source.name) != ".pgn" and not (source.is_stream and holds_games(source)):
        raise InputError(f"{source.name} holds no games: give a PGN file, such as games.pgn or games.pgn.zst")
    counts: Counter = Counter()
    moves = read_moves(source, arguments.min_rating, arguments.skip_bad_games, counts)
    first = next(moves, None)
    if first is None:
        weaker = f" of players rated {arguments.min_rating} or more" if arguments.min_rating else ""
        raise InputError(f"{source.name} has no moves{weaker} (games: {counts['games']:,}): give other games")
    num_rows = write_rows(arguments.output, itertools.chain([first], moves), PLAYED_MOVES)
    print(f"{arguments.output}: {num_rows:,} of {counts['moves']:,} moves (games: {counts['games']:,})")


if __name__ == "__main__":
    command(main)
