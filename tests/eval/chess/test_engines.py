"""The engine without search: all legal moves valued, in batches or alone, from either side."""

import math
from collections import Counter

import chess
import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch

from cli.errors import InputError
from eval.chess.engines import Analysis, Engine, MoveChoice, RandomEngine, ValueEngine
from models.configuration_value_transformer import ValueTransformerConfig
from models.modeling_value_transformer import ValueTransformerForActionValue
from models.tokenization_chess import ChessTokenizer
from tests.support.programs import needs


FENS = (
    chess.STARTING_FEN,
    "r3k2r/p1ppqpb1/bn2pnp1/3PN3/1p2P3/2N2Q1p/PPPBBPPP/R3K2R w KQkq - 0 1",
    "8/P6k/8/8/8/8/5K2/8 w - - 0 70",
    "4k3/8/8/8/4pP2/8/8/4K3 b - f3 0 40",
    "7k/8/8/8/8/8/6r1/7K w - - 9 80",
    "R5k1/5ppp/8/8/8/8/8/6K1 b - - 1 30",  # mated
    "8/8/8/8/8/6r1/6q1/6K1 w - - 0 90",
)


def tiny_model(
    attention: str = "prefix", value_loss: str = "hl_gauss", num_layers: int = 2
) -> ValueTransformerForActionValue:
    torch.manual_seed(0)
    config = ValueTransformerConfig(
        attention=attention,
        hidden_size=32,
        num_hidden_layers=num_layers,
        num_attention_heads=2,
        num_bins=16,
        value_loss=value_loss,
    )
    return ValueTransformerForActionValue(config)


@pytest.mark.parametrize("attention", ["prefix", "full", "causal"])
@pytest.mark.parametrize("batch_size", [3, 64])
def test_boards_together_equal_boards_alone(attention, batch_size):
    boards = [chess.Board(fen) for fen in FENS]
    engine = ValueEngine(tiny_model(attention), ChessTokenizer(), batch_size=batch_size)
    together = engine.analyse_many(boards, distributions=True)
    for board, analysis in zip(boards, together, strict=True):
        alone = engine.analyse(board, distributions=True)
        assert analysis.moves == alone.moves
        np.testing.assert_allclose(analysis.values, alone.values, atol=1e-5)
        np.testing.assert_allclose(analysis.distributions, alone.distributions, atol=1e-5)


def test_no_boards_have_no_analyses():
    engine = ValueEngine(tiny_model(), ChessTokenizer())
    assert engine.analyse_many([]) == []
    assert engine.analyse_many([], distributions=True) == []


def test_every_legal_move_is_valued_promotions_included():
    engine = ValueEngine(tiny_model(), ChessTokenizer())
    for fen in FENS:
        board = chess.Board(fen)
        analysis = engine.analyse(board)
        assert sorted(analysis.moves, key=str) == sorted(board.legal_moves, key=str)
        assert analysis.values.shape == (board.legal_moves.count(),)
        assert analysis.values.dtype == np.float32
    promotions = engine.analyse(chess.Board(FENS[2])).moves
    assert {move.promotion for move in promotions if move.from_square == chess.A7} == {2, 3, 4, 5}


def test_distribution_has_the_value_as_its_mean():
    engine = ValueEngine(tiny_model(), ChessTokenizer())
    analysis = engine.analyse(chess.Board(), distributions=True)
    support = engine.network.support
    np.testing.assert_allclose(analysis.distributions.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(analysis.distributions @ support, analysis.values, atol=1e-6)
    assert engine.analyse(chess.Board()).distributions is None


def test_mirrored_twin_has_mirrored_moves_of_equal_value():
    engine = ValueEngine(tiny_model(), ChessTokenizer(orient=True))
    for fen in FENS:
        board = chess.Board(fen)
        original, twin = engine.analyse_many([board, board.mirror()])
        values = dict(zip(twin.moves, twin.values, strict=True))
        for move, value in zip(original.moves, original.values, strict=True):
            mirrored = chess.Move(
                chess.square_mirror(move.from_square), chess.square_mirror(move.to_square), move.promotion
            )
            assert values[mirrored] == pytest.approx(value, abs=1e-6)


def test_game_that_is_over_has_an_empty_analysis_and_no_move():
    engine = ValueEngine(tiny_model(), ChessTokenizer())
    mated, stalemated = chess.Board(FENS[5]), chess.Board("7k/5Q2/6K1/8/8/8/8/8 b - - 0 1")
    assert mated.is_checkmate() and stalemated.is_stalemate()
    for analysis in engine.analyse_many([mated, stalemated], distributions=True):
        assert analysis.moves == []
        assert analysis.values.shape == (0,) and analysis.distributions.shape == (0, 16)
    with pytest.raises(ValueError, match="no legal move"):
        engine.play(mated)


def test_mse_model_values_moves_but_has_no_distribution():
    engine = ValueEngine(tiny_model(value_loss="mse"), ChessTokenizer())
    assert len(engine.analyse(chess.Board()).values) == 20
    with pytest.raises(ValueError, match="no distribution"):
        engine.analyse(chess.Board(), distributions=True)


def test_model_that_predicts_nan_is_refused():
    model = tiny_model()
    torch.nn.init.constant_(model.head.bias, torch.nan)
    with pytest.raises(InputError, match="not finite"):
        ValueEngine(model, ChessTokenizer()).play(chess.Board())


VALUES = np.array([0.50, 0.61, 0.30, 0.61, 0.58, 0.60], np.float32)


def test_move_choice_at_temperature_zero_is_the_first_of_the_best():
    rng = np.random.default_rng(0)
    # The margin says nothing then.
    for choice in (MoveChoice(), MoveChoice(margin=0.0)):
        assert {choice.choose(VALUES, rng) for _ in range(20)} == {1}


@pytest.mark.parametrize("temperature", [1e-300, 0.02, 0.1, 5.0])
def test_move_choice_is_the_softmax_of_values_over_temperature(temperature):
    logits = (VALUES.astype(np.float64) - VALUES.max()) / temperature
    np.testing.assert_allclose(
        MoveChoice(temperature).probabilities(VALUES), scipy.special.softmax(logits), atol=1e-12
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("temperature", [1e-300, 1e-310, 5e-324])
def test_move_choice_near_temperature_zero_is_among_the_best(temperature):
    for scale in (1.0, 1e6, 1e-44):
        values = VALUES * np.float32(scale)
        probs = MoveChoice(temperature).probabilities(values)
        np.testing.assert_array_equal(probs, (values == values.max()) / np.sum(values == values.max()))


def test_move_choice_at_infinite_temperature_is_uniform():
    np.testing.assert_allclose(MoveChoice(math.inf).probabilities(VALUES), np.full(6, 1 / 6))


@pytest.mark.parametrize("temperature", [0.1, math.inf])
def test_move_choice_never_takes_moves_outside_the_margin(temperature):
    probs = MoveChoice(temperature, margin=0.05).probabilities(VALUES)
    assert (probs > 0).tolist() == [False, True, False, True, True, True]
    within = VALUES[probs > 0]
    np.testing.assert_allclose(probs[probs > 0], MoveChoice(temperature).probabilities(within))


def test_moves_are_sampled_with_their_probabilities():
    choice = MoveChoice(0.05, margin=0.2)
    engine = ValueEngine(tiny_model(), ChessTokenizer(), choice=choice, seed=1)
    analysis = Analysis([chess.Move.null()] * 6, VALUES)
    counts = np.bincount([engine.choose_index(analysis, range(6)) for _ in range(20_000)], minlength=6)
    probs = choice.probabilities(VALUES)
    assert counts[probs == 0].sum() == 0
    assert scipy.stats.chisquare(counts[probs > 0], 20_000 * probs[probs > 0]).pvalue > 0.001


def random_moves(engine: Engine, num_plies: int = 12) -> list[chess.Move]:
    board = chess.Board()
    for _ in range(num_plies):
        board.push(engine.play(board))
    return board.move_stack


@pytest.mark.parametrize(
    "start", [lambda seed: RandomEngine(seed), lambda seed: hot_engine(seed)], ids=["random", "model"]
)
def test_seed_decides_the_sampled_moves(start):
    moves = random_moves(start(5))
    assert random_moves(start(5)) == moves
    assert random_moves(start(6)) != moves
    engine = start(6)
    random_moves(engine, num_plies=3)
    engine.new_game(5)
    assert random_moves(engine) == moves


def hot_engine(seed: int) -> ValueEngine:
    return ValueEngine(tiny_model(), ChessTokenizer(), choice=MoveChoice(math.inf), seed=seed)


def test_the_chosen_move_comes_with_its_own_value():
    engine = hot_engine(0)
    board = chess.Board()
    analysis = engine.analyse(board)
    values = dict(zip(analysis.moves, analysis.values.tolist(), strict=True))
    for _ in range(10):
        chosen = engine.choose(board)
        assert chosen.win_prob == values[chosen.move]


def test_random_engine_samples_legal_moves_uniformly():
    engine = RandomEngine(seed=0)
    board = chess.Board(FENS[1])
    played = Counter(engine.play(board) for _ in range(48 * 100))
    assert set(played) == set(board.legal_moves) and len(played) == 48
    assert scipy.stats.chisquare(list(played.values())).pvalue > 0.001
    assert engine.choose(board).win_prob is None
    with pytest.raises(ValueError, match="no legal move"):
        engine.play(chess.Board(FENS[5]))


def test_bfloat16_gives_nearly_the_same_values(model_folder):
    boards = [chess.Board(fen) for fen in FENS]
    exact, rounded = (
        ValueEngine(model_folder, device="cpu", dtype=dtype) for dtype in ("float32", "bfloat16")
    )
    assert rounded.network.model.dtype == torch.bfloat16
    for expected, analysis in zip(exact.analyse_many(boards), rounded.analyse_many(boards), strict=True):
        assert analysis.values.dtype == np.float32
        np.testing.assert_allclose(analysis.values, expected.values, atol=0.01)


@needs("compiler")
@pytest.mark.slow
def test_compiled_model_gives_the_same_values_for_any_number_of_moves():
    boards = [chess.Board(FENS[0]), chess.Board(FENS[1])]
    model = tiny_model(num_layers=1)
    plain = ValueEngine(model, ChessTokenizer())
    compiled = ValueEngine(model, ChessTokenizer(), compile=True)
    for board in boards:
        np.testing.assert_allclose(compiled.analyse(board).values, plain.analyse(board).values, atol=1e-5)


MATE_IN_ONE = "6k1/5ppp/8/8/8/8/8/R5K1 w - - 0 80"
MATE = chess.Move.from_uci("a1a8")


def test_a_checkmate_is_played_at_any_temperature():
    board = chess.Board(MATE_IN_ONE)
    for choice in (MoveChoice(math.inf), MoveChoice(0.1, margin=0.5)):
        engine = ValueEngine(tiny_model(), ChessTokenizer(), choice=choice)
        assert {engine.choose(board) for _ in range(50)} == {(MATE, 1.0)}
    engine = ValueEngine(tiny_model(), ChessTokenizer(), choice=MoveChoice(math.inf), exact_ends="draws")
    assert len({engine.play(board) for _ in range(50)}) > 1


def test_checkmate_ranks_above_any_prediction():
    model = tiny_model(value_loss="mse")
    torch.nn.init.constant_(model.head.bias, 3.0)
    engine = ValueEngine(model, ChessTokenizer())
    analysis = engine.analyse(chess.Board(MATE_IN_ONE))
    assert np.median(analysis.values) > 1.0
    assert analysis.best_move == engine.play(chess.Board(MATE_IN_ONE)) == MATE


def test_a_model_with_preferences_chooses_by_value_plus_preference_and_reports_the_value():
    torch.manual_seed(0)
    config = tiny_model().config
    config.preference_scale = 5.0
    model = ValueTransformerForActionValue(config)
    board = chess.Board("4k3/8/8/8/8/8/4P3/4K2R w K - 0 1")
    engine = ValueEngine(model, ChessTokenizer())
    analysis = engine.analyse(board)
    scores = analysis.values + analysis.preferences
    assert int(np.argmax(scores)) != int(np.argmax(analysis.values))
    chosen = engine.choose(board)
    best = analysis.moves.index(chosen.move)
    assert scores[best] == scores.max() and chosen.win_prob == analysis.values[best]
    assert [scores[index] for index in analysis.ranking()] == sorted(scores, reverse=True)
