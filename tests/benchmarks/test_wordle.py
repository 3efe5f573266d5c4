"""The speed table of Wordle: every way does the same work, and table and JSON hold what was measured."""

import json
import sys

import numpy as np
import pytest

from cli.errors import InputError, command
from configs.schema import load_config
from data.wordle.environment import WordleEnv, WordleVectorEnv
from data.wordle.games import GameDescription
from data.wordle.word_trie import WordTrie
from data.wordle.words import WordLists, load_word_lists
from eval.wordle import speed
from eval.wordle.token_agent import TokenAgent
from models.tokenization_wordle import make_wordle_tokenizer
from tests.support.commands import assert_input_error, run_command
from tests.support.wordle_models import tiny_token_model
from training.tasks.wordle import WordleTask


WORDS = WordLists(*[load_word_lists("american_446").answers[::4]] * 2)
LETTERS = WORDS.guess_letters


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run the command with little work in this process; return its results and what it printed."""

    def run(*arguments: object) -> tuple[dict, str]:
        output = tmp_path / "speed.json"
        for name, value in {
            "NUM_ENVS": 8,
            "STEPS_OF_EACH": 7,
            "STEPS_OF_ONE": 14,
            "SCRIPTED_GAMES_ONE_BY_ONE": 3,
            "MODEL_GAMES_ONE_BY_ONE": 2,
        }.items():
            monkeypatch.setattr(speed, name, value)
        monkeypatch.setattr(sys, "argv", ["speed", *map(str, arguments), "--json", str(output)])
        speed.main()
        return json.loads(output.read_text()), capsys.readouterr().out

    return run


@pytest.mark.parametrize("rule", ["official", "simplified"])
def test_play_without_cache_is_what_the_agent_plays(rule):
    model, trie = tiny_token_model(hidden_size=32, num_attention_heads=4), WordTrie(LETTERS)
    naive = speed.play_without_cache(model, trie, LETTERS, rule)
    for batch_size, num_games in ((len(LETTERS), len(LETTERS)), (1, 5)):
        cached = TokenAgent(model, trie, batch_size=batch_size).play(LETTERS[:num_games], rule)
        for expected, got in zip(cached, naive, strict=True):
            np.testing.assert_array_equal(got[:num_games], expected)
    assert 0 < naive.is_won.sum() < len(LETTERS)


def test_play_without_cache_ends_when_every_game_is_won():
    model, trie = tiny_token_model(), WordTrie(LETTERS)
    first_guess = speed.play_without_cache(model, trie, LETTERS[:1], "official").guesses[:, 0]
    played = speed.play_without_cache(model, trie, first_guess, "official")
    assert played.is_won.all() and (played.num_turns == 1).all()


def test_one_game_at_a_time_takes_the_steps_of_the_vector_environment():
    secrets = WORDS.answers[:5]
    actions = [20, 0, 7, *range(30, 40), 2, 60, 61]
    for num_actions in range(1, len(actions) + 1):
        envs = WordleVectorEnv(1, WORDS, secrets=secrets)
        envs.reset()
        for action in actions[:num_actions]:
            expected = envs.step(np.array([action]))[0]
        observation = speed.step_one_game(WordleEnv(WORDS, secrets=secrets), actions[:num_actions])
        for key, value in observation.items():
            np.testing.assert_array_equal(value, expected[key][0])


def assert_shown(results: dict, shown: str) -> None:
    """Assert that the table has every way with its rate, and that ratios are those of the medians."""
    blocks = [block.splitlines() for block in shown.split("\n\n")[1:]]
    for (title, rates), (heading, *rows) in zip(results["per_second"].items(), blocks, strict=True):
        assert heading.startswith(f"{title} ") and heading.endswith("quartiles    times")
        reference = next(iter(rates.values()))["median"]
        for (name, rate), row in zip(rates.items(), rows, strict=True):
            assert 0 < rate["low"] <= rate["median"] <= rate["high"]
            assert rate["times"] == pytest.approx(reference / rate["median"])
            figures = [f"{rate[key]:,.{0 if rate[key] >= 1000 else 1}f}" for key in ("median", "low", "high")]
            shown_row = row.removeprefix(name).split()
            assert shown_row == [*figures[:2], "–", figures[2], f"{rate['times']:.3g}"]


def test_table_and_json_hold_the_same_numbers_of_every_way(run):
    results, shown = run("--words", "american_446", "--repeats", 3, "--games", 4)
    assert_shown(results, shown)
    assert {title: list(rates) for title, rates in results["per_second"].items()} == {
        "environment, random guesses": ["WordleVectorEnv, 8 games at once", "WordleEnv, one game at a time"],
        **{
            f"player {player}": ["play_games, 4,096 games at once", "play_games, one game after the other"]
            for player in ("consistent", "mixture:0.33")
        },
        "model with random weights": [
            "TokenAgent, 4 games at once",
            "TokenAgent, one game after the other",
            "without a cache, 4 games at once",
        ],
    }
    per_round = [rate["per_round"] for rates in results["per_second"].values() for rate in rates.values()]
    assert per_round == [56, 14, 4096, 3, 4096, 3, 4, 2, 4]
    model = WordleTask(load_config("wordle_tiny.yaml", [])).model
    size = f"{model.num_parameters() / 1e6:.1f}M parameters"
    assert f"wordle_tiny.yaml with random weights, {size}" in shown


def test_a_trained_model_plays_its_own_game(run, tmp_path):
    tiny_token_model(num_hidden_layers=1).save_pretrained(tmp_path / "model")
    make_wordle_tokenizer().save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "wordle.json").write_text(
        json.dumps(GameDescription(WORDS, "simplified").to_json())
    )
    results, shown = run("--model", tmp_path / "model", "--repeats", 1)
    assert_shown(results, shown)
    assert (results["rule"], results["num_answers"]) == ("simplified", len(WORDS.answers))
    assert list(results["per_second"])[-1] == "model"
    assert "TokenAgent, 112 games at once" in shown  # all its words
    with pytest.raises(InputError, match=r"--games 113: there are 112 secret words"):
        run("--model", tmp_path / "model", "--games", 113)


def test_a_missing_model_is_refused_in_one_line(tmp_path):
    missing = tmp_path / "missing"
    assert_input_error(run_command("benchmarks.wordle", "--model", missing), str(missing))


def test_json_that_cannot_be_written_is_refused_before_work_starts(monkeypatch, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    unwritable = tmp_path / "file" / "speed.json"
    monkeypatch.setattr(sys, "argv", ["speed", "--model", "missing", "--json", str(unwritable)])
    with pytest.raises(SystemExit) as ended:
        command(speed.main)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {unwritable}: ")
