"""Write episodes as a LeRobotDataset v3.0: frames as Parquet, images as PNG in them, and tables in meta/.

The format is that of https://github.com/huggingface/lerobot, written through pyarrow and Pillow alone. The
columns of a frame are `observation.state`, `observation.images.<camera>` if there are images, `action`,
`next.reward`, `next.done`, and the indices and the timestamp that every such dataset has.
"""

import io
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


VERSION = "v3.0"
BYTES_PER_FILE = 100_000_000
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
EPISODES_PATH = "meta/episodes/chunk-000/file-000.parquet"
IMAGE_PREFIX = "observation.images."
PNG = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
SCALARS = {
    "next.reward": pa.float32(),
    "next.done": pa.bool_(),
    "timestamp": pa.float32(),
    "frame_index": pa.int64(),
    "episode_index": pa.int64(),
    "index": pa.int64(),
    "task_index": pa.int64(),
}
# `datasets` would read the tables in meta/ as rows too.
README = """---
license: mit
task_categories:
- robotics
tags:
- LeRobot
configs:
- config_name: default
  data_files: data/*/*.parquet
---

Episodes of scripted policies with noise in Meta-World, as a LeRobotDataset v3.0.
"""


@dataclass
class Episode:
    """One episode: its observations before each action, and whether it ended in success."""

    task: str
    noise: float
    success: bool
    states: np.ndarray  # (frames, state size) float32
    actions: np.ndarray  # (frames, dimensions) float32
    images: list[bytes] | None = None  # PNG files

    def __len__(self) -> int:
        return len(self.actions)


def encode_png(image: np.ndarray) -> bytes:
    """Return an image, (height, width, 3) uint8, as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=1)
    return file.getvalue()


class DatasetWriter:
    """Writes episodes, one row group each, and at the end the tables in meta/.

    `instructions` are the sentences of the tasks by name. Equal episodes give equal files.
    """

    def __init__(self, folder: Path, instructions: dict[str, str], fps: int, camera: str | None) -> None:
        self._folder, self._fps, self._camera = folder, fps, camera
        self._instructions = list(instructions.values())
        self._task_index = {task: index for index, task in enumerate(instructions)}
        self._writer: pq.ParquetWriter | None = None
        self._file_index = -1
        self._bytes_in_file = self._num_frames = 0
        self._rows: list[dict] = []
        self._image_shape: list[int] = []
        self._values: dict[str, list[np.ndarray]] = defaultdict(list)

    def write(self, episodes: Iterable[Episode]) -> list[dict]:
        """Write all episodes and the tables in meta/; return the rows of meta/episodes."""
        for episode in episodes:
            self._write_episode(episode)
        assert self._writer is not None, "a dataset needs an episode"
        self._writer.close()
        self._write_meta()
        return self._rows

    def _write_episode(self, episode: Episode) -> None:
        length, task = len(episode), self._task_index[episode.task]
        rewards = np.zeros(length, dtype=np.float32)
        rewards[-1] = episode.success
        columns: dict[str, pa.Array] = {"observation.state": _fixed_lists(episode.states)}
        if episode.images is not None:
            assert self._camera is not None
            pngs = pa.array([{"bytes": png, "path": None} for png in episode.images], PNG)
            columns[IMAGE_PREFIX + self._camera] = pngs
            if not self._image_shape:
                width, height = Image.open(io.BytesIO(episode.images[0])).size
                self._image_shape = [height, width, 3]
        columns["action"] = _fixed_lists(episode.actions)
        frames = np.arange(length)
        scalars = {
            "next.reward": rewards,
            "next.done": frames == length - 1,
            "timestamp": frames / self._fps,
            "frame_index": frames,
            "episode_index": np.full(length, len(self._rows)),
            "index": self._num_frames + frames,
            "task_index": np.full(length, task),
        }
        columns |= {name: pa.array(scalars[name]).cast(kind) for name, kind in SCALARS.items()}
        schema = pa.schema([(name, column.type) for name, column in columns.items()])
        table = pa.table(columns, schema.with_metadata(_huggingface_metadata(schema)))
        if self._writer is None or self._bytes_in_file + table.nbytes > BYTES_PER_FILE:
            self._start_file(table.schema)
        assert self._writer is not None
        self._writer.write_table(table)
        self._bytes_in_file += table.nbytes
        self._rows.append(
            {
                "episode_index": len(self._rows),
                "tasks": [self._instructions[task]],
                "length": length,
                "data/chunk_index": 0,
                "data/file_index": self._file_index,
                "dataset_from_index": self._num_frames,
                "dataset_to_index": self._num_frames + length,
                "meta/episodes/chunk_index": 0,
                "meta/episodes/file_index": 0,
                "success": episode.success,
                "noise": episode.noise,
            }
        )
        self._num_frames += length
        self._values["observation.state"].append(episode.states)
        self._values["action"].append(episode.actions)
        self._values["next.reward"].append(rewards[:, None])

    def _start_file(self, schema: pa.Schema) -> None:
        if self._writer is not None:
            self._writer.close()
        self._file_index += 1
        self._bytes_in_file = 0
        path = self._folder / DATA_PATH.format(chunk_index=0, file_index=self._file_index)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = pq.ParquetWriter(path, schema)

    def _write_meta(self) -> None:
        episodes = self._folder / EPISODES_PATH
        episodes.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(self._rows), episodes)
        tasks = {"task_index": pa.array(range(len(self._instructions))), "task": self._instructions}
        # The index of a pandas table, where LeRobot looks for the sentences.
        described = [
            {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": dtype, "metadata": None}
            for name, kind, dtype in (("task_index", "int64", "int64"), ("task", "unicode", "object"))
        ]
        pandas = {"index_columns": ["task"], "column_indexes": [], "columns": described}
        table = pa.table(tasks).replace_schema_metadata({"pandas": json.dumps(pandas)})
        pq.write_table(table, self._folder / "meta" / "tasks.parquet")
        values = {name: np.concatenate(parts) for name, parts in self._values.items()}
        features: dict[str, dict] = {
            name: {"dtype": "float32", "shape": [values[name].shape[1]], "names": None}
            for name in ("observation.state", "action")
        }
        if self._image_shape:
            names = ["height", "width", "channels"]
            image = {"dtype": "image", "shape": self._image_shape, "names": names}
            features[f"{IMAGE_PREFIX}{self._camera}"] = image
        for name, kind in SCALARS.items():
            features[name] = {"dtype": _dtype(kind), "shape": [1], "names": None}
        info = {
            "codebase_version": VERSION,
            "robot_type": "sawyer",
            "total_episodes": len(self._rows),
            "total_frames": self._num_frames,
            "total_tasks": len(self._instructions),
            "chunks_size": 1000,
            "data_files_size_in_mb": BYTES_PER_FILE // 10**6,
            "video_files_size_in_mb": 500,
            "fps": self._fps,
            "splits": {"train": f"0:{len(self._rows)}"},
            "data_path": DATA_PATH,
            "video_path": None,
            "features": features,
        }
        _write_json(self._folder / "meta" / "info.json", info)
        stats = {
            name: {
                "min": array.min(0).tolist(),
                "max": array.max(0).tolist(),
                "mean": array.mean(0, dtype=np.float64).tolist(),
                "std": array.std(0, dtype=np.float64).tolist(),
                "count": [len(array)],
            }
            for name, array in values.items()
        }
        _write_json(self._folder / "meta" / "stats.json", stats)
        (self._folder / "README.md").write_text(README)


def _fixed_lists(array: np.ndarray) -> pa.FixedSizeListArray:
    flat = np.ascontiguousarray(array, dtype=np.float32).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), array.shape[1])


def _huggingface_metadata(schema: pa.Schema) -> dict[str, str]:
    """Return the metadata by which `datasets` knows images and lists of a fixed length."""
    features: dict[str, dict] = {}
    for field in schema:
        if field.type == PNG:
            features[field.name] = {"_type": "Image"}
        elif pa.types.is_fixed_size_list(field.type):
            item = {"dtype": "float32", "_type": "Value"}
            features[field.name] = {"feature": item, "length": field.type.list_size, "_type": "List"}
        else:
            features[field.name] = {"dtype": _dtype(field.type), "_type": "Value"}
    return {"huggingface": json.dumps({"info": {"features": features}})}


def _dtype(kind: pa.DataType) -> str:
    return "float32" if kind == pa.float32() else str(kind)


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
