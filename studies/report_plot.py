"""The picture of a study: how variants learn, or what they come to at every point."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cli.files import atomic_write
from studies.measurements import lower_is_better
from training.run_log import format_count


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure


# Okabe and Ito's colours, which colour-blind people tell apart, but for yellow, which is faint on white.
# Black is for the reference; the others come again with another style when they are used up.
REFERENCE_COLOR = "#000000"
COLORS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
STYLES = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)))
LEVEL_STYLES = ("--", ":")
INCHES_PER_LEGEND_COLUMN = 2
MANY_TIMES = 1000


def plot_report(results: dict, path: Path) -> None:
    """Draw what `studies` found, as a PNG: how variants learn, or what they come to at every point."""
    import matplotlib

    matplotlib.use("Agg")  # no window, also where there is a screen
    from matplotlib import pyplot as plt

    draw = {None: _draw_curves, "lines": _draw_lines, "heat_map": _draw_heat_maps}[results["study"]["figure"]]
    figure = draw(results)
    figure.suptitle(_caption(results), fontsize=9, color="0.4")
    with atomic_write(path) as unfinished:
        figure.savefig(unfinished, dpi=120)
    plt.close(figure)


def _draw_curves(results: dict) -> "Figure":
    """Draw a column for each measure, means over seeds, by what was seen and by time.

    The horizontal axes are logarithmic, so the evaluation before the first step is left out. The end of every
    curve is a dot.
    """
    import matplotlib
    from matplotlib import pyplot as plt

    curves, (examples, _) = results["curves"], results["units"]
    looks = line_looks([group["variant"] for group in results["groups"]], results["study"]["reference"])
    rows = (("examples_seen", f"{examples} seen"), ("training_seconds", "seconds of training steps"))
    figure, axes = plt.subplots(
        len(rows),
        len(curves),
        figsize=(4.2 * len(curves), 7.4),
        layout="constrained",
        sharex="row",
        sharey="col",
        squeeze=False,
    )
    for (x_key, x_title), row in zip(rows, axes, strict=True):
        for curve, axis in zip(curves, row, strict=True):
            for group in results["groups"]:
                name, key = group["variant"], curve["key"]
                points = [point for point in group["curve"] if point["step"] > 0 and key in point]
                x, y = [point[x_key] for point in points], [point[key] for point in points]
                axis.plot(x, y, label=name, **looks[name])
                axis.plot(x[-1:], y[-1:], "o", ms=4.5, color=looks[name]["color"])
            axis.set(xscale="log", xlabel=x_title)
            # An axis may span less than one power of ten, or many.
            low, high = axis.get_xlim()
            subs = (1, 2, 5) if high < MANY_TIMES * low else (1,)
            axis.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=subs))
            axis.xaxis.set_major_formatter(lambda value, _: format_count(value))
            axis.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
            axis.tick_params(labelleft=True)
            axis.grid(alpha=0.3)
            axis.set_axisbelow(True)
            _as_percent(axis.yaxis, curve)
    for curve, axis in zip(curves, axes[0], strict=True):
        axis.set_title(curve["title"], fontsize=11)
    _add_legend(figure, axes[0][0])
    return figure


def _draw_lines(results: dict) -> "Figure":
    """Draw a panel for each measure: a line for every variant over the points, with standard errors."""
    from matplotlib import pyplot as plt

    points, variants, measures = _grid_of(results)
    looks = line_looks(variants, results["study"]["reference"])
    figure, axes = plt.subplots(
        1, len(measures), figsize=(4.2 * len(measures), 4.4), layout="constrained", squeeze=False
    )
    for measure, axis in zip(measures, axes[0], strict=True):
        key = measure["key"]
        for number, name in enumerate(variants):
            groups = [group for group in results["groups"] if group["variant"] == name]
            # Side by side, so that error bars do not hide each other.
            shift = 0.12 * ((number + 0.5) / len(variants) - 0.5) * len(variants) ** 0.5
            errors = [group[key]["standard_error"] for group in groups]
            axis.errorbar(
                [points.index(group["point"]) + shift for group in groups],
                [_or_nan(group[key]["mean"]) for group in groups],
                yerr=[_or_nan(error) for error in errors],
                label=name,
                marker="o",
                ms=4.5,
                capsize=3,
                **looks[name],
            )
        for level, style in zip(_levels_of(results, key), LEVEL_STYLES, strict=False):
            axis.axhline(level["value"], color="0.3", lw=1, ls=style, label=level["title"])
        means = [group[key]["mean"] for group in results["groups"] if group[key]["mean"] is not None]
        if 0 < MANY_TIMES * min(means) < max(means):
            axis.set(yscale="log", ylim=(min(means) / 2, None))
            axis.yaxis.set_major_formatter("{x:g}")
        axis.set_xticks(range(len(points)), points)
        axis.set_xlabel(results["study"]["points_title"])
        axis.set_title(measure["title"], fontsize=11)
        axis.grid(alpha=0.3)
        axis.set_axisbelow(True)
        _as_percent(axis.yaxis, measure)
    # The panel that has most levels.
    _add_legend(figure, max(axes[0], key=lambda axis: len(axis.get_legend_handles_labels()[1])))
    return figure


def _draw_heat_maps(results: dict) -> "Figure":
    """Draw a panel for each measure: its means by variant and point, the best of each point in bold."""
    from matplotlib import pyplot as plt

    points, variants, measures = _grid_of(results)
    width, height = 1.2 + 0.85 * len(points), 1.4 + 0.5 * len(variants)
    figure, axes = plt.subplots(
        1, len(measures), figsize=(width * len(measures), height), layout="constrained", squeeze=False
    )
    for measure, axis in zip(measures, axes[0], strict=True):
        means = np.full((len(variants), len(points)), np.nan)
        for group in results["groups"]:
            means[variants.index(group["variant"]), points.index(group["point"])] = _or_nan(
                group[measure["key"]]["mean"]
            )
        is_better_low = lower_is_better(measure["title"])
        shown = axis.imshow(means, cmap="viridis_r" if is_better_low else "viridis", aspect="auto")
        best = np.nanmin(means, axis=0) if is_better_low else np.nanmax(means, axis=0)
        for (row, column), mean in np.ndenumerate(means):
            if np.isfinite(mean):
                red, green, blue, _ = shown.cmap(shown.norm(mean))
                is_dark = 0.3 * red + 0.6 * green + 0.1 * blue < 0.5
                axis.text(
                    column,
                    row,
                    f"{mean:{measure['spec']}}",
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="white" if is_dark else "black",
                    weight="bold" if mean == best[column] else "normal",
                )
        axis.set_xticks(range(len(points)), points)
        axis.set_yticks(range(len(variants)), variants)
        axis.set(xlabel=results["study"]["points_title"], ylabel=results["study"]["variants_title"])
        axis.set_title(measure["title"], fontsize=11)
    return figure


def _grid_of(results: dict) -> tuple[list[str], list[str], list[dict]]:
    """Return the points and variants that were measured, and the measures that any model has."""
    groups = results["groups"]
    points, variants = (list(dict.fromkeys(group[key] for group in groups)) for key in ("point", "variant"))
    measures = [
        measure
        for measure in results["measures"]
        if any(group[measure["key"]]["mean"] is not None for group in groups)
    ]
    return points, variants, measures


def _levels_of(results: dict, key: str) -> list[dict]:
    return [level for level in results["levels"] if level["key"] == key]


def _or_nan(number: float | None) -> float:
    """Return NaN, which is not drawn, for what is undefined."""
    return math.nan if number is None else number


def _as_percent(axis: "Axis", measure: dict) -> None:
    import matplotlib

    if measure["spec"].endswith("%"):
        axis.set_major_formatter(matplotlib.ticker.PercentFormatter(1))


def _add_legend(figure: "Figure", axis: "Axes") -> None:
    handles, labels = axis.get_legend_handles_labels()
    num_rows = math.ceil(len(labels) / (figure.get_figwidth() // INCHES_PER_LEGEND_COLUMN))
    figure.legend(
        handles,
        labels,
        frameon=False,
        loc="outside lower center",
        ncols=math.ceil(len(labels) / num_rows),
        handlelength=3.2,
    )


def line_looks(variants: list[str], reference: str) -> dict[str, dict]:
    """Return how the line of every variant is drawn, no two alike for up to 25."""
    looks = {}
    others = [name for name in variants if name != reference]
    for name in variants:
        if name == reference:
            # Wide and below the others, which it would hide.
            looks[name] = {"color": REFERENCE_COLOR, "ls": "-", "lw": 3, "zorder": 1.9}
        else:
            style, color = divmod(others.index(name), len(COLORS))
            looks[name] = {"color": COLORS[color], "ls": STYLES[style % len(STYLES)], "lw": 1.6}
    return looks


def _caption(results: dict) -> str:
    numbers = sorted({row["num_seeds"] for row in results["groups"]})
    if numbers[-1] == 1:
        return "1 seed"
    return f"means over {numbers[0]}" + (f" to {numbers[-1]}" if len(numbers) > 1 else "") + " seeds"
