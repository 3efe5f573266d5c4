"""Episodes of a robot, read from a LeRobotDataset v3.0 as arrays of frames.

    episodes = read_episodes("drawer", with_images=False)

The format is that of https://github.com/huggingface/lerobot, read through pyarrow, Pillow and av (videos).
A state is `observation.state`, followed by `observation.environment_state` where the dataset has it, or the
latter alone where it starts with the former, as in lerobot/metaworld_mt50. Success is `next.success`, or
else a `next.reward` of 0 and 1; frames after the first success are left out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cli.errors import InputError, first_line
from data.hub import local_snapshot
from data.parquet import files_of_chunks, read_table
from data.robot.images import read_images
from data.robot.lerobot_writer import VERSION


MADE_BY = "python -m data.robot.generate"
STATES = ("observation.state", "observation.environment_state")
INDICES = ("episode_index", "frame_index", "task_index")


@dataclass
class Episodes:
    """Frames of all episodes, one after the other: each has an observation, an action and its reward.

    An episode ends after its last frame; with a reward of 1 it was a success.
    """

    states: np.ndarray | None  # (frames, state size) float32
    images: np.ndarray | None  # (frames, height, width, 3) uint8, memory-mapped
    actions: np.ndarray  # (frames, dimensions) float32 in [-1, 1]
    rewards: np.ndarray  # (frames,) float32, 0 or 1
    tasks: np.ndarray  # (frames,) int64, indices of `instructions`
    instructions: list[str]
    starts: np.ndarray  # (episodes + 1,) int64: the first frame of each episode, and the number of frames
    camera: str | None = None  # of the images, if the dataset names it
    fps: float | None = None  # decisions per second, if the dataset says so

    def __len__(self) -> int:
        """Return the number of episodes."""
        return len(self.starts) - 1

    @property
    def successes(self) -> np.ndarray:
        """Return whether each episode was a success: (episodes,) bool."""
        return self.rewards[self.starts[1:] - 1] == 1

    def success_by_instruction(self) -> dict[str, float]:
        """Return the fraction of successes of every instruction that has an episode."""
        tasks = self.tasks[self.starts[:-1]]
        return {
            self.instructions[task]: float(self.successes[tasks == task].mean()) for task in np.unique(tasks)
        }


def read_episodes(source: str, *, with_images: bool) -> Episodes:
    """Read a folder, or a dataset on the hub.

    Raises InputError for anything but a LeRobotDataset v3.0 with discrete success, and for its first fault.
    """
    folder = local_snapshot(source, ["meta/*", "data/*"] + (["videos/*"] if with_images else []))
    info = read_info(folder, source)
    frames = _Frames(folder, info["features"])
    starts = frames.check_order(info, folder)
    actions = frames.vectors("action")
    is_inside = (np.abs(actions) <= 1).all(1)
    frames.check(is_inside, "an action is outside [-1, 1]: scale or clip the actions of the dataset")
    names = [name for name in STATES if name in info["features"]]
    states = [frames.vectors(name) for name in names]
    if len(states) == 2 and np.array_equal(states[1][:, : states[0].shape[1]], states[0]):
        states = states[1:]
    rewards = frames.rewards()
    if not rewards.any():
        raise InputError(f"{source}: no episode is a success: give a dataset that has some")
    instructions = read_instructions(folder)
    tasks = frames.numbers("task_index")
    frames.check((tasks >= 0) & (tasks < len(instructions)), "its task is not in meta/tasks.parquet")
    if "next.done" in info["features"]:
        ends = np.ones(len(rewards), dtype=bool)
        ends[starts[1:] - 1] = frames.numbers("next.done")[starts[1:] - 1]
        frames.check(ends, "the episode has no end: next.done is false in its last frame")
    is_kept = _until_success(rewards, starts)
    images, camera = None, None
    if with_images:
        images, camera = read_images(folder, info, frames.files, frames.episodes, np.flatnonzero(is_kept))
    lengths = np.add.reduceat(is_kept, starts[:-1], dtype=np.int64)
    return Episodes(
        states=np.concatenate(states, axis=1)[is_kept] if states else None,
        images=images,
        actions=actions[is_kept],
        rewards=rewards[is_kept],
        tasks=tasks[is_kept],
        instructions=instructions,
        starts=np.concatenate([[0], np.cumsum(lengths)]),
        camera=camera,
        fps=info.get("fps"),
    )


def is_lerobot(source: Path) -> bool:
    """Return whether a source is a LeRobotDataset folder."""
    return (source / "meta" / "info.json").is_file()


def read_info(folder: Path, source: str) -> dict:
    """Read meta/info.json. Raises InputError if the folder holds no LeRobotDataset v3.0."""
    path = folder / "meta" / "info.json"
    try:
        info = json.loads(path.read_bytes())
        version = str(info["codebase_version"])
    except FileNotFoundError:
        raise InputError(
            f"{source} is not a LeRobotDataset (no meta/info.json): {MADE_BY} writes one"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: cannot be read ({first_line(error)}): make the dataset again") from None
    if version != VERSION:
        raise InputError(
            f"{source} is a LeRobotDataset {version}, and only {VERSION} can be read: convert it by LeRobot: "
            "python -m lerobot.datasets.v30.convert_dataset_v21_to_v30"
        )
    features = info.get("features")
    is_described = isinstance(features, dict) and all(
        isinstance(feature, dict) and isinstance(feature.get("dtype"), str) for feature in features.values()
    )
    count = info.get("total_episodes")
    if not is_described or not isinstance(count, int) or count < 0:
        raise InputError(f"{path}: lacks features or total_episodes: make the dataset again")
    missing = [name for name in ("action", *INDICES) if name not in features]
    if "next.success" not in features and "next.reward" not in features:
        missing.append("next.success or next.reward")
    if missing:
        raise InputError(f"{source} has no {' and no '.join(missing)}: give another dataset")
    return info


def read_instructions(folder: Path) -> list[str]:
    """Read the sentences of the tasks, by their index."""
    path = folder / "meta" / "tasks.parquet"
    table = read_table(path)
    # They are the index of a pandas table, which may have any name.
    is_text = (pa.types.is_string, pa.types.is_large_string)
    names = [field.name for field in table.schema if any(check(field.type) for check in is_text)]
    indices = table["task_index"].to_pylist() if "task_index" in table.column_names else []
    if len(names) != 1 or table[names[0]].null_count or {*indices} != {*range(len(table))}:
        raise InputError(f"{path}: lacks the sentence or the index of a task: make the dataset again")
    sentences = dict(zip(indices, table[names[0]].to_pylist(), strict=True))
    return [sentences[index] for index in range(len(indices))]


class _Frames:
    """The columns of all frames, except images."""

    def __init__(self, folder: Path, features: dict[str, dict]) -> None:
        self._features = features
        self.files = files_of_chunks(folder / "data")
        if not self.files:
            raise InputError(f"{folder}: no Parquet files in data/chunk-*: make the dataset again")
        wanted = ["action", *STATES, *INDICES, "next.success", "next.reward", "next.done"]
        columns = [name for name in wanted if name in features]
        tables = [read_table(path, columns).replace_schema_metadata() for path in self.files]
        self._file_starts = np.cumsum([0, *map(len, tables)])
        try:
            self._table = pa.concat_tables(tables, promote_options="permissive").combine_chunks()
        except pa.ArrowException as error:
            raise InputError(f"{folder}: its files differ in columns ({first_line(error)})") from None
        self.episodes = self.numbers("episode_index")
        self._frame_index = self.numbers("frame_index")

    def __len__(self) -> int:
        return len(self._table)

    def numbers(self, name: str) -> np.ndarray:
        """Return a column of scalars; a vector of one number counts as one."""
        column = self._table[name].combine_chunks()
        if _is_list(column.type):
            return self.vectors(name)[:, 0]
        is_index = name in INDICES
        is_number = pa.types.is_integer(column.type) or pa.types.is_boolean(column.type)
        if column.null_count or not (is_number or (pa.types.is_floating(column.type) and not is_index)):
            raise InputError(f"{self.files[0]}: column {name!r} has other values than numbers, or none")
        return column.to_numpy(zero_copy_only=False)

    def vectors(self, name: str) -> np.ndarray:
        """Return a column of vectors: (frames, size) float32."""
        column = self._table[name].combine_chunks()
        shape = self._features[name].get("shape")
        if not isinstance(shape, list) or len(shape) != 1 or not isinstance(shape[0], int) or shape[0] < 1:
            raise InputError(f"{self.files[0]}: {name} has the shape {shape}, and must be a vector")
        if not _is_list(column.type):
            raise InputError(f"{self.files[0]}: column {name!r} is {column.type}, must be a list of numbers")
        widths = pc.fill_null(pc.list_value_length(column), -1).to_numpy(zero_copy_only=False)
        self.check(widths == shape[0], f"{name} must have {shape[0]} numbers, as meta/info.json says")
        flat = column.flatten()
        if not (pa.types.is_floating(flat.type) or pa.types.is_integer(flat.type)):
            raise InputError(f"{self.files[0]}: column {name!r} is {column.type}, must be a list of numbers")
        vectors = flat.to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, shape[0])
        self.check(np.isfinite(vectors).all(1), f"{name} is not finite")
        return vectors

    def rewards(self) -> np.ndarray:
        """Return the success in each frame: (frames,) float32, 0 or 1."""
        name = "next.success" if "next.success" in self._features else "next.reward"
        rewards = self.numbers(name).astype(np.float32)
        self.check((rewards == 0) | (rewards == 1), f"{name} is neither 0 nor 1, as sparse success is")
        return rewards

    def check(self, is_right: np.ndarray, fault: str) -> None:
        """Raise InputError with file, episode and frame of the first false entry of (frames,)."""
        if not is_right.all():
            row = int(is_right.argmin())
            file = self.files[int(np.searchsorted(self._file_starts, row, "right")) - 1]
            where = f"episode {self.episodes[row]}, frame {self._frame_index[row]}"
            raise InputError(f"{file}: {where}: {fault}")

    def check_order(self, info: dict, folder: Path) -> np.ndarray:
        """Return the first frame of each episode, and the number of frames.

        Raises InputError unless episodes and their frames are numbered from 0 and complete.
        """
        is_first = np.diff(self.episodes, prepend=-1) != 0
        starts = np.flatnonzero(is_first)
        number = np.arange(len(self)) - np.repeat(starts, np.diff(starts, append=len(self)))
        self.check(self._frame_index == number, "an earlier frame of the episode is missing")
        self.check(self.episodes == np.cumsum(is_first) - 1, "an earlier episode is missing")
        lengths = np.diff(starts, append=len(self))
        expected = np.full(info["total_episodes"], -1)
        for path in files_of_chunks(folder / "meta" / "episodes"):
            table = read_table(path, ["episode_index", "length"])
            if any(column.null_count or not pa.types.is_integer(column.type) for column in table.columns):
                raise InputError(f"{path}: lacks the length of an episode: make the dataset again")
            indices = table["episode_index"].to_numpy()
            if ((indices < 0) | (indices >= len(expected))).any():
                raise InputError(f"{path}: has more episodes than meta/info.json says: make it again")
            expected[indices] = table["length"].to_numpy()
        if len(lengths) != len(expected):
            raise InputError(
                f"{folder}: holds {len(lengths)} episodes, and meta/info.json says {len(expected)}: "
                "download or make it again"
            )
        if (lengths != expected).any():
            episode = int((lengths != expected).argmax())
            raise InputError(
                f"{folder}: episode {episode} has {lengths[episode]} frames, and meta/episodes says "
                f"{expected[episode]}: download or make it again"
            )
        return np.append(starts, len(self))


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _until_success(rewards: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return which frames (frames,) are not after the first success of their episode."""
    before = np.cumsum(rewards, dtype=np.int64) - rewards.astype(np.int64)
    return before == np.repeat(before[starts[:-1]], np.diff(starts))
