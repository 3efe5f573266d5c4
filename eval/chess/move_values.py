"""The values of moves by a model of any target: of moves, of the positions after them, or the move played.

Source: the policies of Ruoss et al. (arXiv 2402.04494), section 2.3.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import chess
import numpy as np

from eval.chess.chess960 import standard_fen, standard_move
from eval.chess.network import ChessNetwork
from eval.predictions import check_finite
from models.chess_tokens import encode_positions


# A board with its legal moves, ordered.
Position = tuple[chess.Board, Sequence[chess.Move]]


class MoveValues(NamedTuple):
    """The values of the moves of one board, in the order given.

    A policy's values are the probabilities with which it plays the moves, win probabilities otherwise.
    """

    values: np.ndarray  # (moves,) float32
    distributions: np.ndarray | None = None  # (moves, bins) float32: probabilities of the bins
    preferences: np.ndarray | None = None  # (moves,) float32: added to the values to choose a move
    # Moves without a legal reply, by index: 1 for checkmate, 0.5 for stalemate. Only a model of state values
    # has them: there is no state after such a move.
    ended: Mapping[int, float] = MappingProxyType({})


def value_moves(
    network: ChessNetwork,
    positions: Sequence[Position],
    batch_size: int,
    distributions: bool = False,
) -> list[MoveValues]:
    """Value moves, at least one on each board, with at most `batch_size` boards in one pass.

    A model of state values takes the positions after the moves for boards. Raises InputError for values that
    are not finite.
    """
    value = (
        _value_states if network.values_states else _predict_moves if network.is_policy else _value_actions
    )
    found = {}
    for index, values in value(network, positions, batch_size, distributions):
        check_finite(values.values)
        found[index] = values
    return [found[index] for index in range(len(positions))]


def _value_actions(
    network: ChessNetwork, positions: Sequence[Position], batch_size: int, distributions: bool
) -> Iterator[tuple[int, MoveValues]]:
    # Boards with similar numbers of moves share a batch, which needs little padding.
    order = sorted(range(len(positions)), key=lambda index: len(positions[index][1]))
    wanted = {"value": True, "logits": distributions, "preference": network.has_preference}
    names = [name for name, is_wanted in wanted.items() if is_wanted]
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        inputs = _encode_moves(network, [positions[i] for i in batch])
        outputs = dict(zip(names, network.run(names, inputs), strict=True))  # (boards, moves, ...)
        for row, i in enumerate(batch):
            found = {name: array[row, : len(positions[i][1])] for name, array in outputs.items()}
            probs = _softmax(found["logits"]) if distributions else None
            yield i, MoveValues(found["value"], probs, found.get("preference"))


def _value_states(
    network: ChessNetwork, positions: Sequence[Position], batch_size: int, distributions: bool
) -> Iterator[tuple[int, MoveValues]]:
    fens: list[str] = []
    ended: list[dict[int, float]] = []
    for board, moves in positions:
        ended.append({})
        for index, move in enumerate(moves):
            board.push(move)
            if not any(board.generate_legal_moves()):
                ended[-1][index] = 1.0 if board.is_check() else 0.5
            fens.append(standard_fen(board))
            board.pop()
    names = ["value", "logits"] if distributions else ["value"]
    parts = []
    for start in range(0, len(fens), batch_size):
        batch = fens[start : start + batch_size]
        inputs = encode_positions(batch, [[]] * len(batch), network.orient)
        parts.append(network.run(names, {"input_ids": inputs["input_ids"]}))
    starts = np.cumsum([len(moves) for _, moves in positions])[:-1]
    of_states = [np.split(np.concatenate(output), starts) for output in zip(*parts, strict=True)]
    for index, (values, *logits) in enumerate(zip(*of_states, strict=True)):
        found = 1 - values  # of the player who moved
        found[list(ended[index])] = list(ended[index].values())
        probs = _softmax(logits[0])[:, ::-1] if distributions else None
        yield index, MoveValues(found, probs, ended=ended[index])


def _predict_moves(
    network: ChessNetwork, positions: Sequence[Position], batch_size: int, distributions: bool
) -> Iterator[tuple[int, MoveValues]]:
    for start in range(0, len(positions), batch_size):
        batch = positions[start : start + batch_size]
        inputs = _encode_moves(network, batch)
        (logits,) = network.run(["logits"], {"input_ids": inputs["input_ids"]})  # (boards, actions)
        for row, (_, moves) in enumerate(batch):
            yield start + row, MoveValues(_softmax(logits[row, inputs["action_ids"][row, : len(moves)]]))


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def _encode_moves(network: ChessNetwork, positions: Sequence[Position]) -> dict[str, np.ndarray]:
    return encode_positions(
        [standard_fen(board) for board, _ in positions],
        [[standard_move(board, move) for move in moves] for board, moves in positions],
        network.orient,
    )
