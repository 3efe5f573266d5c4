"""A person at the terminal as an engine."""

import shutil

import chess

from cli.terminal import has_colours, has_unicode
from eval.chess.engines import ChosenMove, Engine, ValueEngine
from eval.chess.games import LeftGame, Resignation


HELP = "a move such as Nf3, exd5, O-O or g1f3 · moves · hint · resign · quit"
NUM_HINTS = 3
# Of the 256 colours of terminals: the dark and the light squares, without and with the last move.
SHADES = ((65, 108), (136, 179))
WHITE_PIECE, BLACK_PIECE = 231, 16


class HumanEngine(Engine):
    """Asks for every move on the terminal; hints are the best moves of `adviser`.

    `choose` raises Resignation, or LeftGame when the person quits, also by Ctrl-C or Ctrl-D.
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
            except (EOFError, KeyboardInterrupt):
                print()
                raise LeftGame from None
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
                    raise LeftGame
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
    """Draw a board from one side's view, in Unicode where stdout has it.

    A terminal that shows colours gets coloured squares and pieces, with the last move highlighted. Elsewhere
    the last move is in brackets.
    """
    draw_square = _draw_coloured if has_colours() else _draw_plain
    ranks = range(8) if orientation == chess.BLACK else range(7, -1, -1)
    files = range(7, -1, -1) if orientation == chess.BLACK else range(8)
    last = {board.peek().from_square, board.peek().to_square} if board.move_stack else set()
    lines = []
    for rank in ranks:
        squares = [chess.square(file, rank) for file in files]
        cells = [draw_square(square, board.piece_at(square), square in last) for square in squares]
        lines.append(f"{rank + 1} {''.join(cells)}")
    lines.append("  " + "".join(f" {chess.FILE_NAMES[file]} " for file in files))
    indent = " " * min(4, max(0, shutil.get_terminal_size().columns - 30))
    return "\n".join(indent + line for line in lines)


def _draw_plain(square: chess.Square, piece: chess.Piece | None, is_last: bool) -> str:
    if piece is None:
        symbol = "·" if has_unicode() else "."
    else:
        symbol = piece.unicode_symbol() if has_unicode() else piece.symbol()
    return f"[{symbol}]" if is_last else f" {symbol} "


def _draw_coloured(square: chess.Square, piece: chess.Piece | None, is_last: bool) -> str:
    is_light = bool(chess.BB_SQUARES[square] & chess.BB_LIGHT_SQUARES)
    shade = SHADES[is_last][is_light]
    if piece is None:
        return f"\033[48;5;{shade}m   \033[0m"
    # The black symbols are filled; the colour of the text tells the sides apart.
    black = chess.Piece(piece.piece_type, chess.BLACK)
    symbol = black.unicode_symbol() if has_unicode() else piece.symbol()
    return f"\033[1;38;5;{WHITE_PIECE if piece.color else BLACK_PIECE};48;5;{shade}m {symbol} \033[0m"
