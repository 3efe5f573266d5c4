import re

import chess
import pytest

from cli.errors import InputError
from data.chess.positions import position_key
from data.chess.stockfish import Stockfish, centipawns_from_win_prob
from eval.chess.openings import DEFAULT_BOOK, Opening, identify_openings, read_openings
from tests.support.programs import needs


ENDGAME = "8/8/4k3/8/8/4K3/4P3/8 w - - 0 1"
SHUFFLE = "2. Ng1 Ng8 3. Nf3 Nf6 4. Ng1 Ng8"
GAMES = """[Event "?"]
[Result "*"]
[ECO "C50"]
[Opening "Italian Game"]

1. e4 e5 2. Nf3 (2. f4 exf4) 2... Nc6 3. Bc4 $1 {quiet} *

[Event "?"]
[ECO "A00"]
[Opening "?"]

1. g3 d5 *

[Event "?"]
[Result "1/2-1/2"]

1. c4 e5 1/2-1/2
"""


@pytest.fixture(scope="module")
def book():
    return read_openings()


def read(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    return read_openings(path)


def test_the_book_has_many_openings_of_four_to_ten_plies(book):
    assert len(book) >= 100
    assert len(book) == DEFAULT_BOOK.read_text().count("[Event ")
    assert len({opening.name for opening in book}) == len(book)
    assert all(opening.fen == chess.STARTING_FEN and 4 <= len(opening.moves) <= 10 for opening in book)


def test_no_game_from_the_book_passes_through_the_end_of_another_opening(book):
    ends = {position_key(opening.board().fen()) for opening in book}
    assert len(ends) == len(book)
    for opening in book:
        board = opening.board()
        while board.move_stack:
            board.pop()
            assert position_key(board.fen()) not in ends, opening.name


def test_the_book_covers_all_families(book):
    lines = [" ".join(opening.moves) for opening in book]
    first_moves = ("e2e4", "d2d4", "c2c4", "g1f3", "b2b3", "f2f4", "b1c3", "g2g3", "b2b4")
    replies = {
        "e2e4": ("e7e5", "c7c5", "e7e6", "c7c6", "d7d6", "g7g6", "g8f6", "d7d5", "b8c6"),
        "d2d4": ("d7d5", "g8f6", "f7f5", "c7c5", "e7e6", "g7g6"),
    }
    starts = [*first_moves, *(f"{move} {reply}" for move in replies for reply in replies[move])]
    assert not [start for start in starts if not any(line.startswith(start) for line in lines)]
    headers = DEFAULT_BOOK.read_text()
    assert all(f'[ECO "{volume}' in headers for volume in "ABCDE")


def test_no_opening_of_the_book_decides_the_game(book):
    for opening in book:
        board = opening.board()
        assert board.is_check() or board.legal_moves.count() >= 20, opening.name


@pytest.mark.slow
@needs("stockfish")
def test_every_opening_of_the_book_is_balanced(book):
    with Stockfish() as engine:

        def score(fen, moves=()):
            engine.new_game()
            win_prob = engine.search(fen, nodes=10_000, moves=moves)[1][-1].win_prob
            return centipawns_from_win_prob(win_prob)

        # About 100 of Stockfish 15.1's centipawns; other versions count in other units.
        limit = 2 / 3 * score(chess.STARTING_FEN.replace("pppppppp", "ppp1pppp"))
        scores = {opening.name: score(opening.fen, opening.moves) for opening in book}
    assert not {name: cp for name, cp in scores.items() if abs(cp) > limit}


def test_a_pgn_gives_the_main_line_of_every_game(tmp_path):
    openings = read(tmp_path, "book.pgn", GAMES)
    assert openings == [
        Opening("Italian Game", chess.STARTING_FEN, ("e2e4", "e7e5", "g1f3", "b8c6", "f1c4")),
        Opening("A00", chess.STARTING_FEN, ("g2g3", "d7d5")),
        Opening("game 3", chess.STARTING_FEN, ("c2c4", "e7e5")),
    ]


def test_a_pgn_may_start_elsewhere(tmp_path):
    headers = f'[Opening "Pawn"]\n[SetUp "1"]\n[FEN "{ENDGAME}"]\n\n'
    assert read(tmp_path, "book.pgn", headers + "1. Kd4 Kd6 *\n") == [
        Opening("Pawn", ENDGAME, ("e3d4", "e6d6"))
    ]
    assert read(tmp_path, "book.pgn", headers + "*\n") == [Opening("Pawn", ENDGAME, ())]


def test_the_board_of_an_opening_remembers_its_moves():
    moves = ("g1f3", "g8f6", "f3g1", "f6g8") * 2
    board = Opening("", chess.STARTING_FEN, moves).board()
    assert board.is_repetition(3)


def test_an_epd_is_named_by_its_id(tmp_path):
    first = '8/8/4k3/8/8/4K3/4P3/8 w - - bm Kd4; id "study; one"; hmvc 7; fmvn 40;'
    openings = read(tmp_path, "book.epd", f"\n{first}\n8/8/4k3/8/8/4K3/4P3/8 b - -\n")
    assert openings == [
        Opening("study; one", "8/8/4k3/8/8/4K3/4P3/8 w - - 7 40", ()),
        Opening("line 3", "8/8/4k3/8/8/4K3/4P3/8 b - - 0 1", ()),
    ]


@pytest.mark.parametrize("name", ["book.fen", "book.txt"])
def test_a_list_of_fens_is_named_by_its_lines(tmp_path, name):
    openings = read(tmp_path, name, f"{chess.STARTING_FEN}\n\n{ENDGAME}\n")
    assert openings == [Opening("line 1", chess.STARTING_FEN, ()), Opening("line 3", ENDGAME, ())]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("book.PGN", "1. e4 e5 *\n"),
        ("book.Epd", f'{" ".join(ENDGAME.split()[:4])} id "study";\n'),
        ("book.FEN", f"{ENDGAME}\n"),
    ],
)
def test_a_suffix_may_be_in_capitals(tmp_path, name, text):
    assert read(tmp_path, name, text) == read(tmp_path, name.lower(), text)


def test_a_book_is_identified_by_what_is_in_it(tmp_path):
    first, second = (tmp_path / folder / "book.fen" for folder in ("first", "second"))
    for path in (first, second):
        path.parent.mkdir()
        path.write_text(ENDGAME)
    identities = [identify_openings(path, read_openings(path)) for path in (first, second)]
    assert identities[0] == identities[1]
    assert re.fullmatch(r"book\.fen#[0-9a-f]{8}", identities[0])
    second.write_text(chess.STARTING_FEN)
    assert identify_openings(second, read_openings(second)) != identities[0]


def test_of_openings_that_end_alike_the_first_is_kept(tmp_path):
    games = "1. d4 Nf6 2. c4 *\n\n1. c4 Nf6 2. d4 *\n\n1. e4 e5 *\n"
    assert [opening.name for opening in read(tmp_path, "book.pgn", games)] == ["game 1", "game 3"]
    fens = f"{ENDGAME}\n{ENDGAME.replace('0 1', '9 40')}\n"
    assert read(tmp_path, "book.fen", fens) == [Opening("line 1", ENDGAME, ())]


def test_an_epd_may_hold_full_fens(tmp_path):
    fen = "rnbqkbnr/pppppppp/8/8/4P3/8/PPPP1PPP/RNBQKBNR b KQkq - 3 9"
    assert read(tmp_path, "book.epd", fen) == [Opening("line 1", fen, ())]


def test_games_that_cannot_be_opened_with_are_left_out_on_request(tmp_path, capsys):
    path = tmp_path / "book.pgn"
    path.write_text("1. e4 e5 *\n\n1. f3 e5 2. g4 Qh4# *\n\n1. e4 -- 2. d4 *\n\n*\n\n1. d4 *\n")
    assert [opening.name for opening in read_openings(path, skip_bad_games=True)] == ["game 1", "game 5"]
    assert "warning: 3 of the 5 games of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "book.bin",
            "",
            r"book\.bin: unknown kind of file; give one that ends in \.pgn, \.epd, \.fen, \.txt",
        ),
        ("book.pgn", "", r"book\.pgn holds no openings; give a file with at least one"),
        ("book.epd", "\n\n", r"book\.epd holds no openings"),
        (
            "book.pgn",
            "1. e4 e5 *\n\n1. e4 e6 2. e6 *\n",
            r"book\.pgn game 2: 2\.e6 is not a legal move; correct",
        ),
        ("book.pgn", "1. e4 e5 *\n\n*\n", r"book\.pgn game 2: no moves and no FEN; give it either"),
        ("book.pgn", "1. f3 e5 2. g4 Qh4# *\n", r"game 1: the game is over \(checkmate\) at .*; shorten"),
        ("book.fen", f"{ENDGAME}\n7k/5K2/6Q1/8/8/8/8/8 b - - 0 1\n", r"line 2: the game is over \(stalemate"),
        ("book.pgn", f"1. Nf3 Nf6 {SHUFFLE} *\n", r"game 1: the game is over \(threefold repetition\)"),
        ("book.epd", "7k/5K2/8/8/8/8/8/8 b - -\n", r"line 1: the game is over \(insufficient material\)"),
        ("book.fen", "8/8/8/8\n", r"book\.fen line 1: .*; correct or remove"),
        ("book.epd", "8/8/4k3/8/8/8/4P3/8 w - -\n", r"book\.epd line 1: .* cannot occur in chess"),
    ],
)
def test_what_cannot_be_played_is_refused_in_one_line(tmp_path, name, text, message):
    with pytest.raises(InputError, match=message) as refusal:
        read(tmp_path, name, text)
    assert "\n" not in str(refusal.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"book\.pgn: no such file"):
        read_openings(tmp_path / "book.pgn")
