"""The report of a study as Markdown: what was asked, means over seeds, differences to the reference."""

from eval.markdown_tables import format_difference, format_markdown, format_mean
from eval.run_log import format_count, format_seconds


def format_report(results: dict) -> str:
    """Lay out the results."""
    study, measures, hardware = results["study"], results["measures"], results["hardware"]
    variants, differences = results["variants"], results["differences"]
    titles = [measure["title"] for measure in measures]
    are_means = any(row["num_seeds"] > 1 for row in variants)
    examples, values = results["units"]
    header = ["variant", "parameters", f"{examples} ({values})", "training seconds", *titles, "seeds"]
    rows = [
        [
            row["variant"],
            format_count(row["parameters"]),
            f"{format_count(row['examples_seen'])} ({format_count(row['values_seen'])})",
            f"{row['training_seconds']:,.1f}",
            *(format_mean(row[measure["key"]], measure["spec"]) for measure in measures),
            str(row["num_seeds"]),
        ]
        for row in variants
    ]
    parts = [
        f"# {study['title']}",
        f"Measured after training on {' and '.join(results['measured_on'])}"
        + ("; means over seeds ± standard errors." if are_means else ".")
        + " Training seconds are those of the steps alone.",
        format_markdown(header, rows),
    ]
    if differences:
        has_intervals = any(row["num_seeds"] > 1 for row in differences)
        interval = ", and its 95% interval (Student's t over seeds)" if has_intervals else ""
        rows = [
            [
                row["variant"],
                *(format_difference(row[measure["key"]], measure["spec"]) for measure in measures),
                str(row["num_seeds"]),
            ]
            for row in differences
        ]
        parts.append(f"Difference to {study['reference']} with the same seed{interval}.")
        parts.append(format_markdown(["variant", *titles, "seeds"], rows))
    if results["failed"]:
        parts.append("\n".join(f"{name} failed: {line}" for name, line in results["failed"].items()))
    parts.append("![Evaluations during training](report.png)")
    seconds = sum(row["seconds_with_evaluations"] for row in results["cells"])
    parts.append(
        f"    {results['command']}\n\n{hardware['device']}, {hardware['cores']} cores, torch "
        f"{hardware['torch']}; {format_seconds(seconds)} of training in all, evaluations included, "
        f"{_range(results['processes'])} at a time with {_range(results['threads'])} threads each"
    )
    return "\n\n".join(parts)


def _range(numbers: list[int]) -> str:
    """Write what was the same for all runs, or from where to where it went."""
    return f"{numbers[0]}" + (f" to {numbers[-1]}" if len(numbers) > 1 else "")
