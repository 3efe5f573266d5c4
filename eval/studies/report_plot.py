"""The picture of a study: what evaluations during training measured, by what was seen and by time."""

import math
from pathlib import Path

from data.files import written_whole
from eval.run_log import format_count


# Okabe and Ito's colours, which colour-blind people tell apart, but for yellow, which is faint on white.
# Black is for the reference; the others come again with another style when they are used up.
REFERENCE_COLOR = "#000000"
COLORS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
STYLES = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)))
LEGEND_COLUMNS = 6
MANY_TIMES = 1000


def plot_report(results: dict, path: Path) -> None:
    """Draw the curves of what `eval.study` found, as a PNG: a column for each measure, means over seeds.

    The horizontal axes are logarithmic, so the evaluation before the first step is left out. The end of every
    curve is a dot.
    """
    import matplotlib

    matplotlib.use("Agg")  # no window, also where there is a screen
    from matplotlib import pyplot as plt

    curves, (examples, _) = results["curves"], results["units"]
    looks = line_looks([row["variant"] for row in results["variants"]], results["study"]["reference"])
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
            for variant in results["variants"]:
                name, key = variant["variant"], curve["key"]
                points = [point for point in variant["curve"] if point["step"] > 0 and key in point]
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
            if curve["spec"].endswith("%"):
                axis.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1))
    for curve, axis in zip(curves, axes[0], strict=True):
        axis.set_title(curve["title"], fontsize=11)
    figure.suptitle(_caption(results), fontsize=9, color="0.4")
    handles, labels = axes[0][0].get_legend_handles_labels()
    num_rows = math.ceil(len(labels) / LEGEND_COLUMNS)
    figure.legend(
        handles,
        labels,
        frameon=False,
        loc="outside lower center",
        ncols=math.ceil(len(labels) / num_rows),
        handlelength=3.2,
    )
    with written_whole(path) as unfinished:
        figure.savefig(unfinished, dpi=120)
    plt.close(figure)


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
    numbers = sorted({row["num_seeds"] for row in results["variants"]})
    if numbers[-1] == 1:
        return "1 seed"
    return f"means over {numbers[0]}" + (f" to {numbers[-1]}" if len(numbers) > 1 else "") + " seeds"
