"""The report of a study: means, paired differences and curves over seeds, the tables and the picture."""

import numpy as np
import pytest
import scipy.stats
from matplotlib import pyplot

from eval.studies.chess import StudiedChess
from eval.studies.measurements import Measure
from eval.studies.report_plot import line_looks, plot_report
from eval.studies.report_tables import format_report
from eval.studies.summary import mean_curve, summarise


def rows_of(numbers: dict[tuple[str, int], tuple[float | None, float]]) -> list[dict]:
    return [
        {
            "cell": f"{variant}-seed{seed}",
            "variant": variant,
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
    results = summarise(rows_of(NUMBERS), "prefix", [measure.key for measure in MEASURES])
    variants = {row["variant"]: row for row in results["variants"]}
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
        "study": {"title": "What does it do?", "reference": "prefix"},
        **summarise(rows_of(numbers), "prefix", [measure.key for measure in MEASURES]),
        "failed": {"deep-seed0": "the loss is nan"},
        "measures": [measure._asdict() for measure in MEASURES],
        "measured_on": ["500 boards of here", "20 puzzles of there"],
        "curves": [curve._asdict() for curve in StudiedChess.curves],
        "units": ["boards", "action values"],
        "command": "python -m eval.study",
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
        "Difference to prefix with the same seed, and its 95% interval", "deep-seed0 failed: the loss is nan",
        "9.3 min of training in all", "1 to 2 at a time with 1 threads each",
    ):  # fmt: skip
        assert part in text
    alone = format_report(results_of({key: value for key, value in NUMBERS.items() if key[1] == 1}))
    assert "±" not in alone and "95% interval" not in alone and "Difference to prefix" in alone


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
