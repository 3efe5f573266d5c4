"""A study of Wordle: trained, interrupted, measured and probed with the real commands."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from cli.errors import InputError
from configs.schema import load_config, save_config
from data.wordle.games import GameDescription, read_games
from data.wordle.players import play_games
from data.wordle.rules import ALL_GREEN
from data.wordle.token_games import game_tokens
from data.wordle.words import load_word_lists
from eval.loading import load_wordle_model
from eval.wordle.model_player import ModelPlayer, read_game
from models.tokenization_wordle import END_OF_STATE, make_wordle_tokenizer
from studies.probed_wordle import ProbedWordle
from studies.wordle import NextGuess, StudiedWordle
from tests.support.commands import assert_input_error, run_command
from tests.support.wordle_models import tiny_token_model
from training.run_log import read_metrics


SIZES = (
    "model.hidden_size=16",
    "model.num_attention_heads=2",
    "model.num_hidden_layers=1",
    "training.steps=60",
    "training.batch_size=16",
    "training.precision=fp32",
    "checkpoint.every=50",
    "evaluation.every=60",
    "log_every=1",
)
CELLS = [f"{loss}-0.3-seed{seed}" for seed in (0, 1) for loss in ("mse", "hl_gauss")]


@pytest.fixture(scope="module")
def games(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "games.parquet"
    result = run_command("data.wordle.generate", "--words", "american_446", "--games", 400, "--output", path)
    assert result.returncode == 0, result.stderr
    return path


def arguments(games: Path, output: Path) -> list[object]:
    chosen = ["--variants", "mse", "hl_gauss", "--points", "0.3", "--seeds", "0", "1"]
    return ["studies", "wordle_losses", "--output", output, *chosen, f"data.train={games}", *SIZES]


@pytest.fixture(scope="module")
def report(games, tmp_path_factory) -> tuple[Path, dict, str]:
    """The folder of the report, its results, and what the command printed."""
    output = tmp_path_factory.mktemp("study") / "out"
    result = run_command(*arguments(games, output))
    assert result.returncode == 0, result.stderr
    return output, json.loads((output / "results.json").read_text()), result.stdout


@pytest.mark.slow
def test_every_cell_is_trained_with_its_loss_weight_and_seed(report):
    output, results, _ = report
    assert [row["cell"] for row in results["cells"]] == CELLS
    for row in results["cells"]:
        config = load_config(str(output / row["cell"] / "config.yaml"), [])
        assert (config.value_loss.name, config.q_learning.cql_alpha) == (row["variant"], float(row["point"]))
        assert (config.seed, config.model.hidden_size) == (row["seed"], 16)


@pytest.mark.slow
def test_results_are_those_of_the_models(report):
    output, results, printed = report
    for row in results["cells"]:
        folder = output / row["cell"] / "model"
        words = read_game(folder).words
        player, secrets = ModelPlayer(load_wordle_model(folder, "cpu")), np.arange(len(words.answers))
        played = play_games(player, words, "official", secrets, np.random.default_rng(0))
        assert row["success_rate"] == played.won.mean()
        assert row["mean_return"] == pytest.approx(played.returns().mean())
        [*_, last] = [row for row in read_metrics(folder.parent / "metrics.jsonl") if row["kind"] == "eval"]
        assert last["success_rate"] == row["success_rate"]
    levels = {(level["key"], level["title"]): level["value"] for level in results["levels"]}
    assert levels["mean_return", "the data"] == pytest.approx(last["data_return"])
    assert (
        0 < levels["one_turn_success_rate", "the data"] < levels["one_turn_success_rate", "Bayes ceiling"] < 1
    )
    assert (output / "report.md").read_text() in printed
    assert (output / "report.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_one_turn_is_that_of_the_wordle_command(report, tmp_path):
    output, results, _ = report
    result = run_command(
        "eval.wordle", "--model", output / CELLS[0] / "model", "--protocol", "one_turn", "--num-games", 2000,
        "--json", tmp_path / "results.json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    alone = json.loads((tmp_path / "results.json").read_text())
    assert alone["success_rate"] == results["cells"][0]["one_turn_success_rate"]
    levels = {level["title"]: level["value"] for level in results["levels"] if "one_turn" in level["key"]}
    assert levels == {"the data": alone["behavior_rate"], "Bayes ceiling": alone["bayes_ceiling"]}


@pytest.mark.slow
def test_its_models_are_probed(report):
    output, _, _ = report
    result = run_command("studies.probes", output, "--point", "0.3", "--examples", 200)
    assert result.returncode == 0, result.stderr
    results = json.loads((output / "probes/results.json").read_text())
    found = {(row["variant"], row["point"]): row for row in results["groups"]}
    assert set(found) == {(loss, layer) for loss in ("mse", "hl_gauss") for layer in ("0", "1")}
    for loss in ("mse", "hl_gauss"):
        # A token by itself says only the turn; attention gathers what was guessed before.
        assert found[loss, "1"]["absent"]["mean"] > found[loss, "0"]["absent"]["mean"] + 0.05
        assert found[loss, "1"]["words_left"]["mean"] > 0.3
        assert found[loss, "1"]["value"]["mean"] > 0.1
    assert_input_error(run_command("studies.probes", output, "--point", "7"), "no such point: 0.3")
    assert_input_error(
        run_command("studies.probes", output / "probes" / "nowhere"), "not the report of a study"
    )


def test_probes_look_for_the_wrong_guesses_that_follow(games):
    probed = ProbedWordle(load_config("wordle_tiny.yaml", [f"data.train={games}"]), 50, torch.device("cpu"))
    expected = []
    for turns, rows in probed.by_turns:
        for row in rows:
            last = turns - 1 if probed.patterns[row, turns - 1] == ALL_GREEN else turns
            expected += [-(last - number) for number in range(1, turns)]
    assert probed.targets["value"].tolist() == expected and min(expected) == -5 and max(expected) == 0


def test_features_are_those_that_the_next_guess_is_chosen_by(games, tmp_path):
    probed = ProbedWordle(load_config("wordle_tiny.yaml", [f"data.train={games}"]), 30, torch.device("cpu"))
    model = tiny_token_model()
    model.save_pretrained(tmp_path)
    make_wordle_tokenizer().save_pretrained(tmp_path)
    data = probed.features(str(tmp_path))
    expected = []
    for turns, rows in probed.by_turns:
        tokens = torch.as_tensor(game_tokens(probed.guesses[rows, :turns], probed.patterns[rows, :turns]))
        with torch.no_grad():
            logits = model(tokens).logits
        # Feedback is over, and the game is not.
        (after,) = torch.nonzero(tokens[0, :-1] == END_OF_STATE, as_tuple=True)
        assert len(after) == turns - 1 and (tokens[:, after + 1] < 26).all()
        expected.append(logits[:, after].flatten(0, 1))
    with torch.no_grad():
        found = model.head(model.model.norm(torch.as_tensor(data.features[-1])))
    torch.testing.assert_close(found, torch.cat(expected).flatten(1), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_called_again_nothing_is_trained_and_other_settings_are_refused(games, report):
    output, results, _ = report
    again = run_command(*arguments(games, output))
    assert "4 cells, 4 of them trained already" in again.stdout and "is trained" not in again.stdout
    assert json.loads((output / "results.json").read_text())["groups"] == results["groups"]
    other = run_command(*arguments(games, output), "training.warmup_steps=3")
    assert_input_error(other, f"{CELLS[0]} was trained with other settings: training.warmup_steps: 20, now 3")


def task_of(games: Path, source: Path | None = None) -> StudiedWordle:
    settings = [f"data.train={games}", "output_dir=out"]
    return StudiedWordle(load_config("wordle_tiny.yaml", settings), None, source, torch.device("cpu"))


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"seed": 1}, "seed: 1, now 0"),
        ({"policy": "uniform"}, "policy: 'uniform', now 'mixture:0.33'"),
        ({"rule": "simplified", "seed": None}, "rule: simplified, now official; seed: None, now 0"),
        ({"answers": ["abaci"]}, "words: 1 secret and 446 allowed"),
        (None, "no model/wordle.json"),
    ],
    ids=str,
)
def test_a_model_of_other_games_is_refused(games, tmp_path, changes, part):
    model = tmp_path / "cell/model"
    model.mkdir(parents=True)
    if changes is not None:
        (model / "wordle.json").write_text(json.dumps(read_games(games)[1].to_json() | changes))
    with pytest.raises(InputError) as raised:
        task_of(games).check_model(model)
    assert part in str(raised.value) and f"remove {tmp_path / 'cell'}" in str(raised.value)


@pytest.mark.slow
def test_it_is_refused_before_anything_is_trained(games, tmp_path):
    line, cell = arguments(games, tmp_path), tmp_path / CELLS[2]
    (cell / "model").mkdir(parents=True)
    settings = ["value_loss.name=mse", "q_learning.cql_alpha=0.3", "seed=1", f"data.train={games}", *SIZES]
    save_config(load_config("wordle_tiny.yaml", [*settings, "tensorboard=false"]), cell / "config.yaml")
    (cell / "model/wordle.json").write_text(json.dumps(read_games(games)[1].to_json() | {"seed": 7}))
    assert_input_error(run_command(*line), str(cell), "seed: 7, now 0")
    assert [path.name for path in tmp_path.iterdir()] == [cell.name]


@pytest.mark.parametrize(
    ("policy", "who"), [("uniform and repeat", "'uniform and repeat'"), ("", "players it does not name")]
)
def test_data_of_players_that_cannot_be_asked_again_needs_games(games, policy, who):
    game = GameDescription(load_word_lists("american_446"), "official", policy)
    with pytest.raises(InputError, match=f"played by {who}.*--games"):
        NextGuess(game, None, torch.device("cpu"))
    turn = NextGuess(game, games, torch.device("cpu"))
    assert len(turn.games) == 400 and np.isfinite(turn.levels[1].value)


def test_puzzles_are_not_for_wordle(games, tmp_path):
    line = [*arguments(games, tmp_path / "out"), "--puzzles", "puzzles.csv"]
    assert_input_error(run_command(*line), "--puzzles is not for wordle")
