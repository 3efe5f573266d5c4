"""The card of a dataset on the hub: what its columns are, and what was measured of its rows.

The texts stand in data/chess/dataset_card.md and data/wordle/dataset_card.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import DatasetCardData

from cli.errors import InputError
from data.chess import checked_rows
from data.chess.rows import SCHEMA as CHESS_SCHEMA
from data.parquet import list_files
from data.wordle import games as wordle_games
from data.wordle.game_rows import SCHEMA as WORDLE_SCHEMA


# What the hub's pages call datasets of these sizes.
SIZE_CATEGORIES = (
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"),
    (10**9, "100M<n<1B"),
    (10**10, "1B<n<10B"),
)
# Where the metadata of a file of games says which game it is (data/wordle/games.py).
GAME_METADATA = b"wordle"

Facts = dict[str, str]


@dataclass(frozen=True)
class Kind:
    """A kind of rows: how to tell it, and how to check and measure it."""

    schema: pa.Schema
    made_by: str
    tags: tuple[str, ...]
    template: Path
    measure: Callable[[Path, bool], Facts]


@dataclass(frozen=True)
class Split:
    """What was measured of a split: of its rows, and of its files as they are published."""

    name: str
    facts: Facts
    num_files: int
    num_rows: int
    num_file_bytes: int
    num_memory_bytes: int  # of the rows as Arrow has them

    @classmethod
    def of_files(cls, name: str, facts: Facts, files: list[Path]) -> Self:
        return cls(
            name,
            facts,
            len(files),
            sum(pq.read_metadata(file).num_rows for file in files),
            sum(file.stat().st_size for file in files),
            sum(batch.nbytes for file in files for batch in pq.ParquetFile(file).iter_batches()),
        )


def find_kind(source: Path) -> Kind:
    """Tell by the columns of the first file what the rows are; raise InputError if they are neither."""
    path = list_files(source)[0]
    try:
        names = set(pq.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: cannot be read as Parquet ({str(error).splitlines()[0]})") from None
    for kind in KINDS:
        if names.issuperset(kind.schema.names):
            return kind
    wanted = " nor ".join(f"those of {kind.tags[0]} ({', '.join(kind.schema.names)})" for kind in KINDS)
    raise InputError(f"{path}: its columns are {', '.join(sorted(names))}, neither {wanted}")


def measure_boards(source: Path, check_moves: bool) -> Facts:
    """Check all boards and count them. Raises InputError for the first faulty row."""
    lengths = np.concatenate([chunk.lengths for chunk in checked_rows.read_chunks(source, check_moves)])
    return {
        "boards": f"{len(lengths):,}",
        "action values": f"{lengths.sum():,}",
        "moves per board": f"{lengths.mean():.1f} ({lengths.min()} to {lengths.max()})",
    }


def measure_games(source: Path, check_moves: bool) -> Facts:
    """Check all games and count them. Raises InputError for the first faulty row, or a game not described."""
    for path in list_files(source):
        if GAME_METADATA not in (pq.read_schema(path).metadata or {}):
            raise InputError(
                f"{path}: does not say which game it holds: write it with data.wordle.games.write_games"
            )
    games, description = wordle_games.read_games(source)
    return {
        "games": f"{len(games):,}",
        "guesses": f"{int(games.num_turns.sum()):,}",
        "rule": description.rule,
        "secret words": f"{len(description.words.answers):,}",
        "allowed guesses": f"{len(description.words.guesses):,}",
        "players": f"`{description.policy}`" if description.policy else "unknown",
        "mean return": f"{games.returns().mean():.3f}",
        "secret found": f"{games.won.mean():.1%}",
    }


KINDS = (
    Kind(
        CHESS_SCHEMA,
        checked_rows.MADE_BY,
        ("chess",),
        Path(__file__).parent / "chess/dataset_card.md",
        measure_boards,
    ),
    Kind(
        WORDLE_SCHEMA,
        wordle_games.MADE_BY,
        ("wordle", "offline-rl"),
        Path(__file__).parent / "wordle/dataset_card.md",
        measure_games,
    ),
)


def dataset_card(
    kind: Kind,
    splits: list[Split],
    *,
    name: str,
    title: str,
    license: str | None,
    description: str | None,
    moves_checked: bool,
) -> str:
    """Return the text of README.md. `name` is what people load; `description` says how the rows were made."""
    text = Template(kind.template.read_text(encoding="utf-8")).substitute(
        name=name,
        title=title,
        legality="; all are legal" if moves_checked else "",
        counts=_table(splits),
        description=f"## How it was made\n\n{description.strip()}\n\n" if description else "",
        validation=f" data.validation={name}" if len(splits) > 1 else "",
    )
    return f"---\n{_front_matter(kind, splits, title, license)}\n---\n\n{text}"


def _table(splits: list[Split]) -> str:
    rows = [["split", *(split.name for split in splits)], ["---"] * (1 + len(splits))]
    rows += [[fact, *(split.facts[fact] for split in splits)] for fact in splits[0].facts]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _front_matter(kind: Kind, splits: list[Split], title: str, license: str | None) -> str:
    total = sum(split.num_rows for split in splits)
    data = DatasetCardData(
        license=license,
        pretty_name=title,
        task_categories=["reinforcement-learning"],
        size_categories=[next((name for limit, name in SIZE_CATEGORIES if total < limit), "10B<n<100B")],
        tags=list(kind.tags),
        configs=[
            {
                "config_name": "default",
                "data_files": [
                    {"split": split.name, "path": f"data/{split.name}-*.parquet"} for split in splits
                ],
            }
        ],
        dataset_info={
            "features": [_feature(field) for field in kind.schema],
            "splits": [
                {"name": split.name, "num_bytes": split.num_memory_bytes, "num_examples": split.num_rows}
                for split in splits
            ],
            "download_size": sum(split.num_file_bytes for split in splits),
            "dataset_size": sum(split.num_memory_bytes for split in splits),
        },
    )
    return data.to_yaml()


def _feature(field: pa.Field) -> dict[str, str]:
    """Describe a column as `datasets` writes it."""
    if pa.types.is_list(field.type):
        return {"name": field.name, "list": _dtype(field.type.value_type)}
    return {"name": field.name, "dtype": _dtype(field.type)}


def _dtype(kind: pa.DataType) -> str:
    return {pa.string(): "string", pa.float32(): "float32", pa.bool_(): "bool"}[kind]
