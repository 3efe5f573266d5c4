"""Models of state values and of moves, trained, resumed, measured and published by the commands."""

import json
from pathlib import Path

import chess
import pytest
import yaml

from cli.errors import InputError
from configs.loading import load_config
from data.chess.rows import PLAYED_MOVES, STATE_VALUES, write_rows
from eval.chess.engines import ValueEngine
from tests.support.commands import run_checked, run_code
from tests.support.easy_boards import easy_file
from tests.support.hub_server import HubServer, Repository
from tests.support.programs import needs
from tests.support.pushed_run import code_blocks
from tests.support.random_boards import random_rows
from tests.support.training_runs import TINY, read_steps
from training.publish import publish_folder


TARGETS = {"state_value": "ValueTransformerForStateValue", "move": "ValueTransformerForMovePrediction"}
LEARN = ["training.steps=80", "training.batch_size=64", "checkpoint.every=40", "evaluation.every=40"]
LEARN += ["training.decay=constant"]  # such a run gets more steps later


@pytest.fixture(scope="module")
def boards(tmp_path_factory) -> Path:
    """Boards on which moves far forward are good."""
    return easy_file(tmp_path_factory.mktemp("boards") / "boards.parquet", 600)


@pytest.fixture(scope="module", params=TARGETS)
def run(request, boards, tmp_path_factory) -> Path:
    """A run from action values."""
    return train(boards, request.param, tmp_path_factory.mktemp(request.param) / request.param)


def train(source: Path | str, target: str, output_dir: Path, *settings: str, **environment: str) -> Path:
    line = ["--config=chess_tiny.yaml", f"data.train={source}", "data.validation=null", *TINY, *LEARN]
    line += [f"data.target={target}", f"output_dir={output_dir}", *settings]
    run_checked("train", *line, **environment)
    return output_dir


@pytest.mark.slow
def test_it_learns_and_is_resumed_to_the_same_bits(run, boards, tmp_path):
    losses = list(read_steps(run, "loss").values())
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])
    train(boards, run.name, tmp_path / "run", "training.steps=40")
    train(boards, run.name, tmp_path / "run", "resume=true")
    weights = "model/model.safetensors"
    assert (tmp_path / "run" / weights).read_bytes() == (run / weights).read_bytes()


@pytest.mark.slow
def test_it_plays_mate_in_one_and_solves_puzzles(run, tmp_path):
    engine = ValueEngine(run / "model", device="cpu")
    assert engine.play(chess.Board("6k1/5ppp/8/8/8/8/8/R5K1 w - - 0 1")).uci() == "a1a8"
    line = ["--model", run / "model", "--puzzles", "data/chess/sample/puzzles.csv", "--limit", 20]
    run_checked("eval.chess.puzzles", *line, "--json", tmp_path / "puzzles.json")
    assert json.loads((tmp_path / "puzzles.json").read_text())["num_puzzles"] == 20


@needs("stockfish")
@pytest.mark.slow
def test_matches_and_ratings_are_played_to_the_end(run, tmp_path):
    model = ["--model", run / "model", "--device", "cpu"]
    games = tmp_path / "games.pgn"
    for module, *line in (
        ("eval.chess.play", "--opponent", "random", "--games", 2, "--pgn", games),
        ("eval.chess.elo", "--opponents", "stockfish:0", "--games", 2, "--output", tmp_path / "elo"),
        ("eval.chess.analyse", "--pgn", games, "--output", tmp_path / "analysis.html"),
    ):
        run_checked(module, *model, *line)
    assert games.read_text().count("[Result ") == 2


@pytest.mark.slow
def test_the_published_model_loads_by_its_card_in_a_fresh_process(run, tmp_path):
    publish_folder(run, tmp_path / "published")
    card = (tmp_path / "published/README.md").read_text()
    example, play = code_blocks(card)
    code = f"{example}\n{play}\nprint(type(model).__name__, board.fen())"
    environment = {"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"}
    result = run_code(code, folder=tmp_path / "published", **environment)
    assert result.returncode == 0, result.stderr
    name, fen = result.stdout.splitlines()[-1].split(" ", 1)
    assert name == TARGETS[run.name]
    board = chess.Board()
    board.push(ValueEngine(tmp_path / "published", device="cpu").play(board))
    assert fen == board.fen()
    assert ("behavioral-cloning" in card) == ("cross-entropy of the move" in card) == (run.name == "move")


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_rows_of_their_own_on_the_hub_train_too_and_are_measured_on_action_values(target, boards, tmp_path):
    rows = random_rows(50)
    if target == "move":
        write_rows(tmp_path / "rows.parquet", [(row.fen, row.moves[0]) for row in rows], PLAYED_MOVES)
    else:
        write_rows(tmp_path / "rows.parquet", [(row.fen, row.win_probs[0]) for row in rows], STATE_VALUES)
    settings = [f"data.validation={boards}", "evaluation.boards=20", "training.steps=2", "data.mirror=true"]
    with HubServer(tmp_path / "hub") as hub:
        repository = hub.repositories["datasets", "user/rows"] = Repository(private=False)
        commit = repository.commit("main", {"train.parquet": (tmp_path / "rows.parquet").read_bytes()})
        run = train("user/rows", target, tmp_path / "run", *settings, **hub.environment)
    assert yaml.safe_load((run / "config.yaml").read_text())["data"]["train"] == f"user/rows@{commit}"
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    evaluation = next(row for row in rows if row["kind"] == "eval")
    assert evaluation["num_boards"] == 20 and evaluation["regret"] > 0
    assert ("mae" in evaluation) == (target == "state_value")


@pytest.mark.parametrize(
    "setting",
    ["data.example=action", "data.label_noise=0.1", "model.tokens_per_action=2", "ranking_loss.weight=1"],
)
def test_settings_of_action_values_are_refused_for_other_targets(setting):
    settings = ["data.train=x", "data.target=move", setting]
    with pytest.raises(InputError, match=rf"{setting.partition('=')[0]} is for data.target=action_value"):
        load_config("chess_tiny.yaml", settings)
