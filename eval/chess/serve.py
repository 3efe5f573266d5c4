"""Play a chess model on a page in the browser. The page shows the win probability of every move.

    python -m eval.chess.serve
    python -m eval.chess.serve --model runs/chess_tiny/model --port 8080

The page is the one of eval.chess.analyse, in which one can play. It is served on this machine alone.
"""

import argparse
import shlex
import sys

from cli.errors import InputError, command
from cli.options import add_model_options, add_port_option, add_runtime_option
from data.chess.fen_files import legal_move, read_fen
from data.chess.game_files import parse_game
from eval.chess.analyse import analyse_boards, known_header, model_data
from eval.chess.board_page import FOLDER, render
from eval.chess.engines import ValueEngine
from eval.chess.strength import levels
from eval.page_document import SHARED, read_parts
from eval.page_server import listen, make_app, run


class PageHandlers:
    """Answer the requests of eval/chess/page/server_source.js."""

    def __init__(self, engine: ValueEngine):
        self._engine = engine

    def position(self, body: dict) -> dict:
        """Value the position after `moves` (UCI) from `fen`: the page's data of it, and the moves in SAN.

        Raises InputError for a faulty FEN and an illegal move.
        """
        fen, moves = body.get("fen"), body.get("moves")
        if not isinstance(fen, str) or not isinstance(moves, list):
            raise InputError('give a position as {"fen": FEN, "moves": [UCI, ...]}')
        board = read_fen(fen.strip(), "FEN")
        played = []
        for text in moves:
            move = legal_move(board, str(text))
            if move is None:
                raise InputError(f"move {len(played) + 1}: {text!r} is not a legal move in {board.fen()}")
            played.append(board.san_and_push(move))
        [data] = analyse_boards(self._engine, [board], [None])
        return {**data, "played_san": played}

    def pgn(self, body: dict) -> dict:
        """Read the first game of `text`. Raises InputError if there is none, or it has a fault."""
        text = body.get("text")
        if not isinstance(text, str):
            raise InputError('give a game as {"text": PGN}')
        headers, board = parse_game(text)
        return {
            "fen": board.root().fen(),
            "moves": [move.uci() for move in board.move_stack],
            "white": known_header(headers.get("White")),
            "black": known_header(headers.get("Black")),
        }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m eval.chess.serve",
        description="Serve a page on this machine on which one plays a chess model: its win probability and "
        "predicted distribution for every legal move, the curve of the game, and the loss of each move.",
    )
    add_model_options(parser)
    add_runtime_option(parser)
    add_port_option(parser)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    listener = listen(arguments.port)
    engine = ValueEngine(
        arguments.model, device=arguments.device, dtype=arguments.dtype, runtime=arguments.runtime
    )
    model = model_data(arguments.model, engine.network)
    data = {
        "model": model,
        "levels": levels(arguments.model, model["is_policy"]),
        "command": shlex.join(["python", "-m", "eval.chess.serve", *sys.argv[1:]]),
        "positions": [],
    }
    source = read_parts(SHARED, ["post.js"]) + read_parts(FOLDER, ["server_source.js"])
    page = render(data, f"Play {model['name']}", source, "connect-src 'self'")
    handlers = PageHandlers(engine)
    run(make_app(page, {"position": handlers.position, "pgn": handlers.pgn}, arguments.port), listener)


if __name__ == "__main__":
    command(main)
