"""Recordings: finished episodes as seeds and actions, one byte a step.

A recording is a Parquet file with a row per episode, or a folder of such files:

    game        its name, as in docs/atari.md
    seed        of the episode
    actions     bytes: the action of every step
    return      the sum of all rewards, unclipped
    terminated  whether the game ended; false at a time limit
    crc         CRC-32 of all frames
    settings    JSON: the other settings of the game
    emulator    ale-py or MinAtar, with its version
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from cli.errors import InputError
from data.atari.episodes import NUM_SEEDS, Episode
from data.atari.games import Game, make_game
from data.episode_ends import TERMINATED, TRUNCATED
from data.parquet import read_rows, write_tables


SCHEMA = pa.schema(
    [
        pa.field("game", pa.string(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("actions", pa.binary(), nullable=False),
        pa.field("return", pa.float64(), nullable=False),
        pa.field("terminated", pa.bool_(), nullable=False),
        pa.field("crc", pa.int64(), nullable=False),
        pa.field("settings", pa.string(), nullable=False),
        pa.field("emulator", pa.string(), nullable=False),
    ]
)
MADE_BY = "atari.record=FILE.parquet of an online run"  # for error messages


class Recording(NamedTuple):
    """Recorded episodes, and the game of each as an index of `games`."""

    games: list[Game]
    emulators: list[str]  # of each game
    episodes: list[Episode]
    game_indices: np.ndarray  # (episodes,)


def write_recording(path: str | Path, game: Game, episodes: Iterable[Episode]) -> None:
    """Write episodes of a game to a Parquet file, atomically."""
    settings, emulator = json.dumps(game.settings(), sort_keys=True), game.emulator
    rows = [
        {
            "game": game.name,
            "seed": episode.seed,
            "actions": episode.actions.tobytes(),
            "return": episode.total_reward,
            "terminated": episode.end == TERMINATED,
            "crc": episode.crc,
            "settings": settings,
            "emulator": emulator,
        }
        for episode in episodes
    ]
    write_tables(path, [pa.Table.from_pylist(rows, SCHEMA)], SCHEMA, len(rows) or 1)


def read_recording(source: str | Path) -> Recording:
    """Read a recording, a file or a folder.

    Raises InputError if it is empty, or if a row is not an episode of a known game.
    """
    games: dict[tuple[str, str, str], Game] = {}
    episodes, indices = [], []
    for where, row in read_rows(source, SCHEMA, MADE_BY):
        if any(value is None for value in row.values()) or not row["actions"]:
            raise InputError(f"{where}: the episode has an empty column or no actions: record again")
        if not 0 <= row["seed"] < NUM_SEEDS:
            raise InputError(f"{where}: the seed {row['seed']} is not from 0 to 2**31 - 1: record again")
        key = (row["game"], row["settings"], row["emulator"])
        if key not in games:
            games[key] = _read_game(where, row["game"], row["settings"])
        indices.append(list(games).index(key))
        actions = np.frombuffer(row["actions"], dtype=np.uint8)
        end = TERMINATED if row["terminated"] else TRUNCATED
        episodes.append(Episode(row["seed"], actions, row["return"], end, row["crc"]))
    if not episodes:
        raise InputError(f"{source}: the recording has no episodes: record until an episode ends")
    emulators = [emulator for _, _, emulator in games]
    return Recording(list(games.values()), emulators, episodes, np.array(indices))


def _read_game(where: str, name: str, settings: str) -> Game:
    try:
        return make_game(name, **json.loads(settings))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{where}: {settings!r} are not settings of a game ({error}): record again"
        ) from None
