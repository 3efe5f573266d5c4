"""The figure of a study: curves of training, lines over points, or heat maps of variants and points."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from cli.files import atomic_write


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# Values that span more than this are drawn on a logarithmic axis.
LARGEST_LINEAR_RATIO = 1000


def draw_report(results: dict, path: Path) -> None:
    """Draw the figure of results.json as a PNG."""
    import matplotlib

    matplotlib.use("Agg")  # never open a window
    import seaborn as sns
    from matplotlib import pyplot as plt

    sns.set_theme(style="whitegrid", palette="colorblind")
    draw = {"curves": draw_curves, "lines": draw_lines, "heat_map": draw_heat_maps}[results["figure"]]
    figure = draw(results)
    with atomic_write(path) as unfinished:
        figure.savefig(unfinished, dpi=120, bbox_inches="tight")
    plt.close(figure)


def draw_curves(results: dict) -> "Figure":
    """Draw evaluations during training, means over seeds: a column for each measure, by examples and by time.

    The evaluation before the first step is left out, because it is far from the others.
    """
    import seaborn as sns
    from matplotlib.ticker import EngFormatter, MaxNLocator

    curves = pd.DataFrame(results["curves"])
    measures = [measure for measure in results["measures"] if measure["key"] in curves]
    axes = {"examples_seen": f"{results['costs'][1]['title']} seen", "training_seconds": "training seconds"}
    keys = [measure["key"] for measure in measures]
    means = curves[curves["step"] > 0].groupby(["variant", "step"], sort=False)[[*axes, *keys]].mean()
    long = (
        means.reset_index()
        .melt(["variant", *axes], keys, "measure", "y")
        .melt(["variant", "measure", "y"], list(axes), "axis", "x")
    )
    grid = sns.relplot(
        long,
        kind="line",
        x="x",
        y="y",
        hue="variant",
        style="variant",
        col="measure",
        row="axis",
        markers=True,
        height=3.2,
        facet_kws={"sharex": "row", "sharey": "col", "margin_titles": False},
    )
    for row, (axis_row, title) in enumerate(zip(grid.axes, axes.values(), strict=True)):
        for axis, measure in zip(axis_row, measures, strict=True):
            # The tables are of measurements after training, on other data.
            name = f"{measure['label']}\nevaluated during training" if row == 0 else ""
            axis.set(title=name, xlabel=title, ylabel="")
            axis.xaxis.set_major_locator(MaxNLocator(4))
            axis.xaxis.set_major_formatter(EngFormatter(sep=""))
            _format_values(axis, measure)
    return grid.figure


def draw_lines(results: dict) -> "Figure":
    """Draw a panel for each measure: means of every variant over the points, with standard errors."""
    import seaborn as sns

    measures = _measured(results)
    keys = [measure["key"] for measure in measures]
    long = (
        pd.DataFrame(results["cells"]).melt(["variant", "point"], keys, "measure", "y").astype({"y": float})
    )
    grid = sns.catplot(
        long,
        kind="point",
        x="point",
        y="y",
        hue="variant",
        col="measure",
        errorbar="se",
        dodge=long["variant"].nunique() > 1,
        capsize=0.1,
        sharey=False,
        height=3.6,
    )
    for axis, measure in zip(grid.axes.flat, measures, strict=True):
        for level in results["levels"]:
            if level["key"] == measure["key"]:
                axis.axhline(level["value"], color="0.4", ls="--", lw=1)
                axis.annotate(level["title"], (0, level["value"]), xycoords=("axes fraction", "data"), size=8)
        means = [row["mean"] for row in results["means"] if row["measure"] == measure["key"]]
        means = [mean for mean in means if mean is not None]
        if 0 < LARGEST_LINEAR_RATIO * min(means) < max(means):
            axis.set_yscale("log")
        axis.set(title=measure["label"], xlabel=results["points_title"], ylabel="")
        _format_values(axis, measure)
    return grid.figure


def draw_heat_maps(results: dict) -> "Figure":
    """Draw a panel for each measure: means by variant and point."""
    import seaborn as sns
    from matplotlib import pyplot as plt

    measures = _measured(results)
    means = pd.DataFrame(results["means"])
    variants, points = means["variant"].unique(), means["point"].unique()
    size = ((1.2 + 0.9 * len(points)) * len(measures), 1.4 + 0.5 * len(variants))
    figure, axes = plt.subplots(1, len(measures), figsize=size, layout="constrained", squeeze=False)
    for axis, measure in zip(axes.flat, measures, strict=True):
        table = means[means["measure"] == measure["key"]].pivot(
            index="variant", columns="point", values="mean"
        )
        sns.heatmap(
            table.loc[variants, points].astype(float),
            annot=True,
            fmt=measure["format"],
            cmap="viridis" if measure["higher_is_better"] else "viridis_r",
            cbar=False,
            ax=axis,
        )
        axis.set(title=measure["label"], xlabel=results["points_title"], ylabel=results["variants_title"])
        axis.tick_params(axis="y", rotation=0)
    return figure


def _measured(results: dict) -> list[dict]:
    """Return the measures that at least one model has."""
    defined = {row["measure"] for row in results["means"] if row["mean"] is not None}
    return [measure for measure in results["measures"] if measure["key"] in defined]


def _format_values(axis: "Axes", measure: dict) -> None:
    from matplotlib.ticker import PercentFormatter

    if measure["format"].endswith("%"):
        axis.yaxis.set_major_formatter(PercentFormatter(1))
        low, high = axis.get_ylim()
        axis.set_ylim(max(low, 0), min(high, 1))
        for line in axis.lines:
            line.set_clip_on(False)  # markers at 0% and 100%
