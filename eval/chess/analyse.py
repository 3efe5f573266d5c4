"""Show how a chess model values a position or a game, as one self-contained HTML page.

    python -m eval.chess.analyse --model runs/chess_tiny/model --fen "FEN" --output analysis.html
    python -m eval.chess.analyse --model runs/chess_tiny/model --pgn game.pgn --game 1 --output analysis.html

The page has the board, arrows for the best moves, and every legal move with its win probability and the
distribution that the model predicts; for a game also the curve of White's win probability and the largest
mistakes. It loads nothing, so it can be stored, sent and published as one file. `--pgn-output` writes a game
as annotated PGN.
"""

import argparse
import re
import shlex
import string
import sys
from collections.abc import Sequence
from pathlib import Path

import chess
import chess.pgn
import numpy as np
from tqdm import tqdm

from cli.errors import InputError, command
from cli.files import atomic_write, check_output
from cli.options import add_batch_size_option, add_model_options, positive_int
from data.chess.fen_files import read_fen
from data.chess.game_files import Game, read_game
from eval.chess.annotated_game import annotate
from eval.chess.board_page import render
from eval.chess.engines import Analysis, ValueEngine
from eval.chess.games import COLUMNS
from eval.chess.network import ChessNetwork
from eval.chess.rules import game_end
from eval.model_folder import model_name


DISPLAY_BINS = 64
# A bar of a histogram is one character, its height in 63rds of the highest bar: a game of 80 moves has some
# 5,000 histograms.
HEIGHTS = string.digits + string.ascii_uppercase + string.ascii_lowercase + "-_"


def display_histograms(probs: np.ndarray, support: np.ndarray) -> np.ndarray:
    """Regroup probabilities (moves, bins) to DISPLAY_BINS equal bins of [0, 1], (moves, DISPLAY_BINS).

    `support` (bins,) has the centres of the bins, in which mass is uniform. Mass outside [0, 1] goes to the
    outermost bins.
    """
    width = support[1] - support[0]
    edges = np.append(support - width / 2, support[-1] + width / 2)
    new_edges = np.linspace(0, 1, DISPLAY_BINS + 1)
    histograms = []
    for row in probs:
        cumulative = np.interp(new_edges, edges, np.append(0, np.cumsum(row, dtype=np.float64)))
        cumulative[0], cumulative[-1] = 0, row.sum(dtype=np.float64)
        histograms.append(np.diff(cumulative))
    return np.reshape(histograms, (len(probs), DISPLAY_BINS))


def encode_histogram(histogram: np.ndarray) -> list:
    """Return the height of the highest bar, and every bar as a character of HEIGHTS."""
    peak = histogram.max()
    heights = np.rint(histogram / peak * (len(HEIGHTS) - 1)).astype(int)
    return [round(float(peak), 4), "".join(HEIGHTS[height] for height in heights)]


def position_data(
    board: chess.Board,
    analysis: Analysis,
    support: np.ndarray | None = None,
    played: chess.Move | None = None,
    is_policy: bool = False,
) -> dict:
    """Return the page's data of one position; `support` is that of the distributions, if there are any.

    `moves` is a list of [UCI, SAN, the mover's win probability, and the two parts of the histogram], best
    first; `by_rule` says how the game ends, for those whose value the rules give, by index. `played` is the
    index of the move played, `label` this move, as in "24…Qxb7", and `loss` its difference from the best.
    `white` is White's win probability if the best move is played, or the result of a game that is over. For a
    policy, probabilities of the moves take the place of win probabilities, and `white` is left out.
    """
    order = analysis.ranking()
    moves: list[list] = [
        [analysis.moves[i].uci(), board.san(analysis.moves[i]), round(float(analysis.values[i]), 5)]
        for i in order
    ]
    if support is not None:
        histograms = display_histograms(analysis.distributions[order], support)
        moves = [[*move, *encode_histogram(row)] for move, row in zip(moves, histograms, strict=True)]
    data: dict = {"fen": board.fen(), "moves": moves}
    if analysis.by_rule:
        data["by_rule"] = {
            rank: end_after(board, analysis.moves[i]) for rank, i in enumerate(order) if i in analysis.by_rule
        }
    # A draw must be claimed to end a game.
    end = game_end(board) if played is None else None
    if end:
        data["over"] = end.reason
    if not is_policy:
        best = moves[0][2] if not end else 0 if end.is_mate else 0.5
        data["white"] = round(best if board.turn == chess.WHITE else 1 - best, 5)
    if board.move_stack:
        data["last"] = board.peek().uci()
    if board.is_check():
        data["check"] = chess.square_name(board.king(board.turn))
    if played is not None:
        index = next(i for i, move in enumerate(moves) if move[0] == played.uci())
        dots = "." if board.turn == chess.WHITE else "…"
        data["played"] = index
        data["label"] = f"{board.fullmove_number}{dots}{moves[index][1]}"
        data["loss"] = round(max(0.0, moves[0][2] - moves[index][2]), 5)  # the first may not be the highest
    return data


def end_after(board: chess.Board, move: chess.Move) -> str:
    """Return how a move ends the game, such as checkmate or draw: stalemate."""
    board.push(move)
    end = game_end(board)
    board.pop()
    return end.reason if end.is_mate else f"draw: {end.reason}"


def game_data(game: Game) -> dict:
    """Return the page's data of a game, except its positions."""
    players = [
        {
            # Without the digest of a model's weights, which eval.chess.play adds to its name.
            "name": re.sub(r"#[0-9a-f]{8}\b", "", known_header(game.headers.get(colour))) or colour,
            "rating": known_header(game.headers.get(f"{colour}Elo")),
        }
        for colour in ("White", "Black")
    ]
    round_ = known_header(game.headers.get("Round"))
    location = [
        known_header(game.headers.get("Event")),
        known_header(game.headers.get("Site")),
        round_ and f"round {round_}",
        known_header(game.headers.get("Date", "").replace(".??", "")),
    ]
    return {
        "players": players,
        "result": game.headers.get("Result", "*").replace("-", "–").replace("1/2–1/2", "½–½"),
        "location": [part for part in location if part],
    }


def model_data(name: str | Path, network: ChessNetwork) -> dict:
    """Return the page's data of the model."""
    return {
        "name": model_name(name),
        "parameters": network.num_parameters,
        "value_loss": network.value_loss,
        "bins": network.num_bins,
        "is_policy": network.is_policy,
    }


def analyse_boards(
    engine: ValueEngine, boards: Sequence[chess.Board], played: Sequence[chess.Move | None]
) -> list[dict]:
    """Value the boards and return the page's data of each, with a progress bar."""
    network = engine.network
    positions = []
    with tqdm(total=len(boards), unit=" positions", disable=True if len(boards) == 1 else None) as bar:
        for start in range(0, len(boards), engine.batch_size):
            part = slice(start, start + engine.batch_size)
            analyses = engine.analyse_many(boards[part], distributions=network.num_bins > 0)
            positions += [
                position_data(board, analysis, network.move_support, move, network.is_policy)
                for board, analysis, move in zip(boards[part], analyses, played[part], strict=True)
            ]
            bar.update(len(analyses))
    return positions


def boards_of_game(game: Game) -> tuple[list[chess.Board], list[chess.Move | None]]:
    """Return the positions of a game, and the move played in each, None in the last.

    Raises InputError if there is no move.
    """
    if not game.board.move_stack:
        raise InputError(f"{game.where} has no moves: give its position with --fen")
    board = game.board.root()
    boards = [board.copy()]
    for move in game.board.move_stack:
        board.push(move)
        boards.append(board.copy())
    return boards, [*game.board.move_stack, None]


def known_header(header: str | None) -> str:
    """Return a header of a PGN file, or an empty string for an unknown value such as ?."""
    text = (header or "").strip()
    return "" if set(text) <= set("?.-*") else text


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m eval.chess.analyse",
        description="Write an HTML page that shows how a chess model values a position or a game: the board, "
        "the win probability of every legal move and the distribution that the model predicts for it, or the "
        "probabilities of the moves, of a model that predicts moves. Or write the game as annotated PGN.",
    )
    add_model_options(parser)
    add_batch_size_option(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--fen", help="the position to show, in quotes")
    source.add_argument("--pgn", metavar="FILE", help="a PGN file, of which one game is shown, move by move")
    parser.add_argument(
        "--game", type=positive_int, metavar="N", help="number of the game in the PGN file (default: 1)"
    )
    parser.add_argument("--output", metavar="FILE", help="the HTML page to write")
    parser.add_argument(
        "--pgn-output",
        metavar="FILE",
        help="the annotated game to write: an evaluation after every move, ?!, ? or ?? for moves that lose "
        "at least 0.05, 0.10 or 0.15 of win probability, and the better move as a variation",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
    arguments = parser.parse_args()
    for option in ("game", "pgn_output"):
        if getattr(arguments, option) and not arguments.pgn:
            parser.error(f"argument --{option.replace('_', '-')}: it needs --pgn FILE")
    if not arguments.output and not arguments.pgn_output:
        parser.error("give --output FILE, --pgn-output FILE, or both")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    for path in filter(None, (arguments.output, arguments.pgn_output)):
        check_output(path, arguments.overwrite)
    if arguments.output == arguments.pgn_output:
        raise InputError(f"--output and --pgn-output are both {arguments.output}: give two files")
    game = None
    if arguments.pgn:
        game = read_game(arguments.pgn, arguments.game or 1)
        boards, played = boards_of_game(game)
    else:
        boards, played = [read_fen(arguments.fen, "--fen")], [None]
        if not any(boards[0].legal_moves):
            raise InputError(f"--fen: {arguments.fen} has no legal move to value; give an earlier position")
    engine = ValueEngine.from_options(arguments)
    if arguments.pgn_output and engine.network.is_policy:
        raise InputError("--pgn-output: a model that predicts moves has no values; give a model of values")
    positions = analyse_boards(engine, boards, played)
    if game and arguments.pgn_output:
        annotated = annotate(game, positions, model_name(arguments.model))
        pgn = annotated.accept(chess.pgn.StringExporter(columns=COLUMNS))
        _write(arguments.pgn_output, f"{pgn}\n", len(boards))
    if not arguments.output:
        return
    data = {
        "model": model_data(arguments.model, engine.network),
        "command": shlex.join(["python", "-m", "eval.chess.analyse", *sys.argv[1:]]),
        "positions": positions,
    }
    title = f"{boards[0].fen()} · {data['model']['name']}"
    if game:
        data["game"] = game_data(game)
        title = " – ".join(player["name"] for player in data["game"]["players"])
    _write(arguments.output, render(data, title), len(boards))


def _write(path: str, text: str, num_positions: int) -> None:
    with atomic_write(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
    print(f"{path}: positions: {num_positions}, size: {len(text.encode()) / 1000:.0f} kB")


if __name__ == "__main__":
    command(main)
