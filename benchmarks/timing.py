"""Time alternatives side by side and lay the figures out as tables.

Alternatives take turns, so that other load on the machine affects all of them alike: trust the ratios more
than the absolute figures.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from tabulate import tabulate
from torch.utils.benchmark import Timer, timer
from tqdm import tqdm


MATRIX_SIZES, MATRIX_SIZES_ON_GPU = (1024, 2048), (4096, 8192, 16384)


@dataclass(frozen=True)
class Alternative:
    """One way to do a piece of work; a call of `run` does `units` steps, boards or games."""

    run: Callable[[Any], object]
    units: int = 1


@dataclass
class Table:
    """Measured figures: rows of numbers by column, where a column's name includes its unit."""

    title: str
    rows: dict[str, dict[str, float]]
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        columns = next(iter(self.rows.values()))
        rows = [[name, *map(format_number, row.values())] for name, row in self.rows.items()]
        alignment = ["left"] + ["right"] * len(columns)
        header = [self.title, *columns]
        table = tabulate(rows, header, "pipe", disable_numparse=True, colalign=alignment)
        return "\n\n".join([table, *self.notes])


def format_number(number: float) -> str:
    """Format with three significant digits, or all digits before the decimal point."""
    decimals = 2 - math.floor(math.log10(abs(number))) if number else 0
    return f"{number:,.{max(0, decimals)}f}"


def compare(
    title: str,
    unit: str,
    alternatives: dict[str, Alternative],
    rounds: Sequence[Any],
    warm_up: Any = None,
    milliseconds: bool = False,
) -> Table:
    """Time all alternatives in every round, each called with the round's item.

    A `warm_up` item is for a first call of each, which is not timed. The table has the median and the
    quartiles over rounds, as units per second or as milliseconds per unit, and the time per unit relative to
    that of the first alternative.
    """
    if warm_up is not None:
        for alternative in alternatives.values():
            alternative.run(warm_up)  # the first call allocates, chooses kernels and compiles
    seconds: dict[str, list[float]] = {name: [] for name in alternatives}
    for item in tqdm(rounds, desc=title, unit="round", disable=None, leave=False):
        for name, alternative in alternatives.items():
            seconds[name].append(seconds_of(lambda run=alternative.run, item=item: run(item)))
    quartiles = {
        name: np.quantile(taken, [0.5, 0.25, 0.75]) / alternatives[name].units
        for name, taken in seconds.items()
    }
    first, _, _ = next(iter(quartiles.values()))
    rows = {}
    for name, (median, low, high) in quartiles.items():
        figures = 1000 * np.array([median, low, high]) if milliseconds else 1 / np.array([median, high, low])
        heading = f"ms/{unit}" if milliseconds else f"{unit}s/s"
        rows[name] = dict(zip((heading, "25%", "75%"), figures.tolist(), strict=True))
        rows[name]["relative time"] = float(median / first)
    return Table(title, rows)


def seconds_of(work: Callable[[], object]) -> float:
    """Return the seconds that `work` takes, until the GPU has finished it."""
    started = timer()  # synchronises with the GPU
    work()
    return timer() - started


def matrix_product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Measure the floating-point operations per second of square matrix products, at the fastest size."""
    rates = []
    for size in MATRIX_SIZES_ON_GPU if device.type == "cuda" else MATRIX_SIZES:
        factors = {name: torch.randn(size, size, device=device).to(dtype) for name in ("a", "b")}
        product = Timer("a @ b", globals=factors, num_threads=torch.get_num_threads())
        rates.append(2 * size**3 / product.blocked_autorange(min_run_time=0.5).median)
    return max(rates)
