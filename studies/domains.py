"""The domains of studies. To add one, implement StudiedDomain (measurements.py) in a file and add it here."""

from studies.measurements import StudiedDomain


# The options of `python -m studies` that name files, with their help, by domain. The files arrive as keyword
# arguments of the domain's class.
FILE_OPTIONS = {
    "chess": {"puzzles": "also measure puzzles, a CSV as for eval.chess.puzzles"},
    "atari": {},
    "wordle": {"games": "held-out games for the next guess (by default the players of the data play some)"},
    "robot": {},
}


def find_domain(task: str) -> type[StudiedDomain]:
    """Return the class of a domain. This imports torch, which takes seconds."""
    from studies.atari import StudiedAtari
    from studies.chess import StudiedChess
    from studies.robot import StudiedRobot
    from studies.wordle import StudiedWordle

    domains: dict[str, type[StudiedDomain]] = {
        "chess": StudiedChess,
        "wordle": StudiedWordle,
        "robot": StudiedRobot,
        "atari": StudiedAtari,
    }
    return domains[task]
