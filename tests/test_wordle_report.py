"""The report that compares value losses at Wordle: interrupted and run again as by a user, and its sums."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from matplotlib import pyplot
from matplotlib.container import ErrorbarContainer

from configs.schema import load_config, save_config
from data.command_line import InputError, command
from data.wordle.games import GameDescription, read_games
from data.wordle.word_trie import WordTrie
from data.wordle.words import load_word_lists
from eval.intervals import paired_interval, t_quantile
from eval.loading import load_wordle_model
from eval.run_log import read_metrics
from eval.wordle.agents import read_game
from eval.wordle.report import find_held_out_games, main, make_cells, summarise
from eval.wordle.report_plot import plot_report
from eval.wordle.report_tables import format_report
from eval.wordle.token_agent import TokenAgent
from tests.commands import REPOSITORY, assert_input_error, run_command
from tests.training_runs import interrupt_cells


pytestmark = pytest.mark.slow  # many runs of train.py

CELLS = [f"{loss}-alpha0.3-seed{seed}" for seed in (0, 1) for loss in ("mse", "hl_gauss")]
SIZES = (
    "model.hidden_size=16",
    "model.num_attention_heads=2",
    "model.num_hidden_layers=1",
    "training.steps=150",
    "training.batch_size=16",
    "training.precision=fp32",
    "checkpoint.every=50",
    "evaluation.every=150",
    "log_every=1",
    "tensorboard=false",
)


@pytest.fixture(scope="module")
def games(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "games.parquet"
    result = run_command("data.wordle.generate", "--words", "american_446", "--games", 400, "--output", path)
    assert result.returncode == 0, result.stderr
    return path


def arguments(games: Path, output: Path) -> list[object]:
    cells = ["--losses", "mse", "hl_gauss", "--alphas", "0.3", "--seeds", "0", "1", f"data.train={games}"]
    return ["--config=wordle_tiny.yaml", "--output", output, "--num-games", "60", *cells, *SIZES]


@pytest.fixture(scope="module")
def interrupted(games, tmp_path_factory) -> Path:
    """A report that Ctrl-C ended while the first cells were trained, and what is left of it."""
    output = tmp_path_factory.mktemp("report") / "out"
    interrupt_cells("eval.wordle.report", arguments(games, output), output, CELLS[:2])
    return output


@pytest.fixture(scope="module")
def report(games, interrupted) -> tuple[Path, dict, str]:
    """The folder of the report after the command went on, its results, and what it printed."""
    result = run_command("eval.wordle.report", *arguments(games, interrupted))
    assert result.returncode == 0, result.stderr
    return interrupted, json.loads((interrupted / "results.json").read_text()), result.stdout


def evaluation(run: Path) -> dict:
    """The last evaluation of a run."""
    return [row for row in read_metrics(run / "metrics.jsonl") if row["kind"] == "eval"][-1]


def test_what_was_interrupted_goes_on(report):
    output, _, _ = report
    num_interrupted = 0
    for cell in CELLS:
        log = (output / cell / "train.log").read_text()
        for line in log.splitlines():
            if line.startswith("interrupted after step "):
                assert f"continuing after step {line.split()[3]}\n" in log
                num_interrupted += 1
        rows = read_metrics(output / cell / "metrics.jsonl")
        assert [row["step"] for row in rows if row["kind"] == "train"] == list(range(1, 151))
    assert 1 <= num_interrupted <= 2


def test_every_cell_is_trained_with_its_loss_weight_and_seed(report):
    output, results, _ = report
    assert [row["cell"] for row in results["cells"]] == CELLS
    for row in results["cells"]:
        run = output / row["cell"]
        config = load_config(str(run / "config.yaml"), [])
        assert (config.value_loss.name, config.q_learning.cql_alpha) == (row["loss"], row["alpha"])
        assert (config.seed, config.model.hidden_size) == (row["seed"], 16)
        assert load_wordle_model(run / "model", "cpu").config.value_loss == row["loss"]
        assert row["num_steps"] == 150
        seconds = [session["seconds"] for session in read_metrics(run / "sessions.jsonl")]
        assert len(seconds) == (2 if row["cell"] in CELLS[:2] else 1)
        assert row["training_seconds"] == pytest.approx(sum(seconds)) and min(seconds) > 0


def test_results_are_those_of_the_runs_and_of_their_models(report):
    output, results, _ = report
    for row in results["cells"]:
        last = evaluation(output / row["cell"])
        assert last["step"] == 150 and last["success_rate"] == row["success_rate"]
        assert last["mean_return"] == pytest.approx(row["mean_return"])
        folder = output / row["cell"] / "model"
        words = read_game(folder).words
        agent = TokenAgent(load_wordle_model(folder, "cpu"), WordTrie(words.guess_letters))
        played = agent.play(words.guess_letters[words.answer_indices], "official")
        assert row["num_games"] == 446 and row["success_rate"] == played.is_won.mean()
    data = results["data"]
    assert data["mean_return"] == pytest.approx(last["data_return"])
    assert data["success_rate"] == pytest.approx(last["data_success_rate"])
    assert (data["num_games"], data["policy"], data["rule"]) == (400, "mixture:0.33", "official")
    assert 0 < results["one_turn"]["behavior_rate"] < results["one_turn"]["bayes_ceiling"] < 1


def test_one_turn_is_that_of_the_wordle_command(report, tmp_path):
    output, results, _ = report
    result = run_command(
        "eval.wordle", "--model", output / CELLS[0] / "model", "--protocol", "one_turn", "--num-games", 60,
        "--json", tmp_path / "results.json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    alone = json.loads((tmp_path / "results.json").read_text())
    assert alone["success_rate"] == results["cells"][0]["one_turn_success_rate"]
    for key in ("num_states", "bayes_ceiling", "behavior_rate", "behavior"):
        assert alone[key] == results["one_turn"][key]


def test_the_report_says_how_it_was_made(report):
    output, results, printed = report
    assert results["command"].startswith("python -m eval.wordle.report --config=wordle_tiny.yaml --output ")
    assert "training.steps=150" in results["command"] and "training.steps=150" in results["settings"]
    assert results["seconds"] > 0 and results["hardware"]["cores"] and results["failed"] == {}
    assert (output / "report.md").read_text() in printed
    assert (output / "report.png").read_bytes().startswith(b"\x89PNG")


def test_called_again_nothing_is_trained(games, report):
    output, results, _ = report
    files = [path for cell in CELLS for path in (output / cell).rglob("*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in files}
    result = run_command("eval.wordle.report", *arguments(games, output), "--processes", 1)
    assert result.returncode == 0, result.stderr
    assert "4 cells, 4 of them trained already" in result.stdout and "is trained" not in result.stdout
    assert before == {path: path.stat().st_mtime_ns for path in files}
    again = json.loads((output / "results.json").read_text())
    assert again["cells"] == results["cells"] and again["groups"] == results["groups"]


def test_other_settings_in_the_same_place_are_refused(games, report):
    output, _, _ = report
    result = run_command("eval.wordle.report", *arguments(games, output), "training.steps=160")
    assert_input_error(result, f"{CELLS[0]} was trained with other settings: training.steps: 150, now 160")


def test_a_failed_cell_is_named_with_its_last_line(games, tmp_path):
    changes = ["--losses", "c51", "--seeds", "4", "optimizer.name=adamw", "optimizer.learning_rate=1e30"]
    result = run_command("eval.wordle.report", *arguments(games, tmp_path / "out"), *changes)
    assert_input_error(result, "1 of 1 cells failed: c51-alpha0.3-seed4: the loss is nan at step ")
    assert "c51-alpha0.3-seed4 failed: the loss is nan at step " in result.stdout
    assert not (tmp_path / "out/results.json").exists()


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        (["--losses", "mae"], ["value_loss.name", "'mae'"]),
        (["--alphas", "0.1", "much"], ["--alphas", "'much'"]),
        (["--alphas", "-1"], ["q_learning.cql_alpha must be at least 0"]),
        (["--seeds", "1.5"], ["--seeds", "'1.5'"]),
        (["--seeds", "training.steps=3"], ["--seeds lists nothing"]),
        (["seed=3"], ["seed=3", "--seeds"]),
        (["--config", "chess_tiny.yaml"], ["chess_tiny.yaml trains chess, not wordle"]),
        (["--config", "nowhere.yaml"], ["no configuration 'nowhere.yaml'"]),
        (["data.train=nowhere.parquet"], ["nowhere.parquet", "no such file"]),
        (["training.stps=3"], ["training.stps", "Did you mean: 'steps'?"]),
        (["value_loss.sigma=0.5"], ["mse-alpha0.3-seed0: ", "sigma", "options of hl_gauss, not of mse"]),
        (["model.attention=prefix"], ["mse-alpha0.3-seed0: ", "need causal attention, not prefix"]),
        (["training.gradient_accumulation_steps=3"], ["training.batch_size: a batch of 16", "of 3"]),
        (["--behavior", "nobody"], ["there is no player 'nobody'"]),
        (["--games", "nowhere.parquet"], ["nowhere.parquet", "no such file"]),
        (["--output", "README.md"], ["README.md is a file, not a folder"]),
        (["--device", "abacus"], ["device 'abacus' cannot be used"]),
    ],
    ids=" ".join,
)
def test_bad_input_gives_one_line_and_trains_nothing(games, tmp_path, monkeypatch, capsys, changes, parts):
    assert_refused([*arguments(games, tmp_path / "out"), *changes], parts, monkeypatch, capsys)
    assert not (tmp_path / "out").exists()


def assert_refused(line: list[object], parts: list[str], monkeypatch, capsys) -> None:
    """Assert that the command, run in this process, ends with status 2 and one line that holds all parts."""
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(sys, "argv", ["wordle_report", *map(str, line)])
    with pytest.raises(SystemExit, match="2"):
        command(main)
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert all(part in error for part in parts)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"seed": 1}, ["seed: 1, now 0"]),
        ({"policy": "uniform"}, ["policy: 'uniform', now 'mixture:0.33'"]),
        ({"rule": "simplified", "seed": None}, ["rule: simplified, now official; seed: None, now 0"]),
        ({"answers": ["abaci"]}, ["words: 1 secret and 446 allowed (", "now 446 secret and 446 allowed ("]),
        (None, ["no model/wordle.json"]),
    ],
    ids=str,
)
def test_a_model_of_other_games_is_refused_before_anything_is_trained(
    games, tmp_path, monkeypatch, capsys, changes, parts
):
    line, cell = arguments(games, tmp_path), tmp_path / CELLS[2]
    (cell / "model").mkdir(parents=True)
    settings = ["value_loss.name=mse", "q_learning.cql_alpha=0.3", "seed=1", f"data.train={games}", *SIZES]
    save_config(load_config("wordle_tiny.yaml", settings), cell / "config.yaml")
    if changes is not None:
        game = read_games(games)[1].to_json() | changes
        (cell / "model/wordle.json").write_text(json.dumps(game))
    assert_refused(line, [f"{cell} ", "another --output, or remove", *parts], monkeypatch, capsys)
    assert [path.name for path in tmp_path.iterdir()] == [cell.name]


def test_a_file_in_the_place_of_a_cell_is_refused(games, tmp_path, monkeypatch, capsys):
    (tmp_path / CELLS[3]).write_text("")
    parts = [f"{tmp_path / CELLS[3]} is not a folder"]
    assert_refused(arguments(games, tmp_path), parts, monkeypatch, capsys)
    assert [path.name for path in tmp_path.iterdir()] == [CELLS[3]]


def test_every_weight_has_a_folder_of_its_own(tmp_path):
    options = argparse.Namespace(
        config="wordle_tiny.yaml",
        output=tmp_path,
        losses=["mse"],
        alphas=["0.1", "0.10000001", "1e-7", "1", "1.0", "30"],
        seeds=["0"],
        settings=[],
    )
    cells, _ = make_cells(options)
    weights = ["0.1", "0.10000001", "1e-07", "1", "30"]
    assert [cell.run.folder.name for cell in cells] == [f"mse-alpha{weight}-seed0" for weight in weights]


@pytest.mark.parametrize(
    ("policy", "who"), [("uniform and repeat", "'uniform and repeat'"), ("", "players it does not name")]
)
def test_data_of_players_that_cannot_be_asked_again_needs_behavior_or_games(policy, who):
    game = GameDescription(load_word_lists("american_446"), "official", policy)
    options = argparse.Namespace(behavior=None, games=None, num_games=10, games_seed=0)
    with pytest.raises(InputError, match=f"played by {who}.*--behavior.*--games"):
        find_held_out_games(game, options)
    options.behavior = "uniform"
    assert len(find_held_out_games(game, options)[0]) == 10


def rows_of(numbers: dict[tuple[str, float, int], float]) -> list[dict]:
    turn = {"num_states": 9, "bayes_ceiling": 0.6, "behavior_rate": 0.2, "behavior": "greedy"}
    return [
        {
            "loss": loss,
            "alpha": alpha,
            "seed": seed,
            "training_seconds": 60.0,
            "success_rate": success,
            "mean_return": -10 * success,
            "one_turn_success_rate": success / 2,
            "one_turn": turn,
        }
        for (loss, alpha, seed), success in numbers.items()
    ]


NUMBERS = {
    ("mse", 0.1, 0): 0.30,
    ("mse", 0.1, 1): 0.32,
    ("mse", 0.1, 2): 0.37,
    ("c51", 0.1, 2): 0.40,
    ("c51", 0.1, 0): 0.36,
    ("c51", 0.1, 1): 0.35,
    ("mse", 1.0, 0): 0.31,
    ("c51", 1.0, 0): 0.30,
    ("two_hot", 1.0, 5): 0.50,
}


def test_means_and_paired_differences_over_seeds():
    results = summarise(rows_of(NUMBERS))
    groups = {(group["loss"], group["alpha"]): group for group in results["groups"]}
    assert list(groups) == [("mse", 0.1), ("c51", 0.1), ("mse", 1.0), ("c51", 1.0), ("two_hot", 1.0)]
    of_mse = groups["mse", 0.1]["success_rate"]
    assert of_mse["mean"] == pytest.approx(0.33)
    assert of_mse["standard_error"] == pytest.approx(np.std([0.30, 0.32, 0.37], ddof=1) / 3**0.5)
    assert groups["two_hot", 1.0]["mean_return"] == {"mean": -5.0, "standard_error": None}

    differences = {(row["loss"], row["alpha"]): row for row in results["differences_to_mse"]}
    # Without a baseline of the same seed there is no difference.
    assert list(differences) == [("c51", 0.1), ("c51", 1.0)]
    expected = scipy.stats.ttest_rel([0.36, 0.35, 0.40], [0.30, 0.32, 0.37]).confidence_interval(0.95)
    row = differences["c51", 0.1]
    assert (row["num_seeds"], row["success_rate"]["mean"]) == (3, pytest.approx(0.04))
    assert (row["success_rate"]["low"], row["success_rate"]["high"]) == pytest.approx(
        (expected.low, expected.high)
    )
    assert row["one_turn_success_rate"]["mean"] == pytest.approx(0.02)
    assert differences["c51", 1.0]["success_rate"] == {
        "mean": pytest.approx(-0.01),
        "low": None,
        "high": None,
    }
    assert results["one_turn"]["bayes_ceiling"] == 0.6


def results_of(numbers: dict[tuple[str, float, int], float]) -> dict:
    return {
        **summarise(rows_of(numbers)),
        "failed": {"hl_gauss-alpha1-seed0": "the loss is nan"},
        "data": {"num_answers": 446, "rule": "official", "success_rate": 0.555, "mean_return": -4.2},
        "command": "python -m eval.wordle.report",
        "hardware": {"device": "abacus", "cores": 2, "torch": "2"},
        "processes": 2,
    }


def test_the_tables_are_aligned_and_complete(tmp_path):
    results = results_of(NUMBERS)
    text = format_report(results)
    tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]
    assert [len(table) for table in tables] == [2 + 5 + 2, 2 + 2]
    assert all(len({len(line) for line in table}) == 1 for table in tables)
    assert tables[0][2].split("|")[1:-1][2].strip() == "33.0% ± 2.1%"
    assert [cell.strip() for cell in tables[0][6].split("|")[1:-1]] == [
        "two_hot",
        "1",
        "50.0%",
        "-5.000",
        "25.0%",
        "1",
    ]
    assert tables[0][7].split("|")[3].strip() == "55.5%"
    assert tables[1][2].split("|")[3].strip() == "+4.0% (-0.3% to +8.3%)"
    assert "hl_gauss-alpha1-seed0 failed: the loss is nan" in text and "9.0 min of training" in text
    plot_report(results, tmp_path / "report.png")
    assert (tmp_path / "report.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("numbers", "num_error_bars", "caption"),
    [
        (NUMBERS, 2, "mean and standard error of 1 to 3 seeds"),
        ({key: value for key, value in NUMBERS.items() if key[2] == 0}, 0, "1 seed"),
    ],
    ids=["several", "one"],
)
def test_errors_are_shown_of_several_seeds_alone(tmp_path, monkeypatch, numbers, num_error_bars, caption):
    figures = []
    monkeypatch.setattr(pyplot, "close", figures.append)
    results = results_of(numbers)
    plot_report(results, tmp_path / "report.png")
    monkeypatch.undo()
    assert figures[0].get_suptitle() == caption
    for axis in figures[0].axes:
        drawn = [
            segment
            for bars in axis.containers
            if isinstance(bars, ErrorbarContainer)
            for segment in bars.lines[2][0].get_segments()
            if len(segment)  # of NaN nothing is left
        ]
        assert len(drawn) == num_error_bars
    pyplot.close(figures[0])
    text = format_report(results)
    words = ("means over seeds ± standard errors", "95% interval")
    assert ["±" in text, *(part in text for part in words)] == [num_error_bars > 0] * 3
    assert "Difference to mse with the same seed" in text


def test_intervals_of_paired_differences_are_those_of_students_t():
    for degrees in (1, 2, 3, 9, 100, 5000):
        assert t_quantile(degrees) == pytest.approx(scipy.stats.t.ppf(0.975, degrees), rel=1e-6)
    values = np.random.default_rng(0).normal(size=7)
    mean, low, high = paired_interval(values)
    expected = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (mean, low, high) == pytest.approx((values.mean(), expected.low, expected.high))
    assert paired_interval(np.array([2.0])) == (2.0, None, None)
