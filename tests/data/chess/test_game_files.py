"""Games in files: usual notation is understood, and words that are not moves are errors."""

import pytest

from cli.errors import InputError
from data.chess.game_files import read_games


def moves_in(tmp_path, text: str) -> str:
    path = tmp_path / "games.pgn"
    path.write_text(text)
    return " | ".join(" ".join(map(str, game.mainline_moves())) for _, game in read_games(path))


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
    ("text", "message"),
    [
        ("1. e4 e5 2. Qh9", "game 1: 'Qh9' is not a move"),
        ("1. e4 *\n\n1. e4 e5 2. Sf3 Sc6 *", "game 2: 'Sf3' is not a move"),
        ("1. e4 e5 (1... Zf6) *", r"game 1: 'Zf6\)' is not a move"),
        ("1. e4 e5 2. o-o *", "game 1: 'o-o' is not a move"),
        ("1. e4 e5 {a comment} 2. Qhf *", "game 1: 'Qhf' is not a move"),
        ("this is no game", "game 1: 'this' is not a move"),
        (f"1. {'x' * 100_000}", f"game 1: '{'x' * 40}' is not a move"),
        ("1. e4 e5 2. Qh6 *", "game 1: illegal san: 'Qh6'"),
    ],
)
def test_what_is_no_move_is_refused_in_one_line(tmp_path, text, message):
    with pytest.raises(InputError, match=rf"games\.pgn {message}.*; correct or remove the game") as refusal:
        moves_in(tmp_path, text)
    assert "\n" not in str(refusal.value)
