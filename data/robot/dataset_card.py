"""The counts in the card of a published dataset of robot episodes."""

from pathlib import Path

import numpy as np

from data.robot.episodes import read_episodes, read_info
from data.robot.images import KINDS


def count_episodes(source: Path) -> dict[str, str]:
    """Check all rows, images too, and count them. Raises InputError for the first fault."""
    features = read_info(source, str(source))["features"]
    has_images = any(feature["dtype"] in KINDS for feature in features.values())
    episodes = read_episodes(str(source), with_images=has_images)
    lengths = np.diff(episodes.starts)
    size = "none" if episodes.images is None else "×".join(map(str, episodes.images.shape[1:3]))
    return {
        "episodes": f"{len(episodes):,}",
        "frames": f"{len(episodes.actions):,}",
        "frames per episode": f"{lengths.mean():.1f} ({lengths.min()} to {lengths.max()})",
        "images": size + (f", camera {episodes.camera}" if episodes.camera else ""),
        **{f"success: {task}": f"{rate:.1%}" for task, rate in episodes.success_by_instruction().items()},
    }
