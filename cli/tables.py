"""Tables in Markdown that are aligned in a terminal too, and numbers with their uncertainty in them."""

from collections.abc import Sequence


UNDEFINED = "–"


def format_markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table whose first column stands left and the others right."""
    widths = [max(3, *map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = []
    for row in (header, rule, *rows):
        cells = [f"{row[0]:<{widths[0]}}"]
        cells += [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def format_mean(measure: dict, spec: str) -> str:
    """Write a `mean` with its `standard_error`, if there is one; a dash where the mean is None."""
    mean, error = measure["mean"], measure["standard_error"]
    if mean is None:
        return UNDEFINED
    return f"{mean:z{spec}}" + ("" if error is None else f" ± {error:{spec}}")


def format_difference(measure: dict, spec: str) -> str:
    """Write a `mean` with its sign and the interval `low` to `high`, if there is one; a dash for None."""
    mean, low, high = measure["mean"], measure["low"], measure["high"]
    if mean is None:
        return UNDEFINED
    spec = f"+z{spec}"
    return f"{mean:{spec}}" if low is None else f"{mean:{spec}} ({low:{spec}} to {high:{spec}})"
