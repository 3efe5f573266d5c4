"""Training agents for Atari as a user does: the command on MinAtar with tiny settings, online and offline."""

import json
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from transformers import AutoModel

from configs.atari import AtariPlayConfig
from configs.loading import load_config
from data.atari.collector import Collector
from data.atari.games import make_game
from data.replay import Sampling
from eval.atari.agent import write_settings
from tests.support.commands import assert_input_error, run_checked, run_command
from tests.support.training_runs import (
    finish,
    kill_at,
    read_losses,
    read_steps,
    run_until,
    start_processes,
)
from training.online_batches import OnlineBatches
from training.optimization import TargetNetwork
from training.sharding import Weights
from training.tasks import make_task
from training.tasks.atari import AtariTask


TINY = [
    "--config=atari_tiny.yaml",
    "model.hidden_size=16",
    "training.batch_size=8",
    "training.steps=40",
    "evaluation.every=20",
    "evaluation.episodes=2",
    "checkpoint.every=8",
    "log_every=1",
    "trackers=[]",
]
# The memory wraps around after 16 steps of each copy of the game, and episodes end before that. Two training
# steps are due at once, and checkpoints and the evaluation at step 20 fall between them.
ONLINE = [
    *TINY,
    "atari.num_environments=4",
    "atari.memory_steps=64",
    "atari.first_training_step=32",
    "atari.update_every=2",
    "atari.epsilon_decay_steps=100",
    "q_learning.n_step=2",
    "q_learning.double=true",
    "q_learning.target_every=10",
]


def train(*arguments: object) -> str:
    return run_checked("train", *arguments)


@pytest.fixture(scope="module")
def played(tmp_path_factory) -> Path:
    """A finished run, which recorded its play next to its folder."""
    folder = tmp_path_factory.mktemp("atari")
    printed = train(*ONLINE, f"output_dir={folder}/run", f"atari.record={folder}/play.parquet")
    (folder / "stdout").write_text(printed)
    return folder


@pytest.mark.slow
def test_a_run_leaves_a_model_that_loads_and_values_actions(played):
    model = AutoModel.from_pretrained(played / "run/model", trust_remote_code=True)
    assert (model.config.games, model.config.num_actions) == (["minatar_breakout"], [3])
    assert model(torch.zeros(2, 4, 10, 10, dtype=torch.uint8)).value.shape == (2, 3)
    rows = [json.loads(line) for line in (played / "run/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["kind"] == "eval"] == [0, 20, 40]
    printed = (played / "stdout").read_text()
    assert "data    minatar_breakout, 4 at once, a memory of 64 steps\n" in printed
    assert re.search(r"step 40/40  loss \S+  td \S+  cql \S+  target \S+  play_return \d", printed)
    settings = load_config(str(played / "run/config.yaml"), []).optimizer
    assert (settings.learning_rate, settings.eps) == (3e-3, 3.125e-4)
    assert "minatar_breakout" in (played / "run/model/README.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("step", [9, 21, 39])
def test_a_killed_run_resumes_to_the_same_losses_weights_and_play(played, tmp_path, step):
    """The replay memory is emulated again; what is learnt from it is the same to the last bit."""
    arguments = [*ONLINE, f"output_dir={tmp_path}/run", f"atari.record={tmp_path}/play.parquet"]
    assert run_until(arguments, rf"step +{step}/40", signal.SIGKILL).returncode == -9
    assert "continued after step" in train(*arguments, "resume=true")
    for key in ("loss", "play_return", "target"):
        found, expected = (read_steps(run, key) for run in (tmp_path / "run", played / "run"))
        assert str(found) == str(expected)
    for name in ("model/model.safetensors", "checkpoints/step_0000040/state.json"):
        assert (tmp_path / "run" / name).read_bytes() == (played / "run" / name).read_bytes()
    assert (tmp_path / "play.parquet").read_bytes() == (played / "play.parquet").read_bytes()


@pytest.fixture(scope="module")
def offline(played) -> list[str]:
    """Arguments of offline learning from that recording."""
    return [
        f"--config={Path('configs/atari_cql.yaml').resolve()}",
        f"data.train={played}/play.parquet",
        f"data.prepared_dir={played}/prepared",
        "model.architecture=minatar",
        *TINY[1:],
        "training.steps=8",
        "checkpoint.every=2",
        "q_learning.double=true",
    ]


@pytest.fixture(scope="module")
def one_process(offline, tmp_path_factory) -> Path:
    output_dir = tmp_path_factory.mktemp("offline") / "run"
    printed = train(*offline, f"output_dir={output_dir}")
    assert re.search(r"data    \d+ steps of minatar_breakout, mean return \d", printed)
    return output_dir


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["ddp", "zero1", "zero3", "fsdp2"])
def test_two_processes_learn_offline_what_one_does(offline, one_process, tmp_path, backend):
    arguments = [*offline, f"output_dir={tmp_path}/run"]
    kill_at(start_processes(arguments, backend), r"step +5/8")
    finish(start_processes([*arguments, "resume=true"], backend))
    assert read_losses(tmp_path / "run") == pytest.approx(read_losses(one_process), abs=1e-5)
    weights, others = (load_file(run / "model/model.safetensors") for run in (tmp_path / "run", one_process))
    assert max((weights[name] - others[name]).abs().max().item() for name in weights) < 1e-5


@pytest.mark.slow
def test_one_network_learns_several_games_with_a_head_each(tmp_path):
    folder = tmp_path / "games"
    folder.mkdir()
    for name in ("minatar_breakout", "minatar_asterix"):
        sampling = Sampling(stack=1)
        record = folder / f"{name}.parquet"
        collector = Collector(make_game(name), 4, 1000, sampling, seed=0, record=record)
        for _ in range(60):
            collector.step(lambda pixels: None, epsilon=1.0)
        collector.save_recording()
    arguments = ["--config=atari_resnet.yaml", "model.architecture=minatar", *TINY[1:], "training.steps=4"]
    printed = train(*arguments, f"data.train={folder}", f"output_dir={tmp_path}/run", "evaluation.every=4")
    assert re.search(r"\d+ steps of minatar_asterix, minatar_breakout, mean return", printed)
    model = AutoModel.from_pretrained(tmp_path / "run/model", trust_remote_code=True)
    assert model.config.games == ["minatar_asterix", "minatar_breakout"] and model.config.num_actions == [
        5,
        3,
    ]
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    means = [rows[-1][f"return of {name}"] for name in model.config.games]
    assert rows[-1]["mean_return"] == pytest.approx(sum(means) / 2)


@pytest.mark.slow
def test_a_new_run_does_not_replace_a_recording(played, tmp_path):
    recording = played / "play.parquet"
    content = recording.read_bytes()
    arguments = [*ONLINE, f"output_dir={tmp_path}/run", f"atari.record={recording}", "resume=true"]
    assert_input_error(run_command("train", *arguments), f"atari.record: {recording} exists")
    assert recording.read_bytes() == content and not (tmp_path / "run").exists()


@pytest.mark.slow
def test_several_processes_do_not_play_online(tmp_path):
    processes = start_processes([*ONLINE, f"output_dir={tmp_path}/run"], "ddp")
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert all(process.returncode == 2 for process in processes)
    assert "error: online learning runs on one process, but 2 were launched" in "".join(errors)
    assert not (tmp_path / "run").exists()


def test_cql_is_matched_where_the_setting_says_so():
    settings = ["q_learning.cql_alpha=0.1", "q_learning.cql_matched=true"]
    assert make_task(load_config("atari_tiny.yaml", settings)).objective.matched


@pytest.mark.parametrize("value_loss", ["mse", "mse_softmax", "one_hot", "two_hot", "hl_gauss", "c51"])
@pytest.mark.parametrize("target", ["q_learning", "sarsa", "monte_carlo", "behavior_cloning"])
def test_any_loss_learns_any_target(target, value_loss):
    config = load_config("atari_tiny.yaml", [f"value_loss.name={value_loss}", "q_learning.cql_alpha=0.1"])
    config.q_learning.target = target
    task = make_task(config)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(2, (2, 8, 4, 10, 10), generator=generator, dtype=torch.uint8)
    batch = {
        "observations": pixels[0],
        "next_observations": pixels[1],
        "actions": torch.randint(3, (8,), generator=generator),
        "next_actions": torch.randint(3, (8,), generator=generator),
        "rewards": torch.rand(8, generator=generator),
        "returns": torch.rand(8, generator=generator),
        "discounts": torch.tensor([0.99, 0] * 4),
    }
    if task.objective.needs_target_network:
        task.target_network = TargetNetwork(task.model, 0.1)
    losses = []
    optimizer = torch.optim.Adam(task.model.parameters(), lr=1e-3)
    for _ in range(10):
        loss, num_values, metrics = task.loss(task.model, batch, with_metrics=True)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] and num_values == 8 and metrics.keys() >= {*task.metrics} - {"play_return"}


def test_the_target_network_is_copied_as_often_as_configured():
    settings = ["q_learning.target_every=3", "atari.memory_steps=5000"]
    task = make_task(load_config("atari_tiny.yaml", settings))
    task.start(Accelerator(cpu=True))
    weights, copied = Weights(task.model), []
    for step in range(1, 8):
        with torch.no_grad():
            task.model.head.bias.fill_(step)
        task.after_step(step, weights)
        copied.append(task.target_network.model.head.bias[0].item())
    assert copied == [0, 0, 3, 3, 3, 6, 6]


def test_the_card_shows_what_an_evaluation_measured():
    measured = {"mean_return": 12.5, "standard_error": 0.5, "human_normalised": 0.41}
    results = AtariTask.results_of_evaluation({"episodes": 100, "games": {"breakout": measured}})
    assert [(result.title, result.shown) for result in results] == [
        ("mean return", "12.50 ± 0.98"),
        ("human-normalised score", "0.410"),
    ]
    assert {result.measured for result in results} == {"100 episodes of breakout"}


@pytest.mark.parametrize(("value_loss", "has_bins"), [("hl_gauss", True), ("mse_sigmoid", False)])
def test_the_card_promises_a_distribution_only_where_there_is_one(value_loss, has_bins, tmp_path):
    write_settings(tmp_path, [make_game("minatar_breakout")], stack=1)
    config = load_config("atari_tiny.yaml", [f"value_loss.name={value_loss}"])
    facts = AtariTask.card_facts(config, tmp_path, "name", "load")
    assert [("distribution" in text) for text in (facts.description, facts.example_notes)] == [has_bins] * 2


def test_actions_are_random_before_training_and_then_less_and_less():
    play = AtariPlayConfig(first_training_step=20, update_every=10, epsilon=0.1, epsilon_decay_steps=100)
    collector = Collector(make_game("minatar_breakout"), 2, 200, Sampling(), 0)
    act, used = collector.step, {}

    def step(choose_actions, epsilon):
        used[collector.num_steps] = epsilon
        return act(choose_actions, epsilon)

    collector.step = step
    batches = OnlineBatches(collector, lambda observed: np.zeros(len(observed), dtype=int), play, 8, 1)
    assert [number for number, _ in batches.iterate(0, 15)] == list(range(1, 16))
    assert collector.num_steps == 160
    assert [used[step] for step in (0, 18, 20, 70, 120, 158)] == pytest.approx([1, 1, 1, 0.55, 0.1, 0.1])
