"""Images of a LeRobotDataset, PNG files in Parquet or videos, decoded once into a memory-mapped array."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image, UnidentifiedImageError

from cli.errors import InputError, first_line
from cli.files import atomic_write
from data.hub import cache_folder, cache_lock
from data.parquet import files_of_chunks, open_file, read_batches, read_table
from data.prepared_folder import LOAD_ERRORS, damaged
from data.robot.lerobot_writer import IMAGE_PREFIX


FRAMES_PER_BATCH = 256
KINDS = ("image", "video")


def read_images(
    folder: Path, info: dict, files: list[Path], episodes: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, str | None]:
    """Return the images of some frames, (rows, height, width, 3) uint8, and the name of their camera.

    `files` are the Parquet files of frames, `episodes` (frames,) the episode of each frame, and `rows` the
    frames to keep. They are decoded on the first call, into the cache next to those of the hub.
    """
    feature, shape = _find_feature(folder, info["features"])
    camera = feature.removeprefix(IMAGE_PREFIX) if feature.startswith(IMAGE_PREFIX) else None
    is_video = info["features"][feature]["dtype"] == "video"
    sources = [*files, *sorted((folder / "videos" / feature).glob("*/*"))] if is_video else files
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sources]
    key = hashlib.sha256(repr((str(folder.resolve()), feature, stats)).encode()).hexdigest()[:16]
    path = cache_folder() / "images" / f"{folder.resolve().name}-{key}.npy"
    with cache_lock(path):
        if not path.exists():
            kept = np.zeros(len(episodes), dtype=bool)
            kept[rows] = True
            header = {"descr": "|u1", "fortran_order": False, "shape": (len(rows), *shape)}
            with atomic_write(path) as unfinished, unfinished.open("wb") as file:
                np.lib.format.write_array_header_1_0(file, header)
                if is_video:
                    frames = _decode_videos(folder, info, feature, shape, np.bincount(episodes))
                else:
                    frames = _decode_pngs(files, feature, shape)
                for is_kept, image in zip(kept, frames, strict=True):
                    if is_kept:
                        file.write(image.tobytes())
    try:
        return np.load(path, mmap_mode="r"), camera
    except LOAD_ERRORS as error:
        raise damaged(path, error) from None


def _find_feature(folder: Path, features: dict[str, dict]) -> tuple[str, tuple[int, ...]]:
    names = [name for name, feature in features.items() if feature["dtype"] in KINDS]
    if len(names) != 1:
        found = ", ".join(names) or "no images"
        raise InputError(f"{folder}: has {found}, and images need a dataset with one camera")
    match features[names[0]].get("shape"):
        case [int(height), int(width), 3] | [3, int(height), int(width)] if min(height, width) > 0:
            return names[0], (height, width, 3)
        case shape:
            raise InputError(
                f"{folder}: {names[0]} has the shape {shape}, must be [height, width, 3] or "
                "[3, height, width]"
            )


def _decode_pngs(files: list[Path], feature: str, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    names = [feature, "episode_index", "frame_index"]
    for path in files:
        file = open_file(path)
        kind = file.schema_arrow.field(feature).type if feature in file.schema_arrow.names else "missing"
        if not isinstance(kind, pa.StructType) or kind.get_field_index("bytes") < 0:
            raise InputError(f"{path}: column {feature!r} is {kind}, must be a struct of bytes and path")
        for _, batch in read_batches(path, file, names, FRAMES_PER_BATCH):
            episode, frame = batch["episode_index"].to_pylist(), batch["frame_index"].to_pylist()
            for row, content in enumerate(batch[feature].field("bytes")):
                try:
                    image = _read_image(content.as_py(), shape)
                except ValueError as error:
                    where = f"{path}: episode {episode[row]}, frame {frame[row]}"
                    raise InputError(f"{where}: the image {error}: make the dataset again") from None
                yield image


def _read_image(content: bytes | None, shape: tuple[int, ...]) -> np.ndarray:
    """Decode an image; raise ValueError if it is damaged or of another size."""
    if content is None:
        raise ValueError("is missing")
    try:
        image = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    except UnidentifiedImageError:
        raise ValueError("cannot be decoded (unknown format)") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot be decoded ({first_line(error)})") from None
    if image.shape != shape:
        raise ValueError(f"has the shape {image.shape}, and meta/info.json says {shape}")
    return image


def _decode_videos(
    folder: Path, info: dict, feature: str, shape: tuple[int, ...], lengths: np.ndarray
) -> Iterator[np.ndarray]:
    """Yield the frames of episodes with these lengths; a video holds several, one after the other."""
    prefix = f"videos/{feature}/"
    tables = map(read_table, files_of_chunks(folder / "meta" / "episodes"))
    rows = [row for table in tables for row in table.to_pylist()]
    decoder: Iterator[np.ndarray] = iter(())
    current = None
    for row in sorted(rows, key=lambda row: row["episode_index"]):
        try:
            place = (row[f"{prefix}chunk_index"], row[f"{prefix}file_index"])
            video = folder / info["video_path"].format(
                video_key=feature, chunk_index=place[0], file_index=place[1]
            )
        except (KeyError, AttributeError, ValueError, TypeError):
            raise InputError(f"{folder}: meta/ does not say where the videos of {feature} are") from None
        if place != current:
            decoder, current = _frames_of_video(video, shape), place
        for frame in range(lengths[row["episode_index"]]):
            image = next(decoder, None)
            if image is None:
                where = f"episode {row['episode_index']}, frame {frame}"
                raise InputError(f"{video}: {where}: the video ends before: download it again")
            yield image


def _frames_of_video(path: Path, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    try:
        import av
    except ImportError:
        raise InputError(f"{path}: videos need the package av: pip install av") from None
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                image = frame.to_ndarray(format="rgb24")
                if image.shape != shape:
                    raise InputError(
                        f"{path}: its frames have the shape {image.shape}, and meta/info.json says {shape}"
                    )
                yield image
    except (av.FFmpegError, OSError, IndexError) as error:
        raise InputError(f"{path}: cannot be decoded ({first_line(error)}): download it again") from None
