"""LeRobotDataset folders: what is read, and what is refused, in one line with its place."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli.errors import InputError
from data.robot.episodes import read_episodes
from tests.support.robot_data import LENGTHS, random_episodes, random_images, write_robot_data


DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
IMAGE = "observation.images.behindGripper"


def read(folder: Path, with_images: bool = False):
    return read_episodes(str(folder), with_images=with_images)


def change_info(folder: Path, change: Callable[[dict], object]) -> None:
    path = folder / "meta" / "info.json"
    info = json.loads(path.read_text())
    change(info)
    path.write_text(json.dumps(info))


def change_rows(folder: Path, change: Callable[[list[dict]], object], file: str = DATA) -> None:
    """Change the rows of a Parquet file."""
    table = pq.read_table(folder / file)
    rows = table.to_pylist()
    rows = change(rows) or rows
    fields = [
        pa.field(field.name, pa.list_(pa.float32())) if pa.types.is_fixed_size_list(field.type) else field
        for field in table.schema
    ]
    pq.write_table(pa.Table.from_pylist(rows, pa.schema(fields)), folder / file)


def rename(folder: Path, column: str, new: str, values: list, feature: dict) -> None:
    """Replace a column of frames by another one, also in meta/info.json."""
    table = pq.read_table(folder / DATA)
    if column in table.column_names:
        table = table.drop_columns([column])
    pq.write_table(table.append_column(new, pa.array(values)), folder / DATA)

    def change(info: dict) -> None:
        info["features"].pop(column, None)
        info["features"][new] = feature

    change_info(folder, change)


def test_the_frames_of_all_episodes_are_read_in_order(tmp_path):
    tasks = ("drawer-open-v3", "reach-v3")
    episodes = read(write_robot_data(tmp_path / "set", tasks=tasks))
    written = random_episodes("drawer-open-v3")
    np.testing.assert_array_equal(episodes.states, np.concatenate([e.states for e in written * 2]))
    np.testing.assert_array_equal(episodes.actions, np.concatenate([e.actions for e in written * 2]))
    np.testing.assert_array_equal(np.diff(episodes.starts), LENGTHS * 2)
    assert episodes.rewards.tolist() == [0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0] * 2
    assert episodes.tasks.tolist() == [0] * 11 + [1] * 11
    assert episodes.successes.tolist() == [True, True, False] * 2
    assert episodes.instructions == ["Open a drawer", "Reach a goal position"]
    assert episodes.success_by_instruction() == dict.fromkeys(episodes.instructions, 2 / 3)
    assert episodes.images is None and episodes.camera is None


def test_the_sentences_are_where_lerobot_looks_for_them(tmp_path):
    folder = write_robot_data(tmp_path / "set", tasks=("drawer-open-v3", "reach-v3"))
    tasks = pandas.read_parquet(folder / "meta" / "tasks.parquet")
    assert tasks.iloc[1].name == "Reach a goal position" and tasks.task_index.tolist() == [0, 1]


def test_images_are_decoded_once_into_a_memory_map(tmp_path, monkeypatch):
    folder = write_robot_data(tmp_path / "set", image_size=8)
    expected = np.concatenate([random_images(n, 8, seed) for seed, n in enumerate(LENGTHS)])
    for _ in range(2):
        episodes = read(folder, with_images=True)
        np.testing.assert_array_equal(episodes.images, expected)
        assert isinstance(episodes.images, np.memmap) and episodes.camera == "behindGripper"
        monkeypatch.setattr("data.robot.images.Image.open", None)


def test_a_damaged_array_of_images_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = write_robot_data(tmp_path / "set", image_size=8)
    read(folder, with_images=True)
    [array] = (tmp_path / "cache").rglob("*.npy")
    array.write_bytes(array.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"\.npy is damaged .*: delete it, and it is made again"):
        read(folder, with_images=True)


def test_frames_after_the_first_success_are_left_out(tmp_path):
    folder = write_robot_data(tmp_path / "set", image_size=8)
    success = [False, True, False, True, False, False, True, True, True, False, True]
    rename(folder, "next.reward", "next.success", success, {"dtype": "bool", "shape": [1]})
    episodes = read(folder, with_images=True)
    assert episodes.starts.tolist() == [0, 2, 4, 5]
    assert episodes.rewards.tolist() == [0, 1, 0, 0, 1]
    assert len(episodes.images) == len(episodes.states) == 5
    np.testing.assert_array_equal(episodes.images[4], random_images(5, 8, seed=2)[0])


def test_success_takes_precedence_over_dense_rewards(tmp_path):
    folder = write_robot_data(tmp_path / "set")
    change_rows(folder, lambda rows: [row | {"next.reward": 7.3} for row in rows])
    success = {"dtype": "bool", "shape": [1]}
    rename(folder, "nothing", "next.success", [False] * 3 + [True] + [False] * 7, success)
    assert read(folder).successes.tolist() == [True, False, False]


def test_states_of_two_features_are_joined_unless_one_holds_the_other(tmp_path):
    folder = write_robot_data(tmp_path / "set")
    states = read(folder).states
    longer = np.concatenate([states, states[:, :2]], axis=1)
    other = "observation.environment_state"
    rename(folder, "nothing", other, longer.tolist(), {"dtype": "float32", "shape": [41]})
    np.testing.assert_array_equal(read(folder).states, longer)
    different = (longer[:, :3] + 1).tolist()
    rename(folder, other, other, different, {"dtype": "float32", "shape": [3]})
    np.testing.assert_array_equal(read(folder).states, np.concatenate([states, longer[:, :3] + 1], axis=1))


def test_a_dataset_that_pandas_wrote_is_read(tmp_path):
    folder = write_robot_data(tmp_path / "set")
    before = read(folder)
    for file in (DATA, EPISODES, "meta/tasks.parquet"):
        pandas.read_parquet(folder / file).to_parquet(folder / file)
    after = read(folder)
    np.testing.assert_array_equal(after.states, before.states)
    assert after.instructions == before.instructions


def set_frame(row: int, **values: object) -> Callable[[Path], None]:
    """Return a function that sets values of a frame; two underscores stand for a dot."""
    changes = {name.replace("__", "."): value for name, value in values.items()}
    return lambda folder: change_rows(folder, lambda rows: rows[row].update(changes))


def drop_frame(row: int) -> Callable[[Path], None]:
    return lambda folder: change_rows(folder, lambda rows: rows[:row] + rows[row + 1 :])


def set_version(folder: Path) -> None:
    change_info(folder, lambda info: info.update(codebase_version="v2.1"))


def fail_all(folder: Path) -> None:
    change_rows(folder, lambda rows: [row | {"next.reward": 0.0} for row in rows])


def truncate(file: str) -> Callable[[Path], object]:
    return lambda folder: (folder / file).write_bytes((folder / file).read_bytes()[:-100])


def remove(file: str) -> Callable[[Path], None]:
    return lambda folder: (folder / file).unlink()


@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        (remove("meta/info.json"), ["is not a LeRobotDataset (no meta/info.json)", "data.robot.generate"]),
        (set_version, ["is a LeRobotDataset v2.1, and only v3.0 can be read: convert it"]),
        (set_frame(5, action=[0.0, 1.5, 0.0, 0.0]), [DATA, "episode 1, frame 1", "outside [-1, 1]"]),
        (set_frame(5, action=[0.0] * 3), [DATA, "episode 1, frame 1: action must have 4 numbers"]),
        (set_frame(5, action=[0.0, np.nan, 0, 0]), ["episode 1, frame 1: action is not finite"]),
        (set_frame(7, observation__state=[np.inf] * 39), ["episode 2, frame 1: observation.state is not"]),
        (set_frame(5, action=None), ["episode 1, frame 1: action must have 4 numbers"]),
        (set_frame(5, next__reward=0.5), [DATA, "episode 1, frame 1: next.reward is neither 0 nor 1"]),
        (set_frame(5, next__reward=None), [DATA, "'next.reward' has other values than numbers"]),
        (set_frame(5, next__done=False), ["episode 1, frame 1: the episode has no end"]),
        (set_frame(5, task_index=3), ["episode 1, frame 1: its task is not in meta/tasks.parquet"]),
        (fail_all, ["no episode is a success"]),
        (drop_frame(1), [DATA, "episode 0, frame 2: an earlier frame of the episode is missing"]),
        (drop_frame(3), ["episode 0 has 3 frames, and meta/episodes says 4"]),
        (truncate(DATA), [DATA, "cannot be read"]),
        (truncate("meta/tasks.parquet"), ["meta/tasks.parquet: cannot be read"]),
        (remove(DATA), ["no Parquet files in data/chunk-*"]),
        (lambda folder: (folder / "meta" / "info.json").write_text("{"), ["info.json: cannot be read"]),
        (lambda folder: change_info(folder, lambda info: info["features"].pop("action")), ["has no action"]),
        (lambda folder: change_info(folder, lambda info: info.update(total_episodes=4)), ["says 4"]),
    ],
)
def test_a_fault_is_one_line_with_its_place(tmp_path, damage, parts):
    folder = write_robot_data(tmp_path / "set")
    damage(folder)
    with pytest.raises(InputError) as error:
        read(folder)
    assert "\n" not in str(error.value)
    for part in parts:
        assert part in str(error.value)


def break_png(change: Callable[[bytes], bytes | None]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        change_rows(folder, lambda rows: rows[5][IMAGE].update(bytes=change(rows[5][IMAGE]["bytes"])))

    return damage


@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        (break_png(lambda png: png[:-60]), [DATA, "episode 1, frame 1: the image cannot be decoded"]),
        (break_png(lambda png: png[:9]), [DATA, "episode 1, frame 1: the image cannot be decoded"]),
        (break_png(lambda png: None), ["episode 1, frame 1: the image is missing"]),
        (
            lambda folder: change_info(folder, lambda info: info["features"][IMAGE].update(shape=[9, 9, 3])),
            ["episode 0, frame 0: the image has the shape (8, 8, 3), and meta/info.json says (9, 9, 3)"],
        ),
        (
            lambda folder: change_info(folder, lambda info: info["features"].pop(IMAGE)),
            ["has no images, and images need a dataset with one camera"],
        ),
    ],
)
def test_a_faulty_image_is_one_line_with_its_place_and_leaves_no_array(tmp_path, monkeypatch, damage, parts):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = write_robot_data(tmp_path / "set", image_size=8)
    damage(folder)
    with pytest.raises(InputError) as error:
        read(folder, with_images=True)
    for part in parts:
        assert part in str(error.value)
    assert not list((tmp_path / "cache").rglob("*.npy"))


def test_the_shape_of_images_may_name_their_channels_first(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = write_robot_data(tmp_path / "set", image_size=8)
    expected = read(folder, with_images=True).images
    change_info(folder, lambda info: info["features"][IMAGE].update(shape=[3, 8, 8]))
    np.testing.assert_array_equal(read(folder, with_images=True).images, expected)
    change_info(folder, lambda info: info["features"][IMAGE].update(shape=[8, 8]))
    with pytest.raises(InputError, match=r"has the shape \[8, 8\], must be \[height, width, 3\]"):
        read(folder, with_images=True)


def write_video(folder: Path, num_frames: int, size: int = 16) -> None:
    """Replace the images of a dataset by a video of grey frames, each brighter than the one before."""
    import av

    video = f"videos/{IMAGE}/chunk-000/file-000.mp4"
    (folder / video).parent.mkdir(parents=True)
    with av.open(str(folder / video), "w") as container:
        stream = container.add_stream("mpeg4", rate=27)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        for number in range(num_frames):
            image = np.full((size, size, 3), 20 * number, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())

    def change(info: dict) -> None:
        info["features"][IMAGE] |= {"dtype": "video", "shape": [size, size, 3]}
        info["video_path"] = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"

    change_info(folder, change)
    place = {f"videos/{IMAGE}/chunk_index": 0, f"videos/{IMAGE}/file_index": 0}
    table = pq.read_table(folder / EPISODES)
    pq.write_table(pa.Table.from_pylist([row | place for row in table.to_pylist()]), folder / EPISODES)


def test_videos_are_decoded(tmp_path):
    folder = write_robot_data(tmp_path / "set", image_size=8)
    write_video(folder, sum(LENGTHS))
    images = read(folder, with_images=True).images
    assert images.shape == (11, 16, 16, 3)
    np.testing.assert_allclose(images.mean((1, 2, 3)), 20 * np.arange(11), atol=4)


def test_a_video_that_is_too_short_names_the_first_missing_frame(tmp_path):
    folder = write_robot_data(tmp_path / "set", image_size=8)
    write_video(folder, sum(LENGTHS) - 2)
    with pytest.raises(InputError, match="episode 2, frame 3: the video ends before"):
        read(folder, with_images=True)


def test_a_damaged_table_of_videos_is_one_line(tmp_path):
    folder = write_robot_data(tmp_path / "set", image_size=8)
    write_video(folder, sum(LENGTHS))
    content = bytearray((folder / EPISODES).read_bytes())
    group = pq.read_metadata(folder / EPISODES).row_group(0)
    column = group.column(group.num_columns - 1)
    assert column.path_in_schema == f"videos/{IMAGE}/file_index"
    start = column.dictionary_page_offset
    content[start : start + 20] = b"\xff" * 20
    (folder / EPISODES).write_bytes(content)
    with pytest.raises(InputError, match=f"{EPISODES}: cannot be read"):
        read(folder, with_images=True)


def test_without_av_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    folder = write_robot_data(tmp_path / "set", image_size=8)
    write_video(folder, sum(LENGTHS))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match="videos need the package av: pip install av"):
        read(folder, with_images=True)
