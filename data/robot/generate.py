"""Play episodes of Meta-World by scripted policies with noise, and write them as a LeRobotDataset v3.0.

    python -m data.robot.generate --tasks drawer-open-v3 --episodes 800 --processes 2 --output drawer

By default 8% of the episodes are without noise, and the rest has three levels of it: demonstrations and
failures, as in the data of the Q-Transformer (arXiv 2309.10150). Start and noise of an episode are functions
of the seed, the task and its number: any number of processes writes the same files, and a longer run starts
with the episodes of a shorter one. Finished parts of an interrupted run are in `<output>.partial/`.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np

from cli.errors import InputError, command
from cli.files import atomic_write, check_output
from cli.options import add_seed_option, positive_int
from data.resumable_job import ResumableJob
from data.robot.episode_parts import Job, play_parts, read_parts
from data.robot.lerobot_writer import DatasetWriter
from data.robot.metaworld import DEFAULT_CAMERA, FPS, RobotEnv
from data.robot.simulator import CAMERAS, check_camera, import_simulator
from data.robot.tasks import INSTRUCTIONS, TASKS, TasksHelpFormatter, check_tasks


DEFAULT_NOISE = "0:.08,.5:.32,1:.3,2:.3"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m data.robot.generate",
        description="Play episodes of Meta-World's tasks by its scripted policies with noise, and write them "
        "as a LeRobotDataset folder, as training data. An interrupted run continues with the same command.",
        epilog=f"Tasks: {', '.join(TASKS)}.",
        formatter_class=TasksHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--tasks",
        type=lambda text: text.split(","),
        required=True,
        metavar="TASK,...",
        help="tasks of Meta-World, listed below",
    )
    add("--episodes", type=positive_int, required=True, metavar="N", help="number of episodes of each task")
    add("--output", type=Path, required=True, metavar="FOLDER", help="the dataset to write")
    add(
        "--noise",
        default=DEFAULT_NOISE,
        metavar="SD:FRACTION,...",
        help="standard deviations of the noise in actions, each with its fraction of the episodes "
        f"(default: {DEFAULT_NOISE})",
    )
    add(
        "--image",
        type=positive_int,
        metavar="PIXELS",
        help="also render the scene, in pictures of this height and width (default: states alone)",
    )
    add(
        "--camera",
        default=DEFAULT_CAMERA,
        help=f"the camera of the pictures: {', '.join(CAMERAS)} (default: {DEFAULT_CAMERA})",
    )
    add("--processes", type=positive_int, default=1, metavar="N", help="parallel processes (default: 1)")
    add_seed_option(parser, "starts and noise")
    add("--overwrite", action="store_true", help="replace the output if it exists")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    check_tasks(arguments.tasks)
    check_camera(arguments.camera)
    noise, fractions = read_noise(arguments.noise)
    job = Job(
        tuple(arguments.tasks),
        arguments.episodes,
        noise,
        fractions,
        arguments.image,
        arguments.camera,
        arguments.seed,
    )
    check_folder(arguments.output, arguments.overwrite)
    import_simulator()
    if job.image_size is not None:
        RobotEnv(job.tasks[0], job.image_size)  # its errors come before any work
    with ResumableJob(arguments.output, json.loads(json.dumps(vars(job)))) as partial:
        play_parts(job, partial.folder, arguments.processes)
        with atomic_write(arguments.output) as unfinished:
            unfinished.mkdir()
            instructions = {task: INSTRUCTIONS[task] for task in job.tasks}
            camera = job.camera if job.image_size is not None else None
            rows = DatasetWriter(unfinished, instructions, FPS, camera).write(read_parts(job, partial.folder))
    of_noise: dict[float, list[bool]] = {level: [] for level in noise}
    for row in rows:
        of_noise[row["noise"]].append(row["success"])
    by_noise = ", ".join(
        f"noise {level:g} {sum(successes) / len(successes):.1%} of {len(successes)}"
        for level, successes in of_noise.items()
        if successes
    )
    num_frames, num_successes = (sum(row[key] for row in rows) for key in ("length", "success"))
    print(
        f"{arguments.output}: {len(rows):,} episodes, {num_frames:,} frames: "
        f"success {num_successes / len(rows):.1%} ({by_noise})"
    )
    if not num_successes:
        print("no episode is a success, so that nothing can be learnt: give more episodes or less noise")


def read_noise(text: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Read levels of noise and their fractions, which sum to 1. Raises InputError for other texts."""
    parts = [part.partition(":") for part in text.split(",")]
    try:
        levels = tuple(float(level) for level, _, _ in parts)
        fractions = np.array([float(fraction) if colon else 1.0 for _, colon, fraction in parts])
    except ValueError:
        levels, fractions = (), np.zeros(1)
    is_valid = len(set(levels)) == len(parts) and min(levels) >= 0 and max(levels) < np.inf
    if not (is_valid and (fractions > 0).all() and math.isfinite(sum(fractions.tolist()))):
        raise InputError(
            f"--noise {text}: give different standard deviations with their fractions, as in {DEFAULT_NOISE}"
        )
    return levels, tuple((fractions / fractions.sum()).tolist())


def check_folder(folder: Path, overwrite: bool) -> None:
    """Raise InputError if a dataset cannot or must not be written at `folder`."""
    if folder.is_dir():
        if not overwrite:
            raise InputError(f"{folder} exists: choose another folder, or replace it with --overwrite")
        if not (folder / "meta" / "info.json").is_file():
            raise InputError(f"{folder} is not a dataset that this command wrote: choose another folder")
    check_output(folder / "README.md", overwrite=True)


if __name__ == "__main__":
    command(main)
