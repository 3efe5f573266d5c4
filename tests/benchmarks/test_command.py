"""The command measures what it is asked for, and its tables and its JSON hold the same numbers."""

import json

import pytest

from benchmarks.__main__ import BENCHMARKS
from benchmarks.timing import Table
from data.wordle.games import GameDescription
from data.wordle.words import WordLists, load_word_lists
from models.tokenization_wordle import make_wordle_tokenizer
from tests.support.commands import assert_input_error, run_checked, run_command
from tests.support.wordle_models import tiny_token_model


def run_quick(tmp_path, *arguments: object) -> dict:
    """Run benchmarks with little work; check that what they print is in the JSON, which is returned."""
    output = tmp_path / "speed.json"
    printed = run_checked("benchmarks", *arguments, "--quick", "--json", output)
    measured = json.loads(output.read_text())
    for tables in measured["tables"].values():
        for table in tables:
            assert str(Table(**table)) in printed
    return measured


@pytest.mark.slow
def test_a_benchmark_is_chosen_by_its_name(tmp_path):
    measured = run_quick(tmp_path, "losses", "--seed", 3)
    assert list(measured["tables"]) == ["losses"]
    (table,) = measured["tables"]["losses"]
    assert {"cross-entropy on class indices", "hl_gauss", "mse"} < table["rows"].keys()
    assert (measured["seed"], measured["repeats"]) == (3, 1)
    assert measured["device"] and measured["seconds"] > 0


@pytest.mark.slow
def test_all_benchmarks_run(tmp_path):
    measured = run_quick(tmp_path)
    assert list(measured["tables"]) == list(BENCHMARKS)
    assert all(measured["tables"].values())


@pytest.mark.slow
def test_trained_models_play(tmp_path, model_folder):
    measured = run_quick(tmp_path, "play", "--model", model_folder)
    assert measured["tables"]["play"][0]["notes"][0].startswith("0.1M parameters")

    words = WordLists(*[load_word_lists("american_446").answers[::4]] * 2)
    game = GameDescription(words, "simplified")
    tiny_token_model(num_hidden_layers=1).save_pretrained(tmp_path / "wordle")
    make_wordle_tokenizer().save_pretrained(tmp_path / "wordle")
    (tmp_path / "wordle" / "wordle.json").write_text(json.dumps(game.to_json()))
    measured = run_quick(tmp_path, "wordle", "--model", tmp_path / "wordle")
    environments, *_ = measured["tables"]["wordle"]
    assert environments["notes"] == ["112 secret words, 112 allowed guesses, simplified rule"]


def test_bad_options_are_refused_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    for arguments, parts in (
        (["--json", tmp_path / "file" / "speed.json"], [str(tmp_path / "file")]),
        (["play", "--model", tmp_path / "missing"], [str(tmp_path / "missing")]),
        (["play", "--config", "wordle_tiny.yaml"], ["these benchmarks measure chess: play", "wordle"]),
        (["losses", "--config", "missing.yaml"], ["missing.yaml"]),
    ):
        assert_input_error(run_command("benchmarks", *arguments), *parts)


def test_without_stockfish_labels_are_left_out():
    printed = run_checked("benchmarks", "data", "--quick", STOCKFISH="/nowhere")
    assert "labels are not measured: " in printed and "character by character" in printed


def test_unknown_names_and_negative_seeds_are_refused():
    unknown = run_command("benchmarks", "trainin")
    assert unknown.returncode == 2
    assert "there is no benchmark 'trainin': choose from training, play, data" in unknown.stderr
    negative = run_command("benchmarks", "--seed", -1)
    assert negative.returncode == 2
    assert "argument --seed: '-1' is not a whole number from 0 to 2**32 - 1" in negative.stderr
