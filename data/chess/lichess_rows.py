"""Rows of chess data from Lichess's evaluations: of every position its deepest evaluation, checked.

An evaluation with more variations is preferred among the deepest, then one with more nodes. The first move
of each variation becomes an action value; the best value of a variation, the value of the state.
"""

import re
from collections import Counter
from typing import NamedTuple

import chess
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.chess.fen_files import UNPLAYABLE
from data.chess.legality import check_some_actions
from data.chess.lichess_sources import Variations
from data.chess.rows import SCHEMA, STATE_VALUES
from data.chess.stockfish import CENTIPAWNS_TO_LOGITS
from models.chess_tokens import (
    ACTION_IDS,
    ACTIONS,
    BOARD_LENGTH,
    CHARACTERS,
    FIRST_SQUARE,
    FenError,
    black_to_move,
    tokenize_fens,
)


_ACTIONS = pa.array(ACTIONS)
# Castling rights of Chess960 that standard chess does not have.
_CHESS960 = re.compile(r"\S+ [wb] [KQkq]*[A-Ha-h]")
# A castling move as king takes rook, the king's move, the king's square, and the king.
_CASTLINGS = tuple(
    (ACTION_IDS[taking], ACTION_IDS[moving], FIRST_SQUARE + square, CHARACTERS.index(king))
    for taking, moving, square, king in (
        ("e1h1", "e1g1", 60, "K"),
        ("e1a1", "e1c1", 60, "K"),
        ("e8h8", "e8g8", 4, "k"),
        ("e8a8", "e8c8", 4, "k"),
    )
)


# Of the tokens, without the move clocks.
_HASHED = slice(0, 71)
_MULTIPLIERS = np.random.default_rng(0).integers(2**64, size=71, dtype=np.uint64)


class Converted(NamedTuple):
    """Rows of action values and of state values of the same positions, and counts for the summary."""

    actions: pa.Table
    states: pa.Table
    hashes: np.ndarray  # (rows,) uint64, equal for repeated positions
    counts: Counter[str]

    def first(self, num_boards: int) -> "Converted":
        """Return at most this many boards; skipped positions after them are counted too."""
        actions = self.actions[:num_boards]
        num_values = len(actions["moves"].combine_chunks().flatten())
        counts = Counter({**self.counts, "boards": len(actions), "action_values": num_values})
        return Converted(actions, self.states[:num_boards], self.hashes[:num_boards], counts)


def convert(variations: Variations) -> Converted:
    """Return the rows of positions; positions and variations that are not of standard chess are counted."""
    fens = [complete_fen(fen or "") for fen in variations.fens]
    counts = Counter(positions=len(fens) + variations.num_broken, broken=variations.num_broken)
    chosen = _choose_deepest(variations)
    rows = variations.position_of[variations.evaluation_of[chosen]]  # (m,), of every variation chosen
    win_probs, is_mate = _white_win_probs(variations.cp[chosen], variations.mate[chosen])
    moves = pc.list_element(
        pc.split_pattern(pc.fill_null(variations.lines.take(chosen), ""), " ", max_splits=1), 0
    )
    actions = pc.fill_null(pc.index_in(moves, value_set=_ACTIONS), -1).to_numpy().astype(np.int64)

    tokens, is_board = _tokenize(fens)
    win_probs = np.where(black_to_move(tokens)[rows], 1 - win_probs, win_probs)
    has_score, is_move = ~np.isnan(win_probs), actions >= 0
    actions, is_castling = _castle_like_uci(tokens, rows, actions)
    statuses, is_legal = check_some_actions(tokens, rows, np.maximum(actions, 0))
    is_chess960 = np.array([_CHESS960.match(fen) is not None for fen in fens], dtype=bool)
    is_chess960 |= is_board & (statuses & chess.STATUS_BAD_CASTLING_RIGHTS != 0)
    is_impossible = is_board & ~is_chess960 & (statuses & UNPLAYABLE != 0)
    is_board &= ~is_chess960 & ~is_impossible

    of_board, is_legal = is_board[rows], is_move & is_legal
    is_kept = of_board & has_score & is_legal
    is_first = np.zeros(len(rows), dtype=bool)
    kept = np.flatnonzero(is_kept)
    is_first[kept[np.unique(rows[kept] * len(ACTIONS) + actions[kept], return_index=True)[1]]] = True
    lengths = np.bincount(rows[is_first], minlength=len(fens))
    has_row = lengths > 0
    counts.update(
        chess960=int(is_chess960.sum()),
        impossible=int(is_impossible.sum()),
        broken=int((~is_board & ~is_chess960 & ~is_impossible).sum()),
        without_move=int((is_board & ~has_row).sum()),
        without_score=int((of_board & ~has_score).sum()),
        not_moves=int((of_board & has_score & ~is_move).sum()),
        illegal=int((of_board & has_score & is_move & ~is_legal).sum()),
        repeated=int((is_kept & ~is_first).sum()),
        castlings=int((is_castling & is_first).sum()),
        mates=int((is_mate & is_first).sum()),
        boards=int(has_row.sum()),
        action_values=int(is_first.sum()),
    )
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths[has_row])]), pa.int32())
    kept_fens = pa.array([fens[row] for row in np.flatnonzero(has_row)], pa.string())
    values = pa.array(win_probs[is_first], pa.float32())
    # Skipped moves also count for the state value.
    best = np.full(len(fens), -np.inf)
    np.maximum.at(best, rows[has_score], win_probs[has_score])
    lists = (_ACTIONS.take(pa.array(actions[is_first])), values)
    return Converted(
        pa.table([kept_fens, *(pa.ListArray.from_arrays(offsets, items) for items in lists)], schema=SCHEMA),
        pa.table([kept_fens, pa.array(best[has_row], pa.float32())], schema=STATE_VALUES),
        tokens[has_row, _HASHED].astype(np.uint64) @ _MULTIPLIERS,
        counts,
    )


def complete_fen(fen: str) -> str:
    """Return a FEN with move clocks, which Lichess leaves out."""
    return f"{fen} 0 1" if fen.count(" ") == 3 else fen


def _choose_deepest(variations: Variations) -> np.ndarray:
    """Return the indices of the variations of the evaluation that counts of every position, sorted."""
    num_variations = np.bincount(variations.evaluation_of, minlength=len(variations.position_of))
    # NaN would be sorted last.
    depths, knodes = (np.nan_to_num(numbers, nan=-1) for numbers in (variations.depths, variations.knodes))
    order = np.lexsort((knodes, num_variations, np.where(num_variations, depths, -2), variations.position_of))
    positions = variations.position_of[order]
    is_last = np.append(positions[1:] != positions[:-1], True)[: len(order)]
    is_chosen = np.zeros(len(order), dtype=bool)
    is_chosen[order[is_last]] = True
    return np.flatnonzero(is_chosen[variations.evaluation_of])


def _white_win_probs(cp: np.ndarray, mate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return White's win probabilities, NaN without a score, and which of them are those of a mate."""
    is_mate = np.nan_to_num(mate) != 0
    # As win_prob_from_centipawns.
    win_probs = 0.5 + 0.5 * np.tanh(0.5 * CENTIPAWNS_TO_LOGITS * cp)
    return np.where(is_mate, mate > 0, win_probs), is_mate


def _tokenize(fens: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens (n, 77) of boards, and which FENs are well formed, (n,) bool."""
    valid = list(range(len(fens)))
    tokens, is_valid = np.zeros((len(fens), BOARD_LENGTH), dtype=np.uint8), np.zeros(len(fens), dtype=bool)
    while valid:
        try:
            tokens[valid] = tokenize_fens([fens[index] for index in valid])
            break
        except FenError as error:
            del valid[error.index]
    is_valid[valid] = True
    return tokens, is_valid


def _castle_like_uci(
    tokens: np.ndarray, rows: np.ndarray, actions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Replace castling moves of the form king takes rook by the king's move; return also which they are."""
    converted = actions.copy()
    for taking, moving, square, king in _CASTLINGS:
        converted[(actions == taking) & (tokens[rows, square] == king)] = moving
    return converted, converted != actions
