"""Opponents of known rating: lists, ranges and ratings on the command line."""

import shutil
from dataclasses import replace

import pytest
from chess.engine import Limit

from cli.errors import InputError
from eval.chess.engines import MoveChoice
from eval.chess.opponents import RATED_KINDS, SKILL_RATINGS, Opponent, known_rating, parse_opponents
from eval.chess.players import ModelPlayer, RandomPlayer, StockfishPlayer, UciPlayer
from tests.eval.chess.test_uci_engines import fake_engine
from tests.support.programs import needs


pytestmark = needs("stockfish")


@pytest.fixture
def model(model_folder) -> ModelPlayer:
    return ModelPlayer(str(model_folder), "cpu")


def skills(*levels: int) -> list[tuple[StockfishPlayer, float]]:
    return [(StockfishPlayer(skill=level), SKILL_RATINGS[level]) for level in levels]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["stockfish:0-2"], skills(0, 1, 2)),
        (["stockfish:3"], skills(3)),
        (["stockfish:0,2,4-5"], skills(0, 2, 4, 5)),
        (
            ["stockfish:1", "stockfish:0=1000.5", "random=-200"],
            [*skills(1), (StockfishPlayer(skill=0), 1000.5), (RandomPlayer(), -200.0)],
        ),
        (["stockfish:13=2980"], [(StockfishPlayer(skill=13), 2980.0)]),
    ],
)
def test_opponents_and_their_ratings(names, expected, model):
    opponents = parse_opponents(names, Limit(), model)
    assert [(opponent.player, opponent.rating) for opponent in opponents] == expected
    assert len({opponent.name for opponent in opponents}) == len(opponents)


def test_a_rated_model_plays_its_best_moves(model, tmp_path):
    shutil.copytree(model.model, tmp_path / "other")
    sampling = replace(model, choice=MoveChoice(0.1))
    (opponent,) = parse_opponents([f"model:{tmp_path}/other=1200"], Limit(), sampling)
    assert opponent.player == ModelPlayer(f"{tmp_path}/other", "cpu")


def test_limits_are_for_programs_other_than_stockfish(tmp_path, model):
    program = fake_engine(tmp_path)
    limit = Limit(nodes=7)
    skill, other = parse_opponents(["stockfish:2", f"uci:{program} --fast=yes=2200"], limit, model)
    assert skill == Opponent(StockfishPlayer(skill=2), skill.name, 1608)
    assert skill.name.endswith("skill 2 depth 3")
    assert other == Opponent(UciPlayer(f"{program} --fast=yes", limit), "Fake 1 7 nodes", 2200.0)


def test_lists_of_uci_elo_are_ratings(tmp_path, monkeypatch, model):
    monkeypatch.setenv("STOCKFISH", str(fake_engine(tmp_path, name="Stockfish 16.1")))
    opponents = parse_opponents(["stockfish:1400,1600"], Limit(), model)
    assert [(opponent.player.uci_elo, opponent.rating) for opponent in opponents] == [
        (1400, 1400),
        (1600, 1600),
    ]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["nobody"], f"unknown opponent 'nobody': give one of {RATED_KINDS}$"),
        (["random"], "the rating of random is not known: give it, as in random=1500"),
        *(
            ([f"random={rating}"], f"random={rating}: '{rating}' is not a rating from -5000 to 5000")
            for rating in ("strong", "nan", "inf", "1e9", "-9999", "")
        ),
        ([f"uci:/nowhere={'9' * 400}"], "is not a rating from"),
        (["human"], f"unknown opponent 'human': give one of {RATED_KINDS}$"),
        (["stockfish"], "the rating of stockfish is not known"),
        (["stockfish:13"], r"stockfish:13 is not known: .* \(only stockfish:0 to stockfish:12, and"),
        (
            ["stockfish:21=3000"],
            "stockfish:21: give a Skill Level from 0 to 20, or a UCI_Elo from 1320",
        ),
        (["stockfish:1300"], "a UCI_Elo from 1320"),
        (["stockfish:0-3", "stockfish:2"], "opponent stockfish:2 is named twice"),
        (["stockfish:1,1"], "opponent stockfish:1 is named twice"),
        (["random=1", "random=2"], "opponent random is named twice"),
        *(
            ([name], f"{name}: a range goes from a lower to a higher Skill Level, at most 20")
            for name in ("stockfish:1400-1600", "stockfish:3-1", "stockfish:0-99")
        ),
        (["stockfish:1-"], "unknown opponent 'stockfish:1-'"),
        (["uci:/nowhere=1500"], "/nowhere: no such program"),
        (["MODEL=1500"], "is the model that is rated"),
    ],
)
def test_opponents_that_cannot_be_met_are_refused(names, message, model):
    names = [name.replace("MODEL", f"model:{model.model}") for name in names]
    with pytest.raises(InputError, match=message) as refusal:
        parse_opponents(names, Limit(), model)
    assert "\n" not in str(refusal.value)


def test_ratings_are_known_of_measured_skill_levels_and_of_uci_elo():
    ratings = [known_rating(StockfishPlayer(skill=skill)) for skill in range(20)]
    assert ratings[:3] == [1320, 1468, 1608] and ratings[12] == 2923
    assert ratings[:13] == sorted(ratings[:13]) and ratings[13:] == [None] * 7
    assert known_rating(StockfishPlayer(uci_elo=1777)) == 1777


@pytest.mark.parametrize(
    "player",
    [
        StockfishPlayer(),
        StockfishPlayer(skill=3, limit=Limit(nodes=100)),
        UciPlayer("gnuchess"),
        RandomPlayer(),
        ModelPlayer("ours"),
    ],
)
def test_no_other_rating_is_known(player):
    assert known_rating(player) is None
