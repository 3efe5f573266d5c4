"""A person at the terminal as a player."""

import shutil
import sys

import chess

from cli.errors import InputError
from eval.chess.engines import ChosenMove, Engine
from eval.chess.games import Resignation, TakeBack


HELP = "a move such as Nf3, exd5, O-O or g1f3 · moves · hint · undo · flip · resign · quit"
HINTS = 3


class HumanEngine(Engine):
    """Asks for every move on the terminal; `adviser`, if there is one, gives the hints.

    Raises InputError if there is no terminal to ask at. `choose` raises Resignation, TakeBack, or
    KeyboardInterrupt when the person leaves.
    """

    name = "human"

    def __init__(self, adviser: Engine | None = None):
        # What a shell closes, as in <&-, Python has no file for, and input() needs all three.
        if None in (sys.stdin, sys.stdout, sys.stderr):
            raise InputError("a person plays at the terminal, but one of stdin, stdout and stderr is closed")
        self.adviser = adviser
        self._is_flipped = False

    def choose(self, board: chess.Board) -> ChosenMove:
        orientation = board.turn != self._is_flipped
        if board.move_stack:
            print(f"\n{_describe_last_move(board)}")
        print(f"\n{draw_board(board, orientation)}\n")
        while True:
            try:
                said = input(f"{board.fullmove_number}{'.' if board.turn else '…'} ").strip()
            except EOFError:
                raise KeyboardInterrupt("the game was left") from None
            match said.lower():
                case "":
                    continue
                case "help" | "?":
                    print(HELP)
                case "moves":
                    print(" ".join(sorted(board.san(move) for move in board.legal_moves)))
                case "hint":
                    self._hint(board)
                case "undo":
                    raise TakeBack
                case "flip":
                    self._is_flipped = not self._is_flipped
                    orientation = not orientation
                    print(draw_board(board, orientation))
                case "resign":
                    raise Resignation
                case "quit" | "exit":
                    raise KeyboardInterrupt("the game was left")
                case _:
                    try:
                        return ChosenMove(_read_move(board, said))
                    except ValueError:
                        print(f"{said}: not a legal move here; type help to see what can be said")

    def _hint(self, board: chess.Board) -> None:
        if self.adviser is None:
            print("nobody gives hints in this game")
            return
        analysis = self.adviser.analyse(board)
        for index in analysis.values.argsort()[::-1][:HINTS]:
            print(f"  {board.san(analysis.moves[index]):<8}{analysis.values[index]:.1%}")


def _describe_last_move(board: chess.Board) -> str:
    before = board.copy()
    move = before.pop()
    return f"{before.fullmove_number}{'.' if before.turn else '…'} {before.san(move)}"


def _read_move(board: chess.Board, said: str) -> chess.Move:
    """Read SAN or UCI. Raises ValueError if it is no legal move."""
    try:
        move = board.parse_san(said)
    except ValueError:
        move = board.parse_uci(said.lower())
    # Both notations can pass the turn, which chess does not allow.
    if not move:
        raise ValueError("a null move")
    return move


def draw_board(board: chess.Board, orientation: chess.Color) -> str:
    """Draw a board from a side's view, in signs where the terminal has them, the last move in brackets."""
    signs = (sys.stdout.encoding or "").lower().startswith("utf")
    ranks = range(8) if orientation == chess.BLACK else range(7, -1, -1)
    files = range(7, -1, -1) if orientation == chess.BLACK else range(8)
    last = {board.peek().from_square, board.peek().to_square} if board.move_stack else set()
    lines = []
    for rank in ranks:
        cells = []
        for file in files:
            square = chess.square(file, rank)
            piece = board.piece_at(square)
            sign = (piece.unicode_symbol() if signs else piece.symbol()) if piece else ("·" if signs else ".")
            cells.append(f"[{sign}]" if square in last else f" {sign} ")
        lines.append(f"{rank + 1} {''.join(cells)}")
    lines.append("  " + "".join(f" {chess.FILE_NAMES[file]} " for file in files))
    indent = " " * min(4, max(0, shutil.get_terminal_size().columns - 30))
    return "\n".join(indent + line for line in lines)
