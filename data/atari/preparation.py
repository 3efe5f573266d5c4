"""Turn a recording into memory-mapped frames, once, by emulating its episodes on all cores.

    python -m data.atari.preparation recording.parquet

Offline training calls `prepare`; data/atari/recorded_steps.py reads the arrays. Folders that
data/atari/dqn_replay.py wrote are prepared already.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from cli.errors import InputError, command
from cli.files import atomic_write, remove
from data.atari.episodes import emulate
from data.atari.games import make_environments
from data.atari.recordings import check_emulators, read_recording
from data.hub import local_files
from data.parquet import list_files


FORMAT, VERSION = "prepared Atari steps", 1
META_FILE = "meta.json"
# The arrays of a folder, frames apart: one item per step.
DTYPES = {"actions": np.uint8, "rewards": np.float32, "ends": np.uint8, "ages": np.int32, "games": np.uint8}


def prepare(source: str | Path, folder: str | Path | None = None) -> Path:
    """Prepare a recording, which is a Parquet file, a folder of them or a dataset on the hub.

    Returns the folder of arrays, by default `<source>.prepared`. Nothing is done if it holds arrays of the
    same source files, by sizes and modification times, or if `source` is prepared itself. When several
    processes call this together, one works and the others wait. Raises InputError for a recording that is not
    reproduced.
    """
    if read_meta(Path(source)):
        return Path(source)
    source = local_files(source, "train")
    folder = (source.with_name(f"{source.name}.prepared") if folder is None else Path(folder)).resolve()
    if _is_up_to_date(folder, source):
        return folder
    lock = folder.with_name(f".{folder.name}.lock")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # In a read-only folder FileLock may wait for ever; touch fails.
        lock.touch()
        with FileLock(lock):
            if not _is_up_to_date(folder, source):
                check_replaceable(folder)
                with atomic_write(folder) as unfinished:
                    # A killed process with the same id may have left it behind.
                    remove(unfinished)
                    _write(source, unfinished)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror or error}); "
            "set data.prepared_dir (or --folder) to a folder that can"
        ) from None
    return folder


def read_meta(folder: Path) -> dict:
    """Read the facts about the arrays in `folder`; empty if there are none."""
    try:
        meta = json.loads((folder / META_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return meta if isinstance(meta, dict) and meta.get("format") == FORMAT else {}


def write_meta(folder: Path, **facts: Any) -> None:
    meta = {"format": FORMAT, "version": VERSION, **facts}
    (folder / META_FILE).write_text(json.dumps(meta, indent=2) + "\n")


def check_replaceable(folder: Path) -> None:
    """Raise InputError if a folder holds anything but prepared steps."""
    is_empty = folder.is_dir() and not any(folder.iterdir())
    if folder.exists() and not is_empty and not read_meta(folder):
        raise InputError(f"{folder}: exists and holds no prepared steps; choose another folder")


def create_arrays(folder: Path, num_steps: int, frame_shape: tuple[int, ...]) -> dict[str, np.memmap]:
    """Make the files of arrays in a folder; raise InputError if the disk is too small for the frames."""
    num_bytes = num_steps * int(np.prod(frame_shape))
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise InputError(
            f"{folder.parent}: {num_steps:,} steps need {num_bytes / 1e9:.1f} GB for their frames, and "
            f"{free / 1e9:.1f} GB are free: choose another folder, or fewer episodes"
        )
    shapes = {"frames": (np.uint8, frame_shape), **{name: (kind, ()) for name, kind in DTYPES.items()}}
    return {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", "w+", kind, (num_steps, *shape))
        for name, (kind, shape) in shapes.items()
    }


def _is_up_to_date(folder: Path, source: Path) -> bool:
    description = _describe(source)
    meta = read_meta(folder)
    return meta.get("version") == VERSION and meta["source"] == description


def _describe(source: Path) -> list[dict]:
    """Return the names, sizes and modification times of the files of a source."""
    stats = [(path.name, path.stat()) for path in list_files(source)]
    return [{"name": name, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns} for name, stat in stats]


def _write(source: Path, folder: Path) -> None:
    # Before reading: the next call then notices a change while reading.
    description = _describe(source)
    recording = read_recording(source)
    check_emulators(source, recording)
    shapes = [make_environments(game, 1).frame_shape for game in recording.games]
    if len(set(shapes)) > 1:
        names = ", ".join(
            f"{game.title} {shape}" for game, shape in zip(recording.games, shapes, strict=True)
        )
        raise InputError(f"{source}: the frames of its games differ in shape: {names}; train on some of them")
    lengths = np.array([len(episode.actions) for episode in recording.episodes])
    starts = np.cumsum(lengths) - lengths
    folder.mkdir()
    arrays = create_arrays(folder, int(lengths.sum()), shapes[0])
    for index, game in enumerate(recording.games):
        numbers = np.flatnonzero(recording.game_indices == index)
        episodes = [recording.episodes[number] for number in numbers]
        for steps in emulate(game, episodes, str(source), numbers):
            rows = starts[steps.episodes] + steps.ages
            for name in ("frames", "actions", "rewards", "ends", "ages"):
                arrays[name][rows] = getattr(steps, name)
            arrays["games"][rows] = index
    for array in arrays.values():
        array.flush()
    returns = [episode.total_reward for episode in recording.episodes]
    write_meta(
        folder,
        source=description,
        games=[{"name": game.name, **game.settings()} for game in recording.games],
        num_steps=int(lengths.sum()),
        num_episodes=len(lengths),
        mean_return=float(np.mean(returns)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m data.atari.preparation",
        description="Emulate the episodes of a recording, check their frames and rewards, and write arrays "
        "that training reads from disk: 7 GB for a million steps of an ALE game. Training does this too; run "
        "it beforehand to choose the folder or to find faults early.",
    )
    parser.add_argument(
        "recording", help="a Parquet file, a folder of them, or a dataset on the hub such as user/name"
    )
    parser.add_argument("--folder", type=Path, help="the folder for the arrays (default: RECORDING.prepared)")
    arguments = parser.parse_args()
    folder = prepare(arguments.recording, arguments.folder)
    meta = read_meta(folder)
    names = ", ".join(game["name"] for game in meta["games"])
    print(
        f"{folder}: {meta['num_steps']:,} steps of {names} in {meta['num_episodes']:,} episodes, mean return "
        f"{meta['mean_return']:.2f}"
    )


if __name__ == "__main__":
    command(main)
