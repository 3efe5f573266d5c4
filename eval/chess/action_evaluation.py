"""The values of moves by a model, compared with labels: agreement, rank correlation, KL, calibration."""

import chess
import numpy as np
import torch
from tqdm import tqdm
from transformers import PreTrainedModel

from data.chess.boards import Boards
from eval.chess.action_metrics import agreement_and_regret, kendall_tau, kendall_tau_chessbench
from eval.chess.calibration import Calibration
from eval.chess.move_values import value_moves
from eval.chess.torch_network import TorchNetwork
from eval.intervals import mean_and_standard_error
from eval.predictions import check_finite
from models.chess_tokens import ACTION_PADDING, ACTIONS, black_to_move, decode_fens, orient_actions
from models.value_losses import CategoricalLoss


PER_ACTION_VALUE = ("mae", "bias", "cross_entropy", "kl")


def evaluate_actions(
    model: PreTrainedModel,
    boards: Boards,
    orient: bool,
    batch_size: int = 64,
    indices: np.ndarray | None = None,
    show_progress: bool = False,
) -> dict:
    """Compare the model's values of moves with the labels of `boards`, or of those at `indices`.

    A model of state values gives a move 1 − the value of the position after it, by rule if there is no legal
    reply. A policy's choices and ranking are compared: its values are probabilities of moves. `orient` is the
    tokenizer's setting. The model keeps its mode. Returns numbers, None if undefined:
    - per board: best_move_agreement, regret (win probability), kendall_tau (over the num_boards_ranked boards
      whose labels are not all equal), kendall_tau_chessbench; random_agreement and
      random_regret, the expectation for a random move;
    - per action value: mae and bias, the mean of value − label (win probability), but of a policy;
      cross_entropy and kl = cross_entropy − label entropy (nats), of action values if the loss is
      categorical;
    - calibration_error, and its bins in the list `calibration`, but of a policy; num_boards,
      num_action_values;
    - standard_errors of the means above: boards are independent, the moves of one board are not.

    Raises InputError if the model predicts NaN.
    """
    if indices is None:
        indices = np.arange(boards.num_boards)
    # Boards with similar numbers of moves share a batch, which needs little padding.
    by_length = indices[np.argsort(boards.lengths(indices), kind="stable")]
    network = TorchNetwork(model, orient)
    values_actions = not (network.values_states or network.is_policy)
    was_training = model.training
    model.eval()
    per_board: dict[str, list[np.ndarray]] = {}
    calibration = Calibration()
    with tqdm(total=len(by_length), unit="board", disable=None if show_progress else True) as bar:
        for start in range(0, len(by_length), batch_size):
            batch_indices = by_length[start : start + batch_size]
            batch = boards.batch(batch_indices, orient)
            is_move = batch["action_ids"] != ACTION_PADDING
            # In ChessBench's order of moves: ties between values, and its τ, depend on the order.
            real_ids = batch["action_ids"]
            if orient:  # orienting twice is the identity
                real_ids = orient_actions(real_ids, black_to_move(boards.tokens[batch_indices])[:, None])
            if values_actions:
                values, scores, sums = _predict(model, batch, is_move)
                check_finite(values[is_move])
            else:
                values = _value_moves(network, boards.tokens[batch_indices], real_ids, batch_size)
                scores, sums = values, {}
            order = np.argsort(np.where(is_move, real_ids, len(ACTIONS)), axis=1)
            values, scores = (np.take_along_axis(array, order, axis=1) for array in (values, scores))
            labels = np.take_along_axis(batch["win_probs"], order, axis=1)
            calibration.add(values[is_move], labels[is_move])
            for name, numbers in (_compare(values, scores, labels, is_move) | sums).items():
                per_board.setdefault(name, []).append(numbers)
            bar.update(len(batch_indices))
    model.train(was_training)
    numbers = {name: np.concatenate(parts) for name, parts in per_board.items()}
    if network.is_policy:
        del numbers["mae"], numbers["bias"]
    return _summarise(numbers, None if network.is_policy else calibration)


def _value_moves(
    network: TorchNetwork, tokens: np.ndarray, action_ids: np.ndarray, batch_size: int
) -> np.ndarray:
    """Return the values of moves (boards, moves), given boards and action ids that are not oriented."""
    positions = [
        (chess.Board(fen), [chess.Move.from_uci(ACTIONS[action]) for action in row[row >= 0]])
        for fen, row in zip(decode_fens(tokens), action_ids, strict=True)
    ]
    values = np.zeros(action_ids.shape, dtype=np.float32)
    values[action_ids >= 0] = np.concatenate(
        [found.values for found in value_moves(network, positions, batch_size)]
    )
    return values


@torch.no_grad()
def _predict(
    model: PreTrainedModel, batch: dict[str, np.ndarray], is_move: np.ndarray
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return predicted values and scores (boards, moves), and the sums of cross-entropy and KL of boards."""
    device = model.device
    outputs = model(
        input_ids=torch.as_tensor(batch["input_ids"], device=device).long(),
        action_ids=torch.as_tensor(batch["action_ids"], device=device).long(),
    )
    sums = {}
    if isinstance(model.value_loss, CategoricalLoss):
        # Standard errors need a number per move, not the loss's mean.
        targets = model.value_loss.targets(torch.as_tensor(batch["win_probs"], device=device))
        log_probs = outputs.logits.float().log_softmax(dim=-1)  # (boards, moves, bins)
        cross_entropy = -(targets * log_probs).sum(dim=-1).cpu().numpy()
        entropy = torch.special.entr(targets).sum(dim=-1).cpu().numpy()
        sums["cross_entropy"] = np.where(is_move, cross_entropy, 0).sum(axis=1, dtype=np.float64)
        sums["kl"] = np.where(is_move, cross_entropy - entropy, 0).sum(axis=1, dtype=np.float64)
    scores = outputs.value if outputs.preference is None else outputs.value + outputs.preference
    return outputs.value.float().cpu().numpy(), scores.float().cpu().numpy(), sums


def _compare(
    values: np.ndarray, scores: np.ndarray, labels: np.ndarray, is_move: np.ndarray
) -> dict[str, np.ndarray]:
    return agreement_and_regret(scores, labels, is_move) | {
        "kendall_tau": kendall_tau(scores, labels, is_move),
        "kendall_tau_chessbench": kendall_tau_chessbench(scores, labels, is_move),
        "mae": np.where(is_move, np.abs(values - labels), 0).sum(axis=1, dtype=np.float64),
        "bias": np.where(is_move, values - labels, 0).sum(axis=1, dtype=np.float64),
        "num_moves": is_move.sum(axis=1),
    }


def _summarise(per_board: dict[str, np.ndarray], calibration: Calibration | None) -> dict:
    num_moves = per_board.pop("num_moves")
    means: dict[str, float | None] = dict.fromkeys(PER_ACTION_VALUE)
    errors: dict[str, float | None] = dict(means)
    for name, numbers in per_board.items():
        counts = num_moves if name in PER_ACTION_VALUE else None
        means[name], errors[name] = mean_and_standard_error(numbers, counts)
    return {
        **means,
        "num_boards": len(num_moves),
        "num_boards_ranked": int(np.count_nonzero(~np.isnan(per_board["kendall_tau"]))),
        "num_action_values": int(num_moves.sum()),
        "calibration_error": calibration.expected_error() if calibration else None,
        "standard_errors": errors,
        "calibration": calibration.table() if calibration else [],
    }
