"""Agreement of predicted action values with labels, board by board.

Source: Ruoss et al. (arXiv 2402.04494), "action accuracy" and "Kendall's τ" of section 3; added here are
regret, chance levels, and a τ over ranks.

Arrays are padded: `values` and `labels` (boards, moves) float, `is_move` (boards, moves) bool. Results are
(boards,).
"""

from collections.abc import Iterator

import numpy as np


def agreement_and_regret(
    values: np.ndarray, labels: np.ndarray, is_move: np.ndarray
) -> dict[str, np.ndarray]:
    """Judge the move of highest value, the first of equals, by its label; and a random move, exactly.

    `best_move_agreement` is 1 where the chosen move has the highest label: labels often tie, and any of the
    best counts. `regret` is the highest label minus that of the chosen move.
    """
    rows = np.arange(len(values))
    chosen = np.where(is_move, values, -np.inf).argmax(axis=1)
    highest = np.where(is_move, labels, -np.inf).max(axis=1)
    is_best = (labels == highest[:, None]) & is_move
    num_moves = is_move.sum(axis=1)
    mean_label = np.where(is_move, labels, 0).sum(axis=1, dtype=np.float64) / num_moves
    return {
        "best_move_agreement": is_best[rows, chosen].astype(np.float64),
        "random_agreement": is_best.sum(axis=1) / num_moves,
        "regret": highest.astype(np.float64) - labels[rows, chosen],
        "random_regret": highest.astype(np.float64) - mean_label,
    }


def kendall_tau(values: np.ndarray, labels: np.ndarray, is_move: np.ndarray) -> np.ndarray:
    """Return Kendall's τ_b between values and labels of every board.

    NaN where all labels are equal or there is one move; 0 where all values are equal but the labels are not.
    """
    return np.array([_tau(*pair) for pair in _moves_of_boards(values, labels, is_move)])


def kendall_tau_chessbench(values: np.ndarray, labels: np.ndarray, is_move: np.ndarray) -> np.ndarray:
    """Return the number that ChessBench reports as Kendall's τ, for comparison with ChessBench only.

    It is τ between the *argsort* of values and of labels. An argsort lists positions, not ranks, so the
    number depends on the order of the moves (ChessBench: by action id) and is far too low: a true τ of .9 can
    read .3. Boards with one move count as 1. Ties fall as NumPy's default sort leaves them, which can differ
    between kinds of processor.
    """
    return np.array(
        [
            1.0 if len(value) == 1 else _tau(np.argsort(value), np.argsort(label))
            for value, label in _moves_of_boards(values, labels, is_move)
        ]
    )


def _moves_of_boards(values: np.ndarray, labels: np.ndarray, is_move: np.ndarray) -> Iterator[tuple]:
    """Yield the values and labels of each board without padding, (moves,) each."""
    for value, label, row in zip(values, labels, is_move, strict=True):
        yield value[row], label[row]


def _tau(values: np.ndarray, labels: np.ndarray) -> float:
    """Return τ_b = (concordant − discordant pairs) / √(pairs untied in values · pairs untied in labels)."""
    first, second = np.triu_indices(len(values), 1)
    value_order = np.sign(values[first] - values[second])
    label_order = np.sign(labels[first] - labels[second])
    num_values, num_labels = np.count_nonzero(value_order), np.count_nonzero(label_order)
    if not num_labels:
        return np.nan
    return float((value_order * label_order).sum() / np.sqrt(max(num_values, 1) * num_labels))
