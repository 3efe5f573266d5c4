"""The kinds of rows that can be published, and the cards of published datasets.

The texts are in data/<domain>/dataset_card.md, the counts in data/<domain>/dataset_card.py.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from huggingface_hub import DatasetCard, DatasetCardData

from cli.errors import InputError
from data.atari.dataset_card import count_episodes
from data.atari.recordings import SCHEMA as ATARI_SCHEMA
from data.chess.dataset_card import count_boards
from data.chess.rows import SCHEMA as CHESS_SCHEMA
from data.parquet import list_files, open_file
from data.robot.dataset_card import count_episodes as count_robot_episodes
from data.robot.episodes import is_lerobot
from data.wordle.dataset_card import count_games
from data.wordle.game_rows import SCHEMA as WORDLE_SCHEMA


Counts = dict[str, str]


@dataclass(frozen=True)
class Kind:
    """A kind of rows: its columns, and how to check and count them."""

    name: str
    schema: pa.Schema
    count: Callable[[Path], Counts]
    # A source is a folder with splits of its own, which is published as it is.
    is_folder: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)  # of the card


# A LeRobotDataset, whose columns differ; `datasets` would read the tables in meta/ as rows too.
ROBOT = Kind(
    "robot",
    pa.schema([]),
    count_robot_episodes,
    is_folder=True,
    metadata={
        "task_categories": ["robotics"],
        "tags": ["LeRobot", "robot"],
        "configs": [{"config_name": "default", "data_files": "data/*/*.parquet"}],
    },
)
KINDS = (
    Kind("chess", CHESS_SCHEMA, count_boards),
    Kind("wordle", WORDLE_SCHEMA, count_games),
    Kind("atari", ATARI_SCHEMA, count_episodes),
)


def find_kind(sources: Iterable[Path]) -> Kind:
    """Return the kind of rows in files and folders.

    Raises InputError if the columns are of no kind, or not the same in all files, which `datasets` needs.
    """
    sources = list(sources)
    if is_lerobot(sources[0]):
        return ROBOT
    first, *others = [path for source in sources for path in list_files(source)]
    schema = open_file(first).schema_arrow
    names = schema.names
    for path in others:
        if not open_file(path).schema_arrow.equals(schema):
            raise InputError(f"{path}: its columns differ from those of {first}: write all files alike")
    for kind in KINDS:
        if set(names).issuperset(kind.schema.names):
            return kind
    known = "; ".join(f"{kind.name}: {', '.join(kind.schema.names)}" for kind in KINDS)
    raise InputError(
        f"{first}: rows with the columns {', '.join(names)} cannot be published: give rows of one of these "
        f"kinds, or a LeRobotDataset ({known})"
    )


def make_card(
    kind: Kind,
    counts: dict[str, Counts],
    *,
    name: str,
    title: str,
    license: str | None = None,
    description: str | None = None,
) -> DatasetCard:
    """Return the README.md of a dataset.

    `counts` are those of each split, `name` is the name for loading it, and `description` tells how the rows
    were made.
    """
    general = {"task_categories": ["reinforcement-learning"], "tags": [kind.name]}
    metadata = DatasetCardData(license=license, pretty_name=title, **(general | kind.metadata))
    return DatasetCard.from_template(
        metadata,
        template_path=str(Path(__file__).parent / kind.name / "dataset_card.md"),
        name=name,
        title=title,
        counts=_table(counts),
        description=description and description.strip(),
        has_validation="validation" in counts,
    )


def _table(counts: dict[str, Counts]) -> str:
    first = next(iter(counts.values()))
    rows = [["split", *counts], ["---"] * (1 + len(counts))]
    rows += [[count, *(of_split[count] for of_split in counts.values())] for count in first]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
