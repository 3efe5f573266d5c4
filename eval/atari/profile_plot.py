"""The figure of performance profiles: the fraction of runs and games above each score."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from cli.files import atomic_write


def plot_profiles(path: Path, thresholds: np.ndarray, methods: dict[str, dict]) -> None:
    """Draw the profile of each method as a PNG, with 95% intervals."""
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axis = figure.add_subplot()
    for index, (name, summary) in enumerate(methods.items()):
        profile = summary["profile"]
        axis.plot(thresholds, profile["value"], color=f"C{index}", label=name)
        if profile["interval"] is not None:
            axis.fill_between(thresholds, *profile["interval"], color=f"C{index}", alpha=0.15, lw=0)
    axis.set(
        xlabel="normalised score τ",
        ylabel="fraction of runs above τ",
        xlim=(thresholds[0], thresholds[-1]),
        ylim=(-0.02, 1.02),
    )
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    with atomic_write(path) as unfinished:
        figure.savefig(unfinished, dpi=120)
