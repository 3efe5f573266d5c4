"""Opponents of known rating: the lists and ranges of --opponents.

stockfish:0-8                   nine Skill Levels, rated by Stockfish's authors
stockfish:1400,1600             two UCI_Elo
uci:/usr/games/gnuchess=2200    any other player, followed by its rating
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from chess.engine import Limit

from cli.errors import InputError
from eval.chess.engines import GREEDY
from eval.chess.players import ModelPlayer, Player, StockfishPlayer, parse_player
from eval.chess.uci_engines import MAX_SKILL


# CCRL Blitz ratings of Stockfish's Skill Levels from 0, measured by its authors at 120 s + 1 s per game. A
# level chooses its move at a fixed depth, so its strength hardly depends on the time.
SKILL_RATINGS = (1320, 1468, 1608, 1742, 1923, 2204, 2363, 2500, 2596, 2703, 2788, 2856, 2923)
RATED_KINDS = "stockfish:SKILL, model:DIR=RATING, uci:COMMAND=RATING, random=RATING"
MAX_RATING = 5000


class Opponent(NamedTuple):
    """An opponent of known rating; `name` is unique in a tournament."""

    player: Player
    name: str
    rating: float


def known_rating(player: Player) -> int | None:
    """Return the published rating of a player, if there is one."""
    if isinstance(player, StockfishPlayer) and player.limit == Limit():
        if player.uci_elo is not None:
            return player.uci_elo
        if player.skill is not None and player.skill < len(SKILL_RATINGS):
            return SKILL_RATINGS[player.skill]
    return None


def parse_opponents(names: Sequence[str], limit: Limit, model: ModelPlayer) -> list[Opponent]:
    """Return the opponents of names such as stockfish:0-8, stockfish:1400,1600 and uci:PROGRAM=2200.

    Raises InputError for an unknown name, an unknown rating, and an opponent named twice.
    """
    opponents: list[Opponent] = []
    for name in names:
        text, rating = _split_rating(name)
        for single in _expand(text):
            # A Skill Level has its rating at its default limit, and a model that of its best moves.
            own_limit = limit if single.startswith("uci:") else Limit()
            player = parse_player(single, own_limit, replace(model, choice=GREEDY), RATED_KINDS)
            known = known_rating(player) if rating is None else rating
            if known is None:
                raise InputError(
                    f"the rating of {single} is not known: give it, as in {single}=1500 (only stockfish:0 to "
                    f"stockfish:{len(SKILL_RATINGS) - 1}, and every UCI_Elo, have one)"
                )
            opponent = Opponent(player, player.identify(), known)
            if opponent.name == model.identify():
                raise InputError(f"opponent {single} is the model that is rated: name another")
            if opponent.name in [other.name for other in opponents]:
                raise InputError(f"opponent {single} is named twice: name it once")
            opponents.append(opponent)
    return opponents


def _split_rating(name: str) -> tuple[str, float | None]:
    """Split random=1500 into the player and its rating, None if there is none."""
    text, sign, written = name.rpartition("=")
    if not sign:
        return name, None
    try:
        rating = float(written)
    except ValueError:
        # The sign can be part of a program's own options.
        if name.startswith("uci:"):
            return name, None
        rating = None
    if rating is None or not abs(rating) <= MAX_RATING:
        raise InputError(
            f"{name}: {written!r} is not a rating from -{MAX_RATING} to {MAX_RATING}, as in {text}=1500"
        )
    return text, rating


def _expand(name: str) -> list[str]:
    """Turn stockfish:0-2,5 into stockfish:0, stockfish:1, stockfish:2, stockfish:5."""
    kind, _, numbers = name.partition(":")
    if kind != "stockfish" or not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", numbers):
        return [name]
    levels: list[int] = []
    for part in numbers.split(","):
        first, is_range, last = part.partition("-")
        if is_range and not int(first) <= int(last) <= MAX_SKILL:
            raise InputError(
                f"{name}: a range goes from a lower to a higher Skill Level, at most {MAX_SKILL}; list every "
                "UCI_Elo, as in stockfish:1400,1600"
            )
        levels += range(int(first), int(last or first) + 1)
    return [f"stockfish:{level}" for level in levels]
