"""The counts in the card of a published dataset of Wordle games."""

from pathlib import Path

from data.wordle.games import read_games


def count_games(source: Path) -> dict[str, str]:
    """Check all rows and count them.

    Raises InputError for the first faulty row, and for files whose metadata lacks rule and word lists.
    """
    games, description = read_games(source)
    return {
        "games": f"{len(games):,}",
        "guesses": f"{int(games.num_turns.sum()):,}",
        "rule": description.rule,
        "secret words": f"{len(description.words.answers):,}",
        "allowed guesses": f"{len(description.words.guesses):,}",
        "players": f"`{description.policy}`" if description.policy else "unknown",
        "mean return": f"{games.returns().mean():.3f}",
        "success rate": f"{games.won.mean():.1%}",
    }
