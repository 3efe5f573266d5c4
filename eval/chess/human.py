"""A person at the terminal as an engine."""

import shutil
import sys

import chess

from eval.chess.engines import ChosenMove, Engine, ValueEngine
from eval.chess.games import Resignation


HELP = "a move such as Nf3, exd5, O-O or g1f3 · moves · hint · resign · quit"
NUM_HINTS = 3


class HumanEngine(Engine):
    """Asks for every move on the terminal; hints are the best moves of `adviser`.

    `choose` raises Resignation, or KeyboardInterrupt when the person quits.
    """

    name = "human"

    def __init__(self, adviser: ValueEngine):
        self.adviser = adviser

    def choose(self, board: chess.Board) -> ChosenMove:
        if board.move_stack:
            print(f"\n{_describe_last_move(board)}")
        print(f"\n{draw_board(board, board.turn)}\n")
        while True:
            try:
                text = input(f"{board.fullmove_number}{'.' if board.turn else '…'} ").strip()
            except EOFError:
                raise KeyboardInterrupt("the game was left") from None
            match text.lower():
                case "":
                    continue
                case "help" | "?":
                    print(HELP)
                case "moves":
                    print(" ".join(sorted(board.san(move) for move in board.legal_moves)))
                case "hint":
                    analysis = self.adviser.analyse(board)
                    for index in analysis.ranking()[:NUM_HINTS]:
                        print(f"  {board.san(analysis.moves[index]):<8}{analysis.values[index]:.1%}")
                case "resign":
                    raise Resignation
                case "quit" | "exit":
                    raise KeyboardInterrupt("the game was left")
                case _:
                    try:
                        return ChosenMove(_read_move(board, text))
                    except ValueError:
                        print(f"{text}: not a legal move here; type help for the commands")


def _describe_last_move(board: chess.Board) -> str:
    before = board.copy()
    move = before.pop()
    return f"{before.fullmove_number}{'.' if before.turn else '…'} {before.san(move)}"


def _read_move(board: chess.Board, text: str) -> chess.Move:
    """Parse SAN or UCI. Raises ValueError if it is no legal move."""
    try:
        move = board.parse_san(text)
    except ValueError:
        move = board.parse_uci(text.lower())
    # Both notations have null moves.
    if not move:
        raise ValueError("a null move")
    return move


def draw_board(board: chess.Board, orientation: chess.Color) -> str:
    """Draw a board from one side's view, in Unicode where the terminal has it, the last move in brackets."""
    has_unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    ranks = range(8) if orientation == chess.BLACK else range(7, -1, -1)
    files = range(7, -1, -1) if orientation == chess.BLACK else range(8)
    last = {board.peek().from_square, board.peek().to_square} if board.move_stack else set()
    lines = []
    for rank in ranks:
        cells = []
        for file in files:
            square = chess.square(file, rank)
            if piece := board.piece_at(square):
                symbol = piece.unicode_symbol() if has_unicode else piece.symbol()
            else:
                symbol = "·" if has_unicode else "."
            cells.append(f"[{symbol}]" if square in last else f" {symbol} ")
        lines.append(f"{rank + 1} {''.join(cells)}")
    lines.append("  " + "".join(f" {chess.FILE_NAMES[file]} " for file in files))
    indent = " " * min(4, max(0, shutil.get_terminal_size().columns - 30))
    return "\n".join(indent + line for line in lines)
