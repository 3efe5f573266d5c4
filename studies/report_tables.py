"""The report of a study as Markdown: what was asked, means over seeds, differences to the reference."""

from collections.abc import Callable, Sequence

from cli.tables import UNDEFINED, format_difference, format_markdown, format_mean
from training.run_log import format_count, format_seconds


CHOSEN = "chosen by the other seeds, 95% interval (Student's t)"


def format_report(results: dict) -> str:
    """Lay out the results."""
    study, hardware = results["study"], results["hardware"]
    are_means = any(group["num_seeds"] > 1 for group in results["groups"])
    parts = [
        f"# {study['title']}",
        f"Measured, after training, on {' and '.join(results['measured_on'])}"
        + ("; means over seeds ± standard errors." if are_means else ".")
        + " Training seconds are those of the steps alone.",
        *(_one_point(results) if study["points_title"] is None else _several_points(results)),
    ]
    if results["failed"]:
        parts.append("\n".join(f"{name} failed: {line}" for name, line in results["failed"].items()))
    parts.append("![What was found](report.png)")
    without = [group["variant"] for group in results["groups"] if not group["curve"]]
    if study["points_title"] is None and without:
        names = ", ".join(without)
        parts.append(f"Without a curve, as they were not evaluated on the same data in training: {names}.")
    seconds = sum(row["seconds_with_evaluations"] for row in results["cells"])
    parts.append(
        f"    {results['command']}\n\n{hardware['device']}, {hardware['cores']} cores, torch "
        f"{hardware['torch']}; {format_seconds(seconds)} of training in all, evaluations included, "
        f"{_range(results['processes'])} at a time with {_range(results['threads'])} threads each"
    )
    return "\n\n".join(parts)


def _one_point(results: dict) -> list[str]:
    """Lay out a row for every variant."""
    measures, titles = results["measures"], [measure["title"] for measure in results["measures"]]
    rows = [
        [
            group["variant"],
            *_costs(group),
            *(format_mean(group[measure["key"]], measure["spec"]) for measure in measures),
            str(group["num_seeds"]),
        ]
        for group in results["groups"]
    ]
    for title in dict.fromkeys(level["title"] for level in results["levels"]):
        found = {level["key"]: level["value"] for level in results["levels"] if level["title"] == title}
        written = [f"{found[m['key']]:{m['spec']}}" if m["key"] in found else "" for m in measures]
        rows.append([title, "", "", "", *written, ""])
    parts = [format_markdown(["variant", *_cost_titles(results), *titles, "seeds"], rows)]
    if results["differences"]:
        rows = [
            [
                row["variant"],
                *(format_difference(row[measure["key"]], measure["spec"]) for measure in measures),
                str(row["num_seeds"]),
            ]
            for row in results["differences"]
        ]
        parts.append(f"Below: {_about_differences(results)}")
        parts.append(format_markdown(["variant", *titles, "seeds"], rows))
    return parts


def _several_points(results: dict) -> list[str]:
    """Lay out what the points are, and for every measure a table with a row for every variant."""
    study, groups = results["study"], results["groups"]
    points, title = list(dict.fromkeys(group["point"] for group in groups)), study["points_title"]
    variants = list(dict.fromkeys(group["variant"] for group in groups))
    of_points = [[group for group in groups if group["point"] == point] for point in points]
    parts = [
        f"{_count_seeds(groups)}; from the variant with least to that with most:",
        format_markdown(
            [title, *_cost_titles(results)],
            [[point, *_costs(*found)] for point, found in zip(points, of_points, strict=True)],
        ),
    ]
    if results["differences"]:
        parts.append(f"Below each table: {_about_differences(results)}")
    for measure in results["measures"]:
        key, spec = measure["key"], measure["spec"]
        header = [f"{measure['title']}, by {title}", *points]
        parts.append(format_markdown(header, _grid(groups, variants, points, key, spec, format_mean)))
        levels = [level for level in results["levels"] if level["key"] == key]
        if levels:
            parts.append(", ".join(f"{level['title']} {level['value']:{spec}}" for level in levels))
        others = [name for name in variants if name != study["reference"]]
        rows = _grid(results["differences"], others, points, key, spec, format_difference)
        if results["differences"]:
            parts.append(format_markdown([f"− {study['reference']}", *points], rows))
        changed = list(dict.fromkeys(row["point"] for row in results["changes"]))
        if changed:
            rows = _grid(results["changes"], others, changed, key, spec, format_difference)
            parts.append(format_markdown([f"its change from {study['baseline']}", *changed], rows))
        if key in results["choices"]:
            parts.append(_about_choice(results["choices"][key], spec, title))
        if key in results["at_best"]:
            parts.append(_about_best(results["at_best"][key], spec, title, study["reference"]))
    return parts


def _about_choice(choice: dict, spec: str, title: str) -> str:
    """Say which variant is best for all points, and what it gains to choose one for each."""
    text = f"Best on average: {choice['for_all']}."
    if choice["gain"] is not None:
        text += f" To choose by {title} gains {format_difference(choice['gain'], spec)}: {CHOSEN}."
    return text


def _about_best(at_best: dict, spec: str, title: str, reference: str) -> str:
    """Say how variants differ from the reference, each at its best point."""
    best = at_best["best"]
    text = f"Best by {title}: {', '.join(f'{variant} {point}' for variant, point in best.items())}."
    differences = [
        f"{variant} {format_difference(difference, spec)}"
        for variant, difference in at_best["differences"].items()
        if difference is not None
    ]
    return text + (f" There, − {reference}: {', '.join(differences)}: {CHOSEN}." if differences else "")


def _grid(
    groups: Sequence[dict],
    variants: Sequence[str],
    points: Sequence[str],
    key: str,
    spec: str,
    write: Callable[[dict, str], str],
) -> list[list[str]]:
    found = {(group["variant"], group["point"]): write(group[key], spec) for group in groups}
    return [[name, *(found.get((name, point), UNDEFINED) for point in points)] for name in variants]


def _about_differences(results: dict) -> str:
    has_intervals = any(row["num_seeds"] > 1 for row in results["differences"])
    interval = ", and its 95% interval (Student's t over seeds)" if has_intervals else ""
    return f"differences to {results['study']['reference']} with the same seed{interval}."


def _count_seeds(groups: Sequence[dict]) -> str:
    numbers = sorted({group["num_seeds"] for group in groups})
    return "1 seed" if numbers == [1] else f"{_range(numbers)} seeds"


def _cost_titles(results: dict) -> list[str]:
    examples, values = results["units"]
    return ["parameters", f"{examples} ({values})", "training seconds"]


def _costs(*groups: dict) -> list[str]:
    """Write what a variant costs, or from the least of several to the most."""

    def written(key: str, write: Callable[[float], str]) -> str:
        numbers = sorted(group[key] for group in groups)
        return " to ".join(dict.fromkeys(map(write, (numbers[0], numbers[-1]))))

    return [
        written("parameters", format_count),
        f"{written('examples_seen', format_count)} ({written('values_seen', format_count)})",
        written("training_seconds", "{:,.1f}".format),
    ]


def _range(numbers: list[int]) -> str:
    """Write what was the same for all runs, or from where to where it went."""
    return f"{numbers[0]}" + (f" to {numbers[-1]}" if len(numbers) > 1 else "")
