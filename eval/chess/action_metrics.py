"""How well predicted action values agree with labels, board by board.

Source: Ruoss et al. (arXiv 2402.04494), "action accuracy" and "Kendall's τ" of section 3, and what they leave
out: regret, chance level, a τ that is one.

Arrays are padded: `values` and `labels` (boards, moves) float, `is_move` (boards, moves) bool. Results are
(boards,).
"""

import numpy as np


def best_moves(labels: np.ndarray, is_move: np.ndarray) -> np.ndarray:
    """Mark every move with the highest label of its board, (boards, moves) bool."""
    highest = np.where(is_move, labels, -np.inf).max(axis=1, keepdims=True)
    return (labels == highest) & is_move


def agreement_and_regret(
    values: np.ndarray, labels: np.ndarray, is_move: np.ndarray
) -> dict[str, np.ndarray]:
    """Judge the move of highest value, the first of equals, by its label; and a random move, exactly.

    `best_move_agreement` is 1 where the label of the chosen move is the highest: labels often tie, and any of
    the best will do. `regret` is the highest label minus that of the chosen move.
    """
    rows = np.arange(len(values))
    chosen = np.where(is_move, values, -np.inf).argmax(axis=1)
    is_best = best_moves(labels, is_move)
    num_moves = is_move.sum(axis=1)
    highest = np.where(is_move, labels, -np.inf).max(axis=1).astype(np.float64)
    mean_label = np.where(is_move, labels, 0).sum(axis=1, dtype=np.float64) / num_moves
    return {
        "best_move_agreement": is_best[rows, chosen].astype(np.float64),
        "random_agreement": is_best.sum(axis=1) / num_moves,
        "regret": highest - labels[rows, chosen],
        "random_regret": highest - mean_label,
    }


def kendall_tau(values: np.ndarray, labels: np.ndarray, is_move: np.ndarray) -> np.ndarray:
    """Return Kendall's τ_b between values and labels of every board, ties included.

    τ_b = (concordant − discordant pairs) / √(pairs untied in values · pairs untied in labels).
    NaN where all labels are equal or there is one move: no order to find. 0 where the labels have an order
    but all values are equal: nothing of it was found.
    """
    score = np.zeros(len(values), dtype=np.int64)
    untied_values, untied_labels = score.copy(), score.copy()
    # A loop over the distance between two moves meets every pair once, without (boards, moves, moves) arrays.
    for distance in range(1, values.shape[1]):
        is_pair = is_move[:, distance:] & is_move[:, :-distance]
        value_order = _order(values[:, :-distance], values[:, distance:]) * is_pair
        label_order = _order(labels[:, :-distance], labels[:, distance:]) * is_pair
        score += (value_order * label_order).sum(axis=1, dtype=np.int64)
        untied_values += (value_order != 0).sum(axis=1)
        untied_labels += (label_order != 0).sum(axis=1)
    # The score is 0 where no pair of values is untied, so any positive denominator gives the 0 wanted there.
    norm = np.sqrt(np.maximum(untied_values, 1).astype(np.float64) * np.maximum(untied_labels, 1))
    return np.where(untied_labels > 0, score / norm, np.nan)


def _order(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return (second > first).astype(np.int8) - (second < first).astype(np.int8)


def kendall_tau_chessbench(values: np.ndarray, labels: np.ndarray, is_move: np.ndarray) -> np.ndarray:
    """Return what ChessBench reports as Kendall's τ; compare it with ChessBench's and nothing else.

    It is τ between the *argsort* of values and of labels. An argsort lists positions and not ranks, so the
    number depends on how moves are ordered (ChessBench: by action id) and is far too low: a true τ of .9 may
    read .3. Boards with one move count as 1. Ties fall as NumPy's default sort leaves them, which may differ
    between kinds of processor.
    """
    value_positions = np.zeros(values.shape, dtype=np.int64)
    label_positions = np.zeros(labels.shape, dtype=np.int64)
    for row, moves in enumerate(is_move):
        (places,) = np.nonzero(moves)
        value_positions[row, places] = np.argsort(values[row, places])
        label_positions[row, places] = np.argsort(labels[row, places])
    tau = kendall_tau(value_positions, label_positions, is_move)
    return np.where(is_move.sum(axis=1) == 1, 1.0, tau)
