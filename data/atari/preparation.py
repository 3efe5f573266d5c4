"""Turn a recording into memory-mapped frames, once, by emulating its episodes on all cores.

    python -m data.atari.preparation recording.parquet

Offline training calls `prepare`; data/atari/recorded_steps.py reads the arrays. Folders that
data/atari/dqn_replay.py wrote are prepared already.
"""

import argparse
import functools
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from cli.errors import InputError, command
from data.atari.episodes import emulate
from data.atari.games import make_environments, make_game
from data.atari.recordings import read_recording
from data.hub import local_files
from data.prepared_folder import make_once, read_meta


FORMAT, VERSION = "prepared Atari steps", 1
# The arrays of a folder, frames apart: one item per step.
DTYPES = {"actions": np.uint8, "rewards": np.float32, "ends": np.uint8, "ages": np.int32, "games": np.uint8}


def prepare(source: str | Path, folder: str | Path | None = None) -> Path:
    """Prepare a recording, which is a Parquet file, a folder of them or a dataset on the hub.

    Returns the folder of arrays, by default `<source>.prepared`. Nothing is done if it holds arrays of the
    same source files, by sizes and modification times, or if `source` is prepared itself. When several
    processes call this together, one works and the others wait. Raises InputError for a recording that is not
    reproduced.
    """
    if read_meta(Path(source), FORMAT):
        return Path(source)
    source = local_files(source, "train")
    folder = (source.with_name(f"{source.name}.prepared") if folder is None else Path(folder)).resolve()
    return make_once(folder, source, FORMAT, VERSION, functools.partial(_write, source))


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


def _write(source: Path, folder: Path) -> dict[str, Any]:
    recording = read_recording(source)
    for game, emulator in zip(recording.games, recording.emulators, strict=True):
        game.check_emulator(emulator, f"{source}: {game.name} was recorded")
    shapes = [make_environments(game, 1).frame_shape for game in recording.games]
    if len(set(shapes)) > 1:
        names = ", ".join(
            f"{game.title} {shape}" for game, shape in zip(recording.games, shapes, strict=True)
        )
        raise InputError(f"{source}: the frames of its games differ in shape: {names}; train on some of them")
    lengths = np.array([len(episode.actions) for episode in recording.episodes])
    starts = np.cumsum(lengths) - lengths
    arrays = create_arrays(folder, int(lengths.sum()), shapes[0])
    means = []
    for index, game in enumerate(recording.games):
        numbers = np.flatnonzero(recording.game_indices == index)
        episodes = [recording.episodes[number] for number in numbers]
        for steps in emulate(game, episodes, str(source), numbers):
            rows = starts[steps.episodes] + steps.ages
            for name in ("frames", "actions", "rewards", "ends", "ages"):
                arrays[name][rows] = getattr(steps, name)
            arrays["games"][rows] = index
        means.append(np.mean([episode.total_reward for episode in episodes]))
    for array in arrays.values():
        array.flush()
    return {
        "games": [{"name": game.name, **game.settings()} for game in recording.games],
        "num_steps": int(lengths.sum()),
        "num_episodes": len(lengths),
        "mean_return": float(np.mean(means)),  # over games, each counting the same
    }


def parse_arguments() -> argparse.Namespace:
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
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    folder = prepare(arguments.recording, arguments.folder)
    meta = read_meta(folder, FORMAT)
    names = ", ".join(make_game(**game).title for game in meta["games"])
    print(
        f"{folder}: {meta['num_steps']:,} steps of {names} in {meta['num_episodes']:,} episodes, mean return "
        f"{meta['mean_return']:.2f}"
    )


if __name__ == "__main__":
    command(main)
