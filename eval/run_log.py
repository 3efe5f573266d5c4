"""What a training run reports: lines on the terminal, metrics.jsonl, tensorboard, and curves as a PNG."""

import json
import time
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from data.files import written_whole


# Of an evaluation, what goes into a line: key, name, and where there is one, the key of what chance scores.
EVALUATION_COLUMNS = (
    ("kl", "kl", None),
    ("mae", "mae", None),
    ("best_move_agreement", "best move", "random_agreement"),
    ("regret", "regret", "random_regret"),
    ("kendall_tau", "tau", None),
)


class RunLog:
    """The log of one run, on its main process; `first_step` is the checkpoint's that it continues, or 0."""

    def __init__(self, output_dir: Path, first_step: int, num_steps: int, tensorboard: bool):
        self.path = output_dir / "metrics.jsonl"
        self.num_steps = num_steps
        # The steps after the checkpoint will be run, and logged, again.
        kept = [row for row in read_metrics(self.path) if row["step"] <= first_step]
        with written_whole(self.path) as path:
            path.write_text("".join(json.dumps(row) + "\n" for row in kept))
        self.board = (
            SummaryWriter(output_dir / "tensorboard", purge_step=first_step + 1) if tensorboard else None
        )
        self.first_step, self.started = first_step, time.perf_counter()
        self.restart_clock()

    def restart_clock(self) -> None:
        """Leave what was done since the last line, such as an evaluation, out of the rate of the next."""
        self.num_values, self.clock = 0, time.perf_counter()

    def count(self, num_values: int) -> None:
        """Count the action values of a training step, for the rate."""
        self.num_values += num_values

    def step(self, step: int, **metrics: float | None) -> None:
        """Log a training step; metrics that are None are left out."""
        now = time.perf_counter()
        metrics = {key: value for key, value in metrics.items() if value is not None}
        metrics["values_per_second"] = self.num_values / (now - self.clock)
        seconds_left = (now - self.started) / (step - self.first_step) * (self.num_steps - step)
        kl = f"  kl {metrics['kl']:.4f}" if "kl" in metrics else ""
        rate = format_count(metrics["values_per_second"])
        self._print(
            f"step {step:{len(str(self.num_steps))}}/{self.num_steps}  loss {metrics['loss']:.4f}{kl}"
            f"  lr {metrics['learning_rate']:.1e}  {rate} action-values/s  eta {format_seconds(seconds_left)}"
        )
        if metrics["outside"] > 0.01:
            self._print(f"  {metrics['outside']:.1%} of the values lie outside [value_min, value_max]")
        self._write("train", step, metrics)
        self.restart_clock()

    def evaluation(self, step: int, results: dict) -> None:
        """Log what `evaluate_actions` returned."""
        numbers = {key: value for key, value in results.items() if isinstance(value, (int, float))}
        parts = [f"{'eval':>4} {step:{len(str(self.num_steps))}}"]
        for key, name, chance in EVALUATION_COLUMNS:
            if key in numbers:
                parts.append(
                    f"{name} {numbers[key]:.4f}" + (f" (chance {numbers[chance]:.4f})" if chance else "")
                )
        self._print("  ".join(parts))
        self._write("eval", step, numbers)
        self.restart_clock()

    def _print(self, line: str) -> None:
        print(line, flush=True)

    def _write(self, kind: str, step: int, metrics: dict[str, float]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, "kind": kind, **metrics}) + "\n")
        if self.board is not None:
            for key, value in metrics.items():
                self.board.add_scalar(f"{kind}/{key}", value, step)
            self.board.flush()


def read_metrics(path: Path) -> list[dict]:
    """Read the rows of a metrics.jsonl, if there is one; a last line that was cut off is left out."""
    rows = []
    for line in path.read_text().splitlines(keepends=True) if path.exists() else []:
        if line.endswith("\n"):
            rows.append(json.loads(line))
    return rows


def plot_curves(metrics: Path, path: Path) -> None:
    """Draw the curves of a run: the loss in training and held out, and how well moves are chosen."""
    import matplotlib

    matplotlib.use("Agg")  # no window, also where there is a screen
    from matplotlib import pyplot as plt

    rows = read_metrics(metrics)
    train = [row for row in rows if row["kind"] == "train"]
    held_out = [row for row in rows if row["kind"] == "eval"]
    key = "kl" if train and "kl" in train[0] else "loss"
    panels = [(key, "KL from the labels (nats)" if key == "kl" else "loss", None)]
    panels += [
        ("best_move_agreement", "best-move agreement", "random_agreement"),
        ("kendall_tau", "Kendall's τ", None),
        ("regret", "regret (win probability)", "random_regret"),
    ]
    figure, axes = plt.subplots(1, 4, figsize=(16, 3.6), layout="constrained")
    for axis, (name, title, chance) in zip(axes, panels, strict=True):
        if name == key:
            axis.plot(
                [r["step"] for r in train], [r[name] for r in train], color="0.7", lw=0.8, label="training"
            )
        points = [row for row in held_out if row.get(name) is not None]
        axis.plot([r["step"] for r in points], [r[name] for r in points], "o-", ms=3, label="held out")
        if chance and points:
            axis.axhline(points[-1][chance], color="0.5", ls=":", label="random moves")
        axis.set(title=title, xlabel="step")
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    with written_whole(path) as unfinished:
        figure.savefig(unfinished, dpi=120)
    plt.close(figure)


def format_count(number: float) -> str:
    """Shorten a number to three digits or so: 412k, 1.3M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"


def format_seconds(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
