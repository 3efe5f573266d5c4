"""The results of the Wordle protocols as text."""

from eval.intervals import Z_95


def format_results(results: dict) -> str:
    """Return the results of a protocol as text."""
    return (_format_one_turn if results["protocol"] == "one_turn" else _format_games)(results)


def _format_one_turn(results: dict) -> str:
    lines = [
        f"one_turn: the next guess in {results['num_states']:,} states of {results['num_games']:,} games by "
        f"{results['behavior']} ({results['guesses_per_second']:,.0f} guesses/s)",
        "",
        f"{'earlier guesses':<16}{'states':>9}{'success':>9}   {'95% interval':<15}{'Bayes ceiling':>15}"
        f"{'success / ceiling':>20}{'behavior':>11}",
    ]
    rows = [*results["by_num_guesses"].items(), ("all", results)]
    for name, row in rows:
        # Without any success, or without any failure, the error is 0 and has no meaning.
        error = row["ceiling_ratio_standard_error"]
        plus_minus = f"± {Z_95 * error:.1%}" if error else ""
        lines.append(
            f"{name:<16}{row['num_states']:>9,}{row['success_rate']:>9.1%}   "
            f"{_interval(row):<15}{row['bayes_ceiling']:>15.1%}"
            f"{row['ceiling_ratio']:>12.1%}{plus_minus:>8}{row['behavior_rate']:>11.1%}"
        )
    return "\n".join([*lines, "", *_format_faults(results)])


def _format_games(results: dict) -> str:
    is_lmrl = results["protocol"] == "lmrl"
    kind = "games with random secrets" if is_lmrl else "games, one with every secret"
    title = (
        f"{results['protocol']}: {results['num_games']:,} {kind} ({results['games_per_second']:,.0f} games/s)"
    )
    lines = [
        title,
        "",
        _row("success", f"{results['success_rate']:.2%}", f"95% interval {_interval(results, 2)}"),
    ]
    error = results["return_standard_error"]
    note = "" if error is None else f"± {error:.3f} standard error"
    lines.append(_row("mean return", f"{results['mean_return']:.3f}", note))
    solved = results["mean_guesses"]
    note = f"of solved games; {results['mean_guesses_failures_as_7']:.3f} with failures as 7"
    lines.append(_row("mean guesses", "–" if solved is None else f"{solved:.3f}", note))
    if is_lmrl:
        scale = results["scale"]
        note = f"0, 50, 100 at {scale['0']}, {scale['50']:.3f}, {scale['100']:.3f}: {results['scale_source']}"
        lines.append(_row("score", _score(results["score"]), note))
        note = f"the same, but 100 at {_optimum(results)}"
        lines.append(_row("score, optimum", _score(results["optimum_score"]), note))
    else:
        note = f"{_optimum(results)}, {results['optimum_guesses']:.3f} guesses"
        lines.append(_row("below optimum", f"{results['distance_to_optimum']:.3f}", note))
    return "\n".join([*lines, *_format_faults(results), "", *_format_turns(results)])


def _format_faults(results: dict) -> list[str]:
    rows = (
        ("invalid", "invalid_rate", "of all guesses: not an allowed word"),
        ("inconsistent", "inconsistent_rate", "of all guesses: allowed, but ruled out by earlier feedback"),
        ("repeated", "repeated_rate", "of all guesses: already guessed in the game"),
    )
    return [_row(title, f"{results[key]:.2%}", note) for title, key, note in rows]


def _format_turns(results: dict) -> list[str]:
    turns = results["turns"]
    widest = max(turns.values())
    lines = ["solved at turn"]
    for name, count in turns.items():
        fraction = count / results["num_games"]
        lines.append(f"  {name:<8}{count:>9,}{fraction:>9.2%}  {'█' * round(30 * count / widest)}".rstrip())
    return lines


def format_comparison(first: str, second: str, comparison: dict) -> str:
    """Return the comparison of two players on the same secrets as text."""
    lines = [f"{first} against {second}, on the same {comparison['num_games']:,} secrets", ""]
    note = (
        f"{comparison['only_first_won']:,} games solved only by the first, {comparison['only_second_won']:,} "
        f"only by the second: p = {comparison['mcnemar_p_value']:.3g} (McNemar, exact)"
    )
    lines.append(_row("success", f"{comparison['success_difference']:+.2%}", note))
    note = f"95% interval {comparison['low']:+.3f} – {comparison['high']:+.3f} (paired bootstrap)"
    lines.append(_row("mean return", f"{comparison['return_difference']:+.3f}", note))
    return "\n".join(lines)


def _row(title: str, number: str, note: str) -> str:
    return f"{title:<16}{number:>9}   {note}".rstrip()


def _interval(row: dict, digits: int = 1) -> str:
    return f"{row['low']:.{digits}%} – {row['high']:.{digits}%}"


def _score(score: float | None) -> str:
    return "–" if score is None else f"{score:.1f}"


def _optimum(results: dict) -> str:
    kind = "the optimum" if results["optimum_is_exact"] else "the best known"
    return f"{kind} of {results['optimum_return']:.3f} ({results['optimum_source']})"
