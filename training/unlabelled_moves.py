"""Losses of legal moves without a label, for boards of which only the best moves have labels.

A model that is trained on the best moves alone never sees a bad one, and values it too high: the problem of
offline reinforcement learning that CQL addresses (arXiv 2006.04779). Here more is known. With l the lowest
label of a board,

    bound           Q(s, a) ≤ l for every move a without a label:  L(Q(s, a), l) where Q(s, a) > l, else 0
    conservative    CQL's term for every labelled move a:  log Σ_b exp(Q(s, b) / T) − Q(s, a) / T

L is the value loss, b all legal moves. Arguments: logits (boards, moves, outputs); values and labels (boards,
moves); is_labelled and is_unlabelled (boards, moves) bool. Both return a sum over moves.
"""

import torch
from torch import Tensor

from models.value_losses import ValueLoss


def bound_loss(
    value_loss: ValueLoss, logits: Tensor, labels: Tensor, is_labelled: Tensor, is_unlabelled: Tensor
) -> Tensor:
    """Return the sum of the losses of moves that are valued above the lowest label of their board."""
    lowest = labels.masked_fill(~is_labelled, torch.inf).amin(dim=1, keepdim=True).expand_as(labels)
    is_above = is_unlabelled & (value_loss.value(logits) > lowest)
    return value_loss.loss(logits, lowest, is_above) * is_above.sum()


def conservative_loss(
    values: Tensor, is_labelled: Tensor, is_unlabelled: Tensor, temperature: float
) -> Tensor:
    """Return the sum of CQL's terms of labelled moves."""
    scaled = values / temperature
    is_move = is_labelled | is_unlabelled
    log_partition = scaled.masked_fill(~is_move, -torch.inf).logsumexp(dim=1, keepdim=True)
    return (log_partition - scaled).masked_fill(~is_labelled, 0).sum()
