"""Wordle games: those being played, many at a time, and files of finished ones.

A file of games is Parquet with one row per game: `secret`, `guesses`, `feedback` (strings of g, y and b),
`rewards`, `done`, `policy`. Its metadata says under the key `wordle` which game was played: the rule, the
secret words and the allowed guesses.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow.parquet as pq
from tqdm import tqdm

from cli.errors import InputError, first_line
from cli.files import atomic_write
from data.parquet import list_files, open_file, read_batches
from data.wordle.feedback_table import feedback_table
from data.wordle.game_rows import SCHEMA, Games, RowFault, check_rows, table_of
from data.wordle.rules import NUM_TURNS, check_rule
from data.wordle.words import WordLists


ROWS_PER_GROUP = 65_536
MADE_BY = "python -m data.wordle.generate"
_METADATA_KEY = b"wordle"


@dataclass
class GameBatch:
    """Games in progress, all at the same turn and none of them over. Players must not look at `secrets`."""

    words: WordLists
    rule: str
    table: np.ndarray  # (num_guesses, num_answers) uint8, the pattern of every guess and answer
    secrets: np.ndarray  # (n,) int64, places among the answers
    guesses: np.ndarray  # (n, 6) int64, places among the allowed guesses; -1 for those to come
    patterns: np.ndarray  # (n, 6) uint8
    turn: int
    candidates: "Candidates"

    @classmethod
    def start(cls, words: WordLists, rule: str, secrets: np.ndarray) -> Self:
        """Begin games with the given secrets, places among the answers."""
        num_games = len(secrets)
        return cls(
            words,
            rule,
            feedback_table(words, rule),
            np.asarray(secrets, dtype=np.int64),
            guesses=np.full((num_games, NUM_TURNS), -1, dtype=np.int64),
            patterns=np.zeros((num_games, NUM_TURNS), dtype=np.uint8),
            turn=0,
            candidates=Candidates.all(num_games, len(words.answers)),
        )

    def __len__(self) -> int:
        return len(self.secrets)

    def play(self, choices: np.ndarray) -> None:
        """Make one guess in every game: (n,) places among the allowed guesses."""
        patterns = self.table[choices, self.secrets]
        self.guesses[:, self.turn] = choices
        self.patterns[:, self.turn] = patterns
        self.candidates = self.candidates.after(self.table, choices, patterns)
        self.turn += 1

    def select(self, is_kept: np.ndarray) -> Self:
        """Return those of the games that `is_kept` (n,) bool marks."""
        return type(self)(
            self.words,
            self.rule,
            self.table,
            self.secrets[is_kept],
            self.guesses[is_kept],
            self.patterns[is_kept],
            self.turn,
            self.candidates.select(is_kept),
        )


@dataclass(frozen=True)
class Candidates:
    """The answers that are consistent with all feedback so far, for each of many games."""

    num_answers: int
    counts: np.ndarray  # (n,) int64, how many each game has
    rest: (
        np.ndarray | None
    )  # those of all games in a row, rising within a game; None while nothing is ruled out

    @classmethod
    def all(cls, num_games: int, num_answers: int) -> Self:
        return cls(num_answers, np.full(num_games, num_answers), None)

    @property
    def answers(self) -> np.ndarray:
        """The candidates of all games in a row, rising within a game: (counts.sum(),) int64."""
        return np.tile(np.arange(self.num_answers), len(self.counts)) if self.rest is None else self.rest

    @property
    def games(self) -> np.ndarray:
        """The game that each of `answers` belongs to."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @property
    def starts(self) -> np.ndarray:
        """Where the candidates of each game begin in `answers`: (n,) int64."""
        return np.cumsum(self.counts) - self.counts

    def choose(self, rng: np.random.Generator) -> np.ndarray:
        """Draw one candidate of every game, each with the same probability: (n,) int64."""
        ranks = rng.integers(self.counts)
        return ranks if self.rest is None else self.rest[self.starts + ranks]

    def select(self, is_kept: np.ndarray) -> Self:
        """Return those of the games that `is_kept` (n,) bool marks."""
        rest = None if self.rest is None else self.rest[np.repeat(is_kept, self.counts)]
        return type(self)(self.num_answers, self.counts[is_kept], rest)

    def after(self, table: np.ndarray, choices: np.ndarray, patterns: np.ndarray) -> Self:
        """Return what is left after a guess (n,) and its feedback (n,) in each game."""
        if self.rest is None:
            fits = table[choices] == patterns[:, None]
            counts = np.count_nonzero(fits, axis=1)
            rest = np.flatnonzero(fits) - np.repeat(np.arange(len(counts)) * self.num_answers, counts)
        else:
            games = self.games
            fits = table[choices[games], self.rest] == patterns[games]
            counts = np.bincount(games[fits], minlength=len(self.counts))
            rest = self.rest[fits]
        return type(self)(self.num_answers, counts, rest)


@dataclass(frozen=True)
class GameDescription:
    """Which game was played, by whom, and from which seed."""

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
        """Raises InputError for what describes no game."""
        if not isinstance(description, dict) or not {"rule", "answers", "guesses"} <= description.keys():
            raise InputError("a game is described by its rule, answers and guesses")
        for key in ("answers", "guesses"):
            if not (isinstance(description[key], list) and all(isinstance(w, str) for w in description[key])):
                raise InputError(f"{key} is not a list of words")
        check_rule(description["rule"])
        words = WordLists(tuple(description["answers"]), tuple(description["guesses"]))
        return cls(words, description["rule"], str(description.get("policy", "")), description.get("seed"))


def write_games(path: str | Path, games: Iterable[Games], description: GameDescription) -> int:
    """Write games, given in parts, to a Parquet file, whole or not at all; return their number."""
    schema = SCHEMA.with_metadata({_METADATA_KEY: json.dumps(description.to_json()).encode()})
    num_games, group = 0, []
    with (
        atomic_write(path) as unfinished,
        pq.ParquetWriter(unfinished, schema, compression="zstd") as writer,
    ):

        def write_group() -> None:
            if group:
                table = table_of(Games.concatenate(group)).replace_schema_metadata(schema.metadata)
                writer.write_table(table, row_group_size=ROWS_PER_GROUP)
                group.clear()

        for part in games:
            group.append(part)
            num_games += len(part)
            if sum(map(len, group)) >= ROWS_PER_GROUP:
                write_group()
        write_group()
    return num_games


def read_games(
    source: str | Path, rule: str | None = None, words: WordLists | None = None
) -> tuple[Games, GameDescription]:
    """Read a Parquet file, or a folder of *.parquet, of games that are all of the same rule and word lists.

    These come from the files' metadata; `rule` and `words` stand in where it is missing and must agree where
    it is not. Raises InputError with file and row for the first fault found.
    """
    files = [(path, *_open(path, rule, words)) for path in list_files(source)]
    first_path, _, first = files[0]
    for path, _, description in files:
        if description.rule != first.rule or description.words.digest != first.words.digest:
            raise InputError(
                f"{path}: its rule or words are not those of {first_path}: read one game at a time"
            )
    num_games = sum(file.metadata.num_rows for _, file, _ in files)
    if num_games == 0:
        raise InputError(f"{source}: holds no games")
    parts = []
    # The bar appears only where it takes longer than a few seconds.
    with tqdm(
        total=num_games, unit=" games", unit_scale=True, desc=f"checking {source}", delay=3
    ) as progress:
        for path, file, description in files:
            for games in _read(path, file, description):
                parts.append(games)
                progress.update(len(games))
    policies = " and ".join(dict.fromkeys(description.policy for _, _, description in files))
    seed = first.seed if len(files) == 1 else None
    return Games.concatenate(parts), GameDescription(first.words, first.rule, policies, seed)


def _open(path: Path, rule: str | None, words: WordLists | None) -> tuple[pq.ParquetFile, GameDescription]:
    file = open_file(path, SCHEMA, MADE_BY)
    metadata = (file.schema_arrow.metadata or {}).get(_METADATA_KEY)
    if metadata is None:
        if rule is None or words is None:
            missing = " and ".join(
                name for name, given in (("the rule", rule), ("the word lists", words)) if given is None
            )
            raise InputError(
                f"{path}: does not say which game it holds: give {missing} (data.rule, data.words)"
            )
        check_rule(rule)
        return file, GameDescription(words, rule)
    try:
        description = GameDescription.from_json(json.loads(metadata))
    except (InputError, ValueError) as error:
        raise InputError(f"{path}: its metadata 'wordle' is wrong: {first_line(error)}") from None
    if rule not in (None, description.rule):
        raise InputError(f"{path}: its games were played by the {description.rule} rule, not the {rule} one")
    if words is not None and words.digest != description.words.digest:
        lists = [
            f"{len(lists.answers)} secret and {len(lists.guesses)} allowed words"
            for lists in (description.words, words)
        ]
        raise InputError(
            f"{path}: its games were played with other word lists ({lists[0]}) than those given ({lists[1]})"
        )
    return file, description


def _read(path: Path, file: pq.ParquetFile, description: GameDescription) -> Iterator[Games]:
    for first_row, batch in read_batches(path, file, SCHEMA.names, ROWS_PER_GROUP):
        try:
            yield check_rows(batch, description.words, description.rule)
        except RowFault as fault:
            raise InputError(f"{path} row {first_row + fault.row}: {fault.problem}") from None
