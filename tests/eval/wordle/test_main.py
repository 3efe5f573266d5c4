"""`python -m eval.wordle` as a user runs it: results, comparisons, the choice of the game, bad input."""

import json
import re
import shutil
import sys

import numpy as np
import pytest
import torch

from cli.errors import InputError
from data.wordle.games import GameDescription, write_games
from data.wordle.players import make_player, play_games
from data.wordle.words import WordLists, load_word_lists
from eval.loading import WORDLE, load_model
from eval.wordle.__main__ import main
from models.tokenization_wordle import make_wordle_tokenizer
from tests.support.commands import assert_input_error, run_command
from tests.support.wordle_models import tiny_token_model


WORDS = WordLists(*(load_word_lists("american_446").answers[::step] for step in (8, 4)))
COMMON_KEYS = {"protocol", "success_rate", "low", "high", "mean_return", "mean_guesses", "num_games"}


def save_model(folder, game: GameDescription | None, seed: int = 0, **settings) -> None:
    """Save a tiny model with what belongs to it, as training does."""
    settings = {"num_hidden_layers": 1} | settings
    tiny_token_model(seed, **settings).save_pretrained(folder)
    make_wordle_tokenizer().save_pretrained(folder)
    if game is not None:
        (folder / "wordle.json").write_text(json.dumps(game.to_json()) + "\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of models, word lists and games; for reading alone."""
    folder = tmp_path_factory.mktemp("wordle")
    save_model(folder / "model", GameDescription(WORDS, "simplified"))
    save_model(folder / "other", GameDescription(WORDS, "simplified"), seed=1)
    save_model(folder / "official", GameDescription(WORDS, "official"))
    save_model(folder / "gameless", None)
    save_model(folder / "letters", GameDescription(WORDS, "simplified"), vocab_size=26)
    save_model(folder / "damaged", GameDescription(WORDS, "simplified"))
    (folder / "damaged" / "wordle.json").write_text('{"rule": "simplified"}')
    (folder / "words.txt").write_text("\n".join(WORDS.answers))
    (folder / "guesses.txt").write_text("\n".join(WORDS.guesses))
    (folder / "bad_words.txt").write_text("crane\nslates\n")
    secrets = np.arange(40) % len(WORDS.answers)
    games = play_games(make_player("uniform"), WORDS, "simplified", secrets, np.random.default_rng(0))
    write_games(folder / "games.parquet", [games], GameDescription(WORDS, "simplified", "uniform", 0))
    return folder


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run the command in this process; return its results and what it printed."""

    def run(*arguments: object) -> tuple[dict, str]:
        output = tmp_path / "results.json"
        monkeypatch.setattr(sys, "argv", ["wordle", *map(str, arguments), "--json", str(output)])
        main()
        return json.loads(output.read_text()), capsys.readouterr().out

    return run


def without_rates(results: dict) -> dict:
    """Leave out how fast it was."""
    return {
        key: without_rates(value) if isinstance(value, dict) else value
        for key, value in results.items()
        if not key.endswith("_per_second")
    }


def test_command_measures_a_model_in_the_game_it_was_trained_for(folder, tmp_path):
    output = tmp_path / "results.json"
    done = run_command("eval.wordle", "--model", folder / "model", "--num-games", 30, "--json", output)
    assert done.returncode == 0, done.stderr
    results = json.loads(output.read_text())
    assert (results["rule"], results["num_answers"], results["num_guesses"]) == (
        "simplified",
        len(WORDS.answers),
        len(WORDS.guesses),
    )
    for protocol, num_games in (("one_turn", 30), ("lmrl", 30), ("official", len(WORDS.answers))):
        assert results[protocol].keys() >= COMMON_KEYS
        assert (results[protocol]["protocol"], results[protocol]["num_games"]) == (protocol, num_games)
        assert protocol + ":" in done.stdout
    assert 0 < results["one_turn"]["bayes_ceiling"] < 1
    assert "games/s" in done.stdout and "Bayes ceiling" in done.stdout and "solved at turn" in done.stdout


def test_protocols_give_the_same_alone_and_one_after_another(folder, run):
    arguments = ("--model", folder / "model", "--num-games", 25, "--temperature", 0.5, "--seed", 3)
    together, _ = run(*arguments)
    for protocol in ("one_turn", "lmrl"):
        alone, _ = run(*arguments, "--protocol", protocol)
        assert alone.items() >= without_rates(together[protocol]).items()
    assert [together[name]["temperature"] for name in ("one_turn", "lmrl", "official")] == [0.5, 0.5, 0]
    alone, _ = run("--model", folder / "model", "--protocol", "official")
    assert alone.items() >= without_rates(together["official"]).items()


def test_scripted_players_run_through_the_same_protocols(folder, run):
    lists = ("--words", folder / "words.txt", "--guesses", folder / "guesses.txt", "--rule", "simplified")
    greedy, _ = run("--policy", "greedy", "--protocol", "official", *lists)
    assert greedy["success_rate"] == 1 and greedy["num_answers"] == len(WORDS.answers)
    mixture, _ = run("--policy", "mixture:0.33", "--protocol", "lmrl", *lists)
    assert mixture["num_games"] == 4096 and mixture["score"] == pytest.approx(50, abs=3)
    consistent, shown = run("--policy", "consistent", "--protocol", "one_turn", *lists, "--num-games", 500)
    assert consistent["success_rate"] == pytest.approx(consistent["bayes_ceiling"], abs=0.05)
    assert "by mixture:0.33" in shown


def test_comparison_gives_both_the_same_secrets(folder, run):
    model = ("--model", folder / "model")
    for options in (("--protocol", "lmrl", "--num-games", 50), ("--protocol", "official")):
        alone, _ = run(*model, *options)
        results, shown = run(*model, *options, "--compare", "policy:greedy")
        assert results.items() >= without_rates(alone).items()
        other, comparison = results["compared_with"], results["comparison"]
        assert other["player"] == "greedy" and other["success_rate"] == 1
        assert comparison["return_difference"] == pytest.approx(results["mean_return"] - other["mean_return"])
        assert comparison["success_difference"] == pytest.approx(results["success_rate"] - 1)
        assert comparison["only_first_won"] == 0 and comparison["mcnemar_p_value"] < 1e-6
        assert comparison["high"] < 0 and "McNemar" in shown
    same, _ = run(*model, "--protocol", "official", "--compare", folder / "model")
    assert same["comparison"]["mcnemar_p_value"] == 1 and same["comparison"]["return_difference"] == 0
    results, shown = run(*model, "--protocol", "official", "--compare", folder / "other")
    assert re.fullmatch(r"other#\w{8}", results["compared_with"]["player"])
    assert f"{folder.name} against other, on the same" in shown and str(folder) not in shown


def test_options_say_what_is_played_before_the_model_does(folder, run):
    words = ("--words", folder / "guesses.txt")
    (folder / "some.txt").write_text("\n".join(WORDS.answers[:2]))
    for arguments, rule, num_answers, num_guesses in (
        (("--rule", "official"), "official", len(WORDS.answers), len(WORDS.guesses)),
        (words, "simplified", len(WORDS.guesses), len(WORDS.guesses)),
        (("--words", folder / "some.txt"), "simplified", 2, len(WORDS.guesses)),
        (("--guesses", "american_446"), "simplified", len(WORDS.answers), 446),
    ):
        results, _ = run("--model", folder / "model", "--protocol", "official", *arguments)
        played = results["rule"], results["num_answers"], results["num_guesses"]
        assert played == (rule, num_answers, num_guesses)
    results, _ = run("--model", folder / "gameless", "--protocol", "official", *words, "--rule", "official")
    assert results["num_answers"] == len(WORDS.guesses)
    results, _ = run("--policy", "uniform", "--compare", folder / "model", "--protocol", "official")
    assert (results["rule"], results["num_answers"]) == ("simplified", len(WORDS.answers))


def test_one_turn_takes_the_games_of_a_file(folder, run):
    arguments = ("--model", folder / "model", "--protocol", "one_turn")
    results, shown = run(*arguments, "--games", folder / "games.parquet")
    assert results["behavior"] == "uniform" and results["num_games"] == 40 and "by uniform" in shown
    results, _ = run(*arguments, "--games", folder / "games.parquet", "--num-games", 10)
    assert results["num_games"] == 10


BAD = {
    "unknown player": ("--policy nobody", "unknown player 'nobody': choose one of uniform, consistent"),
    "unknown rival": ("--policy uniform --protocol lmrl --compare policy:nobody", "unknown player 'nobody'"),
    "unknown behavior": (
        "--policy uniform --words american_446 --behavior nobody",
        "unknown player 'nobody'",
    ),
    "no such model": ("--model {}/nowhere", "nowhere: no such folder"),
    "no game": ("--model {}/gameless", "no wordle.json"),
    "no rule": ("--model {}/gameless --words american_446", "give --words and --rule"),
    "damaged game": ("--model {}/damaged", "its wordle.json does not describe a game"),
    "other vocabulary": (
        "--model {}/letters",
        "74 tokens of a vocabulary of 26; a game of Wordle takes 74 of 35",
    ),
    "two games": ("--model {0}/model --compare {0}/official --protocol lmrl", "for different games"),
    "bad words": ("--policy uniform --words {}/bad_words.txt", "bad_words.txt line 2: 'slates'"),
    "missing words": ("--model {0}/model --guesses {0}/bad_words.txt", "bad_words.txt line 2"),
    "answers not allowed": (
        "--policy uniform --words {0}/guesses.txt --guesses {0}/words.txt",
        "secret words are not allowed guesses",
    ),
    "foreign games": (
        "--policy uniform --words american_446 --games {}/games.parquet",
        "not the official one",
    ),
    "foreign words": (
        "--policy uniform --words american_446 --rule simplified --games {}/games.parquet",
        "other word lists",
    ),
    "no device": ("--model {}/model --device nonsense", "device 'nonsense' cannot be used"),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_input_is_named_in_one_line(fault, folder, run):
    arguments, message = BAD[fault]
    with pytest.raises(InputError) as caught:
        run(*arguments.format(folder).split())
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--protocol official", "one of the arguments --model --policy is required"),
        ("--policy uniform --seed -1", "'-1' is not a whole number from 0 to"),
        ("--policy uniform --num-games 0", "above zero"),
        (
            "--policy uniform --compare policy:greedy",
            "--compare needs --protocol lmrl or --protocol official",
        ),
        ("--policy uniform --no-mask", "need a model"),
        ("--policy uniform --temperature 1", "need a model"),
        (
            "--policy uniform --protocol official --num-games 7",
            "--num-games has no effect with --protocol official",
        ),
        ("--model x --play --num-games 7", "--play takes only a model and its options"),
        ("--model x --play --protocol lmrl", "--play takes only a model and its options"),
        (
            "--model x --temperature 1 --protocol official",
            "--temperature has no effect with --protocol official",
        ),
        ("--policy uniform --behavior greedy --protocol lmrl", "need --protocol one_turn"),
        ("--policy uniform --behavior greedy --games x", "are incompatible"),
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["wordle", *arguments.split()])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2 and message in capsys.readouterr().err


def test_command_refuses_a_chess_model_and_results_that_cannot_be_written(model_folder, tmp_path):
    done = run_command("eval.wordle", "--model", model_folder)
    assert_input_error(done, "ValueTransformerForActionValue", "not a model that values the tokens of Wordle")
    done = run_command("eval.wordle", "--policy", "uniform", "--json", tmp_path)
    assert_input_error(done, "is a folder")


def test_a_wordle_model_is_none_of_chess(folder):
    with pytest.raises(InputError, match="not a model that plays chess"):
        load_model(folder / "model", "cpu")


def test_a_model_that_predicts_no_numbers_is_refused(folder, tmp_path, run):
    shutil.copytree(folder / "model", tmp_path / "model")
    model, _ = load_model(tmp_path / "model", "cpu", kind=WORDLE)
    model.model.position_embedding.weight.data[40] = torch.nan
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(InputError, match="not finite"):
        run("--model", tmp_path / "model")
