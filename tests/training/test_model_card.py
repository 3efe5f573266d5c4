"""The card of a model: what it was trained on, and what was measured with its weights."""

import json
import re
import shutil

import pytest
from huggingface_hub import ModelCard

from cli.errors import InputError
from cli.options import write_json
from configs.loading import load_config
from eval.loading import identify_model
from eval.model_folder import model_digest
from tests.support.commands import REPOSITORY
from tests.support.pushed_run import REPO, code_blocks
from tests.support.training_runs import SAMPLE
from training.model_card import read_results, write_model_card


@pytest.mark.slow
def test_the_code_in_the_card_of_a_copied_folder_loads_it_and_plays(
    pushed_run, tmp_path, monkeypatch, capsys
):
    folder = shutil.copytree(pushed_run / "model", tmp_path / "elsewhere")
    monkeypatch.chdir(folder)
    scope = {}
    for block in code_blocks((folder / "README.md").read_text()):
        exec(block, scope)
    assert len(scope["board"].move_stack) == 1
    assert capsys.readouterr().out.count("'move': ") == 3


def test_the_card_shows_what_the_run_measured(pushed_run, model_hub):
    card = ModelCard(model_hub.files("models", REPO)["README.md"].decode())
    assert card.data.license == "apache-2.0" and card.data.library_name == "transformers"
    assert {"chess", "hl-gauss"} <= set(card.data.tags)
    last = json.loads((pushed_run / "metrics.jsonl").read_text().splitlines()[-1])
    results = {result.metric_type: result for result in card.data.eval_results}
    assert card.data.pipeline_tag == "reinforcement-learning"
    assert results["kl"].metric_value == pytest.approx(last["kl"], rel=5e-4)
    assert len(str(results["kl"].metric_value)) <= len("0.1234")
    agreement = results["best_move_agreement"]
    assert agreement.metric_name == "best-move agreement"
    assert agreement.metric_args == {"amount": "50 boards"}
    assert agreement.dataset_name == SAMPLE.name
    assert f"| {last['best_move_agreement']:.1%} | random {last['random_agreement']:.1%} |" in card.text
    assert "![Curves of the training run](curves.png)" in card.text
    assert "`step_4`, `step_8`" in card.text


def test_the_settings_in_the_card_train_the_same_again(pushed_run):
    path = pushed_run / "model/settings.yaml"
    assert path.read_text() in (pushed_run / "model/README.md").read_text()
    assert str(REPOSITORY) not in path.read_text()
    sources = [f"data.train={SAMPLE}", f"data.validation={SAMPLE}"]
    again = load_config(str(path), [f"output_dir={pushed_run}", *sources])
    made = load_config(str(pushed_run / "config.yaml"), ["trackers=[tensorboard]", "push_checkpoints=false"])
    made.push_to_hub = made.data.prepared_dir = None
    assert again == made


def test_data_on_the_hub_is_named_with_its_revision_and_split(copied_run):
    config = copied_run / "config.yaml"
    text = re.sub(r"  train: .*", "  train: user/boards@v1", config.read_text())
    config.write_text(re.sub(r"  validation: .*", "  validation: user/boards@v1:test", text))
    write_model_card(copied_run)
    card = ModelCard.load(copied_run / "model/README.md")
    assert card.data.datasets == ["user/boards"]
    result = card.data.eval_results[0]
    dataset = (result.dataset_type, result.dataset_revision, result.dataset_split)
    assert dataset == ("user/boards", "v1", "test")
    assert "50 boards of `user/boards@v1:test`" in card.text


def test_results_of_evaluations_are_shown_with_their_intervals(copied_run, tmp_path):
    folder = copied_run / "model"
    model = identify_model(folder)
    actions = {"best_move_agreement": 0.25, "random_agreement": 0.06, "regret": 0.05, "num_boards": 400}
    actions |= {"standard_errors": {"best_move_agreement": 0.01}, "data": "some/held_out.parquet"}
    puzzles = {"accuracy": 0.5, "low": 0.402, "high": 0.598, "num_puzzles": 100, "puzzles": "puzzles.csv"}
    elo = {
        "elo": 512.3,
        "low": None,
        "high": 700.0,
        "num_games": 40,
        "opponents": [{"name": "Stockfish 0", "rating": 1320}],
    }
    lost = elo | {"elo": None, "high": 911.2, "num_games": 8}
    won = elo | {"elo": None, "low": 2900.0, "high": None, "num_games": 8}
    files = []
    for found in (actions, puzzles, elo, lost, won):
        named = {"player": f"{model} temperature 0.1"} if "elo" in found else {"model": model}
        files.append(tmp_path / f"{len(files)}.json")
        write_json(files[-1], named | found)
    write_model_card(copied_run, results=read_results(files, "chess", folder, "tiny"))
    card = ModelCard.load(folder / "README.md")
    for line in (
        "| best-move agreement | 25.0% ± 2.0% | random 6.0% | 400 boards of `held_out.parquet` |",
        "| puzzles solved | 50.0% (40.2% to 59.8%) |  | 100 puzzles of `puzzles.csv` |",
        "| Elo | 512 (−∞ to 700) |  | 40 games against Stockfish 0 |",
        "| Elo | below 911 |  | 8 games against Stockfish 0 |",
        "| Elo | above 2900 |  | 8 games against Stockfish 0 |",
    ):
        assert line in card.text
    # A bound is not a number.
    assert [(r.dataset_name, r.metric_type, r.metric_value) for r in card.data.eval_results] == [
        ("held_out.parquet", "best_move_agreement", 0.25),
        ("held_out.parquet", "regret", 0.05),
        ("puzzles.csv", "accuracy", 0.5),
        ("Stockfish 0", "elo", 512.3),
    ]


def test_an_elo_against_many_opponents_has_a_short_name_for_the_hub(copied_run, tmp_path):
    folder = copied_run / "model"
    opponents = [
        {"name": f"Stockfish 15.1 skill {n} depth {n + 1}", "rating": 1320 + 100 * n} for n in range(6)
    ]
    found = {"elo": 1512.3, "low": 1400.0, "high": 1600.0, "num_games": 40, "opponents": opponents}
    write_json(tmp_path / "elo.json", {"player": identify_model(folder), **found})
    write_model_card(copied_run, results=read_results([tmp_path / "elo.json"], "chess", folder, "tiny"))
    card = ModelCard.load(folder / "README.md")
    (result,) = card.data.eval_results
    assert result.dataset_name == "6 opponents rated 1320 to 1820"
    assert result.dataset_type == "6-opponents-rated-1320-to-1820"
    assert "40 games against Stockfish 15.1 skill 0 depth 1, Stockfish 15.1 skill 1" in card.text


def test_puzzles_have_the_name_that_the_command_of_the_card_has_only_if_they_are_the_same(
    copied_run, tmp_path
):
    folder = copied_run / "model"
    sample = "data/chess/sample/puzzles.csv"
    files = []
    for path in ("elsewhere/puzzles.csv", REPOSITORY / sample):
        files.append(tmp_path / f"{len(files)}.json")
        found = {"accuracy": 0.5, "num_puzzles": 200, "puzzles": str(path)}
        write_json(files[-1], {"model": identify_model(folder), **found})
    write_model_card(copied_run, results=read_results(files, "chess", folder, "tiny"))
    text = (folder / "README.md").read_text()
    assert f"--puzzles {sample}    # 200 puzzles\n" in text
    assert "200 puzzles of `puzzles.csv`" in text and f"200 puzzles of `{sample}`" in text


def test_results_of_wordle_are_read_of_one_protocol_or_of_all(tmp_path, model_folder):
    settings = {"player": f"gone#{model_digest(model_folder)}", "num_answers": 446, "rule": "official"}
    official = {"protocol": "official", "success_rate": 0.9, "low": 0.87, "high": 0.92, "num_games": 446}
    official |= {"mean_return": -2.5, "return_standard_error": 0.1, "mean_guesses": 3.2}
    one_turn = {"protocol": "one_turn", "success_rate": 0.2, "low": 0.1, "high": 0.3, "bayes_ceiling": 0.5}
    one_turn |= {"mean_return": None, "num_games": 9, "num_states": 30, "behavior": "greedy"}
    write_json(tmp_path / "one.json", settings | official)
    write_json(tmp_path / "all.json", settings | {"one_turn": one_turn, "official": official})
    single = read_results([tmp_path / "one.json"], "wordle", model_folder, "agent")
    assert [(result.key, result.shown) for result in single] == [
        ("success_rate", "90.0% (87.0% to 92.0%)"),
        ("mean_return", "-2.500 ± 0.196"),
        ("mean_guesses", "3.20"),
    ]
    first, *rest = read_results([tmp_path / "all.json"], "wordle", model_folder, "agent")
    assert (first.title, first.compared) == ("next guess right", "ceiling 50.0%") and rest == single


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("{", "cannot be read"),
        ("[]", "no results for the card"),
        ('{"model": "user/tiny", "boards_per_second": 3}', "no results for the card"),
        ('{"elo": 30, "num_games": 4, "openings": {}}', "no results for the card"),
    ],
)
def test_other_files_are_not_taken_for_results(tmp_path, model_folder, content, part):
    path = tmp_path / "results.json"
    path.write_text(content)
    for task in ("chess", "wordle"):
        with pytest.raises(InputError, match=part):
            read_results([path], task, model_folder, "tiny")


@pytest.mark.parametrize("who", ["{folder}#12345678", "{folder}", "user/other#12345678", "greedy"])
def test_results_of_other_weights_are_refused_wherever_they_were(tmp_path, model_folder, who):
    path, who = tmp_path / "results.json", who.format(folder=model_folder)
    found = {"accuracy": 0.5, "num_puzzles": 100, "puzzles": "puzzles.csv"}
    write_json(path, {"model": f"somewhere/run#7#{model_digest(model_folder)}", **found})
    assert read_results([path], "chess", model_folder, "tiny")
    write_json(path, {"model": who, **found})
    name = who.partition("#")[0]
    with pytest.raises(InputError, match=f"results of {name}, not of the weights of tiny"):
        read_results([path], "chess", model_folder, "tiny")
