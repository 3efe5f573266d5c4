"""The chess tokenizer against ChessBench's own tokens, and the symmetry of oriented positions."""

import json
import random
from pathlib import Path

import chess
import numpy as np
import pytest
from transformers import AutoTokenizer

from models.chess_tokens import (
    ACTION_IDS,
    ACTION_SQUARES,
    ACTIONS,
    CHARACTERS,
    FenError,
    black_to_move,
    decode_fens,
    orient_actions,
    orient_tokens,
    tokenize_fens,
)
from models.tokenization_chess import ChessTokenizer


FIXTURES = Path(__file__).parents[1] / "fixtures"
MIRROR = str.maketrans("12345678", "87654321")


@pytest.fixture(scope="module")
def positions() -> list[chess.Board]:
    """Positions of random games, with castling, en passant and promotions among them."""
    generator = random.Random(0)
    positions = []
    for _ in range(20):
        board = chess.Board()
        while not board.is_game_over() and board.ply() < 150:
            positions.append(board.copy())
            board.push(generator.choice(list(board.legal_moves)))
    return positions


def test_actions_come_in_chessbench_order():
    assert list(ACTIONS) == json.loads((FIXTURES / "searchless_chess/moves.json").read_text())
    assert len(set(ACTIONS)) == 1968 and ACTION_IDS["e2e4"] == 317


def test_decoding_is_the_inverse_of_tokenizing(positions):
    fens = [board.fen() for board in positions]
    assert decode_fens(tokenize_fens(fens)) == fens


def test_every_legal_move_is_an_action(positions):
    assert all(move.uci() in ACTION_IDS for board in positions for move in board.legal_moves)


def test_action_squares_are_where_the_move_starts_and_ends():
    tokens = tokenize_fens([chess.STARTING_FEN])[0]
    start, end = ACTION_SQUARES[ACTION_IDS["b8c6"]]
    assert CHARACTERS[tokens[start]] == "n" and CHARACTERS[tokens[end]] == "."


def test_board_tokens_are_chessbench_tokens():
    cases = [json.loads(line) for line in (FIXTURES / "searchless_chess/cases.jsonl").open()]
    assert tokenize_fens([case["fen"] for case in cases]).tolist() == [case["tokens"][:77] for case in cases]
    assert [ACTION_IDS[case["move"]] for case in cases] == [case["tokens"][77] for case in cases]


def test_tokens_spell_the_position_out(positions):
    for board, tokens in zip(positions, tokenize_fens([b.fen() for b in positions]), strict=True):
        text = "".join(CHARACTERS[token] for token in tokens)
        squares = (board.piece_at(chess.square(file, rank)) for rank in range(7, -1, -1) for file in range(8))
        assert text[0] == ("w" if board.turn else "b")
        assert text[1:65] == "".join(piece.symbol() if piece else "." for piece in squares)
        fields = board.fen().replace("-", ".").split()
        expected = [
            fields[2].ljust(4, "."),
            fields[3].ljust(2, "."),
            fields[4].ljust(3, "."),
            fields[5].ljust(3, "."),
        ]
        assert text[65:] == "".join(expected)


def test_long_counters_count_as_999():
    text = tokenize_fens(["4k3/8/8/8/8/8/8/4K3 w - - 1000 5123"])[0]
    assert "".join(CHARACTERS[token] for token in text[-6:]) == "999999"


def test_a_position_and_its_colour_mirrored_twin_are_the_same_input(positions):
    tokenizer = ChessTokenizer()
    moves = [[move.uci() for move in board.legal_moves] for board in positions]
    mirrored = [[move.translate(MIRROR) for move in listed] for listed in moves]
    real = tokenizer.encode_positions([board.fen() for board in positions], moves)
    twin = tokenizer.encode_positions([board.mirror().fen() for board in positions], mirrored)
    np.testing.assert_array_equal(real["input_ids"], twin["input_ids"])
    np.testing.assert_array_equal(real["action_ids"], twin["action_ids"])


def test_orienting_shows_the_mirrored_board_and_leaves_white_alone(positions):
    tokens = tokenize_fens([board.fen() for board in positions])
    expected = tokenize_fens([(board if board.turn else board.mirror()).fen() for board in positions])
    np.testing.assert_array_equal(orient_tokens(tokens), expected)
    np.testing.assert_array_equal(black_to_move(tokens), [not board.turn for board in positions])


def test_orienting_actions_twice_is_the_identity_and_keeps_padding():
    actions = np.append(np.arange(1968), -100)
    once = orient_actions(actions, np.ones(1969, dtype=bool))
    assert ACTIONS[once[ACTION_IDS["e2e4"]]] == "e7e5" and once[-1] == -100
    np.testing.assert_array_equal(orient_actions(once, np.ones(1969, dtype=bool)), actions)
    np.testing.assert_array_equal(orient_actions(actions, np.zeros(1969, dtype=bool)), actions)


def test_not_orienting_gives_chessbench_input():
    fen = "rnbqkbnr/pppp1ppp/8/4p3/4P3/8/PPPP1PPP/RNBQKBNR b KQkq e3 0 1"
    inputs = ChessTokenizer(orient=False).encode_positions([fen], [["g8f6"]])
    np.testing.assert_array_equal(inputs["input_ids"], tokenize_fens([fen]))
    assert inputs["action_ids"].tolist() == [[ACTION_IDS["g8f6"]]]


@pytest.mark.parametrize("orient", [True, False])
def test_auto_tokenizer_loads_what_was_saved(tmp_path, positions, orient):
    ChessTokenizer(orient=orient).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, trust_remote_code=True)
    fen = positions[17].fen()
    expected = ChessTokenizer(orient=orient).encode_positions([fen], [[]])["input_ids"][0]
    assert tokenizer(fen)["input_ids"] == expected.tolist()
    assert tokenizer.decode(tokenizer(fen)["input_ids"]) == "".join(CHARACTERS[token] for token in expected)


@pytest.mark.parametrize(
    "fen",
    [
        "",
        "not a fen",
        "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq -",
        "rnbqkbnr/pppppppp/8/8/8/7/PPPPPPPP/RNBQKBNR w KQkq - 0 1",
        "rnbqkbnr/pppppppp/8/8/8/9/PPPPPPPP/RNBQKBNR w KQkq - 0 1",
        "rnbqkbnr/ppppppppp/7/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1",
        "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR x KQkq - 0 1",
        "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KX - 0 1",
        "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq e 0 1",
        "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq e4 0 1",
        "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - x 1",
        "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1é",
    ],
)
def test_a_broken_fen_is_named(fen):
    with pytest.raises(FenError, match="broken FEN") as error:
        tokenize_fens([chess.STARTING_FEN, fen, chess.STARTING_FEN])
    assert error.value.index == 1


def test_a_string_that_is_no_move_is_refused():
    with pytest.raises(ValueError, match="'e9e4' is not a move"):
        ChessTokenizer().encode_positions([chess.STARTING_FEN], [["e9e4"]])


def test_transformers_can_pad_and_count_the_vocabulary():
    tokenizer = ChessTokenizer()
    fens = [chess.STARTING_FEN, "8/8/8/8/8/8/k7/2K5 w - - 0 1"]
    assert tokenizer(fens, padding=True)["input_ids"] == tokenizer(fens)["input_ids"]
    assert len(tokenizer) == tokenizer.vocab_size == len(tokenizer.get_vocab()) == len(ACTIONS)
    ids = tokenizer.get_vocab().values()
    assert tokenizer.convert_tokens_to_ids(tokenizer.convert_ids_to_tokens(list(ids))) == list(ids)
    with pytest.raises(ValueError, match="'e9e4' is neither a character of a board nor a move"):
        tokenizer.convert_tokens_to_ids("e9e4")
