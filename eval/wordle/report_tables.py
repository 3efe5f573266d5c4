"""The tables of eval.wordle.report as Markdown."""

from eval.markdown_tables import format_difference, format_markdown, format_mean
from eval.run_log import format_seconds


BASELINE = "mse"
# What is reported of every model, and how it is written.
MEASURES = {"success_rate": ".1%", "mean_return": ".3f", "one_turn_success_rate": ".1%"}
HEADER = ["loss", "α", "success", "return", "one turn", "seeds"]


def format_alpha(alpha: float) -> str:
    """Write a weight of CQL's term with all its digits, and whole ones as 1."""
    return f"{alpha!r}".removesuffix(".0")


def format_report(results: dict) -> str:
    """Lay out the results."""
    data, turn, hardware = results["data"], results["one_turn"], results["hardware"]
    rows = [
        _row(group, {key: format_mean(group[key], spec) for key, spec in MEASURES.items()})
        for group in results["groups"]
    ]
    rows.append(
        [
            "the data",
            "",
            f"{data['success_rate']:.1%}",
            f"{data['mean_return']:.3f}",
            f"{turn['behavior_rate']:.1%}",
            "",
        ]
    )
    rows.append(["Bayes ceiling", "", "", "", f"{turn['bayes_ceiling']:.1%}", ""])
    are_means = any(group["num_seeds"] > 1 for group in results["groups"])
    parts = [
        f"Greedy games with each of {data['num_answers']:,} secret words, {data['rule']} rule, and the next "
        f"guess (one turn) in {turn['num_states']:,} states of held-out games by {turn['behavior']}"
        + ("; means over seeds ± standard errors." if are_means else "."),
        format_markdown(HEADER, rows),
    ]
    if results["differences_to_mse"]:
        rows = [
            _row(row, {key: format_difference(row[key], spec) for key, spec in MEASURES.items()})
            for row in results["differences_to_mse"]
        ]
        has_intervals = any(row["num_seeds"] > 1 for row in results["differences_to_mse"])
        interval = ", and its 95% interval (Student's t over seeds)" if has_intervals else ""
        parts.append(f"Difference to {BASELINE} with the same seed{interval}.")
        parts.append(format_markdown(HEADER, rows))
    if results["failed"]:
        parts.append("\n".join(f"{name} failed: {line}" for name, line in results["failed"].items()))
    training = sum(row["training_seconds"] for row in results["cells"])
    parts.append(
        f"{results['command']}\n{hardware['device']}, {hardware['cores']} cores, torch {hardware['torch']}; "
        f"{format_seconds(training)} of training in all, {results['processes']} at a time"
    )
    return "\n\n".join(parts)


def _row(group: dict, written: dict[str, str]) -> list[str]:
    return [group["loss"], format_alpha(group["alpha"]), *written.values(), str(group["num_seeds"])]
