"""Play games of chess between engines, and write them as PGN with the win probability of every move."""

import datetime
from collections.abc import Sequence
from typing import NamedTuple

import chess
import chess.engine
import chess.pgn

from data.chess.stockfish import EngineCrash, centipawns_from_win_prob
from eval.chess.engines import ChosenMove, Engine
from eval.chess.openings import Opening
from eval.chess.rules import game_end


SITE = "Stop Regressing"
COLUMNS = 80  # of movetext, as the PGN standard has it


class Resignation(Exception):
    """The side to move resigns."""


class LeftGame(Exception):
    """The side to move leaves the game, which then has no result."""


class PlayedGame(NamedTuple):
    """A game that is over. `crash` is set if an engine lost by a crash, a timeout or an illegal move."""

    result: str  # 1-0, 0-1 or 1/2-1/2; * if a side left the game
    ending: str
    crash: str | None
    pgn: str
    final_board: chess.Board

    def points(self, is_white: bool) -> float:
        """Return the points of a side: 1, 0.5 or 0. The game must have a result."""
        return {"1-0": float(is_white), "0-1": float(not is_white), "1/2-1/2": 0.5}[self.result]


def play_game(
    white: Engine, black: Engine, opening: Opening, headers: dict[str, str] | None = None
) -> PlayedGame:
    """Play a game from an opening to its end by the rules.

    An engine that crashes, hangs or plays an illegal move loses. `headers` are added to the PGN and can
    replace its own, except the result.
    """
    board = opening.board()
    chosen: list[ChosenMove] = []
    crash, is_left = None, False
    while (end := game_end(board)) is None:
        engine = white if board.turn else black
        try:
            choice = engine.choose(board)
            if not board.is_legal(choice.move):
                raise EngineCrash(f"{engine.name} played {choice.move}, which is not legal in {board.fen()}")
        except EngineCrash as error:
            ending = crash = str(error)
            break
        except Resignation:
            ending = f"{engine.name} resigned"
            break
        except LeftGame:
            ending, is_left = f"{engine.name} left the game", True
            break
        chosen.append(choice)
        board.push(choice.move)
    else:
        ending = end.reason
    is_draw = end is not None and not end.is_mate
    loss = "0-1" if board.turn == chess.WHITE else "1-0"
    result = "*" if is_left else "1/2-1/2" if is_draw else loss
    game = _record(opening, chosen, ending)
    game.headers.update(
        {
            "Event": "Match",
            "Site": SITE,
            "Date": datetime.date.today().strftime("%Y.%m.%d"),
            "White": white.name,
            "Black": black.name,
            "Opening": opening.name,
            "Termination": "abandoned" if crash else "unterminated" if is_left else "normal",
            **(headers or {}),
            "Result": result,
        }
    )
    pgn = game.accept(chess.pgn.StringExporter(columns=COLUMNS))
    return PlayedGame(result, ending, crash, f"{pgn}\n\n", board)


def _record(opening: Opening, chosen: Sequence[ChosenMove], ending: str) -> chess.pgn.Game:
    """Return the moves as a game in which every chosen move is annotated with the mover's win probability.

    [%eval] is the same in pawns from White's side, which Lichess and other programs display.
    """
    game = chess.pgn.Game()
    if opening.fen != chess.STARTING_FEN:
        game.setup(opening.fen)
    node = game
    for move in opening.moves:
        node = node.add_variation(chess.Move.from_uci(move))
    for move, win_prob in chosen:
        mover = node.turn()
        node = node.add_variation(move)
        if win_prob is not None:
            node.comment = f"{win_prob:.1%}"
            score = chess.engine.Cp(centipawns_from_win_prob(win_prob))
            node.set_eval(chess.engine.PovScore(score, mover))
    node.comment = f"{node.comment} {ending}".strip()
    return game
