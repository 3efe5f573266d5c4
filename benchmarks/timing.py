"""Time several ways to do the same work, in turns, and lay the figures out as a table.

In turns, whatever else the machine does hits all of them alike: trust the ratios more than the seconds.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
from tqdm import tqdm


Work = TypeVar("Work")


class Timing(NamedTuple):
    """Seconds of one piece of work: the median and the quartiles over pieces and repetitions."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Self:
        low, median, high = np.quantile(seconds, [0.25, 0.5, 0.75]).tolist()
        return cls(median, low, high)


def take_turns(
    ways: dict[str, Callable[[Work], object]],
    pieces: Sequence[Work],
    title: str,
    unit: str = "it",
    warm_up: Work | None = None,
) -> dict[str, list[float]]:
    """Return the seconds that every way takes for each piece of work, by name; they take turns on a piece.

    A way ends when its results are on the CPU. `warm_up` is a piece that each does first, untimed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    if warm_up is not None:
        for work in ways.values():
            work(warm_up)  # the first call also allocates, chooses kernels, compiles
    for piece in tqdm(pieces, desc=title, unit=unit, disable=None, leave=False):
        for name, work in ways.items():
            started = time.perf_counter()
            work(piece)
            seconds[name].append(time.perf_counter() - started)
    return seconds


class Way(NamedTuple):
    """A way to do a piece of work, and how many units (steps, boards) of it that are."""

    run: Callable[[Any], object]
    per_round: int


def compare(
    ways: dict[str, Way],
    pieces: Sequence[Work],
    title: str,
    unit: str = "round",
    warm_up: Work | None = None,
) -> dict[str, dict[str, float]]:
    """Return how many units every way does a second, and how many times the time of the first it takes."""
    seconds = take_turns({name: way.run for name, way in ways.items()}, pieces, title, unit, warm_up)
    rates = {}
    for name, way in ways.items():
        timing = Timing.of(seconds[name])
        rates[name] = {
            "per_round": way.per_round,
            "median": way.per_round / timing.median,
            "low": way.per_round / timing.high,
            "high": way.per_round / timing.low,
        }
    reference = next(iter(rates.values()))["median"]
    return {name: {**rate, "times": reference / rate["median"]} for name, rate in rates.items()}


def format_rate(rate: float) -> str:
    """Format a number of units per second."""
    return f"{rate:,.0f}" if rate >= 1000 else f"{rate:.1f}"


def rate_rows(rates: dict[str, dict[str, float]]) -> list["Row"]:
    """Make table rows of what `compare` returns."""
    return [
        Row(
            name,
            format_rate(rate["median"]),
            f"{format_rate(rate['low'])} – {format_rate(rate['high'])}",
            rate["times"],
        )
        for name, rate in rates.items()
    ]


class Row(NamedTuple):
    """A line of a table: a way, its figure, the quartiles of it or nothing, and how many times the time."""

    name: str
    figure: str
    quartiles: str
    times: float


def format_rows(title: str, unit: str, rows: Sequence[Row], width: int) -> str:
    """Lay rows out under a title and the unit of their figures, with names of up to `width` characters."""
    figures = max([10, *(len(row.figure) + 2 for row in rows)])
    quartiles = max([19, *(len(row.quartiles) + 2 for row in rows)])
    heading = "quartiles" if any(row.quartiles for row in rows) else ""
    lines = [f"{title:<{width}}{unit:>{figures}}{heading:>{quartiles}}{'times':>9}"]
    for row in rows:
        numbers = f"{row.figure:>{figures}}{row.quartiles:>{quartiles}}{row.times:>9.3g}"
        lines.append(f"{row.name:<{width}}{numbers}")
    return "\n".join(lines)
