"""Read the files of the DQN replay data set (Agarwal et al., arXiv 1907.04543) for offline training.

    python -m data.atari.dqn_replay --game breakout --data dqn/Breakout/1/replay_logs \\
        --output runs/breakout_replay

The output is a prepared folder: data.train=runs/breakout_replay trains on it. The public bucket
gs://atari-replay-datasets has been closed since 2025, so this is for those who have the files.

A run has 50 checkpoints of a million steps, each with the files $store$_observation_ckpt.N.gz, and likewise
action, reward and terminal: gzipped arrays of NumPy, in the order of play. Dopamine puts three steps of
zeros before every episode, and the last slot of a checkpoint is stale; both are left out.
"""

import argparse
import gzip
import re
import zlib
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cli.errors import InputError, command, first_line
from cli.files import atomic_write
from data.atari.games import make_environments, make_game
from data.atari.preparation import FORMAT, VERSION, create_arrays
from data.episode_ends import TERMINATED, TRUNCATED
from data.prepared_folder import LOAD_ERRORS, check_replaceable, write_meta


NAME = "$store$_{column}_ckpt.{number}.gz"
COLUMNS = ("observation", "action", "reward", "terminal")
PADDING = 3  # steps of zeros before an episode: a stack has four frames
FRAME_SHAPE = (84, 84)


def find_checkpoints(folder: Path) -> list[int]:
    """Return the numbers of the checkpoints in a folder; raise InputError if files are missing."""
    pattern = re.compile(re.escape(NAME).replace(r"\{column\}", r"(\w+)").replace(r"\{number\}", r"(\d+)"))
    found = [pattern.fullmatch(path.name) for path in folder.iterdir()] if folder.is_dir() else []
    numbers = sorted({int(match[2]) for match in found if match})
    if not numbers:
        raise InputError(f"{folder} has no files $store$_observation_ckpt.N.gz: give a folder replay_logs")
    for number in numbers:
        for column in COLUMNS:
            path = folder / NAME.format(column=column, number=number)
            if not path.exists():
                raise InputError(f"{path} is missing: a checkpoint has {', '.join(COLUMNS)}")
    return numbers


def read_checkpoint(folder: Path, number: int) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return the frames of a checkpoint, a mask of those that are steps, and the other arrays of the steps.

    Steps are all but the stale slot and padding; the arrays are actions, rewards, ends and ages. The steps
    that lack earlier or later frames at both ends of the checkpoint have the end TRUNCATED: they are not
    sampled.
    """
    arrays = {column: _read_array(folder / NAME.format(column=column, number=number)) for column in COLUMNS}
    shapes = {column: array.shape for column, array in arrays.items()}
    length = len(arrays["action"])
    expected = {column: (length, *(FRAME_SHAPE if column == "observation" else ())) for column in COLUMNS}
    if shapes != expected or length <= PADDING + 1:
        raise InputError(f"{folder}: checkpoint {number} has arrays of shapes {shapes}, not {expected}")
    frames, actions, rewards, terminals = (arrays[column][:-1] for column in COLUMNS)
    is_padding = np.zeros(len(actions), dtype=bool)
    # From the first step, and from those after a terminal one.
    for start in [0, *np.flatnonzero(terminals[:-1]) + 1]:
        part = slice(start, start + PADDING)
        # A checkpoint may begin within an episode.
        if not (frames[part].any() or actions[part].any() or rewards[part].any() or terminals[part].any()):
            is_padding[part] = True
    kept = ~is_padding
    begins_within = not is_padding[0]
    ends = np.where(terminals[kept] != 0, TERMINATED, 0).astype(np.uint8)
    if not len(ends):
        raise InputError(f"{folder}: checkpoint {number} holds padding alone")
    starts = np.append(0, np.flatnonzero(ends) + 1)
    places = np.arange(len(ends))
    ages = places - starts[np.searchsorted(starts, places, side="right") - 1]
    if begins_within:
        ends[:PADDING] = TRUNCATED
    if ends[-1] != TERMINATED:
        ends[-1] = TRUNCATED
    columns = {"actions": actions[kept], "rewards": rewards[kept], "ends": ends, "ages": ages}
    return frames, kept, columns


def _read_array(path: Path) -> np.ndarray:
    try:
        with gzip.open(path) as file:
            array = np.load(file, allow_pickle=False)
            file.read()  # the checksum is compared at the end
            return array
    except (*LOAD_ERRORS, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({first_line(error)}): copy it again") from None


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data.atari.dqn_replay",
        description="Convert files of the DQN replay data set to memory-mapped arrays for offline training. "
        "The public bucket has been closed since 2025; this is for those who have the files.",
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="FOLDER", help="dqn/<Game>/<run>/replay_logs")
    add("--game", required=True, metavar="NAME", help="the game, such as breakout")
    add("--output", type=Path, required=True, metavar="FOLDER", help="the folder for the arrays; a new one")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    game = make_game(arguments.game)
    if game.is_minatar:
        raise InputError(f"--game {game.name}: the data set has games of ALE: give its own")
    num_actions = make_environments(game, 1).num_actions
    numbers = find_checkpoints(arguments.data)
    check_replaceable(arguments.output, FORMAT)
    # The number of steps is known after reading, so the actions are read twice.
    sizes = [len(_read_array(arguments.data / NAME.format(column="action", number=n))) for n in numbers]
    num_steps, num_episodes, total = 0, 0, 0.0
    with atomic_write(arguments.output) as unfinished:
        unfinished.mkdir()
        arrays = create_arrays(unfinished, sum(sizes), (1, *FRAME_SHAPE))
        for number in tqdm(numbers, desc="reading", unit=" checkpoints", disable=None):
            frames, kept, steps = read_checkpoint(arguments.data, number)
            if steps["actions"].max() >= num_actions:
                raise InputError(
                    f"{arguments.data}: checkpoint {number} has action {steps['actions'].max()}, and "
                    f"{game.name} has {num_actions}: give the game of the data"
                )
            rows = slice(num_steps, num_steps + len(steps["ends"]))
            np.compress(kept, frames, axis=0, out=arrays["frames"][rows, 0])
            for name, values in steps.items():
                arrays[name][rows] = values
            num_steps = rows.stop
            num_episodes += int((steps["ends"] == TERMINATED).sum())
            total += float(steps["rewards"].sum())
        shorten(unfinished, arrays, num_steps)
        write_meta(
            unfinished,
            FORMAT,
            version=VERSION,
            source=[{"name": str(arguments.data), "checkpoints": numbers}],
            games=[{"name": game.name, **game.settings()}],
            num_steps=num_steps,
            num_episodes=num_episodes,
            mean_return=total / num_episodes if num_episodes else None,
        )
    print(f"{arguments.output}: {num_steps:,} steps of {game.name} in {num_episodes:,} episodes")


def shorten(folder: Path, arrays: dict[str, np.memmap], num_steps: int) -> None:
    """Cut the files of arrays after `num_steps` items."""
    for name, array in arrays.items():
        array.flush()
        path = folder / f"{name}.npy"
        item = array.dtype.itemsize * int(np.prod(array.shape[1:], dtype=np.int64))
        header = path.stat().st_size - item * len(array)
        with path.open("r+b") as file:
            file.truncate(header + item * num_steps)
            shape = (num_steps, *array.shape[1:])
            facts = {"descr": array.dtype.str, "fortran_order": False, "shape": shape}
            # NumPy pads the header so that the first dimension can change in place.
            np.lib.format.write_array_header_1_0(file, facts)


if __name__ == "__main__":
    command(main)
