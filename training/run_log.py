"""The report of a training run: lines on the terminal, metrics.jsonl, trackers, and curves as a PNG."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cli.errors import InputError
from cli.files import atomic_write


if TYPE_CHECKING:
    from accelerate import Accelerator

    from training.task import Task


class RunLog:
    """The log of a run, on its main process; `first_step` is that of the checkpoint it resumes from, or 0."""

    def __init__(
        self, output_dir: Path, first_step: int, num_steps: int, *, task: Task, accelerator: Accelerator
    ):
        self.task, self.accelerator = task, accelerator
        self.path = output_dir / "metrics.jsonl"
        self.num_steps = num_steps
        # Steps after the checkpoint are run, and logged, again.
        keep_metrics(self.path, first_step)
        self.first_step, self.started = first_step, time.perf_counter()
        self.restart_clock()

    def restart_clock(self) -> None:
        """Exclude the time since the last line, such as that of an evaluation, from the next rate."""
        self.num_values, self.clock = 0, time.perf_counter()

    def count(self, num_values: int) -> None:
        """Count the values that a step trained on, for the rate."""
        self.num_values += num_values

    def step(
        self, step: int, loss: float, metrics: dict[str, float], grad_norm: float, learning_rate: float
    ) -> None:
        """Log a training step; `metrics` include the fraction of values `out_of_support`.

        Metrics that are not finite are left out, such as the mean return of no episodes.
        """
        metrics = {name: value for name, value in metrics.items() if math.isfinite(value)}
        now = time.perf_counter()
        values_per_second = self.num_values / (now - self.clock)
        seconds_left = (now - self.started) / (step - self.first_step) * (self.num_steps - step)
        columns = [
            f"step {step:{len(str(self.num_steps))}}/{self.num_steps}",
            f"loss {loss:.4f}",
            *(f"{name} {value:.4f}" for name, value in metrics.items() if name != "out_of_support"),
            f"lr {learning_rate:.1e}",
            f"{format_count(values_per_second):>5} {self.task.unit}/s",
            f"eta {format_seconds(seconds_left)}",
        ]
        print("  ".join(columns), flush=True)
        if metrics["out_of_support"] > 0.01:
            fraction = f"{metrics['out_of_support']:.1%}"
            print(f"  {fraction} of the values are outside [value_min, value_max]", flush=True)
        row = {"loss": loss, **metrics, "grad_norm": grad_norm, "learning_rate": learning_rate}
        self._write("train", step, {**row, "values_per_second": values_per_second})

    def evaluation(self, step: int, results: dict) -> None:
        """Log the numbers among the results of an evaluation."""
        numbers = {key: value for key, value in results.items() if isinstance(value, (int, float))}
        columns = [f"eval {step:{len(str(self.num_steps))}}"]
        for key, name, reference in self.task.evaluation_columns:
            if key in numbers:
                compared = f" ({_source_of(reference)} {numbers[reference]:.4f})" if reference else ""
                columns.append(f"{name} {numbers[key]:.4f}{compared}")
        print("  ".join(columns), flush=True)
        self._write("eval", step, numbers)

    def _write(self, kind: str, step: int, metrics: dict[str, float]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, "kind": kind, **metrics}) + "\n")
        self.accelerator.log({f"{kind}/{key}": value for key, value in metrics.items()}, step=step)
        self.restart_clock()


def keep_metrics(path: Path, last_step: int) -> None:
    """Drop the rows of a metrics.jsonl after a step, and with step 0 all rows; create the file if missing."""
    kept = [row for row in read_metrics(path) if row["step"] <= last_step and last_step > 0]
    with atomic_write(path) as unfinished:
        unfinished.write_text("".join(json.dumps(row) + "\n" for row in kept))


def read_metrics(path: Path) -> list[dict]:
    """Return the rows of a metrics.jsonl, none if it is missing; an incomplete last line is ignored.

    Raises InputError if another line is damaged.
    """
    rows = []
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    for number, line in enumerate(lines, start=1):
        if line.endswith(b"\n"):
            try:
                row = json.loads(line)
                row["step"]
            except (ValueError, KeyError, TypeError):
                raise InputError(f"{path} line {number} is damaged: delete that line") from None
            rows.append(row)
    return rows


def plot_curves(metrics: Path, panels: Sequence[tuple[str, str, str | None]], path: Path) -> None:
    """Plot the metrics of a run; a panel is a key, a title, and a key to compare with or None.

    Training is a line and evaluations are points; a panel shows those that have its key.
    """
    import matplotlib

    matplotlib.use("Agg")  # without a window
    from matplotlib import pyplot as plt

    rows = read_metrics(metrics)
    figure, axes = plt.subplots(1, len(panels), figsize=(4 * len(panels), 3.6))
    # A layout that is computed takes as long as the rest of the plot.
    figure.subplots_adjust(
        left=0.16 / len(panels), right=1 - 0.04 / len(panels), bottom=0.14, top=0.91, wspace=0.26
    )
    for axis, (key, title, reference) in zip(axes, panels, strict=True):
        for kind, label, style in (
            ("train", "training", {"color": "0.7", "lw": 0.8}),
            ("eval", "evaluation", {"marker": "o", "ms": 3}),
        ):
            points = [row for row in rows if row["kind"] == kind and row.get(key) is not None]
            if points:
                axis.plot([row["step"] for row in points], [row[key] for row in points], label=label, **style)
        if reference and points:
            axis.axhline(points[-1][reference], color="0.5", ls=":", label=_source_of(reference))
        axis.set(title=title, xlabel="step")
        axis.grid(alpha=0.3)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(frameon=False)
    with atomic_write(path) as unfinished:
        figure.savefig(unfinished, dpi=120)
    plt.close(figure)


def _source_of(key: str) -> str:
    """Return the name of the reference of a metric: random for random_agreement."""
    return key.split("_")[0]


def describe_folder(folder: Path) -> str:
    """Return the name and size of a folder of files: step_0000200, 21.3MB."""
    return f"{folder.name}, {format_count(sum(path.stat().st_size for path in folder.iterdir()))}B"


def format_count(number: float) -> str:
    """Shorten a number to three significant digits: 412k, 1.3M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * size:  # 999,600 rounds to 1M
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"


def format_seconds(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
