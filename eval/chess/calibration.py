"""Calibration of win probabilities: whether moves predicted to win 70% of the time have labels of 70%.

Source: reliability diagrams and the expected calibration error, Guo et al. (arXiv 1706.04599), with mean
labels instead of accuracies.
"""

from pathlib import Path

import numpy as np

from cli.files import atomic_write


NUM_BINS = 20


class Calibration:
    """Running sums of predicted and labelled win probability, binned by prediction.

    Predictions outside [0, 1], from an unbounded value head, count in the outermost bins.
    """

    def __init__(self):
        self._count = np.zeros(NUM_BINS, dtype=np.int64)
        self._predicted = np.zeros(NUM_BINS)
        self._label = np.zeros(NUM_BINS)

    def add(self, predicted: np.ndarray, labels: np.ndarray) -> None:
        """Add predictions and labels, (n,) each."""
        index = np.clip((predicted * NUM_BINS).astype(np.int64), 0, NUM_BINS - 1)
        self._count += np.bincount(index, minlength=NUM_BINS)
        self._predicted += np.bincount(index, weights=predicted, minlength=NUM_BINS)
        self._label += np.bincount(index, weights=labels, minlength=NUM_BINS)

    def expected_error(self) -> float:
        """Return Σ_bins (count / total) · |mean prediction − mean label|."""
        return float(np.abs(self._predicted - self._label).sum() / self._count.sum())

    def table(self) -> list[dict]:
        """List the bins that are not empty: low and high end, count, mean prediction, mean label."""
        return [
            {
                "low": index / NUM_BINS,
                "high": (index + 1) / NUM_BINS,
                "count": int(count),
                "mean_predicted": float(self._predicted[index] / count),
                "mean_label": float(self._label[index] / count),
            }
            for index, count in enumerate(self._count)
            if count
        ]


def plot_reliability(table: list[dict], path: str | Path, title: str) -> None:
    """Draw the mean label over the mean prediction of every bin; the area of a dot grows with its count."""
    # matplotlib is slow to import.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, label="perfectly calibrated")
    predicted = [row["mean_predicted"] for row in table]
    labels = [row["mean_label"] for row in table]
    counts = np.array([row["count"] for row in table])
    axes.plot(predicted, labels, color="tab:blue", linewidth=1)
    axes.scatter(
        predicted, labels, s=10 + 250 * counts / counts.max(), color="tab:blue", alpha=0.7, label="model"
    )
    axes.set(
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.02),
        aspect="equal",
        xlabel="predicted win probability",
        ylabel="labelled win probability, mean of the bin",
        title=title,
    )
    axes.legend(loc="upper left", frameon=False)
    with atomic_write(path) as unfinished:
        figure.savefig(unfinished, dpi=150, format="png")
