"""Boards with one label each: the same as an obvious reading of rows, whatever kind of rows they are."""

import chess
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli.errors import InputError
from data.chess.boards import Boards
from data.chess.preparation import prepare
from data.chess.rows import PLAYED_MOVES, STATE_VALUES, write_rows
from data.chess.states import StateExamples
from models.chess_tokens import ACTIONS, tokenize_fens
from tests.data.chess.test_mirrored_boards import flipped
from tests.support.random_boards import random_file, random_rows


START = chess.STARTING_FEN


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The same boards as action values, as state values and as played moves."""
    folder = tmp_path_factory.mktemp("sources")
    rows = random_file(folder / "boards.parquet", 200)
    states = [(row.fen, max(row.win_probs)) for row in rows]
    moves = [(row.fen, row.moves[int(np.argmax(row.win_probs))]) for row in rows]
    write_rows(folder / "state_value.parquet", states, STATE_VALUES)
    write_rows(folder / "move.parquet", moves, PLAYED_MOVES)
    return folder, {"state_value": states, "move": moves}


def load(parquet, target, **options) -> StateExamples:
    return StateExamples.load(prepare(parquet, target=target), target, **options)


@pytest.mark.parametrize("target", ["state_value", "move"])
def test_rows_of_action_values_give_the_value_of_the_best_move_and_this_move(sources, target):
    folder, rows = sources
    batches = [
        load(folder / name, target, orient=False).batch(np.arange(200))
        for name in ("boards.parquet", f"{target}.parquet")
    ]
    fens, labels = zip(*rows[target], strict=True)
    for batch in batches:
        np.testing.assert_array_equal(batch["input_ids"], tokenize_fens(fens))
        if target == "move":
            assert [ACTIONS[action] for action in batch["labels"]] == list(labels)
        else:
            np.testing.assert_array_equal(batch["labels"], np.float32(labels))


def test_of_equal_moves_the_first_is_the_best(tmp_path):
    pq.write_table(
        pa.table(
            {"fen": [START] * 2, "moves": [["d2d4", "e2e4"], ["e2e4", "d2d4"]], "win_probs": [[1, 1]] * 2}
        ),
        tmp_path / "boards.parquet",
    )
    labels = load(tmp_path / "boards.parquet", "move", orient=False).batch(np.arange(2))["labels"]
    assert [ACTIONS[label] for label in labels] == ["d2d4", "e2e4"]


def test_boards_and_moves_are_oriented_as_boards_with_all_their_moves_are(sources):
    folder, _ = sources
    boards = Boards.from_parquet(folder / "boards.parquet")
    batch = boards.batch(np.arange(200), orient=True)
    best = batch["win_probs"].argmax(axis=1)
    oriented = load(folder / "boards.parquet", "move", orient=True).batch(np.arange(200))
    np.testing.assert_array_equal(oriented["input_ids"], batch["input_ids"])
    np.testing.assert_array_equal(oriented["labels"], batch["action_ids"][np.arange(200), best])


def test_mirrored_boards_follow_the_others(sources):
    folder, rows = sources
    examples = load(folder / "move.parquet", "move", orient=False, mirror=True)
    assert len(examples) == 400
    batch = examples.batch(np.arange(200, 400))
    num_mirrored = 0
    for tokens, action, (fen, move) in zip(batch["input_ids"], batch["labels"], rows["move"], strict=True):
        if chess.Board(fen).castling_rights:
            expected, image = fen, move
        else:
            expected = flipped(fen).fen(en_passant="fen")
            files = str.maketrans("abcdefgh", "hgfedcba")
            image = move[:4].translate(files) + move[4:]
            num_mirrored += 1
        np.testing.assert_array_equal(tokens, tokenize_fens([expected])[0])
        assert ACTIONS[action] == image
    assert num_mirrored > 20


def test_arrays_of_another_target_are_refused(sources):
    folder, _ = sources
    states = prepare(folder / "boards.parquet", target="state_value")
    assert states != prepare(folder / "boards.parquet")
    with pytest.raises(InputError, match="holds no prepared boards"):
        Boards.load(states)
    with pytest.raises(InputError, match="holds no prepared boards"):
        StateExamples.load(states, "move", orient=True)


@pytest.mark.parametrize(
    ("target", "columns", "problem"),
    [
        ("move", {"fen": [START], "move": ["e2e5"]}, "row 0: 'e2e5' is not a legal move in rnbq"),
        ("move", {"fen": [START], "move": ["Nf3"]}, "row 0: 'Nf3' is not a move in UCI notation"),
        ("move", {"fen": [START], "move": pa.array([None], pa.string())}, "row 0: move is null"),
        (
            "state_value",
            {"fen": [START], "win_prob": [1.0000001]},
            "row 0: win_prob 1.0000001 is not between",
        ),
        ("state_value", {"fen": [START], "win_prob": [float("nan")]}, "row 0: win_prob nan is not"),
        (
            "state_value",
            {"fen": ["8/8/8/8/8/8/8/8 w - - 0 1"], "win_prob": [0.5]},
            "row 0: impossible position",
        ),
        (
            "state_value",
            {"fen": [START], "move": ["e2e4"]},
            "column 'win_prob' is missing, must be float; .* --state-values FOLDER write such files",
        ),
        ("move", {"fen": [START], "win_prob": [0.5]}, "column 'move' is missing, .* data.chess.played_moves"),
    ],
)
def test_bad_rows_are_named(tmp_path, target, columns, problem):
    pq.write_table(pa.table(columns), tmp_path / "bad.parquet")
    with pytest.raises(InputError, match=rf"bad\.parquet.*{problem}") as raised:
        prepare(tmp_path / "bad.parquet", target=target)
    assert "\n" not in str(raised.value)


def test_a_position_without_legal_moves_may_have_a_value(tmp_path):
    write_rows(tmp_path / "mated.parquet", [("R5k1/5ppp/8/8/8/8/8/6K1 b - - 1 30", 0.0)], STATE_VALUES)
    assert load(tmp_path / "mated.parquet", "state_value", orient=True).num_boards == 1


def test_the_fingerprint_changes_with_the_labels(tmp_path):
    for seed in (0, 1):
        rows = [(row.fen, float(seed)) for row in random_rows(20)]
        write_rows(tmp_path / f"{seed}.parquet", rows, STATE_VALUES)
    first, second = (
        load(tmp_path / f"{seed}.parquet", "state_value", orient=True).fingerprint() for seed in (0, 1)
    )
    assert first["tokens"] == second["tokens"] and first["labels"] != second["labels"]
