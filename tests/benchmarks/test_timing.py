"""Alternatives take turns on the same rounds, and tables hold what was measured."""

import json

import numpy as np
import pytest

from benchmarks.timing import Alternative, Table, compare, format_number


def test_alternatives_take_turns_after_a_warm_up():
    calls = []
    alternatives = {
        name: Alternative(lambda item, name=name: calls.append((name, item))) for name in ("first", "second")
    }
    compare("title", "step", alternatives, [1, 2], warm_up=0)
    assert calls == [(name, item) for item in (0, 1, 2) for name in ("first", "second")]


@pytest.mark.parametrize("milliseconds", [False, True])
def test_figures_are_medians_and_quartiles_per_unit(monkeypatch, milliseconds):
    seconds = {"first": iter([1.0, 2.0, 4.0]), "second": iter([10.0, 10.0, 10.0])}
    monkeypatch.setattr("benchmarks.timing.seconds_of", lambda work: work())
    alternatives = {
        "first": Alternative(lambda _: next(seconds["first"]), units=2),
        "second": Alternative(lambda _: next(seconds["second"]), units=4),
    }
    table = compare("title", "board", alternatives, range(3), milliseconds=milliseconds)
    first, second = table.rows.values()
    heading = "ms/board" if milliseconds else "boards/s"
    expected = [1000.0, 750.0, 1500.0] if milliseconds else [1.0, 2 / 3, 4 / 3]
    assert list(first) == [heading, "25%", "75%", "relative time"]
    np.testing.assert_allclose(list(first.values()), [*expected, 1.0])
    assert second["relative time"] == pytest.approx(2.5)
    json.dumps(table.rows)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (0.03467, "0.0347"), (1.0, "1.00"), (26.42, "26.4"), (999.9, "1,000"), (46541.3, "46,541")],
)
def test_numbers_have_three_significant_digits(number, text):
    assert format_number(number) == text


def test_a_table_is_printed_as_markdown_with_its_notes():
    table = Table("moves", {"fast": {"ms/move": 1.5}, "slow": {"ms/move": 1234.5}}, ["9.0M parameters"])
    assert str(table).splitlines() == [
        "| moves   |   ms/move |",
        "|:--------|----------:|",
        "| fast    |      1.50 |",
        "| slow    |     1,234 |",
        "",
        "9.0M parameters",
    ]
