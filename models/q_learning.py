"""Offline Q-learning over the tokens of a language agent: temporal-difference targets and CQL.

Sources: Farebrother et al., "Stop Regressing" (arXiv 2403.03950), section 4.3; Kumar et al., "Conservative
Q-Learning" (arXiv 2006.04779); Snell et al., ILQL (arXiv 2206.11871) for tokens as actions.

A sequence holds the action tokens a_0 … a_{n−1}, each chosen in a state s_i, which is all tokens before it;
what the environment says stands between them and is part of the states. r_i is the reward of a_i, γ discounts
per action token, Q̄ is the target network, and the sequence ends after a_{n−1}, where no return follows:

    q_learning          y_i = r_i + γ max_a Q̄(s_{i+1}, a)
      with double       y_i = r_i + γ Q̄(s_{i+1}, argmax_a Q(s_{i+1}, a))
    sarsa               y_i = r_i + γ Q̄(s_{i+1}, a_{i+1})
    monte_carlo         y_i = Σ_{j≥i} γ^{j−i} r_j
    behavior_cloning    none

    loss = L(Q(s_i, a_i), y_i) + α [log Σ_a exp(Q(s_i, a) / T) − Q(s_i, a_i) / T]

L is the value loss. For c51 the target is the distribution behind Q̄ at the same action, projected. The last
term is CQL's: the cross-entropy of π = softmax(Q / T) from the data's action. Alone it is behaviour cloning.

How far CQL gets depends on L. Where both terms balance, for an action with a share μ(a|s) in the data,

    Q(s, a) = y + V (α / T) (1 − π(a|s) / μ(a|s)),   V = 1/2 for mse, else the variance of what is predicted,

so that a narrow prediction holds Q where it is, and π cannot tell actions apart: choose σ of hl_gauss, or the
width of other losses' bins, such that α σ² / T² is some units.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .modeling_value_transformer import TokenValueOutput
from .value_losses import C51, ValueLoss


TARGETS = ("q_learning", "sarsa", "monte_carlo", "behavior_cloning")


@dataclass
class TokenQLearningLoss:
    """Means over the actions of a batch, scalars in float32; `total` is what to minimise.

    `target` is the mean of y, and `fraction_out_of_support` that of the y outside the support; both are 0 for
    behaviour cloning.
    """

    total: Tensor
    temporal_difference: Tensor
    conservative: Tensor
    target: Tensor
    fraction_out_of_support: Tensor


class TokenQLearning:
    """The loss above, for sequences padded to the same number of actions.

    `target` is one of TARGETS; `alpha` and `temperature` are those of CQL; `discount` is γ. With `double` the
    online network chooses the next action of q_learning. Raises ValueError for what does not fit together.
    """

    def __init__(
        self,
        value_loss: ValueLoss,
        *,
        target: str = "q_learning",
        discount: float = 0.99,
        alpha: float = 0.1,
        temperature: float = 1.0,
        double: bool = False,
    ):
        if target not in TARGETS:
            raise ValueError(f"target must be one of {', '.join(TARGETS)}; got {target!r}")
        if double and target != "q_learning":
            raise ValueError(f"double is a variant of q_learning; the target is {target}")
        if target == "behavior_cloning" and not alpha:
            raise ValueError("behavior_cloning is CQL's term alone: alpha must not be 0")
        self.value_loss, self.target, self.double = value_loss, target, double
        self.discount, self.alpha, self.temperature = discount, alpha, temperature

    @property
    def needs_target_network(self) -> bool:
        return self.target in ("q_learning", "sarsa")

    def loss(
        self,
        output: TokenValueOutput,
        actions: Tensor,
        rewards: Tensor,
        target_network: Callable[[], TokenValueOutput] | None = None,
        legal: Tensor | None = None,
    ) -> TokenQLearningLoss:
        """Return the loss of a batch.

        `output` holds the values at the states s_i: `value` (batch, n, vocab). `actions` (batch, n) are the
        tokens a_i, padded at the end with a negative number; `rewards` (batch, n). `target_network` gives
        the same states' output of Q̄; `legal` (batch, n, vocab) says which tokens the maximum may choose, by
        default all.
        """
        is_action = actions >= 0
        weight = is_action.float()
        taken = actions.clamp(min=0)
        q = output.value  # (batch, n, vocab)
        q_taken = gather_actions(q, taken)  # (batch, n)
        log_partition = torch.logsumexp(q / self.temperature, dim=-1)
        conservative = mean_of(log_partition - q_taken / self.temperature, is_action)
        if self.target == "behavior_cloning":
            zero = torch.zeros_like(conservative)
            return TokenQLearningLoss(self.alpha * conservative, zero, conservative.detach(), zero, zero)

        outputs = gather_actions(output.logits, taken)  # (batch, n, num_outputs)
        with torch.no_grad():
            if self.target == "monte_carlo":
                target = discounted_sums(rewards * weight, self.discount)
                projected = None
            else:
                following = target_network()
                chosen = self._next_action(q, following.value, taken, legal)  # of s_i, read at s_{i+1}
                discount = self.discount * shifted(weight)  # 0 after the last action
                target = rewards + discount * shifted(gather_actions(following.value, chosen))
                projected = None
                if isinstance(self.value_loss, C51):
                    # Where nothing follows the discount is 0, and any distribution will do, but not none.
                    probs = gather_actions(following.logits, chosen).float().softmax(-1).roll(-1, dims=1)
                    projected = self.value_loss.project(probs, rewards, discount)
        if projected is None:
            temporal_difference = self.value_loss.loss(outputs, target, weight)
        else:
            temporal_difference = self.value_loss.cross_entropy(outputs, projected, weight)
        return TokenQLearningLoss(
            total=temporal_difference + self.alpha * conservative,
            temporal_difference=temporal_difference.detach(),
            conservative=conservative.detach(),
            target=mean_of(target, is_action),
            fraction_out_of_support=self.value_loss.fraction_out_of_support(target, weight),
        )

    def _next_action(self, online: Tensor, target: Tensor, taken: Tensor, legal: Tensor | None) -> Tensor:
        """Return, for every state, the action whose value stands for the state's: (batch, n)."""
        if self.target == "sarsa":
            return taken
        q = online if self.double else target
        if legal is not None:
            q = q.masked_fill(~legal, -torch.inf)
        return q.argmax(dim=-1)


def gather_actions(values: Tensor, actions: Tensor) -> Tensor:
    """Pick values (batch, n, vocab, ...) at actions (batch, n): (batch, n, ...)."""
    index = actions[(..., *[None] * (values.ndim - 2))].expand(*actions.shape, 1, *values.shape[3:])
    return values.gather(2, index).squeeze(2)


def shifted(values: Tensor) -> Tensor:
    """Move what stands at i + 1 to i along dimension 1; the last becomes 0."""
    return torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], dim=1)


def discounted_sums(rewards: Tensor, discount: float) -> Tensor:
    """Return Σ_{j≥i} γ^{j−i} r_j for every i, along dimension 1 of rewards (batch, n), 0 in the padding."""
    sums = rewards.clone()
    for i in range(rewards.shape[1] - 2, -1, -1):
        sums[:, i] += discount * sums[:, i + 1]
    return sums


def mean_of(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of values (batch, n) where the mask is true."""
    return values.masked_fill(~mask, 0).sum() / mask.sum().clamp(min=1)
