"""The counts in the card of a published dataset of boards."""

from pathlib import Path

import numpy as np

from data.chess.checked_rows import read_chunks


def count_boards(source: Path) -> dict[str, str]:
    """Check all rows and count them. Raises InputError for the first faulty row."""
    lengths = np.concatenate([chunk.lengths for chunk in read_chunks(source)])
    return {
        "boards": f"{len(lengths):,}",
        "action values": f"{lengths.sum():,}",
        "moves per board": f"{lengths.mean():.1f} ({lengths.min()} to {lengths.max()})",
    }
