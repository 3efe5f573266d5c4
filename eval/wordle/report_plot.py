"""The picture of eval.wordle.report: success of every value loss, grouped by the weight of CQL's term."""

import math
from pathlib import Path

from data.files import written_whole
from eval.wordle.report_tables import format_alpha


PANELS = (("success_rate", "games solved"), ("one_turn_success_rate", "right next guess in a held-out game"))
GROUP_WIDTH = 0.8  # of the distance between groups


def plot_report(results: dict, path: Path) -> None:
    """Draw what `eval.wordle.report` found, as a PNG: bars, and a line for the data.

    The bars have standard errors where there are several seeds.
    """
    import matplotlib

    matplotlib.use("Agg")  # no window, also where there is a screen
    from matplotlib import pyplot as plt

    groups, turn = results["groups"], results["one_turn"]
    losses, alphas = (list(dict.fromkeys(group[key] for group in groups)) for key in ("loss", "alpha"))
    alphas.sort()
    lines = {
        "success_rate": [("the data", results["data"]["success_rate"], "--")],
        "one_turn_success_rate": [
            ("the data", turn["behavior_rate"], "--"),
            ("Bayes ceiling", turn["bayes_ceiling"], ":"),
        ],
    }
    figure, axes = plt.subplots(1, len(PANELS), figsize=(10, 4.2), layout="constrained")
    width = GROUP_WIDTH / len(losses)
    for axis, (measure, title) in zip(axes, PANELS, strict=True):
        for index, loss in enumerate(losses):
            of_loss = [group for group in groups if group["loss"] == loss]
            offset = (index - (len(losses) - 1) / 2) * width
            errors = [group[measure]["standard_error"] for group in of_loss]
            axis.bar(
                [alphas.index(group["alpha"]) + offset for group in of_loss],
                [group[measure]["mean"] for group in of_loss],
                0.9 * width,
                # Where it is NaN no error bar is drawn, not even the caps of one.
                yerr=[math.nan if error is None else error for error in errors],
                capsize=3,
                label=loss,
                color=f"C{index}",
            )
        for name, level, style in lines[measure]:
            axis.axhline(level, color="0.3", lw=1, ls=style, label=name)
        axis.set_xticks(range(len(alphas)), [f"α = {format_alpha(alpha)}" for alpha in alphas])
        axis.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1))
        axis.set_title(title, fontsize=10)
        axis.grid(axis="y", alpha=0.3)
        axis.set_axisbelow(True)
    num_seeds = sorted({group["num_seeds"] for group in groups})
    seeds = f"{num_seeds[0]}" if len(num_seeds) == 1 else f"{num_seeds[0]} to {num_seeds[-1]}"
    has_errors = num_seeds[-1] > 1
    caption = f"mean and standard error of {seeds} seeds" if has_errors else "1 seed"
    figure.suptitle(caption, fontsize=9, color="0.4")
    # The second panel has every line of the first.
    handles, labels = axes[-1].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside lower center", ncols=len(labels))
    with written_whole(path) as unfinished:
        figure.savefig(unfinished, dpi=120)
    plt.close(figure)
