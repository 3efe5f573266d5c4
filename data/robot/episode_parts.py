"""Episodes of scripted policies, played by any number of processes: each part of them is a Parquet file.

A part that exists is not played again, so that an interrupted run continues.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from cli.files import atomic_write
from data.robot.lerobot_writer import Episode, encode_png
from data.robot.metaworld import RobotEnv
from data.robot.scripted_policies import ScriptedPolicy
from data.robot.tasks import TASKS
from data.worker_pool import map_in_order


EPISODES_PER_PART = 16
SCHEMA = pa.schema(
    [
        ("task", pa.string()),
        ("noise", pa.float64()),
        ("success", pa.bool_()),
        ("states", pa.list_(pa.list_(pa.float32()))),
        ("actions", pa.list_(pa.list_(pa.float32()))),
        ("images", pa.list_(pa.binary())),
    ]
)


@dataclass(frozen=True)
class Job:
    """Every argument that affects the episodes."""

    tasks: tuple[str, ...]
    episodes: int  # of each task
    noise: tuple[float, ...]
    fractions: tuple[float, ...]
    image_size: int | None
    camera: str
    seed: int

    @property
    def num_episodes(self) -> int:
        return self.episodes * len(self.tasks)


def play_parts(job: Job, folder: Path, processes: int) -> None:
    """Write those parts that `folder` lacks."""
    starts = range(0, job.num_episodes, EPISODES_PER_PART)
    missing = [start for start in starts if not part_path(folder, start).exists()]
    play = functools.partial(play_part, job, folder)
    num_finished = job.num_episodes - sum(len(part_of(job, start)) for start in missing)
    with tqdm(total=job.num_episodes, initial=num_finished, unit=" episodes", desc="playing") as progress:
        for start in map_in_order(play, missing, processes):
            progress.update(len(part_of(job, start)))


def part_path(folder: Path, start: int) -> Path:
    return folder / f"episodes-{start:07d}.parquet"


def part_of(job: Job, start: int) -> range:
    """Return the numbers of the episodes of the part that starts with episode `start`."""
    return range(start, min(start + EPISODES_PER_PART, job.num_episodes))


def play_part(job: Job, folder: Path, start: int) -> int:
    """Play the episodes of a part and write them; return its start."""
    rows = [vars(play_episode(job, number)) for number in part_of(job, start)]
    for row in rows:
        row["states"], row["actions"] = row["states"].tolist(), row["actions"].tolist()
    with atomic_write(part_path(folder, start)) as unfinished:
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), unfinished)
    return start


def read_parts(job: Job, folder: Path) -> Iterator[Episode]:
    """Yield all episodes in order."""
    for start in range(0, job.num_episodes, EPISODES_PER_PART):
        for row in pq.read_table(part_path(folder, start)).to_pylist():
            row["states"] = np.array(row["states"], dtype=np.float32)
            row["actions"] = np.array(row["actions"], dtype=np.float32)
            yield Episode(**row)


def play_episode(job: Job, number: int) -> Episode:
    """Play an episode; the tasks take turns."""
    round_, index = divmod(number, len(job.tasks))
    task = job.tasks[index]
    rng = np.random.default_rng([job.seed, TASKS.index(task), round_])
    env = environment(task, job.image_size, job.camera)
    noise = float(rng.choice(job.noise, p=job.fractions))
    policy = ScriptedPolicy(noise, rng)
    observation, _ = env.reset(seed=int(rng.integers(2**63)))
    states, actions, images = [], [], []
    success = truncated = False
    while not success and not truncated:
        states.append(observation["state"])
        if "image" in observation:
            images.append(encode_png(observation["image"]))
        (action,) = policy.act([[observation]], [env.instruction])
        actions.append(action)
        observation, _, success, truncated, _ = env.step(action)
    return Episode(task, noise, success, np.array(states), np.array(actions), images or None)


@functools.cache
def environment(task: str, image_size: int | None, camera: str) -> RobotEnv:
    """Return the environment of a task, made once: that takes as long as ten episodes."""
    return RobotEnv(task, image_size, camera)
