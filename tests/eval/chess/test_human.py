"""A person at the terminal: what can be said, what is shown, and a game from the first move to the last."""

import io
import re
import sys

import chess
import pytest

from eval.chess.engines import ValueEngine
from eval.chess.games import LeftGame, Resignation, play_game
from eval.chess.human import HELP, HumanEngine, draw_board
from eval.chess.openings import Opening
from models.tokenization_chess import ChessTokenizer
from tests.eval.chess.test_engines import tiny_model
from tests.eval.chess.test_games import Script


ADVISER = ValueEngine(tiny_model(), ChessTokenizer())
CASTLING = "r3k2r/8/8/8/8/8/6P1/R3K2R w KQkq - 0 1"


@pytest.fixture
def says(monkeypatch):
    """Type lines at the terminal; after the last the terminal is closed."""

    def say(*lines: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))

    return say


@pytest.mark.parametrize(
    ("said", "fen", "move"),
    [
        ("Nf3", chess.STARTING_FEN, "g1f3"),
        ("  e4 ", chess.STARTING_FEN, "e2e4"),
        ("g1f3", chess.STARTING_FEN, "g1f3"),
        ("G1F3", chess.STARTING_FEN, "g1f3"),
        ("O-O", CASTLING, "e1g1"),
        ("0-0-0", CASTLING, "e1c1"),
        ("Rxh8+", CASTLING, "h1h8"),
        ("a8=N", "8/P6k/8/8/8/8/5K2/8 w - - 0 70", "a7a8n"),
        ("A7A8Q", "8/P6k/8/8/8/8/5K2/8 w - - 0 70", "a7a8q"),
    ],
)
def test_moves_are_understood_in_san_and_uci(says, said, fen, move):
    says(said)
    chosen = HumanEngine(ADVISER).choose(chess.Board(fen))
    assert (chosen.move.uci(), chosen.win_prob) == (move, None)


@pytest.mark.parametrize("said", ["e5", "e2e5", "Ke2", "0000", "--", "Z0", "@@@@", "hello", "♘f3"])
def test_what_is_no_legal_move_is_asked_again(says, capsys, said):
    says(said, "", "e4")
    assert HumanEngine(ADVISER).play(chess.Board()).uci() == "e2e4"
    assert f"{said}: not a legal move here; type help" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("said", "answer"),
    [("resign", Resignation), ("RESIGN", Resignation), ("quit", LeftGame)],
)
def test_words_that_end_the_move(says, said, answer):
    says(said)
    with pytest.raises(answer):
        HumanEngine(ADVISER).choose(chess.Board())


def test_a_closed_terminal_leaves_the_game(says):
    says()
    with pytest.raises(LeftGame):
        HumanEngine(ADVISER).choose(chess.Board())


def test_ctrl_c_leaves_the_game(monkeypatch):
    def interrupt(prompt: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", interrupt)
    with pytest.raises(LeftGame):
        HumanEngine(ADVISER).choose(chess.Board())


def test_help_and_the_legal_moves_are_shown_on_request(says, capsys):
    says("help", "moves", "e4")
    HumanEngine(ADVISER).choose(chess.Board())
    shown = capsys.readouterr().out
    assert HELP in shown
    board = chess.Board()
    assert " ".join(sorted(board.san(move) for move in board.legal_moves)) in shown


def test_hints_are_the_advisers_best_three_moves_in_order(says, capsys):
    board = chess.Board()
    analysis = ADVISER.analyse(board)
    says("hint", "e4")
    HumanEngine(ADVISER).choose(board)
    order = sorted(range(20), key=lambda index: -analysis.values[index])[:3]
    hints = [f"{board.san(analysis.moves[index])} {analysis.values[index]:.1%}" for index in order]
    shown = capsys.readouterr().out.partition("1. ")[2].splitlines()[:3]
    assert [" ".join(line.split()) for line in shown] == hints


def test_the_opponents_move_and_whose_turn_it_is_are_shown(says, capsys):
    board = chess.Board()
    board.push_san("Nf3")
    says("d5")
    HumanEngine(ADVISER).choose(board)
    shown = capsys.readouterr().out
    assert "\n1. Nf3\n" in shown and shown.endswith("1… ")
    board.push_san("d5")
    says("c4")
    HumanEngine(ADVISER).choose(board)
    shown = capsys.readouterr().out
    assert "\n1… d5\n" in shown and shown.endswith("2. ")


def test_the_board_is_drawn_from_the_movers_side(says, capsys):
    human = HumanEngine(ADVISER)
    board = chess.Board()
    from_white, from_black = (draw_board(board, colour) for colour in chess.COLORS)
    says("e4")
    human.choose(board)
    shown = capsys.readouterr().out
    assert from_white in shown and from_black not in shown


class Terminal(io.StringIO):
    def __init__(self, encoding: str):
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:
        return self._encoding


@pytest.mark.parametrize(("encoding", "king", "pawn"), [("utf-8", "♔", "♙"), ("ascii", "K", "P")])
def test_a_drawing_has_the_last_move_in_brackets_and_signs_the_terminal_can_show(
    monkeypatch, encoding, king, pawn
):
    board = chess.Board("4k3/8/8/8/8/8/4P3/4K3 w - - 0 1")
    board.push_san("e4")
    monkeypatch.setattr(sys, "stdout", Terminal(encoding))
    monkeypatch.setenv("COLUMNS", "80")
    white, black = (draw_board(board, colour).splitlines() for colour in chess.COLORS)
    empty = "·" if encoding == "utf-8" else "."
    assert [line.split()[0] for line in white] == [*"87654321", "a"]
    assert [line.split()[0] for line in black] == [*"12345678", "h"]
    assert white[4] == f"    4 {f' {empty} ' * 4}[{pawn}]{f' {empty} ' * 3}"
    assert white[6] == f"    2 {f' {empty} ' * 4}[{empty}]{f' {empty} ' * 3}"
    assert white[7] == f"    1 {f' {empty} ' * 4} {king} {f' {empty} ' * 3}"
    assert black[3] == f"    4 {f' {empty} ' * 3}[{pawn}]{f' {empty} ' * 4}"
    "\n".join(white).encode(encoding)


def test_a_terminal_that_shows_colours_gets_square_shades_and_pieces_in_two_colours(monkeypatch):
    board = chess.Board("4k3/8/8/8/8/8/4P3/4K3 w - - 0 1")
    board.push_san("e4")
    terminal = Terminal("utf-8")
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    plain = draw_board(board, chess.WHITE)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    coloured = draw_board(board, chess.WHITE).splitlines()
    cells = [re.findall(r"\033\[([\d;]*)48;5;(\d+)m (.) \033\[0m", line) for line in coloured[:8]]
    assert {len(row) for row in cells} == {8}
    (king, _, king_symbol), (pawn, moved, pawn_symbol) = cells[0][4], cells[4][4]
    assert (king_symbol, pawn_symbol) == ("♚", "♟") and king != pawn
    shades = [[shade for _, shade, _ in row] for row in cells]
    dark, light = shades[7][0], shades[7][1]
    assert len({dark, light, moved, shades[6][4]}) == 3  # e2 and e4 have the colour of the last move
    assert all(shades[7][file] == (light if file % 2 else dark) for file in range(8))
    monkeypatch.setenv("NO_COLOR", "1")
    assert draw_board(board, chess.WHITE) == plain


def test_a_person_can_resign_as_black_in_an_opening(says):
    says("resign")
    opening = Opening("moved", chess.STARTING_FEN, ("e2e4",))
    game = play_game(Script("script", []), HumanEngine(ADVISER), opening)
    assert (game.result, game.ending) == ("1-0", "human resigned")
