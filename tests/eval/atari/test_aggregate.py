"""Aggregates over games and runs equal those of rliable."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from cli.errors import InputError
from data.atari.scores import normalised
from eval.atari.aggregate import METRICS, main, performance_profile, read_study, resample, summarise
from tests.support.commands import REPOSITORY, assert_input_error, run_command


RLIABLE = json.loads((REPOSITORY / "tests/fixtures/atari/rliable.json").read_text())
SCORES = np.array(RLIABLE["scores"])  # (runs, games)


@pytest.mark.parametrize("name", RLIABLE["names"])
def test_metrics_equal_those_of_rliable(name):
    assert METRICS[name](SCORES) == pytest.approx(RLIABLE["values"][RLIABLE["names"].index(name)], abs=1e-12)


def test_the_profile_equals_that_of_rliable():
    profile = performance_profile(SCORES, np.array(RLIABLE["thresholds"]))
    np.testing.assert_allclose(profile, RLIABLE["profile"], rtol=0, atol=1e-12)


def test_intervals_agree_with_those_of_rliable():
    summary = summarise(SCORES, np.array(RLIABLE["thresholds"]), seed=0)
    for index, name in enumerate(RLIABLE["names"]):
        expected = np.array(RLIABLE["intervals"])[:, index]
        np.testing.assert_allclose(summary[name]["interval"], expected, atol=0.03 * np.ptp(expected) + 0.005)


def test_the_bootstrap_draws_runs_within_each_game():
    runs, games = np.divmod(resample(np.arange(30).reshape(5, 6), np.random.default_rng(0)), 6)
    assert (games == np.arange(6)).all()
    assert set(runs.flatten()) == set(range(5))
    assert len({tuple(column) for column in runs.T}) == 6


def test_scores_of_people_are_1_and_games_without_them_have_none():
    assert normalised("space_invaders", 1668.7) == pytest.approx(1)
    assert normalised("space_invaders", 148.0) == 0
    for game in ("air_raid", "carnival", "elevator_action", "journey_escape", "pooyan", "minatar_breakout"):
        assert normalised(game, 1.0) is None


@pytest.fixture
def results(tmp_path):
    paths = []
    for run in range(3):
        games = {"breakout": 30.5 + run, "space_invaders (mode 1)": 148.0}
        paths.append(tmp_path / f"{run}.json")
        paths[-1].write_text(
            json.dumps({"games": {name: {"mean_return": mean} for name, mean in games.items()}})
        )
    return paths


def test_the_command_prints_and_draws(results, tmp_path):
    plot, output = tmp_path / "profile.png", tmp_path / "all.json"
    methods = ["--method", "a", *results, "--method", "b", results[0]]
    result = run_command("eval.atari.aggregate", *methods, "--plot", plot, "--json", output)
    assert result.returncode == 0, result.stderr
    found = json.loads(output.read_text())["methods"]
    expected = [normalised("breakout", 31.5) / 2, 0.5]
    assert [found[name]["mean"]["value"] for name in "ab"] == pytest.approx(expected)
    assert found["a"]["mean"]["interval"] is not None and found["b"]["mean"]["interval"] is None
    assert Image.open(plot).width > 500
    assert result.stdout.splitlines()[1].split()[:3] == ["a", "3", "2"]


def write_study(folder, cells: list[tuple[str, str, int, float]], points: str | None = "game") -> None:
    rows = [dict(zip(("variant", "point", "seed", "mean_return"), cell, strict=True)) for cell in cells]
    results = {"reference": "mse", "points_title": points, "cells": rows}
    (folder / "results.json").write_text(json.dumps(results))


def test_a_study_is_summarised_relative_to_its_reference(tmp_path):
    returns = {("mse", "asterix"): (2, 4), ("mse", "freeway"): (40, 40)}
    returns |= {("c51", "freeway"): (50, 30), ("c51", "asterix"): (6, 3)}
    cells = [(*cell, seed, values[seed]) for cell, values in returns.items() for seed in (1, 0)]
    write_study(tmp_path, cells)
    found = read_study(tmp_path)
    for name, scores in {"mse": [[2 / 3, 1], [4 / 3, 1]], "c51": [[2, 1.25], [1, 0.75]]}.items():
        games = {"asterix": 0, "freeway": 1}
        np.testing.assert_allclose(
            found[name][0], np.array(scores)[:, [games[game] for game in found[name][1]]]
        )
    write_study(tmp_path, cells[:-1])
    with pytest.raises(InputError, match="a game lacks runs: finish the study"):
        read_study(tmp_path)
    with pytest.raises(InputError, match=r"results.json: cannot be read"):
        read_study(tmp_path / "nowhere")


@pytest.mark.parametrize("points", ["probability of sticky actions", None])
def test_a_study_whose_points_are_not_games_is_refused(points, tmp_path):
    write_study(tmp_path, [("mse", "0", 0, 4.0), ("mse", "0.1", 0, 3.0)], points)
    with pytest.raises(InputError, match=f"across.title is {points!r}, not 'game'"):
        read_study(tmp_path)


def test_a_study_is_not_compared_with_files_of_another_scale(results, tmp_path, monkeypatch, capsys):
    for files in (["--method", "mse", results[0]], [results[0]]):
        arguments = ["aggregate", "--study", tmp_path, *files]
        monkeypatch.setattr(sys, "argv", [str(argument) for argument in arguments])
        with pytest.raises(SystemExit):
            main()
        assert "--study has another scale" in capsys.readouterr().err


@pytest.mark.parametrize("fault", ["no result", "game", "runs"])
def test_results_that_cannot_be_summarised_are_named(fault, results):
    text = {"no result": "[]", "game": '{"games": {"pooyan": {"mean_return": 1}}}'}.get(fault)
    message = {"no result": "0.json: is no result", "game": "pooyan is not in", "runs": "equally many runs"}
    results[0].write_text(text or '{"games": {"breakout": {"mean_return": 1}}}')
    assert_input_error(run_command("eval.atari.aggregate", *results), message[fault])
