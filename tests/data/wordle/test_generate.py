import os
import signal
import time

import numpy as np
import pyarrow.parquet as pq
import pytest

from data.wordle.games import read_games
from data.wordle.rules import words_of
from data.wordle.words import load_word_lists
from tests.support.commands import assert_input_error, run_command, start_command


GENERATE = "data.wordle.generate"


def generate(output, *more, games=500, words="american_446", **environment):
    arguments = ["--games", games, "--words", words, "--output", output, *more]
    return run_command(GENERATE, *arguments, **environment)


def rows(path):
    return pq.read_table(path).to_pylist()


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    path = tmp_path_factory.mktemp("games") / "games.parquet"
    result = generate(path, "--rule", "simplified", "--seed", 5, games=5000)
    assert result.returncode == 0, result.stderr
    assert "playing: 100%" in result.stderr and "games/s" in result.stderr
    path.with_suffix(".txt").write_text(result.stdout)
    return path


def test_the_file_holds_the_games_and_says_which_game_it_is(output):
    games, description = read_games(output)
    assert len(games) == 5000
    assert description.words == load_word_lists("american_446")
    assert (description.rule, description.policy, description.seed) == ("simplified", "mixture:0.33", 5)
    assert set(games.policies) == {"mixture:0.33"}


def test_every_word_is_the_secret_about_as_often(output):
    games, description = read_games(output)
    secrets = words_of(games.secrets)
    counts = [secrets.count(word) for word in description.words.answers]
    assert min(counts) > 0
    assert max(counts) < 5000 / 446 + 6 * (5000 / 446) ** 0.5


def test_the_summary_is_that_of_the_file(output):
    games, _ = read_games(output)
    summary = output.with_suffix(".txt").read_text()
    assert "5000 games of mixture:0.33 by the simplified rule, 446 words" in summary
    assert f"mean return {games.returns().mean():.3f}, success {games.won.mean():.2%}" in summary


def test_the_same_seed_gives_the_same_games_and_a_longer_run_begins_with_them(output, tmp_path):
    for num_games in (700, 4500):
        again = tmp_path / f"{num_games}.parquet"
        arguments = [again, "--rule", "simplified", "--seed", 5]
        # With sets in another order, which is the same in forked processes.
        assert generate(*arguments, games=num_games, PYTHONHASHSEED=str(num_games)).returncode == 0
        assert rows(again) == rows(output)[:num_games]


def test_another_seed_gives_other_games(output, tmp_path):
    assert generate(tmp_path / "games.parquet", "--rule", "simplified").returncode == 0
    assert rows(tmp_path / "games.parquet") != rows(output)[:500]


def test_several_players_share_the_games(tmp_path):
    policy = "mixture:0.33=3,greedy=1"
    assert generate(tmp_path / "games.parquet", "--policy", policy, games=4500).returncode == 0
    games, description = read_games(tmp_path / "games.parquet")
    assert description.policy == policy
    is_greedy = games.policies == "greedy"
    assert set(games.policies[~is_greedy]) == {"mixture:0.33"}
    # In all parts of the file.
    for part in np.array_split(is_greedy, 9):
        assert 0.15 < part.mean() < 0.35
    assert games.returns()[is_greedy].mean() > -2.3 > games.returns()[~is_greedy].mean()


def test_guesses_may_be_more_than_the_secret_words(tmp_path):
    (tmp_path / "words.txt").write_text("acute\nslate\n")
    more = ["--guesses", "american_446", "--policy", "uniform"]
    result = generate(tmp_path / "games.parquet", *more, words=tmp_path / "words.txt")
    assert result.returncode == 0, result.stderr
    games, description = read_games(tmp_path / "games.parquet")
    assert (len(description.words.answers), len(description.words.guesses)) == (2, 446)
    assert set(words_of(games.secrets)) == {"acute", "slate"}
    assert len(set(words_of(games.guesses[games.is_played]))) > 400


def test_an_existing_output_is_replaced_only_on_request(tmp_path):
    output = tmp_path / "games.parquet"
    output.write_text("precious")
    assert_input_error(generate(output), "games.parquet exists", "--overwrite")
    assert output.read_text() == "precious"
    assert generate(output, "--overwrite").returncode == 0
    assert len(rows(output)) == 500


def test_ctrl_c_leaves_nothing_behind_and_an_earlier_file_as_it_was(tmp_path):
    output = tmp_path / "games.parquet"
    output.write_text("precious")
    arguments = ["--games", 10**9, "--words", "american_446", "--output", output, "--overwrite"]
    process = start_command(GENERATE, *arguments)
    while len(os.listdir(tmp_path)) == 1:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    stderr = process.communicate()[1]
    assert process.returncode == 130
    assert stderr.splitlines()[-1] == "interrupted"
    assert "Traceback" not in stderr
    assert os.listdir(tmp_path) == ["games.parquet"]
    assert output.read_text() == "precious"


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        (["--policy", "clever"], ["unknown player 'clever'", "uniform, consistent, mixture:P"]),
        (["--policy", "mixture:3"], ["'mixture:3' needs a probability"]),
        (["--policy", "greedy=0.5,uniform"], ["give every player a positive fraction"]),
        (["--policy", "greedy=0.5,uniform=-1"], ["give every player a positive fraction"]),
        (["--policy", "greedy=1e308,uniform=1e308"], ["give every player a positive fraction"]),
        (["--policy", "greedy=0.5,clever=0.5"], ["unknown player 'clever'"]),
        (["--words", "missing.txt"], ["missing.txt cannot be read", "No such file"]),
        (["--guesses", "{folder}/few.txt"], ["few.txt", "secret words are not allowed guesses"]),
    ],
)
def test_bad_input_is_an_error_and_nothing_is_written(tmp_path, more, parts):
    (tmp_path / "few.txt").write_text("acute\n")
    more = [text.format(folder=tmp_path) for text in more]
    assert_input_error(generate(tmp_path / "games.parquet", *more), *parts)
    assert os.listdir(tmp_path) == ["few.txt"]


def test_fewer_than_one_game_is_an_error(tmp_path):
    result = generate(tmp_path / "games.parquet", games=0)
    assert result.returncode == 2
    assert "--games: '0' is not a whole number above zero" in result.stderr
