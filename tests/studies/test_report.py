"""The report of a study: means, paired differences and curves over seeds, the tables and the picture."""

import numpy as np
import pytest
import scipy.stats
from matplotlib import pyplot

from studies.chess import AGREEMENT, KL, TAU
from studies.choices import differences_at_best, gains_of_choosing
from studies.measurements import Measure
from studies.report_plot import line_looks, plot_report
from studies.report_tables import format_report
from studies.summary import mean_curve, summarise


def rows_of(numbers: dict[tuple[str, int], tuple[float | None, float]], point: str = "") -> list[dict]:
    return [
        {
            "cell": f"{variant}-seed{seed}",
            "variant": variant,
            "point": point,
            "seed": seed,
            "num_steps": 10 + seed,
            "parameters": 40_000,
            "examples_seen": 1000,
            "values_seen": 30_000.0,
            "training_seconds": 61.25,
            "seconds_with_evaluations": 70.0,
            "kl": kl,
            "best_move_agreement": agreement,
            "curve": [
                {
                    "step": step,
                    "examples_seen": 100.0 * step,
                    "training_seconds": 6.0 * step,
                    "best_move_agreement": agreement / (11 - step),
                }
                | ({} if kl is None else {"kl": kl - step / 10})
                for step in (0, 5, 10)
            ],
        }
        for (variant, seed), (kl, agreement) in numbers.items()
    ]


NUMBERS = {
    ("prefix", 0): (2.5, 0.30),
    ("prefix", 1): (2.6, 0.32),
    ("prefix", 2): (2.4, 0.37),
    ("full", 2): (2.2, 0.40),
    ("full", 0): (2.4, 0.36),
    ("full", 1): (2.6, 0.35),
    ("mse", 1): (None, 0.25),
    ("deep", 7): (2.0, 0.45),
}
MEASURES = (Measure("kl", "KL ↓", ".3f"), Measure("best_move_agreement", "best move ↑", ".1%"))


def test_means_and_paired_differences_over_seeds():
    results = summarise(rows_of(NUMBERS), "prefix", MEASURES)
    variants = {row["variant"]: row for row in results["groups"]}
    assert [(name, row["num_seeds"]) for name, row in variants.items()] == [
        ("prefix", 3), ("full", 3), ("mse", 1), ("deep", 1),
    ]  # fmt: skip
    of_prefix = variants["prefix"]["best_move_agreement"]
    assert of_prefix["mean"] == pytest.approx(0.33)
    assert of_prefix["standard_error"] == pytest.approx(np.std([0.30, 0.32, 0.37], ddof=1) / 3**0.5)
    assert variants["deep"]["kl"] == {"mean": 2.0, "standard_error": None}
    assert variants["mse"]["kl"] == {"mean": None, "standard_error": None}

    differences = {row["variant"]: row for row in results["differences"]}
    # Without the reference of the same seed there is no difference.
    assert list(differences) == ["full", "mse"]
    expected = scipy.stats.ttest_rel([0.36, 0.35, 0.40], [0.30, 0.32, 0.37]).confidence_interval(0.95)
    of_full = differences["full"]["best_move_agreement"]
    assert (of_full["mean"], of_full["low"], of_full["high"]) == pytest.approx(
        (0.04, expected.low, expected.high)
    )
    assert differences["full"]["kl"]["mean"] == pytest.approx(-0.1)
    assert differences["mse"]["kl"] == {"mean": None, "low": None, "high": None}
    assert differences["mse"]["best_move_agreement"]["mean"] == pytest.approx(-0.07)
    assert differences["mse"]["best_move_agreement"]["low"] is None
    # Of the table of cells, curves would be most.
    assert [row["cell"] for row in results["cells"]] == [f"{name}-seed{seed}" for name, seed in NUMBERS]
    assert not any("curve" in row for row in results["cells"])


def test_curves_are_means_at_common_steps_and_at_the_ends():
    curves = [
        [{"step": step, "kl": value} for step, value in ((0, 3.0), (4, 2.0), (8, 1.5), (9, 1.0))],
        [{"step": step, "kl": value} for step, value in ((0, 3.2), (4, 2.2), (7, 2.0))],
    ]
    points = [(point["step"], pytest.approx(point["kl"])) for point in mean_curve(curves)]
    assert points == [(0, 3.1), (4, 2.1), (8, 1.5)]
    assert mean_curve(curves[:1]) == curves[0]
    assert mean_curve([curves[0], []]) == []
    curves[0][-1].pop("kl")
    assert mean_curve(curves[:1])[-1] == {"step": 9}


def results_of(numbers: dict) -> dict:
    return {
        "study": {"title": "What does it do?", "reference": "prefix", "points_title": None, "figure": None},
        **summarise(rows_of(numbers), "prefix", MEASURES),
        "failed": {"deep-seed0": "the loss is nan"},
        "levels": [],
        "measured_on": ["500 boards of here", "20 puzzles of there"],
        "curves": [curve._asdict() for curve in (KL, AGREEMENT, TAU)],
        "units": ["boards", "action values"],
        "command": "python -m studies",
        "hardware": {"device": "abacus", "cores": 2, "torch": "2"},
        "processes": [1, 2],
        "threads": [1],
    }


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_the_tables_are_aligned_and_complete(tmp_path):
    text = format_report(results_of(NUMBERS))
    tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]
    assert [len(table) for table in tables] == [2 + 4, 2 + 2]
    assert all(len({len(line) for line in table}) == 1 for table in tables)
    assert cells_of(tables[0][0])[:4] == [
        "variant",
        "parameters",
        "boards (action values)",
        "training seconds",
    ]
    prefix = ["prefix", "40k", "1k (30k)", "61.2", "2.500 ± 0.058", "33.0% ± 2.1%", "3"]
    assert cells_of(tables[0][2]) == prefix
    assert cells_of(tables[0][4])[-3:] == ["–", "25.0%", "1"]
    assert cells_of(tables[1][2])[2:] == ["+4.0% (-0.3% to +8.3%)", "3"]
    assert cells_of(tables[1][3]) == ["mse", "–", "-7.0%", "1"]
    for part in (
        "# What does it do?", "500 boards of here and 20 puzzles of there; means over seeds",
        "Below: differences to prefix with the same seed, and its 95% interval",
        "deep-seed0 failed: the loss is nan", "9.3 min of training in all",
        "1 to 2 at a time with 1 threads each",
    ):  # fmt: skip
        assert part in text
    assert "Without a curve" not in text
    results = results_of(NUMBERS)
    results["groups"][1]["curve"] = []
    assert "Without a curve, as they were not evaluated on the same data in training: full." in format_report(
        results
    )
    alone = format_report(results_of({key: value for key, value in NUMBERS.items() if key[1] == 1}))
    assert "±" not in alone and "95% interval" not in alone and "differences to prefix" in alone


def test_the_picture_has_every_curve(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(pyplot, "close", figures.append)
    plot_report(results_of(NUMBERS), tmp_path / "report.png")
    monkeypatch.undo()
    assert (tmp_path / "report.png").stat().st_size > 10_000
    (figure,) = figures
    assert figure.get_suptitle() == "means over 1 to 3 seeds"
    assert [text.get_text() for text in figure.legends[0].texts] == ["prefix", "full", "mse", "deep"]
    by_boards = {line.get_label(): line for line in figure.axes[1].lines}
    assert list(by_boards["mse"].get_xdata()) == [500, 1000] and by_boards["mse"].get_ydata()[1] == 0.25
    by_time = {line.get_label(): line for line in figure.axes[3].lines}
    assert list(by_time["prefix"].get_xdata()) == [30, 60]
    assert list(by_time["prefix"].get_ydata()) == pytest.approx([2.0, 1.5])
    assert len(by_time["mse"].get_xdata()) == 0
    pyplot.close(figure)


def test_a_dozen_lines_look_different():
    looks = line_looks([f"variant{number}" for number in range(25)], reference="variant3")
    assert len({(look["color"], str(look["ls"])) for look in looks.values()}) == 25


def results_at_points(figure: str) -> dict:
    better = {place: (kl and kl / 2, 2 * agreement) for place, (kl, agreement) in NUMBERS.items()}
    del better["mse", 1]
    rows = [*rows_of(NUMBERS, "0"), *rows_of(better, "0.5")]
    rows[-1] |= {"parameters": 50_000, "training_seconds": 40.0}
    study = {"title": "Where?", "reference": "prefix", "points_title": "noise η", "figure": figure}
    study["variants_title"] = "attention"
    return results_of(NUMBERS) | {
        **summarise(rows, "prefix", MEASURES),
        "study": study,
        "levels": [{"key": "best_move_agreement", "title": "random", "value": 0.06}],
    }


def test_differences_are_those_at_the_same_point():
    results = results_at_points("lines")
    found = {(row["variant"], row["point"]): row for row in results["differences"]}
    assert list(found) == [("full", "0"), ("mse", "0"), ("full", "0.5")]
    assert found["full", "0.5"]["best_move_agreement"]["mean"] == pytest.approx(2 * 0.04)
    assert found["full", "0"]["kl"]["mean"] == pytest.approx(-0.1)


def test_changes_are_those_of_differences_with_the_same_seed():
    noisy = NUMBERS | {("full", 0): (2.4, 0.30), ("full", 1): (2.6, 0.31), ("full", 2): (2.2, 0.38)}
    rows = [*rows_of(NUMBERS, "0"), *rows_of(noisy, "1"), *rows_of(noisy, "3")[:4]]
    results = summarise(rows, "prefix", MEASURES, baseline="0")
    found = {(row["variant"], row["point"]): row for row in results["changes"]}
    # Not of seeds without the reference, nor at the baseline itself.
    assert [(*place, row["num_seeds"]) for place, row in found.items()] == [
        ("full", "1", 3), ("mse", "1", 1), ("full", "3", 1),
    ]  # fmt: skip
    expected = scipy.stats.ttest_1samp([-0.06, -0.04, -0.02], 0).confidence_interval(0.95)
    change = found["full", "1"]["best_move_agreement"]
    assert (change["mean"], change["low"], change["high"]) == pytest.approx(
        (-0.04, expected.low, expected.high)
    )
    assert found["mse", "1"]["kl"]["mean"] is None and found["full", "3"]["kl"]["low"] is None
    study = results_at_points("lines")["study"] | {"baseline": "0"}
    text = format_report(results_of(NUMBERS) | results | {"study": study})
    assert "| its change from 0 |" in text and "-4.0% (-9.0% to +1.0%)" in text
    assert summarise(rows, "prefix", MEASURES)["changes"] == []


def test_with_several_points_every_measure_has_a_table_of_variants_and_points():
    text = format_report(results_at_points("lines"))
    tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]
    assert all(len({len(line) for line in table}) == 1 for table in tables)
    assert [cells_of(table[0])[0] for table in tables] == [
        "noise η", "KL ↓, by noise η", "− prefix", "best move ↑, by noise η", "− prefix",
    ]  # fmt: skip
    assert [cells_of(line) for line in tables[3][2:]] == [
        ["prefix", "33.0% ± 2.1%", "66.0% ± 4.2%"],
        ["full", "37.0% ± 1.5%", "74.0% ± 3.1%"],
        ["mse", "25.0%", "–"],
        ["deep", "45.0%", "90.0%"],
    ]
    assert cells_of(tables[4][2]) == ["full", "+4.0% (-0.3% to +8.3%)", "+8.0% (-0.6% to +16.6%)"]
    assert "\n\nrandom 6.0%\n\n" in text
    assert "1 to 3 seeds; from the variant with least to that with most:" in text
    assert [cells_of(line) for line in tables[0][2:]] == [
        ["0", "40k", "1k (30k)", "61.2"],
        ["0.5", "40k to 50k", "1k (30k)", "40.0 to 61.2"],
    ]


def rows_at_points(changes: dict[tuple[str, str, int], float]) -> list[dict]:
    """Rows of `best move` for three seeds: 30% if wide, 19% if narrow, but for the `changes`."""
    usual = {"wide": 0.30, "narrow": 0.19}
    return [
        row
        for variant in usual
        for point in ("21", "201")
        for seed in (0, 1, 2)
        for row in rows_of(
            {(variant, seed): (None, changes.get((variant, point, seed), usual[variant]))}, point
        )
    ]


def test_choosing_for_every_point_gains_what_other_seeds_promise():
    # Narrow is better by 10% for few bins, and worse by 11% for many.
    measured = rows_at_points({("narrow", "21", seed): 0.40 for seed in (0, 1, 2)})
    choice = gains_of_choosing(measured, MEASURES)
    assert list(choice) == ["best_move_agreement"]  # KL has no numbers
    choice = choice["best_move_agreement"]
    assert choice["for_all"] == "wide" and choice["best"] == {"21": "narrow", "201": "wide"}
    assert choice["gain"] == pytest.approx({"mean": 0.05, "low": 0.05, "high": 0.05})
    # What is better with one seed alone is chosen for the others, where it is worse.
    lucky = gains_of_choosing(rows_at_points({("narrow", "21", 1): 0.50}), MEASURES)["best_move_agreement"]
    assert lucky["gain"]["mean"] == pytest.approx(-0.11 / 2 * 2 / 3)
    alone = [row for row in measured if row["seed"] == 0]
    assert gains_of_choosing(alone, MEASURES)["best_move_agreement"]["gain"] is None
    # Lower is better of a measure that says so; a grid with a hole tells nothing.
    low = [Measure("best_move_agreement", "error ↓", ".3f")]
    assert gains_of_choosing(measured, low)["best_move_agreement"]["best"] == {"21": "wide", "201": "narrow"}
    assert gains_of_choosing(measured[1:], low) == {}
    assert gains_of_choosing([row for row in measured if row["point"] == "21"], low) == {}


def test_variants_are_compared_each_at_the_best_point_of_other_seeds():
    measured = rows_at_points({("narrow", "21", seed): 0.36 + 0.02 * seed for seed in (0, 1, 2)})
    at_best = differences_at_best(measured, "wide", MEASURES)["best_move_agreement"]
    assert at_best["best"]["narrow"] == "21"
    assert at_best["differences"]["narrow"]["mean"] == pytest.approx(0.08)
    half_width = 0.02 * 4.303 / 3**0.5  # Student's t with two degrees of freedom
    assert at_best["differences"]["narrow"]["high"] == pytest.approx(0.08 + half_width, abs=1e-4)
    # One lucky seed does not choose for itself.
    lucky = differences_at_best(rows_at_points({("narrow", "201", 1): 0.90}), "wide", MEASURES)
    found = lucky["best_move_agreement"]["differences"]["narrow"]["mean"]
    assert found == pytest.approx(-0.11)
    # Lower is better: the difference keeps its sign.
    low = [Measure("best_move_agreement", "error ↓", ".3f")]
    assert differences_at_best(measured, "wide", low)["best_move_agreement"]["best"]["narrow"] == "201"
    differences = differences_at_best(measured, "wide", low)["best_move_agreement"]["differences"]
    assert differences["narrow"]["mean"] == pytest.approx(-0.11)
    assert differences_at_best([row for row in measured if row["variant"] == "narrow"], "wide", low) == {}
    assert differences_at_best([row for row in measured if row["point"] == "21"], "wide", low) == {}


@pytest.mark.parametrize("figure", ["lines", "heat_map"])
def test_the_picture_of_several_points_has_every_number(tmp_path, monkeypatch, figure):
    figures = []
    monkeypatch.setattr(pyplot, "close", figures.append)
    plot_report(results_at_points(figure), tmp_path / "report.png")
    monkeypatch.undo()
    (drawn,) = figures
    assert [axis.get_title() for axis in drawn.axes] == [measure.title for measure in MEASURES]
    axis = drawn.axes[1]
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["0", "0.5"]
    if figure == "lines":
        lines = {bars.get_label(): bars.lines[0] for bars in axis.containers}
        assert list(lines["full"].get_ydata()) == pytest.approx([0.37, 0.74])
        assert list(lines["mse"].get_ydata()) == [0.25]
        assert [text.get_text() for text in drawn.legends[0].texts] == [
            "random",
            "prefix",
            "full",
            "mse",
            "deep",
        ]
        assert any(line.get_ydata()[0] == 0.06 for line in axis.lines)
    else:
        written = {text.get_text(): text.get_weight() for text in axis.texts}
        assert written["90.0%"] == written["45.0%"] == "bold" and written["74.0%"] == "normal"
        assert "nan" not in " ".join(written)
        assert (axis.get_xlabel(), axis.get_ylabel()) == ("noise η", "attention")
        assert {text.get_text(): text.get_weight() for text in drawn.axes[0].texts}["1.000"] == "bold"
    pyplot.close(drawn)
