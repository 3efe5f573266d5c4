"""python -m eval.atari plays a saved model, and draws a GIF of it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data.atari.games import make_environments, make_game
from eval.atari.__main__ import format_row
from eval.atari.agent import Agent, write_settings
from eval.atari.playing import evaluate_policy
from models.configuration_value_convnet import ValueConvNetConfig
from models.modeling_value_convnet import ValueConvNet
from tests.support.commands import assert_input_error, run_command


BREAKOUT = make_game("minatar_breakout", max_steps=40)


def save_model(folder: Path, game, stack: int, **settings) -> Path:
    torch.manual_seed(0)
    environments = make_environments(game, 1)
    channels, *size = environments.frame_shape
    config = ValueConvNetConfig(
        input_shape=[stack * channels, *size],
        games=[game.name],
        num_actions=[environments.num_actions],
        hidden_size=16,
        **settings,
    )
    ValueConvNet(config).save_pretrained(folder)
    write_settings(folder, [game], stack)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "model"
    return save_model(folder, BREAKOUT, 1, architecture="minatar", pixel_max=1)


def test_a_model_is_measured_and_filmed(model, tmp_path):
    film, output = tmp_path / "play.gif", tmp_path / "found.json"
    options = ["--episodes", 12, "--video", film, "--json", output]
    result = run_command("eval.atari", "--model", model, *options)
    assert result.returncode == 0, result.stderr
    found = json.loads(output.read_text())
    game = found["games"]["minatar_breakout (max steps 40)"]
    assert len(game["returns"]) == 12 and np.mean(game["returns"]) == game["mean_return"]
    assert game["settings"]["max_steps"] == 40 and game["human_normalised"] is None
    assert "no human score" in result.stdout
    with Image.open(film) as image:
        assert image.size == (410, 210) and image.n_frames > 1


@pytest.mark.parametrize("value_loss", ["hl_gauss", "mse"])
def test_an_ale_game_is_filmed_in_colour(value_loss, tmp_path):
    game = make_game("breakout", frame_size=42, max_steps=12)
    folder = save_model(tmp_path / "model", game, 4, architecture="nature", value_loss=value_loss)
    options = ["--episodes", 1, "--video", tmp_path / "play.gif", "--games", "breakout"]
    result = run_command("eval.atari", "--model", folder, *options)
    assert result.returncode == 0, result.stderr
    with Image.open(tmp_path / "play.gif") as image:
        colours = np.asarray(image.convert("RGB"))[:, :160]
        assert image.n_frames > 1 and (colours.max(2) > colours.min(2) + 50).any()


def test_games_are_played_in_the_order_of_their_names(model):
    games = [make_game("minatar_asterix"), BREAKOUT, make_game("minatar_breakout")]
    agent = Agent(model=None, name="agent", games=games, stack=1)
    asterix, *both = games
    assert agent.find_games(["minatar_breakout", "minatar_asterix"]) == [*both, asterix]
    assert len({game.title for game in games}) == 3


def test_episodes_do_not_depend_on_how_many_are_played_at_once():
    def policy(observations: torch.Tensor) -> torch.Tensor:
        return observations.long().sum((1, 2, 3)) % 3

    settings = {"stack": 2, "epsilon": 0.3, "seed": 4}
    few, many = (
        evaluate_policy(BREAKOUT, policy, 7, **settings, episodes_at_once=number) for number in (1, 5)
    )
    assert [episode.to_json() for episode in few] == [episode.to_json() for episode in many]
    assert len({episode.seed for episode in few}) == 7


def test_random_play_needs_no_model_and_reports_human_normalised_scores(tmp_path):
    output = tmp_path / "found.json"
    options = ["--games", "breakout", "--episodes", 2, "--json", output]
    result = run_command("eval.atari", "--policy", "random", *options)
    assert result.returncode == 0, result.stderr
    game = json.loads(output.read_text())["games"]["breakout"]
    assert game["human_normalised"] == pytest.approx((game["mean_return"] - 1.7) / 28.8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--games", "minatar_braekout"], "did you mean minatar_breakout"),
        (["--games", "minatar_freeway"], "was not trained on minatar_freeway: choose from minatar_breakout"),
        (["--video", "/proc/play.gif"], "/proc/play.gif cannot be written"),
        (["--video", "play.mp4"], "ends in .gif"),
    ],
)
def test_bad_options_are_refused_in_one_line(model, options, message):
    assert_input_error(run_command("eval.atari", "--model", model, *options), message)


def test_a_folder_without_games_is_refused(model, tmp_path):
    (tmp_path / "config.json").write_bytes((model / "config.json").read_bytes())
    assert_input_error(run_command("eval.atari", "--model", tmp_path), "holds no games (no atari.json)")


def test_equal_returns_have_an_interval_and_a_single_one_has_none():
    found = {"mean_return": -21.0, "standard_error": 0.0, "human_normalised": None, "steps_per_second": 1.0}
    assert "-21.00 to -21.00" in format_row(BREAKOUT, found)
    assert "to" not in format_row(BREAKOUT, {**found, "standard_error": None})
