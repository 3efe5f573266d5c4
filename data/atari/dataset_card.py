"""The counts in the card of a published recording."""

from pathlib import Path

import numpy as np

from data.atari.recordings import read_recording


def count_episodes(source: Path) -> dict[str, str]:
    """Read all rows and count them. Raises InputError for the first faulty row."""
    recording = read_recording(source)
    lengths = np.array([len(episode.actions) for episode in recording.episodes])
    returns = np.array([episode.total_reward for episode in recording.episodes])
    of_games = [returns[recording.game_indices == index].mean() for index in range(len(recording.games))]
    means = (f"{game.name} {mean:.2f}" for game, mean in zip(recording.games, of_games, strict=True))
    return {
        "episodes": f"{len(lengths):,}",
        "steps": f"{lengths.sum():,}",
        "emulator": ", ".join(sorted(set(recording.emulators))),
        "mean return": ", ".join(means),
    }
