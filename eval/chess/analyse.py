"""Show what a chess model thinks of a position or of a whole game, as one HTML page that needs nothing else.

    python -m eval.chess.analyse --model runs/chess_tiny/model --fen "FEN" --output analysis.html
    python -m eval.chess.analyse --model runs/chess_tiny/model --pgn game.pgn --game 1 --output analysis.html

The page has the board, arrows for the best moves, and every legal move with its win probability and the
distribution that the model predicts for it; of a game also the curve of White's win probability and the moves
that lost most. It loads nothing from anywhere, so that it can be kept, sent and published as it is.
"""

import argparse
import html
import itertools
import json
import re
import shlex
import string
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import chess
import chess.pgn
import chess.svg
import numpy as np
from tqdm import tqdm

from cli.errors import InputError, command
from cli.files import atomic_write, check_output
from cli.options import add_batch_size_option, add_model_options, positive_int
from data.chess.game_files import read_fen, read_games
from eval.chess.engines import Analysis, ValueEngine


TEMPLATE = Path(__file__).with_name("analysis_page.html")
DISPLAY_BINS = 64
# A bar of a histogram is one of these characters, its height in 63rds of the highest bar: a game of 80 moves
# has some 5,000 histograms.
HEIGHTS = string.digits + string.ascii_uppercase + string.ascii_lowercase + "-_"
VALUE_LOSS_TITLES = {
    "hl_gauss": "HL-Gauss",
    "two_hot": "two-hot",
    "one_hot": "one-hot",
    "c51": "C51",
    "mse": "MSE",
    "mse_softmax": "MSE of a softmax",
}
MAX_MISTAKES = 5
MISTAKE = 0.05  # win probability


def display_histograms(probs: np.ndarray, support: np.ndarray) -> np.ndarray:
    """Regroup probabilities (moves, bins) to DISPLAY_BINS equal bins of [0, 1], (moves, DISPLAY_BINS).

    `support` (bins,) are the bins' centres, over each of which its mass is spread evenly. What lies beyond 0
    or 1 goes to the outermost bins.
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
    """Return the height of the highest bar, and every bar as one of the characters HEIGHTS."""
    peak = histogram.max()
    heights = np.rint(histogram / peak * (len(HEIGHTS) - 1)).astype(int)
    return [round(float(peak), 4), "".join(HEIGHTS[height] for height in heights)]


def position_data(
    board: chess.Board,
    analysis: Analysis,
    support: np.ndarray | None = None,
    played: chess.Move | None = None,
) -> dict:
    """Return what the page shows of one position; `support` belongs to the distributions, if there are any.

    `moves` is a list of [UCI, SAN, the mover's win probability, and the two parts of the histogram], best
    first; `by_rule` are the indices in it of the values that are not the model's but those of the rules.
    `played` is the index of the move that was played, `label` that move as in "24…Qxb7", and `loss` by how
    much it is worse than the best. `white` is White's win probability if the best move is played, or what the
    rules say of a game that is over.
    """
    order = np.argsort(-analysis.values, kind="stable")
    moves: list[list] = [
        [analysis.moves[i].uci(), board.san(analysis.moves[i]), round(float(analysis.values[i]), 5)]
        for i in order
    ]
    if support is not None:
        histograms = display_histograms(analysis.distributions[order], support)
        moves = [[*move, *encode_histogram(row)] for move, row in zip(moves, histograms, strict=True)]
    data: dict = {"fen": board.fen(), "moves": moves}
    if analysis.by_rule:
        data["by_rule"] = [rank for rank, i in enumerate(order) if i in analysis.by_rule]
    if moves:
        best = moves[0][2]
        data["white"] = round(best if board.turn == chess.WHITE else 1 - best, 5)
    else:
        is_mate = board.is_checkmate()
        data["white"] = 0.5 if not is_mate else 0 if board.turn == chess.WHITE else 1
        data["over"] = "checkmate" if is_mate else "stalemate"
    if board.move_stack:
        data["last"] = board.peek().uci()
    if board.is_check():
        data["check"] = chess.square_name(board.king(board.turn))
    if played is not None:
        index = next(i for i, move in enumerate(moves) if move[0] == played.uci())
        dots = "." if board.turn == chess.WHITE else "…"
        data["played"] = index
        data["label"] = f"{board.fullmove_number}{dots}{moves[index][1]}"
        data["loss"] = round(moves[0][2] - moves[index][2], 5)
    return data


def largest_losses(positions: Sequence[dict]) -> list[int]:
    """Return, in the order of the game, the positions whose played move lost most: a few, or none."""
    lost = [ply for ply, position in enumerate(positions) if position.get("loss", 0) >= MISTAKE]
    return sorted(sorted(lost, key=lambda ply: -positions[ply]["loss"])[:MAX_MISTAKES])


def players_data(game: chess.pgn.Game, positions: Sequence[dict]) -> list[dict]:
    """Return of White and of Black the name and rating, and how the played moves stand with the model."""
    players = []
    for colour, side in (("White", " w "), ("Black", " b ")):
        played = [position for position in positions if "loss" in position and side in position["fen"]]
        players.append(
            {
                "name": _known(game.headers.get(colour)) or colour,
                "rating": _known(game.headers.get(f"{colour}Elo")),
                "moves": len(played),
                "first_choices": sum(position["played"] == 0 for position in played),
                "mean_loss": float(np.mean([position["loss"] for position in played])) if played else 0,
            }
        )
    return players


def game_data(game: chess.pgn.Game, positions: Sequence[dict]) -> dict:
    """Return what the page shows of a game besides its positions."""
    date = _known(game.headers.get("Date", "").replace(".??", ""))
    round_ = _known(game.headers.get("Round"))
    place = [
        _known(game.headers.get("Event")),
        _known(game.headers.get("Site")),
        round_ and f"round {round_}",
        date,
    ]
    return {
        "players": players_data(game, positions),
        "result": game.headers.get("Result", "*").replace("-", "–").replace("1/2–1/2", "½–½"),
        "place": [part for part in place if part],
        "mistakes": largest_losses(positions),
    }


def model_data(name: str, engine: ValueEngine) -> dict:
    """Return what the page says about the model."""
    config = engine.model.config
    folder = Path(name)
    # A run's model lies in <output_dir>/model, and its absolute path is nobody's business.
    if folder.is_dir():
        name = folder.resolve().parent.name if folder.resolve().name == "model" else folder.resolve().name
    return {
        "name": name,
        "parameters": engine.model.num_parameters(),
        "value_loss": VALUE_LOSS_TITLES[config.value_loss],
        "bins": engine.model.value_loss.num_outputs,
    }


def analyse_boards(
    engine: ValueEngine, boards: Sequence[chess.Board], played: Sequence[chess.Move | None]
) -> list[dict]:
    """Value the boards and return what the page shows of each; many boards show progress."""
    has_distributions = engine.model.value_loss.num_outputs > 1
    support = engine.model.value_loss.support().numpy() if has_distributions else None
    positions = []
    with tqdm(total=len(boards), unit=" positions", disable=True if len(boards) == 1 else None) as bar:
        for start in range(0, len(boards), engine.batch_size):
            part = slice(start, start + engine.batch_size)
            analyses = engine.analyse_many(boards[part], distributions=has_distributions)
            positions += [
                position_data(board, analysis, support, move)
                for board, analysis, move in zip(boards[part], analyses, played[part], strict=True)
            ]
            bar.update(len(analyses))
    return positions


def read_game(path: str, number: int) -> tuple[chess.pgn.Game, list[chess.Board], list[chess.Move | None]]:
    """Return a game of a PGN file, all its positions, and the move played in each, None in the last.

    Raises InputError if there is no such game, or no move in it.
    """
    # Of what may be millions of games those behind it are not read, and those before it not kept.
    numbered = enumerate(itertools.islice(read_games(path), number), start=1)
    count, found = (deque(numbered, maxlen=1) or [(0, None)])[0]
    if found is None or count < number:
        held = _counted(count, "game")
        raise InputError(f"{path} holds {held}: there is no game {number}; choose another --game or file")
    where, game = found
    moves = list(game.mainline_moves())
    if not moves:
        raise InputError(f"{where} has no moves: give its position with --fen")
    board = game.board()
    boards = [board.copy()]
    for move in moves:
        if not move:
            raise InputError(f"{where}: a player passes in {board.fen()}; correct or remove the game")
        board.push(move)
        boards.append(board.copy())
    return game, boards, [*moves, None]


def read_position(fen: str) -> chess.Board:
    """Return the board of a FEN. Raises InputError if it is none, or if there is no move to value."""
    board = read_fen(fen, "--fen")
    if not any(board.legal_moves):
        how = "checkmate" if board.is_checkmate() else "stalemate"
        raise InputError(f"--fen: {fen} is {how}, there is no move to value; give a position before the end")
    return board


def render(data: dict, title: str) -> str:
    """Return the page that shows the data. All text in it is shown as text, whatever it contains."""
    # Inside a script element only these could end it early, or open a comment.
    as_json = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        as_json = as_json.replace(character, f"\\u{ord(character):04x}")
    pieces = "".join(
        f'<symbol id="piece-{symbol}" viewBox="0 0 45 45">{shape}</symbol>'
        for symbol, shape in chess.svg.PIECES.items()
    )
    parts = {"title": html.escape(title), "pieces": pieces, "data": as_json}
    # In one pass, so that a player called {{data}} stays one.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], TEMPLATE.read_text(encoding="utf-8"))


def _known(header: str | None) -> str:
    """Return a header of a PGN file, which has question marks for what is not known, or nothing."""
    text = (header or "").strip()
    return "" if set(text) <= set("?.-*") else text


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m eval.chess.analyse",
        description="Show what a chess model thinks of a position or of a whole game: one HTML page with the "
        "board, the win probability of every legal move and the distribution that the model predicts for it.",
    )
    add_model_options(parser)
    add_batch_size_option(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--fen", help="the position to show, in quotes")
    what.add_argument("--pgn", metavar="FILE", help="a file of games, of which one is shown, move by move")
    parser.add_argument(
        "--game", type=positive_int, metavar="N", help="which game of the file, the first being 1 (1)"
    )
    parser.add_argument("--output", required=True, metavar="FILE", help="the HTML page to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
    arguments = parser.parse_args()
    if arguments.game and not arguments.pgn:
        parser.error("--game chooses a game of --pgn FILE")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    check_output(arguments.output, arguments.overwrite)
    game = None
    if arguments.pgn:
        game, boards, played = read_game(arguments.pgn, arguments.game or 1)
    else:
        boards, played = [read_position(arguments.fen)], [None]
    engine = ValueEngine(
        arguments.model,
        device=arguments.device,
        dtype=arguments.dtype,
        batch_size=arguments.batch_size,
    )
    data = {
        "model": model_data(arguments.model, engine),
        "command": shlex.join(["python", "-m", "eval.chess.analyse", *sys.argv[1:]]),
        "positions": analyse_boards(engine, boards, played),
    }
    title = f"{boards[0].fen()} · {data['model']['name']}"
    if game:
        data["game"] = game_data(game, data["positions"])
        title = " – ".join(player["name"] for player in data["game"]["players"])
    page = render(data, title)
    try:
        with atomic_write(arguments.output) as unfinished:
            unfinished.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{arguments.output} cannot be written: {error.strerror}; choose another file"
        ) from error
    num_moves = sum(len(position["moves"]) for position in data["positions"])
    print(
        f"{arguments.output}: {_counted(len(boards), 'position')}, {_counted(num_moves, 'move')}, "
        f"{len(page.encode()) / 1000:.0f} kB"
    )


if __name__ == "__main__":
    command(main)
