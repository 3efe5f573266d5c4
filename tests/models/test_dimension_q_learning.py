"""Q-learning over the dimensions of an action: targets by brute force, and the effect of every term."""

from itertools import product

import numpy as np
import pytest
import torch

from models.modeling_q_transformer import DimensionValueOutput
from models.q_learning import CONSERVATIVE_TERMS, DimensionQLearning
from models.value_losses import VALUE_LOSSES, make_value_loss


DISCOUNT = 0.8
LENGTH, STATES, BINS = 3, 2, 3  # of an episode; at every time; of each of two dimensions


def loss_named(name: str, num_bins: int = 201):
    padding = {"padding": 3.0} if name == "hl_gauss" else {}
    return make_value_loss(name, value_min=0.0, value_max=1.0, num_bins=num_bins, **padding)


def outputs_for(value_loss, values: torch.Tensor) -> torch.Tensor:
    """Return outputs that decode to these values, up to the resolution of the loss."""
    if hasattr(value_loss, "targets"):
        return value_loss.targets(values).clamp(min=1e-30).log()
    if value_loss.num_outputs == 1:
        is_linear = (value_loss.value(torch.tensor([2.0])) == 2.0).item()
        return (values if is_linear else values.clamp(1e-6, 1 - 1e-6).logit())[..., None]
    # The locations of two_hot at the centres of the bins of mse_softmax.
    ends = value_loss.support()[[0, -1]].tolist()
    two_hot = make_value_loss("two_hot", value_min=ends[0], value_max=ends[1], num_bins=value_loss.num_bins)
    return two_hot.targets(values).clamp(min=1e-30).log()


class SmallMDP:
    """Layers of two states, actions of two dimensions of three bins, and random episodes."""

    def __init__(self):
        random = np.random.default_rng(3)
        self.next_state = random.integers(0, STATES, (LENGTH, STATES, BINS, BINS))
        self.reward = (random.random((LENGTH, STATES, BINS, BINS)) < 0.15).astype(np.float32)
        self.reward[0] = 0
        self.decisions = []  # time, state, bins, reward, return, is_last
        for _ in range(300):
            episode, state = [], int(random.integers(STATES))
            actions = random.integers(BINS * BINS, size=LENGTH).tolist()
            for time, action in enumerate(actions):
                bins = divmod(action, BINS)
                reward = float(self.reward[time, state, *bins])
                is_last = bool(reward) or time == LENGTH - 1  # an episode ends at success
                episode.append([time, state, bins, reward, 0.0, is_last])
                state = int(self.next_state[time, state, *bins])
                if is_last:
                    break
            following = 0.0
            for decision in reversed(episode):
                decision[4] = following = decision[3] + DISCOUNT * following
            self.decisions += episode
        self.places = torch.tensor([time * STATES + state for time, state, *_ in self.decisions])
        self.bins = torch.tensor([decision[2] for decision in self.decisions])
        self.rewards, self.returns = (torch.tensor([d[i] for d in self.decisions]) for i in (3, 4))
        self.is_last = torch.tensor([decision[5] for decision in self.decisions])
        self.next_places = torch.tensor(
            [
                0 if is_last else (time + 1) * STATES + int(self.next_state[time, state, *bins])
                for time, state, bins, _, _, is_last in self.decisions
            ]
        )

    def brute_force(self, target: str, floor: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return Q of the first bins (places, 3) and of both (places, 3, 3), last layer first."""
        places = LENGTH * STATES
        first, both = np.zeros((places, BINS)), np.zeros((places, BINS, BINS))
        for time in reversed(range(LENGTH)):
            for of_both in (True, False):
                for state in range(STATES):
                    for cell in product(range(BINS), repeat=2 if of_both else 1):
                        found = [
                            self._target(d, first, both, target, floor, of_both)
                            for d in self.decisions
                            if (d[0], d[1]) == (time, state) and d[2][: len(cell)] == cell
                        ]
                        table = both if of_both else first
                        table[(time * STATES + state, *cell)] = np.mean(found)
        return first, both

    def _target(self, decision, first, both, target, floor, of_both) -> float:
        time, state, bins, reward, to_come, is_last = decision
        if target == "monte_carlo":
            return to_come
        if of_both or target == "n_step":
            after = 0.0 if is_last else max(first[(time + 1) * STATES + self.next_state[time, state, *bins]])
            y = reward + DISCOUNT * after
        else:
            y = max(both[time * STATES + state, bins[0]])
        return max(y, to_come) if floor else y


@pytest.fixture(scope="module")
def mdp() -> SmallMDP:
    return SmallMDP()


def iterate(mdp: SmallMDP, objective: DimensionQLearning) -> tuple[torch.Tensor, torch.Tensor]:
    """Apply the targets to tables until they stay; each entry becomes the mean of its targets."""
    value_loss = objective.value_loss
    first, both = torch.zeros(LENGTH * STATES, BINS), torch.zeros(LENGTH * STATES, BINS, BINS)

    def output(values):
        logits = outputs_for(value_loss, values)
        return DimensionValueOutput(logits=logits, value=value_loss.value(logits))

    for _ in range(2 * LENGTH):
        tables = torch.stack([first[mdp.places], both[mdp.places, mdp.bins[:, 0]]], dim=1)
        current, following = output(tables), output(first[mdp.next_places][:, None])
        y, projected = objective.targets(
            mdp.bins, mdp.rewards, mdp.returns, mdp.is_last, lambda c=current: c, lambda f=following: f
        )
        if projected is not None:  # the distributions of c51 have the mean y
            torch.testing.assert_close(projected @ value_loss.support(), y, rtol=0, atol=1e-5)
        cells = (mdp.places, mdp.bins[:, 0]), (mdp.places, mdp.bins[:, 0], mdp.bins[:, 1])
        for table, cell, values in ((first, cells[0], y[:, 0]), (both, cells[1], y[:, 1])):
            count = torch.zeros_like(table).index_put(cell, torch.ones(len(y)), accumulate=True)
            table.copy_(torch.zeros_like(table).index_put(cell, values, accumulate=True) / count)
    return first, both


@pytest.mark.parametrize(
    ("name", "target", "floor"),
    [*product(VALUE_LOSSES, ["q_learning", "n_step"], [True, False]), ("hl_gauss", "monte_carlo", True)],
)
def test_targets_are_those_of_value_iteration_by_brute_force(mdp, name, target, floor):
    objective = DimensionQLearning(
        loss_named(name), target=target, discount=DISCOUNT, monte_carlo_floor=floor, alpha=0
    )
    first, both = iterate(mdp, objective)
    expected_first, expected_both = mdp.brute_force(target, floor)
    # In each of at most six backups one_hot is off by half a bin, and mse_softmax at 0, an edge.
    tolerance = 6 * 0.5 / 201 if name in ("one_hot", "mse_softmax") else 1e-3
    np.testing.assert_allclose(first.numpy(), expected_first, atol=tolerance)
    np.testing.assert_allclose(both.numpy(), expected_both, atol=tolerance)
    assert 0.1 < expected_first[:STATES].max() < 1


def random_case(value_loss):
    generator = torch.Generator().manual_seed(0)

    def output(dimensions):
        logits = torch.randn(4, dimensions, 5, value_loss.num_outputs, generator=generator) - 2
        logits.requires_grad_()
        return DimensionValueOutput(logits=logits, value=value_loss.value(logits))

    return output(2), output(2), output(1), torch.randint(0, 5, (4, 2), generator=generator)


@pytest.mark.parametrize("target", ["q_learning", "n_step"])
@pytest.mark.parametrize("name", VALUE_LOSSES)
def test_reward_and_end_of_the_episode_change_the_loss(name, target):
    value_loss = loss_named(name, num_bins=21)
    objective = DimensionQLearning(value_loss, target=target, monte_carlo_floor=False)
    online, current, following, bins = random_case(value_loss)

    def loss(reward: float, is_last: bool) -> float:
        rewards, last = torch.full((4,), reward), torch.full((4,), is_last)
        returns = torch.zeros(4)
        return objective.loss(
            online, bins, rewards, returns, last, lambda: current, lambda: following
        ).temporal_difference.item()

    losses = [loss(0.0, False), loss(0.0, True), loss(0.5, True), loss(1.0, True)]
    assert min(abs(a - b) for i, a in enumerate(losses) for b in losses[:i]) > 1e-3, losses


@pytest.mark.parametrize("conservative", CONSERVATIVE_TERMS)
def test_a_term_without_weight_is_0(conservative):
    value_loss = loss_named("hl_gauss", num_bins=21)
    online, _, _, bins = random_case(value_loss)
    objective = DimensionQLearning(value_loss, target="monte_carlo", conservative=conservative, alpha=0)
    returns = torch.linspace(0, 1, 4)
    result = objective.loss(online, bins, returns, returns, returns > 2)
    assert result.conservative == 0 and result.total == result.temporal_difference


@pytest.mark.parametrize("conservative", CONSERVATIVE_TERMS)
@pytest.mark.parametrize("name", VALUE_LOSSES)
def test_the_loss_is_that_of_the_equations(name, conservative):
    value_loss = loss_named(name, num_bins=21)
    objective = DimensionQLearning(value_loss, conservative=conservative, alpha=0.3, temperature=0.2)
    online, current, following, bins = random_case(value_loss)
    rewards, is_last = torch.tensor([0.0, 1, 0, 0]), torch.tensor([False, True, True, False])
    returns = torch.tensor([0.9, 1, 0, 0])
    result = objective.loss(online, bins, rewards, returns, is_last, lambda: current, lambda: following)
    differences, conservatives = [], []
    for i, j in product(range(4), range(2)):
        logits, chosen = online.logits[i, j], int(bins[i, j])
        if name != "c51":  # its targets are distributions, which the test by brute force looks at
            y = (
                current.value[i, 1].max()
                if j == 0
                else following.value[i, 0].max() * 0.97 * ~is_last[i] + rewards[i]
            )
            y = torch.maximum(y, returns[i])
            differences.append(value_loss.loss(logits[chosen], y).item())
        if conservative == "cql":
            q = online.value[i, j].double() / 0.2
            conservatives.append((q.exp().sum().log() - q[chosen]).item())
        else:
            others = [value_loss.loss(logits[b], torch.tensor(0.0)).item() for b in range(5) if b != chosen]
            conservatives.append(np.mean(others))
    assert result.conservative.item() == pytest.approx(np.mean(conservatives), abs=1e-5)
    if differences:
        assert result.temporal_difference.item() == pytest.approx(np.mean(differences), abs=1e-5)
    total = result.temporal_difference + 0.3 * result.conservative
    assert result.total.item() == pytest.approx(total.item(), abs=1e-6)
    result.total.backward()
    assert current.logits.grad is None and following.logits.grad is None


@pytest.mark.parametrize("name", VALUE_LOSSES)
def test_conservatism_takes_values_to_the_known_optimum(name):
    """Bins that are never taken go to 0, others to π·y / (π + α(1 − π) / (B − 1))."""
    value_loss = loss_named(name, num_bins=51)
    alpha, fractions, y = 0.5, torch.tensor([0.6, 0.3, 0.1, 0.0]), 0.8
    objective = DimensionQLearning(value_loss, target="monte_carlo", alpha=alpha)
    bins = torch.tensor([0] * 6 + [1] * 3 + [2])[:, None]
    table = torch.zeros(4, value_loss.num_outputs, requires_grad=True)
    optimizer = torch.optim.LBFGS([table], max_iter=3000, tolerance_grad=1e-9, line_search_fn="strong_wolfe")
    optimizer.param_groups[0]["tolerance_change"] = 1e-12

    def step():
        optimizer.zero_grad()
        logits = table.expand(10, 1, *table.shape)
        output = DimensionValueOutput(logits=logits, value=value_loss.value(logits))
        zero = torch.zeros(10)
        loss = objective.loss(output, bins, zero, torch.full((10,), y), zero.bool()).total
        loss.backward()
        return loss

    optimizer.step(step)
    shares = fractions / (fractions + alpha * (1 - fractions) / 3)
    expected = shares * y
    if name == "one_hot":  # it rounds both targets to the centre of a bin
        of_y, of_0 = value_loss.value(outputs_for(value_loss, torch.tensor([y, 0.0])))
        expected = shares * of_y + (1 - shares) * of_0
    # The smallest value of mse_softmax is the centre of the first bin.
    expected = expected.clamp(min=value_loss.support()[0].item() if name == "mse_softmax" else 0)
    torch.testing.assert_close(value_loss.value(table.detach()), expected, rtol=0, atol=1e-3)


def test_behavior_cloning_is_cross_entropy_over_the_bins():
    value_loss = loss_named("hl_gauss", num_bins=21)
    objective = DimensionQLearning(
        value_loss, target="behavior_cloning", conservative="cql", alpha=1, temperature=0.5
    )
    online, _, _, bins = random_case(value_loss)
    nothing = torch.zeros(4)
    result = objective.loss(online, bins, nothing, nothing, nothing.bool())
    expected = torch.nn.functional.cross_entropy(online.value.flatten(0, 1) / 0.5, bins.flatten())
    torch.testing.assert_close(result.total, expected)
    assert not objective.needs_target_network


def test_padding_keeps_the_bias_at_zero_small_over_many_maxima():
    """Encoding and decoding 0 once, and 32 times, as maxima over dimensions do."""
    found = {}
    for padding in (0.0, 3.0):
        value_loss = make_value_loss("hl_gauss", value_min=0.0, value_max=1.0, num_bins=51, padding=padding)
        value, values = torch.zeros(()), []
        for _ in range(32):
            value = (value_loss.targets(value) * value_loss.support()).sum()
            values.append(value.item())
        found[padding] = values[0], values[-1]
    assert found[0.0] == pytest.approx((0.0135, 0.0392), abs=1e-4)
    assert found[3.0] == pytest.approx((0.0001, 0.0021), abs=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "sarsa"}, "target must be one of q_learning, n_step"),
        ({"conservative": "half"}, "conservative must be one of smallest_value, cql"),
        ({"target": "behavior_cloning"}, "conservative must be cql"),
    ],
)
def test_incompatible_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DimensionQLearning(loss_named("mse"), **options)
