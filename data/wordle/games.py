"""Files of finished Wordle games.

They are Parquet with one row per game: `secret`, `guesses`, `feedback` (strings of g, y and b), `rewards`,
`done`, `policy`. The metadata has the game as JSON under the key `wordle`: the rule, the secret words and the
allowed guesses.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow.parquet as pq
from tqdm import tqdm

from cli.errors import InputError, first_line
from data.parquet import RowFault, list_files, open_file, read_batches, write_tables
from data.wordle.game_rows import SCHEMA, Games, games_of, table_of
from data.wordle.rules import check_rule
from data.wordle.words import WordLists


ROWS_PER_GROUP = 65_536
MADE_BY = "python -m data.wordle.generate"
_METADATA_KEY = b"wordle"


@dataclass(frozen=True)
class GameDescription:
    """The rule and the words of a game; of a dataset also its policy, as in --policy, and its seed."""

    words: WordLists
    rule: str
    policy: str = ""
    seed: int | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "rule": self.rule,
            "answers": list(self.words.answers),
            "guesses": list(self.words.guesses),
            "policy": self.policy,
            "seed": self.seed,
        }

    @classmethod
    def from_json(cls, description: Any) -> Self:
        """Raises InputError for JSON that does not describe a game."""
        try:
            words = WordLists(tuple(description["answers"]), tuple(description["guesses"]))
            rule, policy, seed = description["rule"], description.get("policy", ""), description.get("seed")
        except (KeyError, TypeError):
            raise InputError("it must have a rule, and lists of words as answers and guesses") from None
        check_rule(rule)
        return cls(words, rule, policy, seed)


def write_games(path: str | Path, parts: Iterable[Games], description: GameDescription) -> int:
    """Write parts of games to one Parquet file, atomically; return the number of games."""
    schema = SCHEMA.with_metadata({_METADATA_KEY: json.dumps(description.to_json()).encode()})
    return write_tables(path, map(table_of, _row_groups(parts)), schema, ROWS_PER_GROUP)


def _row_groups(parts: Iterable[Games]) -> Iterator[Games]:
    """Concatenate parts until they fill a row group."""
    group: list[Games] = []
    for part in parts:
        group.append(part)
        if sum(map(len, group)) >= ROWS_PER_GROUP:
            yield Games.concatenate(group)
            group = []
    if group:
        yield Games.concatenate(group)


def read_games(
    source: str | Path, rule: str | None = None, words: WordLists | None = None
) -> tuple[Games, GameDescription]:
    """Read a Parquet file, or a folder of them, of games that all have the same rule and word lists.

    Rule and words are read from the files' metadata. Where that is missing, `rule` and `words` replace it;
    elsewhere they must agree with it. Raises InputError with file and row for a faulty game.
    """
    files = [(path, *_open(path, rule, words)) for path in list_files(source)]
    first_path, _, first = files[0]
    for path, _, description in files:
        if description.rule != first.rule or description.words.digest != first.words.digest:
            raise InputError(
                f"{path}: its rule or words differ from those of {first_path}: give the files one at a time"
            )
    num_games = sum(file.metadata.num_rows for _, file, _ in files)
    if num_games == 0:
        raise InputError(f"{source}: has no games")
    parts = []
    with tqdm(total=num_games, unit=" games", unit_scale=True, desc=f"checking {source}", delay=3) as bar:
        for path, file, _ in files:
            for first_row, batch in read_batches(path, file, SCHEMA.names, ROWS_PER_GROUP):
                try:
                    parts.append(games_of(batch, first.words, first.rule))
                except RowFault as fault:
                    raise InputError(f"{path} row {first_row + fault.row}: {fault.problem}") from None
                bar.update(len(batch))
    policies = " and ".join(dict.fromkeys(description.policy for _, _, description in files))
    seed = first.seed if len(files) == 1 else None
    return Games.concatenate(parts), GameDescription(first.words, first.rule, policies, seed)


def _open(path: Path, rule: str | None, words: WordLists | None) -> tuple[pq.ParquetFile, GameDescription]:
    file = open_file(path, SCHEMA, MADE_BY)
    metadata = (file.schema_arrow.metadata or {}).get(_METADATA_KEY)
    if metadata is None:
        if rule is None or words is None:
            raise InputError(
                f"{path}: its metadata does not name the game: give the rule and the word lists (data.rule, "
                "data.words)"
            )
        check_rule(rule)
        return file, GameDescription(words, rule)
    try:
        description = GameDescription.from_json(json.loads(metadata))
    except (InputError, ValueError) as error:
        raise InputError(f"{path}: its metadata 'wordle' is faulty: {first_line(error)}") from None
    if rule not in (None, description.rule):
        raise InputError(f"{path}: its games have the {description.rule} rule, not the {rule} one")
    if words is not None and words.digest != description.words.digest:
        own, given = (
            f"{len(lists.answers)} secret and {len(lists.guesses)} allowed words"
            for lists in (description.words, words)
        )
        raise InputError(f"{path}: its games have other word lists ({own}) than those given ({given})")
    return file, description
