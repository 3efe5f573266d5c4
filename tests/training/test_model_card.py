"""The card of a model: what it was trained on, what was measured, and nothing that was not."""

import json
import re
import sys

import pytest
from huggingface_hub import ModelCard

from cli.errors import InputError
from cli.options import write_json
from configs.schema import load_config
from eval.loading import identify_model, model_digest
from tests.support.commands import REPOSITORY
from tests.support.pushed_run import REPO, code_blocks
from tests.support.training_runs import SAMPLE
from training.model_card import make_card, read_results, write_model_card
from training.publish import main, publish


def test_a_card_that_was_not_pushed_loads_the_folder_and_plays(copied_run):
    write_model_card(copied_run)
    scope = {}
    for block in code_blocks((copied_run / "model/README.md").read_text()):
        exec(block, scope)
    assert len(scope["board"].move_stack) == 1


def test_the_card_says_what_was_measured_on_what(pushed_run, model_hub):
    card = ModelCard(model_hub.files("models", REPO)["README.md"].decode())
    assert card.data.license == "apache-2.0" and card.data.library_name == "transformers"
    assert {"chess", "hl-gauss"} <= set(card.data.tags)
    last = json.loads((pushed_run / "metrics.jsonl").read_text().splitlines()[-1])
    results = {result.metric_type: result for result in card.data.eval_results}
    assert results["kl"].metric_value == last["kl"]
    agreement = results["best_move_agreement"]
    assert agreement.metric_name == "best-move agreement, 50 boards"
    assert agreement.dataset_name == SAMPLE.name
    assert f"| {last['best_move_agreement']:.1%} | random {last['random_agreement']:.1%} |" in card.text
    assert "![Curves of the training run](curves.png)" in card.text
    assert "`step_4`, `step_8`" in card.text


def test_the_settings_on_the_card_are_those_of_the_run_without_its_places(pushed_run, tmp_path):
    card = (pushed_run / "model/README.md").read_text()
    assert str(pushed_run) not in card and str(REPOSITORY) not in card
    path = tmp_path / "settings.yaml"
    path.write_text(re.search(r"```yaml\n(.*?)```", card, re.DOTALL)[1])
    again = load_config(
        str(path), [f"output_dir={pushed_run}", f"data.train={SAMPLE}", f"data.validation={SAMPLE}"]
    )
    made = load_config(str(pushed_run / "config.yaml"), ["trackers=[tensorboard]", "push_checkpoints=false"])
    made.push_to_hub = made.data.prepared_dir = None
    assert again == made


def test_a_card_that_was_written_by_hand_is_kept_if_asked_for(copied_run, own_hub):
    card = copied_run / "model/README.md"
    card.write_text(card.read_text().replace("## Limits", "## Limits\n\nIt loves its queen."))
    for keep in (True, False):
        publish(copied_run, REPO, keep_card=keep)
        assert (b"It loves its queen" in own_hub.files("models", REPO)["README.md"]) == keep


def test_data_of_the_hub_is_named_as_such(copied_run):
    config = copied_run / "config.yaml"
    text = re.sub(r"  train: .*", "  train: user/boards@v1", config.read_text())
    config.write_text(re.sub(r"  validation: .*", "  validation: user/boards@v1:test", text))
    write_model_card(copied_run)
    card = ModelCard.load(copied_run / "model/README.md")
    assert card.data.datasets == ["user/boards"]
    result = card.data.eval_results[0]
    assert (result.dataset_type, result.dataset_revision, result.dataset_split) == (
        "user/boards",
        "v1",
        "test",
    )
    assert "50 boards of `user/boards@v1:test`" in card.text


def test_results_of_evaluations_go_into_the_card(copied_run, own_hub, tmp_path, monkeypatch):
    model = identify_model(copied_run / "model")
    actions = {"best_move_agreement": 0.25, "random_agreement": 0.06, "regret": 0.05, "num_boards": 400}
    actions |= {"standard_errors": {"best_move_agreement": 0.01}, "data": "some/held_out.parquet"}
    puzzles = {
        "accuracy": 0.5,
        "low": 0.402,
        "high": 0.598,
        "num_puzzles": 100,
        "puzzles": "some/puzzles.csv",
    }
    elo = {"elo": 512.3, "low": None, "high": 700.0, "num_games": 40, "opponents": [{"name": "Stockfish 0"}]}
    files = []
    for name, results in {"actions": actions, "puzzles": puzzles, "elo": elo}.items():
        named = {"player": f"{model} temperature 0.1"} if name == "elo" else {"model": model}
        files.append(tmp_path / f"{name}.json")
        write_json(files[-1], named | results)
    arguments = ["training.publish", f"--run={copied_run}", f"--repo={REPO}", "--results", *map(str, files)]
    monkeypatch.setattr(sys, "argv", arguments)
    main()
    card = ModelCard(own_hub.files("models", REPO)["README.md"].decode())
    for line in (
        "| best-move agreement | 25.0% ± 2.0% | random 6.0% | 400 boards of `held_out.parquet` |",
        "| puzzles solved | 50.0% (40.2% to 59.8%) |  | 100 puzzles of `puzzles.csv` |",
        "| Elo | 512 (−∞ to 700) |  | 40 games against Stockfish 0 |",
    ):
        assert line in card.text
    measured = {(r.dataset_name, r.metric_type): r.metric_value for r in card.data.eval_results}
    assert measured["puzzles.csv", "accuracy"] == 0.5
    assert measured["Stockfish 0", "elo"] == 512.3
    assert measured["held_out.parquet", "best_move_agreement"] == 0.25
    assert ("test_boards.parquet", "best_move_agreement") in measured


@pytest.mark.parametrize(("low", "high", "shown"), [(None, 911.2, "below 911"), (2900.0, None, "above 2900")])
def test_of_a_player_who_lost_or_won_every_game_the_card_shows_the_bound(
    copied_run, tmp_path, low, high, shown
):
    player = f"gone#{model_digest(tmp_path / 'model')}"
    rating = {"player": player, "elo": None, "low": low, "high": high, "num_games": 40}
    write_json(tmp_path / "elo.json", rating | {"opponents": [{"name": "Stockfish 0"}]})
    card = ModelCard(make_card(copied_run, "model", read_results(tmp_path / "elo.json", tmp_path / "model")))
    assert f"| Elo | {shown} |" in card.text
    assert "elo" not in [result.metric_type for result in card.data.eval_results or []]


def test_results_of_wordle_are_read_of_one_protocol_or_of_all(tmp_path):
    settings = {"agent": f"gone#{model_digest(tmp_path / 'model')}", "num_answers": 446, "rule": "official"}
    official = {"protocol": "official", "success_rate": 0.9, "low": 0.87, "high": 0.92, "num_games": 446}
    official |= {"mean_return": -2.5, "return_standard_error": 0.1, "mean_guesses": 3.2}
    one_turn = {"protocol": "one_turn", "success_rate": 0.2, "low": 0.1, "high": 0.3, "bayes_ceiling": 0.5}
    one_turn |= {"mean_return": None, "num_games": 9, "num_states": 30, "behavior": "greedy"}
    write_json(tmp_path / "one.json", settings | official)
    write_json(tmp_path / "all.json", settings | {"one_turn": one_turn, "official": official})
    single = read_results(tmp_path / "one.json", tmp_path / "model")
    assert [(result.key, result.shown) for result in single] == [
        ("success_rate", "90.0% (87.0% to 92.0%)"),
        ("mean_return", "-2.500 ± 0.196"),
        ("mean_guesses", "3.20"),
    ]
    first, *rest = read_results(tmp_path / "all.json", tmp_path / "model")
    assert (first.title, first.compared) == ("next guess right", "ceiling 50.0%") and rest == single


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("{", "cannot be read"),
        ("[]", "no results that a card shows"),
        ('{"model": "user/tiny", "boards_per_second": 3}', "no results that a card shows"),
        ('{"elo": 30, "num_games": 4, "openings": {}}', "no results that a card shows"),
    ],
)
def test_other_files_are_not_taken_for_results(tmp_path, content, part):
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(InputError, match=part):
        read_results(path, tmp_path / "model")


@pytest.mark.parametrize(
    ("who", "part"),
    [
        (
            "{folder}#12345678",
            "holds numbers of {folder}, these weights were not in it: evaluate {folder} again",
        ),
        ("{folder}", "these weights were not in it"),
        ("user/other#12345678", "numbers of user/other, not of {folder}"),
        ("user/other", "not of {folder}"),
        ("greedy", "not of {folder}"),
    ],
)
def test_numbers_of_other_weights_are_refused_wherever_these_were(tmp_path, model_folder, who, part):
    path = tmp_path / "results.json"
    protocol = {"protocol": "lmrl", "success_rate": 0.9, "low": 0.87, "high": 0.92, "num_games": 446}
    protocol |= {"mean_return": -2.5, "return_standard_error": 0.1, "mean_guesses": 3.2}
    shared = {"num_answers": 446, "rule": "official", **protocol}
    write_json(path, {"agent": f"somewhere/run#7#{model_digest(model_folder)}", **shared})
    assert read_results(path, model_folder)
    write_json(path, {"agent": who.format(folder=model_folder), **shared})
    with pytest.raises(InputError, match=re.escape(part.format(folder=model_folder))):
        read_results(path, model_folder)
