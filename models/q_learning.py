"""Q-learning with categorical values: temporal-difference targets and CQL.

Sources: Farebrother et al., "Stop Regressing" (arXiv 2403.03950), section 4; Kumar et al., "Conservative
Q-Learning" (arXiv 2006.04779); Snell et al., ILQL (arXiv 2206.11871) for tokens as actions.

A sequence, such as a game, holds the actions a_0 … a_{n−1}. Action a_i is chosen in state s_i and has the
reward r_i; γ is the discount per action, Q̄ the target network, and no return follows a_{n−1}:

    q_learning          y_i = r_i + γ max_a Q̄(s_{i+1}, a)
      with double       y_i = r_i + γ Q̄(s_{i+1}, argmax_a Q(s_{i+1}, a))
    sarsa               y_i = r_i + γ Q̄(s_{i+1}, a_{i+1})
    monte_carlo         y_i = Σ_{j≥i} γ^{j−i} r_j
    behavior_cloning    none

    loss = L(Q(s_i, a_i), y_i) + α [log Σ_a exp(Q(s_i, a) / T) − Q(s_i, a_i) / T]

A transition of n steps, sampled from a replay memory, has the sum of discounted rewards in place of r_i, the
state n steps later in place of s_{i+1}, and γ^n in place of γ, or 0 if the episode ended before.

L is the value loss. For c51 the target is the distribution behind Q̄ at the same action, projected. The last
term is CQL: the cross-entropy between π = softmax(Q / T) and the action of the data. Alone it is behaviour
cloning. An action is an index into the last dimension of Q, such as a token.

The effect of CQL depends on L. Where both terms balance, for an action with a fraction μ(a|s) of the data,

    Q(s, a) = y + V (α / T) (1 − π(a|s) / μ(a|s))

V is 1/2 for squared errors, and the variance of the prediction for cross-entropies. So a narrow
prediction holds Q in place: choose σ of hl_gauss, or the bin width of other losses, such that α σ² / T²
is a few units at least. `matched` divides the gradient of CQL's term with respect to each Q(s, a) by 2 V.
The equation then has V = 1/2 for all losses.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .value_losses import C51, CategoricalLoss, ValueLoss


# Targets y, and for c51 the distributions behind them.
Targets = tuple[Tensor, Tensor | None]
TARGETS = ("q_learning", "sarsa", "monte_carlo", "behavior_cloning")
DIMENSION_TARGETS = ("q_learning", "n_step", "monte_carlo", "behavior_cloning")
CONSERVATIVE_TERMS = ("smallest_value", "cql")
SMALLEST_VARIANCE = 1e-6  # by which `matched` divides


class ValueOutput(Protocol):
    """The output of a value network: values (..., actions) and their logits (..., actions, outputs)."""

    logits: Tensor
    value: Tensor


@dataclass
class QLearningLoss:
    """Means over the actions of a batch, float32 scalars; `total` is the loss to minimise.

    `conservative` is 0 where it has no weight. `target` is the mean of y, and `fraction_out_of_support` the
    fraction of y outside the support; both are 0 for behaviour cloning.
    """

    total: Tensor
    temporal_difference: Tensor
    conservative: Tensor
    target: Tensor
    fraction_out_of_support: Tensor


class _QLearning:
    """The value loss plus α times a conservative term; behaviour cloning is that term alone."""

    value_loss: ValueLoss
    target: str
    alpha: float

    def _combine(
        self,
        logits: Tensor,
        actions: Tensor,
        conservative: Tensor,
        targets: Callable[[], Targets],
        is_action: Tensor | None = None,
    ) -> QLearningLoss:
        """Return the loss of actions (...) with logits (..., num_actions, num_outputs), where `is_action`."""
        if self.target == "behavior_cloning":
            zero = torch.zeros_like(conservative)
            return QLearningLoss(self.alpha * conservative, zero, conservative.detach(), zero, zero)
        weight = None if is_action is None else is_action.float()
        outputs = gather_actions(logits, actions)  # (..., num_outputs)
        with torch.no_grad():
            target, projected = targets()
        if isinstance(self.value_loss, C51) and projected is not None:
            temporal_difference = self.value_loss.cross_entropy(outputs, projected, weight)
        else:
            temporal_difference = self.value_loss.loss(outputs, target, weight)
        return QLearningLoss(
            total=temporal_difference + self.alpha * conservative,
            temporal_difference=temporal_difference.detach(),
            conservative=conservative.detach(),
            target=masked_mean(target, is_action),
            fraction_out_of_support=self.value_loss.fraction_out_of_support(target, weight),
        )


class QLearning(_QLearning):
    """The loss above, for padded sequences and for transitions.

    `target` is one of TARGETS; `alpha`, `temperature` and `matched` are those of CQL; `discount` is γ of
    sequences. With `double` the online network chooses the next action of q_learning. Raises ValueError for
    incompatible arguments.
    """

    def __init__(
        self,
        value_loss: ValueLoss,
        *,
        target: str = "q_learning",
        discount: float = 0.99,
        alpha: float = 0.1,
        temperature: float = 1.0,
        matched: bool = False,
        double: bool = False,
    ):
        if target not in TARGETS:
            raise ValueError(f"target must be one of {', '.join(TARGETS)}; got {target!r}")
        if double and target != "q_learning":
            raise ValueError(f"double is a variant of q_learning; the target is {target}")
        if target == "behavior_cloning" and not alpha:
            raise ValueError("behavior_cloning is CQL's term alone: alpha must not be 0")
        if target == "behavior_cloning" and matched:
            raise ValueError("behavior_cloning has no value loss that CQL's term could be matched with")
        self.value_loss, self.target, self.double = value_loss, target, double
        self.discount, self.alpha, self.temperature, self.matched = discount, alpha, temperature, matched

    @property
    def needs_target_network(self) -> bool:
        return self.target in ("q_learning", "sarsa")

    def loss(
        self,
        output: ValueOutput,
        actions: Tensor,
        rewards: Tensor,
        target_network: Callable[[], ValueOutput] | None = None,
        legal: Tensor | None = None,
    ) -> QLearningLoss:
        """Return the loss of a batch of sequences.

        `output` holds the values in the states s_i, (batch, n, num_actions). `actions` (batch, n) are the
        actions a_i, padded at the end with a negative number; `rewards` (batch, n). `target_network` returns
        the output of Q̄ in the same states; `legal` (batch, n, num_actions) masks the maximum, by default not.
        """
        is_action = actions >= 0
        weight, taken = is_action.float(), actions.clamp(min=0)

        def targets() -> Targets:
            if self.target == "monte_carlo":
                return discounted_sums(rewards * weight, self.discount), None
            assert target_network is not None, f"{self.target} needs a target network"
            following = target_network()
            chosen = self._next_actions(output.value, following.value, taken, legal)  # of s_i
            # The discount is 0 after the last action, so any value serves there, such as that of s_0.
            discounts = self.discount * torch.nn.functional.pad(weight[:, 1:], (0, 1))
            return self._bootstrap(rewards, discounts, following, chosen, lambda x: x.roll(-1, dims=1))

        return self._loss(output, taken, targets, is_action)

    def transition_loss(
        self,
        output: ValueOutput,
        actions: Tensor,
        rewards: Tensor,
        discounts: Tensor,
        target_network: Callable[[], ValueOutput] | None = None,
        *,
        next_online: Tensor | None = None,
        next_actions: Tensor | None = None,
    ) -> QLearningLoss:
        """Return the loss of a batch of transitions.

        `output` holds the values (batch, num_actions) of the first states; `actions`, `rewards` and
        `discounts` are (batch,), and for monte_carlo `rewards` are the returns. `target_network` returns the
        output of Q̄ in the next states. `next_online` (batch, num_actions) are the values of the online
        network there, for `double`; `next_actions` (batch,) are those of sarsa.
        """

        def targets() -> Targets:
            if self.target == "monte_carlo":
                return rewards, None
            assert target_network is not None, f"{self.target} needs a target network"
            following = target_network()
            online = following.value if next_online is None else next_online
            chosen = self._next_actions(online, following.value, next_actions)
            return self._bootstrap(rewards, discounts, following, chosen)

        return self._loss(output, actions, targets)

    def _loss(
        self,
        output: ValueOutput,
        taken: Tensor,
        targets: Callable[[], Targets],
        is_action: Tensor | None = None,
    ) -> QLearningLoss:
        """Return the loss of actions (...) with their targets, where `is_action`, by default everywhere."""
        conservative = output.value.new_zeros(())
        if self.alpha:
            q = output.value
            if self.matched and isinstance(self.value_loss, CategoricalLoss):
                variance = self.value_loss.variance(output.logits.detach()).clamp(min=SMALLEST_VARIANCE)
                q = q.detach() + (q - q.detach()) / (2 * variance)
            conservative = masked_mean(conservative_loss(q, taken, self.temperature), is_action)
        return self._combine(output.logits, taken, conservative, targets, is_action)

    def _bootstrap(
        self,
        rewards: Tensor,
        discounts: Tensor,
        following: ValueOutput,
        chosen: Tensor,
        align: Callable[[Tensor], Tensor] = lambda x: x,
    ) -> Targets:
        """Return the targets (...) from the chosen actions of following states.

        `align` moves what follows an action to the place of the action.
        """
        target = rewards + discounts * align(gather_actions(following.value, chosen))
        if not isinstance(self.value_loss, C51):
            return target, None
        probs = align(gather_actions(following.logits, chosen).float().softmax(-1))
        return target, self.value_loss.project(probs, rewards, discounts)

    def _next_actions(
        self, online: Tensor, target: Tensor, taken: Tensor | None, legal: Tensor | None = None
    ) -> Tensor:
        """Return the action of every state whose value is the value of the state, (...)."""
        if self.target == "sarsa":
            assert taken is not None, "sarsa needs the next actions"
            return taken
        q = online if self.double else target
        if legal is not None:
            q = q.masked_fill(~legal, -torch.inf)
        return q.argmax(dim=-1)


class DimensionQLearning(_QLearning):
    """Q-learning over the dimensions of an action (Chebotar et al., "Q-Transformer", arXiv 2309.10150).

    Dimension i of d has the bin a_i, chosen after those before it. G is the return of the episode from here:

        q_learning          y_i = max(G, max_a Q̄(s, a_1 … a_i, a)) for i < d, without reward or discount
                            y_d = max(G, r + γ max_a Q̄(s′, a))
        n_step              y_i = max(G, r + γ max_a Q̄(s′, a)) for all i
        monte_carlo         y_i = G
        behavior_cloning    none

        loss = L(Q(s, a_1 … a_i), y_i) + α · conservative term

    The conservative term is one of CONSERVATIVE_TERMS: smallest_value is the mean of L(Q(s, …, b), v_min)
    over the bins b that the data does not have; cql is that of QLearning. Without `monte_carlo_floor`, y is
    not raised to G. With smallest_value, a bin with a fraction π of the data has the value

        Q = π y / (π + α (1 − π) / (B − 1)),   for v_min = 0 and B bins.

    Repeated maxima of such values vanish without the floor. Raises ValueError for incompatible arguments.
    """

    def __init__(
        self,
        value_loss: ValueLoss,
        *,
        target: str = "q_learning",
        discount: float = 0.97,
        monte_carlo_floor: bool = True,
        conservative: str = "smallest_value",
        alpha: float = 1.0,
        temperature: float = 1.0,
    ):
        if target not in DIMENSION_TARGETS:
            raise ValueError(f"target must be one of {', '.join(DIMENSION_TARGETS)}; got {target!r}")
        if conservative not in CONSERVATIVE_TERMS:
            choices = ", ".join(CONSERVATIVE_TERMS)
            raise ValueError(f"conservative must be one of {choices}; got {conservative!r}")
        if target == "behavior_cloning" and (conservative != "cql" or not alpha):
            raise ValueError("behavior_cloning is CQL's term alone: conservative must be cql, alpha not 0")
        self.value_loss, self.target, self.discount = value_loss, target, discount
        self.monte_carlo_floor, self.conservative = monte_carlo_floor, conservative
        self.alpha, self.temperature = alpha, temperature

    @property
    def needs_target_network(self) -> bool:
        return self.target in ("q_learning", "n_step")

    def loss(
        self,
        output: ValueOutput,
        bins: Tensor,
        rewards: Tensor,
        returns: Tensor,
        is_last: Tensor,
        current: Callable[[], ValueOutput] | None = None,
        following: Callable[[], ValueOutput] | None = None,
    ) -> QLearningLoss:
        """Return the loss of a batch of decisions.

        `output` holds the logits of all bins, (batch, d, num_bins, num_outputs); values are not read. `bins`
        (batch, d) are those of the data; `rewards`, `returns` and `is_last`, whether the episode ends, are
        (batch,). `current` returns the output of Q̄ for the same decisions, and `following` that for the
        first dimension of the next ones.
        """
        conservative = self._conservative_term(output.logits, bins)
        return self._combine(
            output.logits,
            bins,
            conservative,
            lambda: self.targets(bins, rewards, returns, is_last, current, following),
        )

    @torch.no_grad()
    def targets(
        self,
        bins: Tensor,
        rewards: Tensor,
        returns: Tensor,
        is_last: Tensor,
        current: Callable[[], ValueOutput] | None = None,
        following: Callable[[], ValueOutput] | None = None,
    ) -> Targets:
        """Return y, (batch, d), and for c51 also its distributions, (batch, d, num_outputs)."""
        floor = returns[:, None].expand(bins.shape)
        if self.target == "monte_carlo":
            return floor, None
        assert following is not None, f"{self.target} needs a target network"
        logits = [following().logits[:, :1]]  # of the first dimension
        if self.target == "n_step":
            first_with_reward = 0
        else:
            assert current is not None, "the target network values the other dimensions too"
            first_with_reward = -1
            logits.insert(0, current().logits[:, 1:])
        value = torch.cat([self.value_loss.value(part) for part in logits], dim=1)
        value = value.expand(*bins.shape, -1)  # (batch, d, num_bins)
        discount, reward = torch.ones_like(value[..., 0]), torch.zeros_like(value[..., 0])
        discount[:, first_with_reward:] = (self.discount * ~is_last)[:, None]
        reward[:, first_with_reward:] = rewards[:, None]
        best = value.argmax(dim=-1)
        target = reward + discount * gather_actions(value, best)
        is_raised = (floor > target) & self.monte_carlo_floor
        projected = None
        if isinstance(self.value_loss, C51):
            of_best = gather_actions(torch.cat(logits, dim=1).expand(*value.shape, -1), best)
            projected = self.value_loss.project(of_best.float().softmax(dim=-1), reward, discount)
            projected = torch.where(is_raised[..., None], self.value_loss.targets(floor), projected)
        return torch.where(is_raised, floor, target), projected

    def _conservative_term(self, logits: Tensor, bins: Tensor) -> Tensor:
        if not self.alpha:
            return torch.zeros((), device=logits.device)
        if self.conservative == "cql":
            return conservative_loss(self.value_loss.value(logits), bins, self.temperature).mean()
        is_other = torch.ones(logits.shape[:-1], device=logits.device).scatter(-1, bins[..., None], 0)
        smallest = torch.tensor(self.value_loss.value_min, device=logits.device)
        if isinstance(self.value_loss, CategoricalLoss):
            # All bins have the same target, so it is not copied for each.
            losses = -(logits.float().log_softmax(dim=-1) @ self.value_loss.targets(smallest))
            return masked_mean(losses, is_other.bool())
        return self.value_loss.loss(logits, smallest.expand_as(is_other), is_other)


def conservative_loss(q: Tensor, actions: Tensor, temperature: float = 1.0) -> Tensor:
    """Return CQL's term, (...), for values q (..., num_actions) and the actions of the data (...)."""
    log_partition = torch.logsumexp(q / temperature, dim=-1)
    return log_partition - gather_actions(q, actions) / temperature


def gather_actions(values: Tensor, actions: Tensor) -> Tensor:
    """Return the entries of values (..., num_actions, *rest) at actions (...): (..., *rest)."""
    rest = values.shape[actions.ndim + 1 :]
    index = actions[(..., *[None] * (1 + len(rest)))].expand(*actions.shape, 1, *rest)
    return values.gather(actions.ndim, index).squeeze(actions.ndim)


def discounted_sums(rewards: Tensor, discount: float) -> Tensor:
    """Return Σ_{j≥i} γ^{j−i} r_j for every i along dimension 1 of rewards (batch, n), 0 in the padding."""
    sums = rewards.clone()
    for i in range(rewards.shape[1] - 2, -1, -1):
        sums[:, i] += discount * sums[:, i + 1]
    return sums


def masked_mean(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean of values (...) where the mask is true, 0 if it is nowhere; by default of all."""
    if mask is None:
        return values.mean()
    return values.masked_fill(~mask, 0).sum() / mask.sum().clamp(min=1)
