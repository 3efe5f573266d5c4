"""Write a game as annotated PGN: evaluations, glyphs for bad moves, and the better moves as variations.

Lichess studies, python-chess and chess programs read the format.
"""

from collections.abc import Sequence

import chess
import chess.engine
import chess.pgn

from data.chess.game_files import Game
from data.chess.stockfish import centipawns_from_win_prob


# The smallest loss of win probability, the glyph and its name, the worst first. Lichess judges by losses of
# winning chances of 0.3, 0.2 and 0.1 on a scale from -1 to 1 (modules/analyse/src/main/Advice.scala in lila).
JUDGEMENTS = (
    (0.15, chess.pgn.NAG_BLUNDER, "Blunder"),
    (0.1, chess.pgn.NAG_MISTAKE, "Mistake"),
    (0.05, chess.pgn.NAG_DUBIOUS_MOVE, "Inaccuracy"),
)


def annotate(game: Game, positions: Sequence[dict], model: str) -> chess.pgn.Game:
    """Return the game with the annotations of a model; `positions` are those of the analysis page.

    The loss of a move is its difference from the best value in the same position. Comments and variations of
    the game itself are left out.
    """
    annotated = chess.pgn.Game(game.headers)
    annotated.setup(game.board.root())
    annotated.headers.update({"Annotator": model})
    node: chess.pgn.GameNode = annotated
    for move, before, after in zip(game.board.move_stack, positions, positions[1:], strict=False):
        parent, node = node, node.add_variation(move)
        for loss, glyph, name in JUDGEMENTS:
            if before["loss"] >= loss:
                uci, san = before["moves"][0][:2]
                node.nags.add(glyph)
                node.comment = f"{name}. {san} was best."
                parent.add_variation(chess.Move.from_uci(uci))
                break
        if "over" not in after:
            node.set_eval(chess.engine.PovScore(_score(after), chess.WHITE))
    return annotated


def _score(position: dict) -> chess.engine.Score:
    """Return White's score of a position with legal moves."""
    if position.get("by_rule", {}).get(0) == "checkmate":
        return chess.engine.Mate(1 if " w " in position["fen"] else -1)
    return chess.engine.Cp(centipawns_from_win_prob(position["white"]))
