"""Play games of chess between engines, and write them down as PGN with what they thought of their moves."""

import datetime
from collections.abc import Sequence
from typing import NamedTuple

import chess
import chess.engine
import chess.pgn

from data.chess.stockfish import EngineCrash, centipawns_from_win_prob
from eval.chess.engines import ChosenMove, Engine
from eval.chess.openings import Opening
from eval.chess.players import Player


class Resignation(Exception):
    """The side to move gives up the game."""


class TakeBack(Exception):
    """The side to move wants to play its last move differently."""


class PlayedGame(NamedTuple):
    """A finished game. `crash` is what an engine did to lose it other than by playing."""

    white: str
    black: str
    result: str  # 1-0, 0-1 or 1/2-1/2
    ending: str
    crash: str | None
    pgn: str
    final_board: chess.Board

    def points(self, is_white: bool) -> float:
        """Return what a side scored: 1, 0.5 or 0."""
        return {"1-0": float(is_white), "0-1": float(not is_white), "1/2-1/2": 0.5}[self.result]


def play_game(
    white: Engine, black: Engine, opening: Opening, headers: dict[str, str] | None = None
) -> PlayedGame:
    """Play a game from an opening to its end by the rules; draws by repetition and fifty moves are automatic.

    An engine that crashes, hangs or plays an illegal move loses. `headers` are added to the PGN.
    """
    board = opening.board()
    chosen: list[ChosenMove] = []
    crash = None
    while (ended := _end_by_rule(board)) is None:
        engine = white if board.turn else black
        try:
            choice = engine.choose(board)
            if not board.is_legal(choice.move):
                raise EngineCrash(f"{engine.name} played {choice.move}, which is not legal in {board.fen()}")
        except EngineCrash as error:
            crash = str(error)
            ended = _lost(board.turn, crash)
            break
        except Resignation:
            ended = _lost(board.turn, f"{engine.name} resigned")
            break
        except TakeBack:
            for _ in range(2 if len(chosen) >= 2 else 0):
                chosen.pop()
                board.pop()
            continue
        chosen.append(choice)
        board.push(choice.move)
    result, ending = ended
    game = _record(opening, chosen, ending)
    game.headers.update(
        {
            "Date": datetime.date.today().strftime("%Y.%m.%d"),
            "White": white.name,
            "Black": black.name,
            "Opening": opening.name,
            "Termination": "abandoned" if crash else "normal",
            **(headers or {}),
            "Result": result,
        }
    )
    return PlayedGame(white.name, black.name, result, ending, crash, f"{game}\n\n", board)


def _end_by_rule(board: chess.Board) -> tuple[str, str] | None:
    """Return the result and the reason of a game that is over."""
    if not any(board.generate_legal_moves()):
        return _lost(board.turn, "checkmate") if board.is_check() else ("1/2-1/2", "stalemate")
    if board.is_insufficient_material():
        return "1/2-1/2", "insufficient material"
    if board.is_repetition():
        return "1/2-1/2", "threefold repetition"
    if board.is_fifty_moves():
        return "1/2-1/2", "fifty-move rule"
    return None


def _lost(side: chess.Color, reason: str) -> tuple[str, str]:
    return ("0-1" if side == chess.WHITE else "1-0"), reason


def _record(opening: Opening, chosen: Sequence[ChosenMove], ending: str) -> chess.pgn.Game:
    """Return the moves as a game in which every chosen move carries the mover's win probability.

    [%eval] is the same in pawns from White's side, as Lichess and others draw it.
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


class Table:
    """A board at which one player meets several opponents; their engines start when they are needed.

    An engine that crashed is started again for its next game. `close` ends all of them.
    """

    def __init__(self, player: Player, opponents: Sequence[Player]):
        self._players = [player, *opponents]
        self._engines: dict[int, Engine] = {}

    def play(
        self,
        opponent: int,
        opening: Opening,
        player_is_white: bool,
        seed: int,
        headers: dict[str, str] | None = None,
    ) -> PlayedGame:
        """Play one game against the opponent of this index.

        Engines that draw lots draw them by `seed`. Raises InputError if an engine cannot be started.
        """
        ours, theirs = self._seat(0), self._seat(opponent + 1)
        for engine in (ours, theirs):
            engine.new_game(seed)
        white, black = (ours, theirs) if player_is_white else (theirs, ours)
        game = play_game(white, black, opening, headers)
        if game.crash is not None:
            # Whoever crashed has lost; the other engine is sound, and a model takes seconds to load.
            ours_crashed = game.points(player_is_white) == 0.0
            self._engines.pop(0 if ours_crashed else opponent + 1).close()
        return game

    def _seat(self, seat: int) -> Engine:
        if seat not in self._engines:
            self._engines[seat] = self._players[seat].start()
        return self._engines[seat]

    def close(self) -> None:
        while self._engines:
            self._engines.popitem()[1].close()
