"""Players: names on the command line, and the names that identify them."""

import math
import pickle
import shutil

import chess
import pytest
import torch
from chess.engine import Limit

from cli.errors import InputError
from eval.chess.engines import MoveChoice, ValueEngine
from eval.chess.players import (
    ModelPlayer,
    RandomPlayer,
    StockfishPlayer,
    UciPlayer,
    parse_player,
)
from tests.eval.chess.test_engines import tiny_model
from tests.eval.chess.test_uci_engines import answering, fake_engine
from tests.support.programs import needs


MODEL = ModelPlayer("ours", "cpu", "bfloat16", MoveChoice(0.1), "draws", True)
NODES = Limit(nodes=100)


@pytest.mark.parametrize(
    ("text", "limit", "player"),
    [
        ("stockfish", Limit(), StockfishPlayer()),
        ("stockfish", NODES, StockfishPlayer(limit=NODES)),
        ("stockfish:0", Limit(), StockfishPlayer(skill=0)),
        ("stockfish:20", Limit(), StockfishPlayer(skill=20)),
        ("stockfish:1320", NODES, StockfishPlayer(uci_elo=1320, limit=NODES)),
        ("random", Limit(), RandomPlayer()),
        ("uci:gnuchess -u", Limit(), UciPlayer("gnuchess -u", Limit(time=0.1))),
        ("uci:gnuchess", NODES, UciPlayer("gnuchess", NODES)),
        ("uci:C:thing", NODES, UciPlayer("C:thing", NODES)),
    ],
)
def test_names_of_players(text, limit, player):
    assert parse_player(text, limit, MODEL) == player


def test_a_model_as_opponent_is_set_up_like_ours():
    opponent = parse_player("model:other/model", Limit(), MODEL)
    assert opponent == ModelPlayer("other/model", "cpu", "bfloat16", MoveChoice(0.1), "draws", True)


@pytest.mark.parametrize(
    "text",
    [
        *("", "stockfisch", "stockfish:x", "stockfish:-1", "stockfish:1.5", "stockfish:²", "random:1"),
        *("model", "model:", "uci", "uci:", "uci: ", "human", "uci:'engine"),
    ],
)
def test_unknown_players_are_errors_in_one_line(text):
    with pytest.raises(InputError) as refusal:
        parse_player(text, Limit(), MODEL)
    assert text in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("number", [21, 1319, 3191])
def test_other_numbers_are_no_strength_of_stockfish(number):
    message = f"stockfish:{number}: give a Skill Level from 0 to 20, or a UCI_Elo from 1320 to 3190"
    with pytest.raises(InputError, match=message):
        parse_player(f"stockfish:{number}", Limit(), MODEL)


@needs("stockfish")
@pytest.mark.parametrize("kind", ["model", "stockfish", "uci", "random"])
def test_a_player_has_the_name_of_its_engine_also_in_another_process(model_folder, tmp_path, kind):
    player = {
        "model": ModelPlayer(str(model_folder), choice=MoveChoice(0.5, 0.2)),
        "stockfish": StockfishPlayer(skill=2),
        "uci": UciPlayer(str(fake_engine(tmp_path, name="Fake 7")), Limit(depth=3)),
        "random": RandomPlayer(),
    }[kind]
    sent = pickle.loads(pickle.dumps(player))
    with sent.start() as engine:
        assert engine.name == player.identify() == sent.identify()
    assert {"uci": "Fake 7 depth 3", "random": "random"}.get(kind, engine.name) == engine.name


def test_a_models_name_has_every_setting_that_changes_its_moves(model_folder):
    def name(**options) -> str:
        return ModelPlayer(str(model_folder), **options).identify()

    plain = name()
    assert plain.startswith(f"{model_folder.parent.name}#")
    assert name(exact_ends="draws") == f"{plain} exact-ends draws"
    assert name(choice=MoveChoice(0.05)) == f"{plain} temperature 0.05 margin inf"
    assert name(choice=MoveChoice(math.inf, 0.1)) == f"{plain} temperature inf margin 0.1"
    assert name(dtype="bfloat16") == f"{plain} bfloat16"
    assert name(device="cpu", compile=True) == plain
    described = ModelPlayer(str(model_folder), dtype="bfloat16").describe()
    assert described == f"{model_folder.parent.name} bfloat16"


def test_a_model_that_was_trained_further_has_another_name(model_folder, tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(model_folder, copy)
    before = ModelPlayer(str(copy)).identify()
    model = tiny_model()
    torch.nn.init.constant_(model.head.bias, 1e-3)
    model.save_pretrained(copy)
    assert ModelPlayer(str(copy)).identify() != before


def test_a_model_player_plays_as_it_is_set_up(model_folder):
    engine = ModelPlayer(str(model_folder), "cpu", "bfloat16", MoveChoice(math.inf, 0.1), "none").start()
    assert isinstance(engine, ValueEngine) and engine.network.model.dtype == torch.bfloat16
    assert (engine.choice, engine.exact_ends) == (MoveChoice(math.inf, 0.1), "none")
    engine = ModelPlayer(str(model_folder)).start()
    assert (engine.choice, engine.exact_ends) == (MoveChoice(), "all")


def test_a_uci_players_command_is_split_as_in_a_shell(tmp_path):
    (tmp_path / "my engines").mkdir()
    program = fake_engine(tmp_path / "my engines", answering("bestmove e2e4"))
    with parse_player(f"uci:'{program}' --fast", Limit(), MODEL).start() as engine:
        assert engine.play(chess.Board()).uci() == "e2e4"


def test_a_model_has_one_name_however_its_path_is_spelled(model_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(model_folder.parent)
    (tmp_path / "link").symlink_to(model_folder)
    spellings = (".//model/", "../run/model".replace("run", model_folder.parent.name), tmp_path / "link")
    names = {ModelPlayer(str(spelling)).identify() for spelling in (model_folder, "model", *spellings)}
    assert len(names) == 1 and names.pop().startswith(f"{model_folder.parent.name}#")


def test_which_players_are_deterministic():
    nodes, timed = Limit(nodes=100), Limit(depth=3, time=1.0)
    deterministic = [
        ModelPlayer("ours"),
        StockfishPlayer(limit=nodes),
        StockfishPlayer(skill=20, limit=nodes),
    ]
    random = [
        ModelPlayer("ours", choice=MoveChoice(0.01)),
        *(StockfishPlayer(), StockfishPlayer(limit=timed), StockfishPlayer(skill=20)),
        *(StockfishPlayer(skill=3, limit=nodes), StockfishPlayer(uci_elo=1500, limit=nodes)),
        *(UciPlayer("gnuchess", nodes), RandomPlayer()),
    ]
    assert all(player.is_deterministic for player in deterministic)
    assert not any(player.is_deterministic for player in random)
