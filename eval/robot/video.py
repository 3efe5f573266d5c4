"""A GIF of a grid of episodes: the picture of each, and beside it what the model predicts of each dimension.

For every dimension of the action, the upper curve is the value of each of its bins, from −1 to 1, with a line
at the chosen one; the bars below are the predicted distribution of the return of the chosen bin.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from cli.files import atomic_write
from data.robot.metaworld import RobotEnv
from eval.robot.policy import Policy


PICTURE, PANEL = 160, 110  # pixels
COLUMNS, NUM_EPISODES = 3, 6
DURATION = 120  # milliseconds per decision: a third of the speed of the robot
LAST_FRAMES = 10  # repeats of the end
SMALLEST_RANGE = 0.02  # of values that fills the height of a curve
NAMES = ("x", "y", "z", "grip")  # of the dimensions of an action
BACKGROUND, INK, CURVE, BARS = "#ffffff", "#606060", "#1f77b4", "#ff7f0e"
COLOURS = {None: "#c0c0c0", True: "#2ca02c", False: "#d62728"}  # of frames: unfinished, success, failure


class Recorder:
    """Records the first episodes of the tasks, in turn, as `watch` of `play_episodes`."""

    def __init__(self, policy: Policy, tasks: Sequence[str], episodes: int) -> None:
        self._policy = policy
        places = [(task, number) for number in range(episodes) for task in tasks][:NUM_EPISODES]
        self._cells: dict[tuple[str, int], list[Image.Image]] = {place: [] for place in places}

    def __call__(self, task: str, number: int, env: RobotEnv, index: int, success: bool) -> None:
        """Draw the state of an episode after a decision."""
        cell = self._cells.get((task, number))
        if cell is not None:
            is_over = not env.is_running
            cell.append(self._draw(env, index, success if is_over else None))

    def _draw(self, env: RobotEnv, index: int, ended: bool | None) -> Image.Image:
        chosen = getattr(self._policy, "chosen", None)
        width = PICTURE + (PANEL if chosen is not None else 0)
        cell = Image.new("RGB", (width, PICTURE), BACKGROUND)
        cell.paste(Image.fromarray(env.picture(PICTURE)), (0, 0))
        draw = ImageDraw.Draw(cell)
        if chosen is not None:
            height = PICTURE // len(NAMES)
            for dimension, name in enumerate(NAMES):
                probs = None if chosen.probs is None else chosen.probs[index][dimension]
                corner = (PICTURE + 6, dimension * height)
                draw_dimension(draw, corner, height, name, chosen.value[index][dimension], probs)
        draw.rectangle((0, 0, width - 1, PICTURE - 1), outline=COLOURS[ended], width=3)
        return cell

    def save(self, path: Path) -> None:
        """Write the GIF; an episode that is over shows its end until all are."""
        cells = [cell for cell in self._cells.values() if cell]
        width, height = cells[0][0].size
        columns = min(COLUMNS, len(cells))
        size = (columns * width, -(-len(cells) // columns) * height)
        frames = []
        for step in range(max(map(len, cells))):
            frame = Image.new("RGB", size, BACKGROUND)
            for place, cell in enumerate(cells):
                row, column = divmod(place, columns)
                frame.paste(cell[min(step, len(cell) - 1)], (column * width, row * height))
            frames.append(frame.quantize(64, dither=Image.Dither.NONE))
        durations = [DURATION] * (len(frames) - 1) + [LAST_FRAMES * DURATION]
        with atomic_write(path) as unfinished:
            frames[0].save(
                unfinished,
                "GIF",
                save_all=True,
                append_images=frames[1:],
                duration=durations,
                loop=0,
                optimize=False,
            )


def draw_dimension(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    height: int,
    name: str,
    values: np.ndarray,
    probs: np.ndarray | None,
) -> None:
    """Draw the values of the bins of a dimension, and below them the distribution of the chosen bin."""
    left, top = corner
    width, half = PANEL - 44, height // 2 - 3
    right, left = left + PANEL - 12, left + 32
    draw.text((corner[0], top + 4), name, fill=INK)
    draw.text((corner[0], top + 16), f"{values.max():.2f}", fill=INK)
    base = top + half + 2
    draw.line((left, base, right, base), fill=INK)
    x = left + np.linspace(0, width, len(values))
    y = base - half * (values - values.min()) / max(np.ptp(values), SMALLEST_RANGE)
    draw.line([*zip(x.tolist(), y.tolist(), strict=True)], fill=CURVE)
    best = float(x[values.argmax()])
    draw.line((best, top + 2, best, base), fill=INK)
    if probs is not None:
        floor = base + half
        edges = left + np.linspace(0, width, len(probs) + 1)
        for start, end, prob in zip(edges[:-1], edges[1:], probs / probs.max(), strict=True):
            draw.rectangle((start, floor - (half - 2) * prob, max(start, end - 1), floor), fill=BARS)
