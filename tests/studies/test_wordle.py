"""A study of Wordle: trained, measured and probed with the real commands."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from cli.errors import InputError
from configs.loading import load_config, load_run_config
from data.wordle.games import GameDescription, read_games
from data.wordle.players import play_games
from data.wordle.rules import ALL_GREEN
from data.wordle.token_games import TokenGames, game_tokens
from eval.loading import WORDLE, load_model
from eval.wordle.model_player import ModelPlayer, read_game
from models.q_learning import QLearning
from models.tokenization_wordle import END_OF_STATE, make_wordle_tokenizer
from studies.probed_wordle import ProbedWordle
from studies.wordle import StudiedWordle
from tests.support.commands import assert_input_error, run_checked, run_command
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
CELLS = [f"{loss}-0.3-seed0" for loss in ("mse", "hl_gauss")]


@pytest.fixture(scope="module")
def games(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "games.parquet"
    run_checked("data.wordle.generate", "--words", "american_446", "--games", 400, "--output", path)
    return path


def arguments(games: Path, output: Path) -> list[object]:
    chosen = ["--variants", "mse", "hl_gauss", "--points", "0.3", "--seeds", "0"]
    return ["studies", "wordle_losses", "--output", output, *chosen, f"data.train={games}", *SIZES]


@pytest.fixture(scope="module")
def report(games, tmp_path_factory) -> tuple[Path, dict, str]:
    """The folder of the report, its results, and what the command printed."""
    output = tmp_path_factory.mktemp("study") / "out"
    printed = run_checked(*arguments(games, output))
    return output, json.loads((output / "results.json").read_text()), printed


@pytest.mark.slow
def test_results_are_those_of_the_models(report):
    output, results, printed = report
    assert [row["cell"] for row in results["cells"]] == CELLS
    for row in results["cells"]:
        config = load_run_config(output / row["cell"])
        assert (config.value_loss.name, config.q_learning.cql_alpha) == (row["variant"], float(row["point"]))
        folder = output / row["cell"] / "model"
        words = read_game(folder).words
        model, _ = load_model(folder, "cpu", kind=WORDLE)
        player, secrets = ModelPlayer(model), np.arange(len(words.answers))
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
    run_checked(
        "eval.wordle", "--model", output / CELLS[0] / "model", "--protocol", "one_turn", "--num-games", 2000,
        "--json", tmp_path / "results.json",
    )  # fmt: skip
    alone = json.loads((tmp_path / "results.json").read_text())
    assert alone["success_rate"] == results["cells"][0]["one_turn_success_rate"]
    levels = {level["title"]: level["value"] for level in results["levels"] if "one_turn" in level["key"]}
    assert levels == {"the data": alone["behavior_rate"], "Bayes ceiling": alone["bayes_ceiling"]}


@pytest.mark.slow
def test_its_models_are_probed(report):
    output, _, _ = report
    run_checked("studies.probes", output, "--point", "0.3", "--examples", 200)
    results = json.loads((output / "probes/results.json").read_text())
    found = {(row["variant"], row["point"], row["measure"]): row["mean"] for row in results["means"]}
    assert {place[:2] for place in found} == {
        (loss, layer) for loss in ("mse", "hl_gauss") for layer in ("0", "1")
    }
    for loss in ("mse", "hl_gauss"):
        # A token alone tells only the turn; attention gathers the earlier guesses.
        assert found[loss, "1", "absent"] > found[loss, "0", "absent"] + 0.05
        assert found[loss, "1", "words_left"] > 0.3
        assert found[loss, "1", "value"] > 0.1
    assert_input_error(run_command("studies.probes", output, "--point", "7"), "'7' is not a point", "0.3")


def probed_games(games: Path, limit: int) -> ProbedWordle:
    config = load_config("wordle_tiny.yaml", [f"data.train={games}"])
    return StudiedWordle(config, torch.device("cpu")).probed(limit)


def test_the_value_to_probe_is_minus_the_number_of_wrong_guesses_that_follow(games):
    probed = probed_games(games, 50)
    expected = []
    for turns, rows in probed.by_turns:
        for row in rows:
            last = turns - 1 if probed.games.patterns[row, turns - 1] == ALL_GREEN else turns
            expected += [-(last - number) for number in range(1, turns)]
    assert probed.targets.values["value"].tolist() == expected and min(expected) == -5 and max(expected) == 0


def test_features_are_those_that_the_next_guess_is_chosen_from(games, tmp_path):
    probed = probed_games(games, 30)
    model = tiny_token_model()
    model.save_pretrained(tmp_path)
    make_wordle_tokenizer().save_pretrained(tmp_path)
    features = probed.features(tmp_path)
    expected = []
    for turns, rows in probed.by_turns:
        tokens = torch.as_tensor(
            game_tokens(probed.games.guesses[rows, :turns], probed.games.patterns[rows, :turns])
        )
        with torch.no_grad():
            logits = model(tokens).logits
        # Feedback is over, and the game is not.
        (after,) = torch.nonzero(tokens[0, :-1] == END_OF_STATE, as_tuple=True)
        assert len(after) == turns - 1 and (tokens[:, after + 1] < 26).all()
        expected.append(logits[:, after].flatten(0, 1))
    with torch.no_grad():
        found = model.head(model.model.norm(torch.as_tensor(features[-1])))
    torch.testing.assert_close(found, torch.cat(expected).flatten(1), rtol=1e-4, atol=1e-5)


def test_a_model_of_other_games_is_refused(games, tmp_path):
    studied = StudiedWordle(load_config("wordle_tiny.yaml", [f"data.train={games}"]), torch.device("cpu"))
    (measurement,) = studied.measurements(["every_secret"])
    model = tmp_path / "cell/model"
    model.mkdir(parents=True)
    for changes in ({"seed": 1}, {"policy": "uniform"}, {"rule": "simplified"}, {"answers": ["abaci"]}):
        (model / "wordle.json").write_text(json.dumps(read_games(games)[1].to_json() | changes))
        with pytest.raises(InputError, match=r"cell was trained on other games than data\.train"):
            measurement.measure(model)


@pytest.mark.parametrize(
    ("policy", "who"), [("uniform and repeat", "uniform and repeat"), ("", "an unnamed policy")]
)
def test_games_of_an_unknown_policy_need_held_out_games(games, policy, who):
    config = load_config("wordle_tiny.yaml", [f"data.train={games}"])
    for source in (None, games):
        studied = StudiedWordle(config, torch.device("cpu"), games=source)
        studied.game = GameDescription(studied.game.words, "official", policy)
        if source is None:
            with pytest.raises(InputError, match=f"played by '{who}'.*--games"):
                studied.measurements(["next_guess"])
        else:
            (measurement,) = studied.measurements(["next_guess"])
            assert "400 held-out games" in measurement.description and np.isfinite(
                measurement.levels[1].value
            )


def test_imitation_is_the_loss_of_behaviour_cloning_in_won_and_in_lost_games(games, tmp_path):
    config = load_config("wordle_tiny.yaml", [f"data.train={games}"])
    studied = StudiedWordle(config, torch.device("cpu"), games=games)
    (measurement,) = studied.measurements(["imitation"])
    model, folder = tiny_token_model(), tmp_path / "cell/model"
    model.save_pretrained(folder)
    make_wordle_tokenizer().save_pretrained(folder)
    played, game = read_games(games)
    (folder / "wordle.json").write_text(json.dumps(game.to_json()))
    cloning = QLearning(
        model.value_loss,
        target="behavior_cloning",
        alpha=1,
        temperature=config.q_learning.cql_temperature,
    )
    expected = []
    for rows in (np.flatnonzero(played.won), np.flatnonzero(~played.won)):
        examples = TokenGames(played.guesses, played.patterns, played.rewards(), played.num_turns)
        batch = {name: torch.as_tensor(array) for name, array in examples.batch(rows).items()}
        with torch.no_grad():
            output = model(batch["input_ids"], logits_to_keep=batch["positions"])
            expected.append(float(cloning.loss(output, batch["actions"], batch["rewards"]).total))
    assert list(measurement.measure(folder).values()) == pytest.approx(expected, abs=1e-5)
    assert abs(expected[0] - expected[1]) > 1e-3
