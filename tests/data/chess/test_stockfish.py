import math

import chess
import numpy as np
import pytest

from cli.errors import InputError
from data.chess import stockfish
from data.chess.stockfish import (
    EngineCrash,
    SearchLine,
    Stockfish,
    centipawns_from_win_prob,
    find_stockfish,
    label_moves,
    win_prob_from_centipawns,
)
from tests.support.fragile_stockfish import crashing_stockfish
from tests.support.programs import needs


pytestmark = needs("stockfish")


MIDDLEGAME = "r1bqkbnr/pppp1ppp/2n5/4p2Q/2B1P3/8/PPPP1PPP/RNB1K1NR w KQkq - 2 3"


@pytest.fixture(scope="module")
def engine():
    with Stockfish() as engine:
        yield engine


@pytest.mark.parametrize("centipawns", [-20_000, -300, -1, 0, 50, 700, 20_000])
def test_win_probability_is_the_logistic_curve_of_chessbench(centipawns):
    expected = 1 / (1 + math.exp(-0.00368208 * centipawns))
    assert win_prob_from_centipawns(centipawns) == pytest.approx(expected, abs=1e-15)


def test_win_probabilities_of_both_sides_sum_to_one():
    assert win_prob_from_centipawns(123) + win_prob_from_centipawns(-123) == pytest.approx(1)


@pytest.mark.parametrize("nodes_per_move", [1, 20, 300])
def test_every_legal_move_has_a_label(engine, nodes_per_move):
    for fen in (
        chess.STARTING_FEN,
        MIDDLEGAME,
        "8/8/4k3/8/8/4K3/4P3/8 w - - 0 1",
        "7k/5K2/8/6Q1/8/8/8/8 b - - 0 1",
    ):
        board = chess.Board(fen)
        moves, win_probs = label_moves(engine, board, nodes_per_move)
        assert moves == sorted(move.uci() for move in board.legal_moves)
        assert all(0 <= win_prob <= 1 for win_prob in win_probs)


def test_giving_mate_is_certain_and_allowing_it_is_hopeless(engine):
    labels = dict(zip(*label_moves(engine, chess.Board(MIDDLEGAME), 200), strict=True))
    assert labels["h5f7"] == 1
    board = chess.Board("rnbqkbnr/pppp1ppp/8/4p3/6P1/8/PPPPPP1P/RNBQKBNR w KQkq - 0 2")
    assert dict(zip(*label_moves(engine, board, 200), strict=True))["f2f3"] == 0


@pytest.mark.parametrize("fen", ["4k3/8/8/8/8/8/3QPP2/4K3 w - - 0 1", "4k3/3qpp2/8/8/8/8/8/4K3 b - - 0 1"])
def test_labels_are_those_of_the_side_to_move(engine, fen):
    _, win_probs = label_moves(engine, chess.Board(fen), 200)
    assert max(win_probs) > 0.9


def test_labels_do_not_depend_on_what_was_searched_before(engine):
    board = chess.Board(MIDDLEGAME)
    with Stockfish() as fresh_engine:
        expected = label_moves(fresh_engine, board, 300)
    label_moves(engine, chess.Board(), 500)
    label_moves(engine, chess.Board("8/8/4k3/8/8/4K3/4P3/8 w - - 0 1"), 100)
    assert label_moves(engine, board, 300) == expected


def test_a_move_is_labelled_by_its_last_exact_score(engine, monkeypatch):
    lines = [
        SearchLine("e3e4", win_prob_from_centipawns(10)),
        SearchLine("e3d4", win_prob_from_centipawns(30)),
        SearchLine("e3d4", win_prob_from_centipawns(40)),
    ]
    board = chess.Board("8/8/4k3/8/8/4K3/4P3/8 w - - 0 1")

    def search(fen, *, nodes, multipv=1, only=()):
        return "e3d4", [SearchLine(only[0], win_prob_from_centipawns(5))] if only else lines

    monkeypatch.setattr(engine, "search", search)
    labels = dict(zip(*label_moves(engine, board, 10), strict=True))
    assert labels["e3d4"] == win_prob_from_centipawns(40)
    assert labels["e3e4"] == win_prob_from_centipawns(10)
    assert labels["e3f2"] == win_prob_from_centipawns(5)


def test_a_search_by_an_engine_that_dies_is_an_engine_crash(tmp_path):
    program = crashing_stockfish(tmp_path, "go nodes", times=1)
    with Stockfish(str(program)) as engine, pytest.raises(EngineCrash):
        engine.search(chess.STARTING_FEN, nodes=100)


def test_a_search_that_takes_far_too_long_is_an_engine_crash(monkeypatch):
    with Stockfish() as engine:
        monkeypatch.setattr(stockfish, "HANDSHAKE_SECONDS", 0.0)
        monkeypatch.setattr(stockfish, "SLOWEST_NODES_PER_SECOND", 1e9)
        with pytest.raises(EngineCrash, match="did not answer"):
            engine.search(chess.STARTING_FEN, nodes=2_000_000)


def test_stockfish_is_taken_from_the_variable_then_the_path_then_the_usual_places(tmp_path, monkeypatch):
    programs = []
    for name in ("variable", "path", "usual"):
        program = tmp_path / name / "stockfish"
        program.parent.mkdir()
        program.touch(mode=0o755)
        programs.append(str(program))
    monkeypatch.setenv("STOCKFISH", programs[0])
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(stockfish, "USUAL_PLACES", (programs[2],))
    assert find_stockfish() == programs[0]
    monkeypatch.delenv("STOCKFISH")
    assert find_stockfish() == programs[1]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_stockfish() == programs[2]
    monkeypatch.setattr(stockfish, "USUAL_PLACES", ())
    with pytest.raises(InputError, match="apt-get install stockfish"):
        find_stockfish()


def test_a_program_that_is_no_chess_engine_is_named():
    with pytest.raises(InputError, match="/bin/true does not answer as a UCI engine"):
        Stockfish("/bin/true")


def test_centipawns_are_the_inverse_of_the_win_probability():
    for centipawns in range(-stockfish.MAX_CENTIPAWNS, stockfish.MAX_CENTIPAWNS + 1):
        assert centipawns_from_win_prob(win_prob_from_centipawns(centipawns)) == centipawns
    for win_prob in (0.001, 0.3, 0.5, 0.77, 0.999):
        assert win_prob_from_centipawns(centipawns_from_win_prob(win_prob)) == pytest.approx(
            win_prob, abs=0.0005
        )


@pytest.mark.parametrize("win_prob", [1.0, np.float32(1.0), 1.0 - 1e-9, win_prob_from_centipawns(20_000)])
def test_centipawns_of_certainty_are_the_most_there_are(win_prob):
    assert centipawns_from_win_prob(win_prob) == stockfish.MAX_CENTIPAWNS
    assert centipawns_from_win_prob(1.0 - win_prob) == -stockfish.MAX_CENTIPAWNS
