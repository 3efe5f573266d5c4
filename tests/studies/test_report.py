"""The report of a study: its files, its tables and its figures."""

import json

import pytest
import torch
from matplotlib import pyplot

from studies.figures import draw_curves, draw_heat_maps, draw_lines
from studies.measurements import Level
from studies.report import training_costs, write_report
from tests.studies.test_summary import AGREEMENT, KL, NUMBERS, rows_of


COSTS = training_costs("boards", "action values")


def complete(rows: list[dict]) -> list[dict]:
    costs = {"examples_seen": 1000, "values_seen": 30_000.0, "training_seconds": 61.25}
    return [row | costs for row in rows]


def report(output, capsys, rows: list[dict], **options: object) -> tuple[dict, str]:
    """Write a report; return its results and its text, and check that it was printed."""
    device = torch.device("cpu")
    options = {
        "title": "What?",
        "measured_on": ["500 boards"],
        "reference": "prefix",
        "costs": COSTS,
    } | options
    write_report(output, "studies", 0.0, device, rows=complete(rows), measures=(KL, AGREEMENT), **options)
    text = (output / "report.md").read_text()
    assert text in capsys.readouterr().out
    assert (output / "report.png").read_bytes().startswith(b"\x89PNG")
    return json.loads((output / "results.json").read_text()), text


def tables_of(text: str) -> list[list[list[str]]]:
    """Return the cells of all tables in a report."""
    parts = [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]
    return [
        [[cell.strip() for cell in line.split("|")[1:-1]] for line in part if "-:" not in part]
        for part in parts
    ]


def curves() -> list[dict]:
    return [
        {
            "variant": variant, "point": "", "seed": seed, "step": step, "agreement": agreement + step / 100,
            "examples_seen": 100 * step, "training_seconds": 6.0 * step,
        }
        for (variant, seed), (_, agreement) in NUMBERS.items()
        for step in (0, 5, 10)
    ]  # fmt: skip


def test_a_report_lists_means_differences_and_costs(tmp_path, capsys):
    levels = [Level("agreement", "random", 0.06)]
    options = {
        "levels": levels,
        "figure": "curves",
        "curves": curves(),
        "failed": {"wide-seed0": "loss is nan"},
    }
    results, text = report(tmp_path, capsys, rows_of(NUMBERS), settings=["seed=0"], **options)
    means, differences, costs = tables_of(text)
    assert means[0] == ["variant", "KL ↓", "best move ↑", "seeds"]
    assert means[2] == ["prefix", "2.500 ± 0.058", "33.0% ± 2.1%", "3"]
    assert means[4] == ["mse", "–", "25.0%", "1"]
    assert means[6] == ["random", "–", "6.0%", "–"]
    assert differences[2][2:] == ["+4.0% (-0.3% to +8.3%)", "3"] and differences[3] == [
        "mse",
        "–",
        "-7.0%",
        "1",
    ]
    assert costs[2] == ["prefix", "1,001", "1,000", "30,000", "61.2", "3"]
    assert text.count("The figure shows evaluations by train.py during training, the tables the") == 1
    assert "wide-seed0 failed: loss is nan" in text and "python -m studies" in text
    assert results["settings"] == ["seed=0"] and len(results["cells"]) == len(NUMBERS)
    assert results["hardware"]["cores"] and results["failed"] == {"wide-seed0": "loss is nan"}


@pytest.mark.parametrize("figure", ["lines", "heat_map"])
def test_a_report_of_several_points_has_a_line_for_each(tmp_path, capsys, figure):
    better = {place: (kl and kl / 2, 2 * agreement) for place, (kl, agreement) in NUMBERS.items()}
    rows = [*rows_of(NUMBERS, "0")[:6], *rows_of(better, "0.5")[:6]]
    options = {"points_title": "noise η", "figure": figure, "baseline": "0", "tuned": True}
    _, text = report(tmp_path, capsys, rows, **options)
    assert "The figure shows" not in text
    means, differences, changes, at_best, _ = tables_of(text)
    assert means[0] == ["variant", "noise η", "KL ↓", "best move ↑", "seeds"]
    assert [line[:2] for line in means[2:]] == [
        ["prefix", "0"], ["full", "0"], ["prefix", "0.5"], ["full", "0.5"],
    ]  # fmt: skip
    assert differences[3][:2] == ["full", "0.5"] and differences[3][3] == "+8.0% (-0.6% to +16.6%)"
    assert changes[2][:2] == ["full", "0.5"] and changes[2][3] == "+4.0% (-0.3% to +8.3%)"
    assert at_best[2][:2] == ["full", "0.5 (prefix: 0.5)"] and at_best[2][3] == "+8.0% (-0.6% to +16.6%)"
    assert ("is best for all. To choose by noise η gains" in text) == (figure == "heat_map")


def results_of(**fields: object) -> dict:
    labels = [
        {"key": m.key, "label": m.label, "format": m.format, "higher_is_better": m.higher_is_better}
        for m in (KL, AGREEMENT)
    ]
    return {
        "measures": labels, "costs": [{"title": cost.title} for cost in COSTS], "levels": [],
        "points_title": "noise η", "variants_title": "attention", **fields,
    }  # fmt: skip


def test_a_unit_of_examples_and_values_is_counted_once():
    assert [cost.title for cost in COSTS] == ["parameters", "boards", "action values", "training seconds"]
    once = training_costs("transitions", "transitions")
    assert [cost.title for cost in once] == ["parameters", "transitions", "training seconds"]


def test_curves_are_means_over_seeds_by_examples_and_by_time():
    figure = draw_curves(results_of(curves=curves()))
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["best move ↑\nevaluated during training", ""]  # KL was not logged
    assert [axis.get_xlabel() for axis in figure.axes] == ["boards seen", "training seconds"]
    line = figure.axes[0].lines[0]
    assert list(line.get_xdata()) == [500, 1000] and list(line.get_ydata()) == pytest.approx([0.38, 0.43])
    assert list(figure.axes[1].lines[0].get_xdata()) == [30, 60]
    pyplot.close(figure)


def test_axes_of_percentages_end_at_0_and_100():
    low_and_high = {("prefix", 0): (None, 0.004), ("full", 0): (None, 0.997)}
    means = [
        {"variant": variant, "point": "0", "measure": "agreement", "mean": agreement}
        for (variant, _), (_, agreement) in low_and_high.items()
    ]
    figure = draw_lines(results_of(cells=rows_of(low_and_high, "0"), means=means))
    (axis,) = figure.axes
    assert axis.get_ylim() == (0, 1)
    pyplot.close(figure)


def test_lines_and_heat_maps_have_every_mean():
    cells = [*rows_of(NUMBERS, "0"), *rows_of({("full", 0): (2.0, 0.9)}, "1")]
    means = [
        {"variant": "prefix", "point": "0", "measure": "agreement", "mean": 0.33},
        {"variant": "full", "point": "0", "measure": "agreement", "mean": 0.37},
        {"variant": "full", "point": "1", "measure": "agreement", "mean": 0.9},
        {"variant": "full", "point": "1", "measure": "kl", "mean": None},
    ]
    levels = [{"key": "agreement", "title": "random", "value": 0.06}]
    figure = draw_lines(results_of(cells=cells, means=means, levels=levels))
    (axis,) = figure.axes
    assert axis.get_title() == "best move ↑" and axis.get_xlabel() == "noise η"
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["0", "1"]
    assert "random" in [text.get_text() for text in axis.texts]
    assert any(list(line.get_ydata()) == pytest.approx([0.37, 0.9]) for line in axis.lines)
    pyplot.close(figure)
    figure = draw_heat_maps(results_of(means=means))
    (axis,) = figure.axes
    assert sorted(text.get_text() for text in axis.texts) == ["33.0%", "37.0%", "90.0%"]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("noise η", "attention")
    pyplot.close(figure)
