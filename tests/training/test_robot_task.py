"""The loss of a batch of decisions depends on all its parts and on all settings of the objective."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from accelerate import Accelerator

from cli.errors import InputError
from configs.loading import load_config
from tests.support.robot_data import write_robot_data
from tests.support.training_runs import TINY
from training.optimization import TargetNetwork
from training.sharding import Weights
from training.tasks import make_task
from training.tasks.robot import RobotTask


DATA = "data/chunk-000/file-000.parquet"


@pytest.fixture(scope="module")
def episodes(tmp_path_factory) -> Path:
    tasks = ("drawer-open-v3", "button-press-topdown-v3")
    return write_robot_data(tmp_path_factory.mktemp("robot") / "episodes", tasks)


def task_with(episodes: Path, *changes: str) -> RobotTask:
    settings = [f"data.train={episodes}", *TINY, "model.num_action_bins=5", "evaluation.episodes=0"]
    torch.manual_seed(0)
    task = make_task(load_config("robot_tiny.yaml", [*settings, *changes, "output_dir=run"]))
    task.load_data()
    task.target_network = TargetNetwork(task.model, task.target_tau)
    return task


def batch_of(task: RobotTask) -> dict[str, torch.Tensor]:
    arrays = task.examples.batch(torch.arange(len(task.examples)).numpy())
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def loss_of(task: RobotTask, batch: dict[str, torch.Tensor]) -> float:
    loss, weight, _ = task.loss(task.model, batch, with_metrics=True)
    assert weight == batch["actions"].numel()
    return loss.item()


CHANGES = {
    "the floor": ((), "q_learning.monte_carlo_floor=false"),
    "the target": ((), "q_learning.target=n_step"),
    # Without the floor, so that the returns of the data have no effect.
    "the discount": (("q_learning.monte_carlo_floor=false",), "q_learning.discount=0.5"),
    "the conservative term": ((), "q_learning.conservative=cql"),
    "its weight": ((), "q_learning.conservative_weight=0.5"),
    "its temperature": (("q_learning.conservative=cql",), "q_learning.cql_temperature=1"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_setting_of_the_objective_changes_the_loss(episodes, name):
    base, change = CHANGES[name]
    losses = []
    for changes in (base, (*base, change)):
        task = task_with(episodes, *changes)
        losses.append(loss_of(task, batch_of(task)))
    assert abs(losses[0] - losses[1]) > 1e-3, losses


def test_the_target_network_moves_towards_the_model_by_the_setting(episodes):
    task = task_with(episodes, "q_learning.target_tau=0.25")
    task.start(Accelerator(cpu=True))
    with torch.no_grad():
        task.model.head.bias.fill_(1)
    task.after_step(1, Weights(task.model))
    assert task.target_network.model.head.bias.unique().tolist() == [0.25]


def test_every_part_of_a_decision_changes_the_loss(episodes):
    # The floor would hide the values of the target network.
    task = task_with(episodes, "q_learning.monte_carlo_floor=false")
    batch = batch_of(task)
    before = loss_of(task, batch)
    for name, place in (
        ("states", (slice(None), 0)),
        ("states", (slice(None), 1)),  # of the next decision
        ("input_ids", ()),
        ("actions", (slice(None), 0)),
        ("actions", (slice(None), 3)),
        ("rewards", ()),
        ("is_last", ()),
    ):
        part = batch[name].clone()
        part[place] = ~part[place] if part.dtype == torch.bool else part[place].roll(1, 0)
        assert loss_of(task, batch | {name: part}) != before, (name, place)


@pytest.mark.parametrize(
    ("sizes", "changes", "fault"),
    [
        ({"state_size": 38}, [], "reads states of 38 numbers"),
        ({"image_size": 16}, ["model.observation=images"], "there is no camera 'front'"),
    ],
)
def test_data_of_other_robots_are_found_before_training(tmp_path, monkeypatch, sizes, changes, fault):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = write_robot_data(tmp_path / "set", **sizes)
    info = folder / "meta/info.json"
    info.write_text(info.read_text().replace("behindGripper", "front"))
    table = pq.read_table(folder / DATA)
    names = [name.replace("behindGripper", "front") for name in table.column_names]
    pq.write_table(table.rename_columns(names), folder / DATA)
    with pytest.raises(InputError, match=f"{folder}: .*{fault}.*: set evaluation.episodes=0"):
        task_with(folder, *changes, "evaluation.episodes=1")
    task_with(folder, *changes)


def test_a_model_names_the_tasks_of_its_episodes_alone(episodes, tmp_path):
    folder = shutil.copytree(episodes, tmp_path / "set")
    path = folder / "meta/tasks.parquet"
    sentences = {"Open a drawer": 0, "Press a button from the top": 1, "Reach a goal position": 2}
    pq.write_table(pa.table({"task": [*sentences], "task_index": [*sentences.values()]}), path)
    assert task_with(folder).task_names == ["drawer-open-v3", "button-press-topdown-v3"]
    sentences["Cook a meal"] = sentences.pop("Press a button from the top")
    pq.write_table(pa.table({"task": [*sentences], "task_index": [*sentences.values()]}), path)
    assert task_with(folder).task_names == ["drawer-open-v3"]
    with pytest.raises(InputError, match="no task with the instruction 'Cook a meal'"):
        task_with(folder, "evaluation.episodes=1")
