"""Games in files: usual notation is understood, and words that are not moves are errors."""

import time

import pytest

from cli.errors import InputError
from data.chess.game_files import holds_games, parse_game, read_games
from data.text_files import TextSource
from tests.data.test_text_files import pipe


FEN_TAG = '[FEN "rnbqkbnr/pppp1ppp/8/4p3/4P3/8/PPPP1PPP/RNBQKBNR w KQkq - 0 2"]'


def moves_in(tmp_path, text: str) -> str:
    path = tmp_path / "games.pgn"
    path.write_text(text)
    return " | ".join(" ".join(map(str, game.board.move_stack)) for game in read_games(TextSource(path)))


@pytest.mark.parametrize(
    ("text", "moves"),
    [
        ("1. e4 e5 2. Nf3 1-0", "e2e4 e7e5 g1f3"),
        ("1.e4 e5 2.Nf3 ½-½", "e2e4 e7e5 g1f3"),
        ("e2-e4 e7-e5 Ng1-f3", "e2e4 e7e5 g1f3"),
        ("1. Pe4 d5 2. e5 f5 3. exf6 e.p. *", "e2e4 d7d5 e4e5 f7f5 e5f6"),
        ("1. e4 d5 2. e5 f5 3. exf6e.p.! 0-1", "e2e4 d7d5 e4e5 f7f5 e5f6"),
        ("1. e4! e5?! $14 2. Nf3+- Nc6 ± 3. Bb5 (3. Bc4 $1) = 1/2-1/2", "e2e4 e7e5 g1f3 b8c6 f1b5"),
        ("1. e4 {Qh9 [%clk 0:01:00]\n\nand; Zf3 (Ke9)} 1... e5 ; Qh9 {\n% Qh9\n2. d4 *", "e2e4 e7e5 d2d4"),
        ('[Event "a {b; Qh9"]\n[Site "Zf3"]\n\n1. e4 *\n\n[Event "c}"]\n\n1. d4 *\n', "e2e4 | d2d4"),
    ],
)
def test_signs_numbers_comments_and_headers_are_no_moves(tmp_path, text, moves):
    assert moves_in(tmp_path, text) == moves


@pytest.mark.parametrize(
    ("text", "moves"),
    [
        # Blank lines do not end a game.
        (f'[Event "A"]\n{FEN_TAG}\n\n\n2. Nf3 Nc6 *\n', "g1f3 b8c6"),
        (f'\n\n[Event "A"]\n\n{FEN_TAG}\n\n2. Nf3\n\n2... Nc6\n\n*\n', "g1f3 b8c6"),
        ("1. d4 Nf6\n\n2. c4 e6 1-0", "d2d4 g8f6 c2c4 e7e6"),
        ("1. d4 {a\n\ncomment}\n\n{another} 1... Nf6 (1... d5\n\n2. c4) 2. c4 *", "d2d4 g8f6 c2c4"),
        ("1. d4 d5 (1... Nf6 2. c4 (2. Nf3 e6 3. g3) 2... e6)\n\n2. c4 e6 *", "d2d4 d7d5 c2c4 e7e6"),
        # Tags, results and a first move end it.
        ('1. d4 Nf6 1-0\n[Event "B"]\n\n1. e4 e5 0-1', "d2d4 g8f6 | e2e4 e7e5"),
        ('1. d4 Nf6\n[Event "B"]\n1. e4 e5', "d2d4 g8f6 | e2e4 e7e5"),
        ("1. d4 Nf6 *\n1. e4 e5 *\nd4 d5", "d2d4 g8f6 | e2e4 e7e5 | d2d4 d7d5"),
        ("1. d4 Nf6\n\n1. e4 e5\n", "d2d4 g8f6 | e2e4 e7e5"),
        ("1. d4 Nf6 (1... d5 2. c4 1/2-1/2\n) 2. c4", "d2d4 g8f6 c2c4"),
        ("1. d4 (\n1. e4 e5) 1... Nf6 *\n{the end}\n\n1. e4 e5", "d2d4 g8f6 | e2e4 e7e5"),
        ('[Event "A"]\n\n[Event "B"]\n\n1. e4', " | e2e4"),
        # Tags may share a line.
        (f'[Event "A"] {FEN_TAG}\n2. Nf3', "g1f3"),
    ],
)
def test_games_are_tags_and_then_moves(tmp_path, text, moves):
    assert moves_in(tmp_path, text) == moves


def test_names_are_read_in_older_encodings(tmp_path):
    path = tmp_path / "games.pgn"
    path.write_bytes('[White "Hübner"]\n[Black "Núñez"]\n\n1. e4 *\n'.encode("latin-1"))
    [game] = read_games(TextSource(path))
    assert (game.headers["White"], game.headers["Black"]) == ("Hübner", "Núñez")


def test_the_result_and_the_last_board_of_a_game_are_kept(tmp_path):
    path = tmp_path / "games.pgn"
    path.write_text(f"{FEN_TAG}\n\n2. Nf3 (2. Nc3) 2... Nc6 1-0\n")
    [game] = read_games(TextSource(path))
    assert (game.where, game.number, game.headers["Result"]) == (f"{path} game 1", 1, "1-0")
    assert game.board.fen().startswith("r1bqkbnr/pppp1ppp/2n5/4p3/4P3/5N2/")
    assert game.board.root().fen() in FEN_TAG


def test_faulty_games_are_left_out_on_request_the_first_few_named_and_all_counted(tmp_path, capsys):
    path = tmp_path / "games.pgn"
    bad = [
        '[Variant "Crazyhouse"]\n\n1. e4 *',
        "1. e4 Ke4 *",
        "1. e4 {never closed",
        "1. Sf3 *",
        "1. e4 -- *",
    ]
    text = "\n\n".join(f'[Event "A"]\n{game}\n\n[Event "B"]\n\n1. e4 e5 *' for game in bad)
    path.write_text(text)
    games = list(read_games(TextSource(path), skip_bad_games=True))
    assert [game.number for game in games] == [2, 4, 6, 8, 10]
    summary, *named = capsys.readouterr().err.splitlines()
    assert summary == f"warning: 5 of the 10 games of {path} are left out, such as"
    assert [line.split(": ")[0] for line in named] == [f"  {path} game {number}" for number in (1, 3, 5)]
    assert "Crazyhouse" in named[0] and "Ke4" in named[1] and "comment is not closed" in named[2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1. e4 e5 2. Qh5 Nc6 3. Qxf7+ -- 4. Nf3 *", "game 1: a null move in r1bqkbnr/pppp1Qpp"),
        ("1. e4 Z0 2. d4 *", "game 1: a null move"),
        (
            f"{FEN_TAG}\n\n2. Nf3 *\n\n2. Nf3 Nc6 *",
            "game 2: the first move is number 2, but there is no tag FEN",
        ),
        ("1. e4 e5\n\nNf3 Nc6 *", "game 1: 'Nf3' after a blank line has no move number"),
        ("1. e4 e5\n\n5. Nf3 Nc6 *", r"game 1: '5\.' after a blank line does not follow move 1"),
        ("1. e4 e5 2. d4 d5\n\n2. Nf3 Nc6 *", r"game 1: '2\.' after a blank line does not follow move 2"),
        ("1. e4 e5 * 2. Nf3", "game 1: a move after the result, Nf3"),
        ('1. e4 {no end\n\n[Event "B"]\n\n1. d4 *', "game 1: a comment is not closed"),
        (f"{FEN_TAG[:-2]}\n\n2. Nf3 *", r"game 1: '\[FEN .* is not a tag"),
        (
            '[FEN "nbqrnkbr/pppppppp/8/8/8/8/PPPPPPPP/NBQRNKBR w HDhd - 0 1"]\n\n1. d4 d5 *',
            "game 1: nbqrnkbr/.* castling rights HDhd are those of Chess960",
        ),
        ("1. e4 e5 2. Qh9", "game 1: 'Qh9' is not a move"),
        ("1. e4 *\n\n1. e4 e5 2. Sf3 Sc6 *", "game 2: 'Sf3' is not a move"),
        ("1. e4 e5 (1... Zf6) *", r"game 1: 'Zf6\)' is not a move"),
        ("1. e4 e5 2. o-o *", "game 1: 'o-o' is not a move"),
        ("1. e4 e5 {a comment} 2. Qhf *", "game 1: 'Qhf' is not a move"),
        ("this is no game", "game 1: 'this' is not a move"),
        (f"1. {'x' * 100_000}", f"game 1: '{'x' * 40}' is not a move"),
        ("1. e4 e5 2. Qh6 *", r"game 1: 2\.Qh6 is not a legal move"),
    ],
)
def test_what_is_no_move_is_refused_in_one_line(tmp_path, text, message):
    with pytest.raises(InputError, match=rf"games\.pgn {message}.*; correct or remove the game") as refusal:
        moves_in(tmp_path, text)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("text", "has_games"), [("\n1. e4 *", True), ("8/8/4k3/8/8/4K3/4P3/8 w - -", False)])
def test_the_first_line_of_a_pipe_tells_games_from_positions(text, has_games):
    with pipe(text.encode()) as number:
        assert holds_games(TextSource(f"/dev/fd/{number}")) == has_games


def test_blank_lines_between_all_moves_take_linear_time():
    started = time.process_time()
    with pytest.raises(InputError, match=r"2\.e4 is not a legal move"):
        parse_game("".join(f"{number}. e4 e5\n\n" for number in range(1, 8000)))
    assert time.process_time() - started < 3  # seconds; in quadratic time 11
