"""The values of moves by a model of any target: of moves, of the positions after them, or the move played.

Source: the policies of Ruoss et al. (arXiv 2402.04494), section 2.3.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import chess
import numpy as np
import torch
from transformers import BatchEncoding, PreTrainedModel

from eval.chess.chess960 import standard_fen, standard_move
from eval.loading import check_finite
from models.tokenization_chess import ChessTokenizer


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


def is_policy(model: PreTrainedModel) -> bool:
    """Return whether a model predicts moves, and no values."""
    return _is_a("ValueTransformerForMovePrediction", model)


def values_states(model: PreTrainedModel) -> bool:
    """Return whether a model values states, and no moves."""
    return _is_a("ValueTransformerForStateValue", model)


def _is_a(name: str, model: PreTrainedModel) -> bool:
    # By name: remote code has classes of its own; FSDP makes subclasses.
    return any(kind.__name__ == name for kind in type(model).__mro__)


def num_bins(model: PreTrainedModel) -> int:
    """Return the number of bins of the distributions that a model predicts, 0 if it predicts none."""
    num_outputs = 0 if is_policy(model) else model.value_loss.num_outputs
    return num_outputs if num_outputs > 1 else 0


def support_of(model: PreTrainedModel) -> np.ndarray:
    """Return the centres of the bins of the distributions of move values, (bins,)."""
    support = model.value_loss.support().numpy()
    return 1 - support[::-1] if values_states(model) else support


def value_moves(
    model: PreTrainedModel,
    tokenizer: ChessTokenizer,
    positions: Sequence[Position],
    batch_size: int,
    distributions: bool = False,
    forward: Callable | None = None,
) -> list[MoveValues]:
    """Value moves, at least one on each board, with at most `batch_size` boards in one pass.

    A model of state values takes the positions after the moves for boards. `forward` calls the model, for
    example compiled. Raises InputError for values that are not finite.
    """
    if not positions:
        return []
    value = _value_states if values_states(model) else _predict_moves if is_policy(model) else _value_actions
    forward = model if forward is None else forward  # a compiled model has no truth value
    found: list[MoveValues] = [MoveValues(np.zeros(0, np.float32))] * len(positions)
    for index, values in value(model, tokenizer, positions, batch_size, distributions, forward):
        check_finite(values.values)
        found[index] = values
    return found


def _value_actions(
    model: PreTrainedModel,
    tokenizer: ChessTokenizer,
    positions: Sequence[Position],
    batch_size: int,
    distributions: bool,
    forward: Callable,
) -> Iterator[tuple[int, MoveValues]]:
    # Boards with similar numbers of moves share a batch, which needs little padding.
    order = sorted(range(len(positions)), key=lambda index: len(positions[index][1]))
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        inputs = _encode_moves(tokenizer, [positions[i] for i in batch])
        outputs = forward(**inputs.to(model.device))
        values = outputs.value.float().cpu().numpy()  # (boards, moves)
        probs = outputs.logits.float().softmax(dim=-1).cpu().numpy() if distributions else None
        preferences = None if outputs.preference is None else outputs.preference.cpu().numpy()
        for row, i in enumerate(batch):
            valued = slice(len(positions[i][1]))
            arrays = (None if array is None else array[row, valued] for array in (probs, preferences))
            yield i, MoveValues(values[row, valued], *arrays)


def _value_states(
    model: PreTrainedModel,
    tokenizer: ChessTokenizer,
    positions: Sequence[Position],
    batch_size: int,
    distributions: bool,
    forward: Callable,
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
    values, probs = [], []
    for start in range(0, len(fens), batch_size):
        outputs = forward(_encode(tokenizer, fens[start : start + batch_size]).to(model.device))
        values.append(1 - outputs.value.float().cpu().numpy())  # of the player who moved
        if distributions:
            probs.append(outputs.logits.float().softmax(dim=-1).flip(-1).cpu().numpy())
    starts = np.cumsum([len(moves) for _, moves in positions])[:-1]
    values_of = np.split(np.concatenate(values), starts)
    probs_of = np.split(np.concatenate(probs), starts) if distributions else [None] * len(positions)
    for index, (found, of_bins, ends) in enumerate(zip(values_of, probs_of, ended, strict=True)):
        found[list(ends)] = list(ends.values())
        yield index, MoveValues(found, of_bins, ended=ends)


def _predict_moves(
    model: PreTrainedModel,
    tokenizer: ChessTokenizer,
    positions: Sequence[Position],
    batch_size: int,
    distributions: bool,
    forward: Callable,
) -> Iterator[tuple[int, MoveValues]]:
    for start in range(0, len(positions), batch_size):
        batch = positions[start : start + batch_size]
        inputs = _encode_moves(tokenizer, batch).to(model.device)
        logits = forward(inputs["input_ids"]).logits.float()
        is_move = inputs["action_ids"] >= 0
        logits = logits.gather(1, inputs["action_ids"].clamp(min=0)).masked_fill(~is_move, -torch.inf)
        probs = logits.softmax(dim=-1).cpu().numpy()  # (boards, moves)
        for row, (_, moves) in enumerate(batch):
            yield start + row, MoveValues(probs[row, : len(moves)])


def _encode_moves(tokenizer: ChessTokenizer, positions: Sequence[Position]) -> BatchEncoding:
    return tokenizer.encode_positions(
        [standard_fen(board) for board, _ in positions],
        [[standard_move(board, move) for move in moves] for board, moves in positions],
        return_tensors="pt",
    )


def _encode(tokenizer: ChessTokenizer, fens: Sequence[str]) -> torch.Tensor:
    return tokenizer.encode_positions(fens, [[]] * len(fens), return_tensors="pt")["input_ids"]
