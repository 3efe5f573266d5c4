"""Training a Wordle agent as a user does: the command, in a process of its own, on tiny settings."""

import json
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

from configs.loading import load_config
from data.wordle.games import GameDescription, read_games
from data.wordle.rules import ALL_GREEN
from models.tokenization_wordle import TOKENS
from tests.support.commands import assert_input_error, run_checked, run_command
from tests.support.training_runs import TINY, finish, read_losses, run_until, start_launch, start_processes
from training.optimization import TargetNetwork
from training.sharding import Weights
from training.tasks import make_task


pytestmark = pytest.mark.slow  # many runs of train.py

ANY_NEXT = "q_learning.mask_illegal_in_max=false"


@pytest.fixture(scope="module")
def games(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("games") / "games.parquet"
    arguments = ["--games=300", "--words=american_446", "--rule=simplified", "--seed=1", f"--output={path}"]
    run_checked("data.wordle.generate", *arguments)
    return path


@pytest.fixture(scope="module")
def settings(games) -> list[str]:
    return [
        "--config=wordle_tiny.yaml",
        f"data.train={games}",
        *TINY,
        "value_loss.num_bins=11",
        "training.steps=20",
        "evaluation.every=10",
        "evaluation.games=20",
    ]


@pytest.fixture(scope="module")
def finished_run(settings, tmp_path_factory) -> Path:
    output_dir = tmp_path_factory.mktemp("run") / "run"
    printed = run_checked("train", *settings, f"output_dir={output_dir}")
    (output_dir.parent / "stdout").write_text(printed)
    return output_dir


def test_a_run_leaves_a_model_that_loads_and_knows_its_game(finished_run, games):
    model = AutoModel.from_pretrained(finished_run / "model", trust_remote_code=True)
    tokenizer = AutoTokenizer.from_pretrained(finished_run / "model", trust_remote_code=True)
    inputs = tokenizer(["<a>slate</a><b><b><g><y><b></s><a>", "<a>"], return_tensors="pt", padding=True)
    value = model(**inputs).value
    assert value.shape == (2, 14, len(TOKENS))
    torch.testing.assert_close(value[1, -1:], model(tokenizer("<a>", return_tensors="pt").input_ids).value[0])
    game = GameDescription.from_json(json.loads((finished_run / "model/wordle.json").read_text()))
    assert (game.rule, len(game.words.answers), game.policy) == ("simplified", 446, "mixture:0.33")
    rows = [json.loads(line) for line in (finished_run / "metrics.jsonl").read_text().splitlines()]
    played, _ = read_games(games)
    evaluations = [row for row in rows if row["kind"] == "eval"]
    assert [row["step"] for row in evaluations] == [0, 10, 20]
    for row in evaluations:
        assert row["data_return"] == pytest.approx(played.returns().mean())
        assert -6 <= row["mean_return"] <= 0
    printed = (finished_run.parent / "stdout").read_text()
    assert re.search(
        r"step  7/20  loss \S+  td \S+  cql \S+  target \S+  lr \S+ +\S+ actions/s  eta", printed
    )
    assert "warning" not in printed


def test_a_killed_run_resumes_to_the_same_losses_and_weights(settings, finished_run, tmp_path):
    """The target network is part of what a checkpoint holds."""
    arguments = [*settings, f"output_dir={tmp_path}/run"]
    assert run_until(arguments, r"step +6/20", signal.SIGKILL).returncode == -9
    run_checked("train", *arguments, "resume=true")
    assert read_losses(tmp_path / "run") == read_losses(finished_run)
    weights = "model/model.safetensors"
    assert (tmp_path / "run" / weights).read_bytes() == (finished_run / weights).read_bytes()


def test_micro_batches_change_nothing_but_rounding(settings, tmp_path):
    losses = []
    for accumulation in (1, 4):
        changes = ["optimizer.name=adamw", f"training.gradient_accumulation_steps={accumulation}"]
        output_dir = tmp_path / f"run_{accumulation}"
        run_checked("train", *settings, *changes, "training.steps=8", f"output_dir={output_dir}")
        losses.append(read_losses(output_dir))
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


@pytest.fixture(scope="module")
def eight_steps(settings, tmp_path_factory) -> list[str]:
    """Up to rounding: Muon's bfloat16 iterations would amplify it."""
    return [*settings, "optimizer.name=adamw", "training.steps=8", "value_loss.name=c51"]


@pytest.fixture(scope="module")
def one_process(eight_steps, tmp_path_factory) -> Path:
    output_dir = tmp_path_factory.mktemp("one") / "run"
    run_checked("train", *eight_steps, f"output_dir={output_dir}")
    return output_dir


@pytest.mark.parametrize("backend", ["zero3", "fsdp2"])
def test_two_processes_learn_what_one_does(eight_steps, one_process, tmp_path, backend):
    """The target network follows weights of which each process may hold shards only."""
    arguments = [*eight_steps, f"output_dir={tmp_path}/two"]
    if backend == "zero3":  # also a test of accelerate's launcher with DeepSpeed
        process = start_launch(arguments, backend)
        printed, _ = process.communicate(timeout=600)
        assert process.returncode == 0, printed
    else:
        finish(start_processes(arguments, backend))
    assert read_losses(tmp_path / "two") == pytest.approx(read_losses(one_process), abs=1e-5)
    target = "checkpoints/step_0000008/target.safetensors"
    ours, theirs = load_file(tmp_path / "two" / target), load_file(one_process / target)
    assert max((ours[name] - theirs[name]).abs().max() for name in theirs) < 1e-5


def test_playing_games_leaves_training_compiled(settings):
    """Dynamo gives up on code that it has to compile too often, as with a cache that grows."""
    overrides = [setting for setting in settings if not setting.startswith("--config")]
    task = make_task(load_config("wordle_tiny.yaml", overrides))
    task.load_data()
    task.start(Accelerator(cpu=True))
    num_runs = 0

    def counting(graph, inputs):
        def run(*arguments):
            nonlocal num_runs
            num_runs += 1
            return graph(*arguments)

        return run

    for block in task.model.model.blocks:
        block.compile(backend=counting)
    task.evaluate()
    assert num_runs == 0
    batch = {name: torch.from_numpy(array) for name, array in task.examples.batch(np.arange(4)).items()}
    task.loss(task.model, batch, with_metrics=False)
    assert num_runs == len(task.model.model.blocks)


@pytest.mark.parametrize(
    "changes",
    [
        ["q_learning.target=sarsa", "value_loss.name=c51", "q_learning.target_network=periodic", ANY_NEXT],
        ["q_learning.target=monte_carlo", "value_loss.name=two_hot", ANY_NEXT],
        ["q_learning.target=behavior_cloning", "value_loss.name=mse", ANY_NEXT],
        ["q_learning.double=true", "value_loss.name=mse_softmax"],
        ["value_loss.name=c51", "training.precision=bf16", "model.activation_checkpointing=true"],
    ],
    ids=lambda changes: "-".join(change.split("=")[1] for change in changes),
)
def test_other_targets_and_losses_train_too(settings, tmp_path, changes):
    arguments = [*settings, *changes, f"output_dir={tmp_path}/run", "training.steps=4"]
    run_checked("train", *arguments, "q_learning.target_every=2")
    assert len(read_losses(tmp_path / "run")) == 4


def test_a_support_that_does_not_cover_the_returns_is_warned_of(settings, games, tmp_path):
    arguments = [
        *settings,
        "value_loss.value_min=-3",
        "value_loss.value_max=1",
        f"output_dir={tmp_path}/run",
        "training.steps=2",
    ]
    printed = run_checked("train", *arguments, "q_learning.discount=1")
    played, _ = read_games(games)
    rewards = played.rewards()
    to_come = np.cumsum(rewards[:, ::-1], axis=1)[:, ::-1][played.is_played]
    share = f"{(to_come < -3).mean():.1%}"
    assert f"warning: {share} of the returns lie outside [value_min, value_max] = [-3, 1]" in printed


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        (["model.attention=prefix"], ["model.attention", "a setting of task chess"]),
        (
            ["q_learning.double=true", "q_learning.target=sarsa", ANY_NEXT],
            ["double is a variant of q_learning"],
        ),
        (["q_learning.target=monte_carlo"], ["mask_illegal_in_max is for target q_learning"]),
        (["q_learning.target=ddqn"], ["q_learning.target"]),
        (["q_learning.cql_temperature=0"], ["q_learning.cql_temperature must be positive"]),
        (["q_learning.discount=1.1"], ["q_learning.discount must be in [0, 1]"]),
        (["data.train=nowhere.parquet"], ["nowhere.parquet"]),
        (["data.rule=official"], ["rule"]),
        (["data.words=american_small"], ["words"]),
    ],
    ids=lambda value: value[0],
)
def test_bad_settings_give_one_line_and_leave_nothing(settings, tmp_path, changes, parts):
    result = run_command("train", *settings, *changes, f"output_dir={tmp_path}/run")
    assert_input_error(result, *parts)
    assert not (tmp_path / "run").exists()


def test_resuming_on_other_games_is_refused(settings, finished_run, tmp_path):
    shutil.copytree(finished_run, tmp_path / "run")
    other = tmp_path / "other.parquet"
    run_checked(
        "data.wordle.generate",
        "--games=300",
        "--words=american_446",
        "--rule=simplified",
        f"--output={other}",
    )
    arguments = [*settings, f"data.train={other}", f"output_dir={tmp_path}/run", "resume=true"]
    assert_input_error(run_command("train", *arguments), "data.train does not hold the examples")


def test_the_target_network_follows_slowly_or_at_once():
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    polyak, periodic = TargetNetwork(model, tau=0.25), TargetNetwork(model, tau=0.25, every=3)
    seen, expected = [], 0.0
    for step in range(1, 7):
        torch.nn.init.constant_(model.weight, step)
        polyak.update(step, Weights(model))
        periodic.update(step, Weights(model))
        expected += 0.25 * (step - expected)
        assert polyak.model.weight.item() == pytest.approx(expected)
        seen.append(periodic.model.weight.item())
    assert seen == [0, 0, 3, 3, 3, 6]
    assert not polyak.model.weight.requires_grad


def test_discounted_returns_are_those_of_a_sum_by_hand(games):
    from data.wordle.token_games import TokenGames

    played, _ = read_games(games)
    some = played[:20]
    token_games = TokenGames(some.guesses, some.patterns, some.rewards(), some.num_turns)
    expected = []
    for game in range(20):
        rewards = []
        for turn in range(some.num_turns[game]):
            rewards += [0.0] * 5 + [0.0 if some.patterns[game, turn] == ALL_GREEN else -1.0]
        for i in range(len(rewards)):
            expected.append(sum(0.9**j * reward for j, reward in enumerate(rewards[i:])))
    np.testing.assert_allclose(token_games.discounted_returns(0.9), expected, atol=1e-6)
