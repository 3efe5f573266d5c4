"""The domains of studies. To add one, implement StudiedDomain (measurements.py) in a file and add it here."""

from studies.chess import StudiedChess
from studies.measurements import StudiedDomain
from studies.wordle import StudiedWordle


DOMAINS: dict[str, type[StudiedDomain]] = {"chess": StudiedChess, "wordle": StudiedWordle}
