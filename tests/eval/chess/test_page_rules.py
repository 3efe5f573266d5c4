"""The scripts of the page without Python: node reads positions and games with them as Python does."""

import json
import random
import shutil
import subprocess

import chess
import pytest

from cli.errors import InputError
from data.chess.fen_files import read_fen
from data.chess.game_files import parse_game
from eval.chess.analyse import end_after
from eval.chess.engines import ordered_legal_moves
from eval.chess.rules import game_end
from models.chess_tokens import encode_positions
from tests.support.commands import REPOSITORY
from tests.support.programs import needs
from training.npm_packages import PACKAGES, unpack


pytestmark = needs("node", "npm")
ENDINGS = [
    "8/8/4k3/8/8/3NK3/8/7r w - - 95 60",
    "8/4k1P1/8/8/8/8/p3K3/8 b - - 0 9",
    "7k/8/4Q1K1/8/8/8/8/8 w - - 0 1",
]
# A pawn that can promote.
LADDER = "6k1/P7/8/8/8/8/8/1R4K1 w - - 0 1"
SHARP = "r3k2r/p1ppqpb1/bn2pnp1/3PN3/1p2P3/2N2Q1p/PPPBBPPP/R3K2R w KQkq - 0 1"


@pytest.fixture(scope="module")
def ask(tmp_path_factory, npm_tarballs):
    """Ask the scripts questions, each a game or a PGN, and return the answers."""
    folder = tmp_path_factory.mktemp("scripts")
    for script in (REPOSITORY / "eval/chess/page/worker").glob("*.js"):
        shutil.copy(script, folder)
    unpack(PACKAGES[1], folder)
    (folder / "package.json").write_text('{"type": "module"}')  # for node alone

    def ask(questions: list[dict]) -> list[dict]:
        process = subprocess.run(
            ["node", REPOSITORY / "tests/support/page_rules.mjs", folder],
            input="\n".join(map(json.dumps, questions)),
            capture_output=True,
            text=True,
        )
        assert process.returncode == 0, process.stderr
        return [json.loads(line) for line in process.stdout.splitlines()]

    return ask


def random_games(num_boards: int, starts: list[str]) -> list[chess.Board]:
    """Play random games that often go back, and return their boards with all moves."""
    rng = random.Random(0)
    boards: list[chess.Board] = []
    board = chess.Board(starts[0])
    while len(boards) < num_boards:
        moves = list(board.legal_moves)
        if not moves or len(board.move_stack) > 60:
            board = chess.Board(rng.choice(starts))
            continue
        boards.append(board.copy())
        back = None
        if len(board.move_stack) > 1 and rng.random() < 0.5:
            back = chess.Move(board.move_stack[-2].to_square, board.move_stack[-2].from_square)
        board.push(back if back in moves else rng.choice(moves))
    return boards


def described(board: chess.Board) -> dict:
    """Return the tokens, moves and end of a board by Python."""
    moves = ordered_legal_moves(board)
    encoded = [
        encode_positions([board.fen()], [[move.uci() for move in moves]], orient) for orient in (False, True)
    ]
    rows = []
    for index, move in enumerate(moves):
        board.push(move)
        end = game_end(board)
        board.pop()
        ids = [int(inputs["action_ids"][0, index]) for inputs in encoded]
        rows.append([move.uci(), board.san(move), *ids, end and end_after(board, move)])
    root = board.root()
    return {
        "fen": board.fen(),
        "tokens": [inputs["input_ids"][0].tolist() for inputs in encoded],
        "moves": rows,
        "played": [root.san_and_push(move) for move in board.move_stack],
    }


def game_of(board: chess.Board) -> dict:
    return {"fen": board.root().fen(), "moves": [move.uci() for move in board.move_stack]}


@pytest.mark.slow
def test_tokens_legal_moves_and_ends_are_those_of_python_on_1000_boards(ask):
    boards = random_games(1000, [chess.STARTING_FEN, SHARP, *ENDINGS])
    found = ask([game_of(board) for board in boards])
    ends = set()
    for board, ours in zip(boards, found, strict=True):
        assert ours == described(board)
        ends |= {row[-1] for row in ours["moves"]}
    assert ends >= {
        None,
        "checkmate",
        "draw: stalemate",
        "draw: threefold repetition",
        "draw: fifty-move rule",
        "draw: insufficient material",
    }


FAULTY_TEXTS = [
    "",
    "8/8 w - - 0 1",
    "4k3/8/8/8/8/8/8/4K2 w - - 0 1",
    "4k3/pp0pppppp/8/8/8/8/8/4K3 w - - 0 1",
    "4k3/8/8/8/8/8/8/4K3 W - - 0 1",
    "4k3/8/8/8/8/8/8/4K3 w -- - 0 1",
    "r3k2r/8/8/8/8/8/8/R3K2R w qkQK - 0 1",
    "4k3/8/8/8/8/8/8/4K3 w - e9 0 1",
    "4k3/8/8/8/8/8/8/4K3 w - - 1.5 1",
    "4k3/8/8/8/8/8/8/4K3 w - - 0 -3",
    "4k3/8/8/8/8/8/8/4K3 w - - 0 1 e4",
]
IMPOSSIBLE = [
    "8/8/8/8/8/8/8/K7 w - - 0 1",
    "k7/8/8/8/8/8/8/KK6 w - - 0 1",
    "4k2P/8/8/8/8/8/8/4K3 w - - 0 1",
    "4k3/pppppppp/p7/8/8/8/8/4K3 w - - 0 1",
    "4k3/8/8/8/8/QQQQQQQQ/RRRRRRRR/4K3 b - - 0 1",
    "4k3/8/8/8/8/8/8/4K3 w K - 0 1",
    "4k3/8/8/8/8/8/8/4K3 b - e3 0 1",
    "4k3/8/4R3/8/8/8/8/4K3 w - - 0 1",
]


def test_a_faulty_fen_is_refused_as_by_python(ask):
    answers = ask([{"fen": fen, "moves": []} for fen in FAULTY_TEXTS])
    for fen, answer in zip(FAULTY_TEXTS, answers, strict=True):
        with pytest.raises(InputError, match="; correct it"):
            read_fen(fen, "FEN")
        assert answer["error"].startswith("FEN: ") and answer["error"].endswith(f"'{fen}'; correct it")


def test_an_impossible_position_has_the_line_that_python_has(ask):
    answers = ask([{"fen": fen, "moves": []} for fen in IMPOSSIBLE])
    for fen, answer in zip(IMPOSSIBLE, answers, strict=True):
        with pytest.raises(InputError) as refused:
            read_fen(fen, "FEN")
        assert answer == {"error": str(refused.value)}


def test_a_fen_may_lack_fields_and_count_moves_from_0(ask):
    fens = ["4k3/8/8/8/8/8/8/4K3", "4k3/8/8/8/8/8/8/4K3 b - - 7", " 4k3/8/8/8/8/8/8/4K3  w - - 0 0"]
    answers = ask([{"fen": fen, "moves": []} for fen in fens])
    assert [answer["fen"] for answer in answers] == [read_fen(fen.strip(), "FEN").fen() for fen in fens]


def test_the_main_line_of_the_first_game_is_read(ask):
    commented = (
        "1 e4 {[%eval 0.3]} e5 ; by far\n2. Nf3 $1 (2. f4 exf4 (2... d5)) {later} 2... Nc6!? 3. Bb5 +="
    )
    promoted = f'[White "A \\"B\\""]\n[Black "?"]\n[FEN "{LADDER}"]\n\n1. a8=Q+ Kg7 *\n'
    texts = [f'{commented} 1-0\n\n[White "C"]\n\n1. d4 *', promoted, "1.e4 e5 2.Nf3 Nc6 3.Bc4 Bc5 4.0-0 a6 *"]
    games = ask([{"pgn": text} for text in texts])
    moves = ["e2e4", "e7e5", "g1f3", "b8c6", "f1b5"]
    assert games[0] == {"fen": chess.STARTING_FEN, "moves": moves, "white": "", "black": ""}
    assert games[1] == {"fen": LADDER, "moves": ["a7a8q", "g8g7"], "white": 'A "B"', "black": ""}
    assert games[2]["moves"][6] == "e1g1"


@pytest.mark.parametrize(
    ("pgn", "line"),
    [
        ("", "the text has no game: give its moves"),
        ("nonsense", "the game cannot be read: 1.nonsense is not a legal move"),
        ("1. e4 e5 2. Qh9 *", "2.Qh9 is not a legal move"),
        ("1. e4 -- 2. d4 *", "1...-- is not a legal move"),
        ("2. Nf3 Nc6 *", "the first move is number 2, but there is no tag FEN"),
        ('[Variant "Atomic"]\n\n1. e4 *', "the variant Atomic is not supported"),
        ('[FEN "8/8 w - - 0 1"]\n\n1. e4 *', "8 '/'-delimited rows"),
    ],
)
def test_a_faulty_pgn_is_refused_with_one_line(ask, pgn, line):
    [answer] = ask([{"pgn": pgn}])
    assert line in answer["error"] and "\n" not in answer["error"]


@pytest.mark.parametrize("pgn", ["", '[White "A"]\n\n*', "{a comment}", "1. e4 Ke4 *", "1. e4 e5 2. Qh6 *"])
def test_a_faulty_pgn_has_the_line_that_python_has(ask, pgn):
    with pytest.raises(InputError) as refused:
        parse_game(pgn)
    assert ask([{"pgn": pgn}]) == [{"error": str(refused.value)}]
