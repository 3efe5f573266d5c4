"""Value losses against their definitions, evaluated in float64 with scipy."""

import math

import numpy as np
import pytest
import torch
from scipy.special import log_ndtr, log_softmax, softmax

from models.value_losses import VALUE_LOSSES, make_value_loss, ranking_loss


SUPPORTS = [
    (0.0, 1.0, 128),
    (-10.0, 10.0, 51),
    (-300.0, 300.0, 601),
    (-7.0, 1.0, 81),
    (0.0, 1.0, 2),
    (0.0, 1.0, 1024),
]
SIGMA_RATIOS = [1e-6, 1e-3, 0.05, 0.25, 0.5, 0.75, 1.0, 2.0, 4.0, 8.0]
CATEGORICAL = ["one_hot", "two_hot", "hl_gauss", "c51"]


def unit_loss(name: str, num_bins: int = 16, **options):
    return make_value_loss(name, value_min=0.0, value_max=1.0, num_bins=num_bins, **options)


def values_for(value_min: float, value_max: float, num_bins: int) -> np.ndarray:
    """Values inside, on edges and centres, and up to ten thousand bins outside; float32, as float64."""
    width = (value_max - value_min) / num_bins
    beyond = width * np.concatenate([np.linspace(0, 12, 25), [0.001, 20, 50, 100, 300, 1e3, 1e4]])
    grid = value_min + width / 2 * np.arange(0, 2 * num_bins + 1, max(1, num_bins // 20))
    inside = np.random.default_rng(0).uniform(value_min, value_max, 100)
    values = np.concatenate([inside, grid, value_min - beyond, value_max + beyond])
    return values.astype(np.float32).astype(np.float64)


def true_hl_gauss(
    values: np.ndarray, value_min: float, value_max: float, num_bins: int, sigma: float
) -> np.ndarray:
    """Equation 3.3 with its normaliser, in float64; in logarithms, so that it holds in the far tails too."""
    edges = value_min + (value_max - value_min) / num_bins * np.arange(num_bins + 1)
    z = (edges - values[:, None]) / sigma
    lower, upper = z[:, :-1], z[:, 1:]
    # Count the tail in which the bin lies: Φ(b) − Φ(a) = Φ(−a) − Φ(−b).
    flip = lower + upper > 0
    small, large = np.where(flip, -upper, lower), np.where(flip, -lower, upper)
    log_large = log_ndtr(large)
    with np.errstate(divide="ignore"):
        log_mass = log_large + np.log(-np.expm1(np.minimum(log_ndtr(small) - log_large, 0)))
    mass = np.exp(log_mass - log_mass.max(axis=1, keepdims=True))
    return mass / mass.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("support", SUPPORTS, ids=str)
@pytest.mark.parametrize("sigma_ratio", SIGMA_RATIOS)
def test_hl_gauss_targets_are_the_truncated_gaussian(support, sigma_ratio):
    value_min, value_max, num_bins = support
    values = values_for(*support)
    loss = make_value_loss(
        "hl_gauss", value_min=value_min, value_max=value_max, num_bins=num_bins, sigma_ratio=sigma_ratio
    )
    targets = loss.targets(torch.tensor(values, dtype=torch.float32)).double().numpy()
    width = (value_max - value_min) / num_bins
    np.testing.assert_allclose(
        targets, true_hl_gauss(values, *support, sigma_ratio * width), rtol=0, atol=5e-7
    )
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=0, atol=1e-6)
    assert (targets >= 0).all()


def test_hl_gauss_with_sigma_off_by_root_two_would_be_noticed():
    values = values_for(0.0, 1.0, 16)
    off = unit_loss("hl_gauss", sigma_ratio=0.75 * math.sqrt(2)).targets(torch.tensor(values)).numpy()
    assert np.abs(off - true_hl_gauss(values, 0.0, 1.0, 16, 0.75 / 16)).max() > 0.01


@pytest.mark.parametrize("value", [1e4, 1e14, 3e38, math.inf])
def test_hl_gauss_far_outside_puts_all_mass_in_the_outer_bin(value):
    targets = unit_loss("hl_gauss").targets(torch.tensor([-value, value]))
    assert targets[0, 0] == 1 and targets[1, -1] == 1


@pytest.mark.parametrize("name", CATEGORICAL)
def test_targets_outside_the_support_still_have_a_gradient(name):
    logits = torch.zeros(4, 16, requires_grad=True)
    unit_loss(name).loss(logits, torch.tensor([-600.0, -2.0, 3.0, 600.0])).backward()
    assert (logits.grad.abs().sum(dim=-1) > 0.1).all()


@pytest.mark.parametrize(("sigma_ratio", "bias"), [(0.75, -0.69), (1.0, -0.87), (2.0, -1.63)])
def test_hl_gauss_has_the_known_bias_at_the_edge(sigma_ratio, bias):
    loss = unit_loss("hl_gauss", num_bins=128, sigma_ratio=sigma_ratio)
    decoded = loss.targets(torch.tensor(1.0)).double() @ loss.support().double()
    assert (decoded - 1).item() * 128 == pytest.approx(bias, abs=0.01)


@pytest.mark.parametrize(("sigma_ratio", "amplitude"), [(0.25, 0.093), (0.5, 2.3e-3), (0.75, 4.8e-6)])
def test_hl_gauss_has_the_known_bias_in_the_interior(sigma_ratio, amplitude):
    loss = unit_loss("hl_gauss", num_bins=32, sigma_ratio=sigma_ratio)
    values = torch.linspace(0.45, 0.55, 10001, dtype=torch.float64)
    bins = (torch.arange(32, dtype=torch.float64) + 0.5) / 32
    decoded = (loss.targets(values).double() * bins).sum(dim=-1)
    # float32 targets alone move the mean of 32 bins by some 5e-7 of a bin.
    assert ((decoded - values).abs().max() * 32).item() == pytest.approx(amplitude, rel=0.03, abs=6e-7)


def test_padding_removes_the_bias_at_the_edge():
    loss = unit_loss("hl_gauss", num_bins=128, padding=3.0)
    decoded = loss.targets(torch.tensor([0.0, 1.0])).double() @ loss.support().double()
    np.testing.assert_allclose((decoded.numpy() - [0, 1]) / loss.width, [0.004, -0.004], atol=1e-3)
    assert loss.first_edge < -2 * loss.sigma and loss.last_edge > 1 + 2 * loss.sigma
    assert loss.sigma == pytest.approx(0.75 * loss.width)


@pytest.mark.parametrize("support", SUPPORTS, ids=str)
@pytest.mark.parametrize("sigma_ratio", SIGMA_RATIOS)
def test_matched_mean_decodes_to_its_target_between_the_outer_centres(support, sigma_ratio):
    value_min, value_max, num_bins = support
    width = (value_max - value_min) / num_bins
    values = values_for(*support)
    loss = make_value_loss(
        "hl_gauss",
        value_min=value_min,
        value_max=value_max,
        num_bins=num_bins,
        sigma_ratio=sigma_ratio,
        match_mean=True,
    )
    targets = loss.targets(torch.tensor(values, dtype=torch.float32)).double().numpy()
    centres = value_min + width * (np.arange(num_bins) + 0.5)
    clipped = np.clip(values, centres[0], centres[-1])
    np.testing.assert_allclose((targets @ centres - clipped) / width, 0, rtol=0, atol=1e-6)
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=0, atol=1e-6)
    assert (targets >= 0).all()


@pytest.mark.parametrize("support", SUPPORTS, ids=str)
def test_two_hot_decodes_to_its_target(support):
    value_min, value_max, num_bins = support
    values = values_for(*support)
    loss = make_value_loss("two_hot", value_min=value_min, value_max=value_max, num_bins=num_bins)
    targets = loss.targets(torch.tensor(values, dtype=torch.float32)).double().numpy()
    locations = np.linspace(value_min, value_max, num_bins)
    clipped = np.clip(values, value_min, value_max)
    np.testing.assert_allclose((targets @ locations - clipped) / loss.width, 0, rtol=0, atol=1e-6)
    assert (targets.sum(axis=1) == 1).all() and ((targets > 0).sum(axis=1) <= 2).all()


def test_one_hot_marks_the_bin_and_puts_edges_into_the_lower_one():
    bins = (
        unit_loss("one_hot", num_bins=4)
        .targets(torch.tensor([-1.0, 0.0, 0.1, 0.25, 0.26, 0.5, 1.0, 2.0]))
        .argmax(-1)
    )
    inner_edges = np.linspace(0, 1, 5)[1:-1]
    expected = np.searchsorted(inner_edges, [-1.0, 0.0, 0.1, 0.25, 0.26, 0.5, 1.0, 2.0], side="left")
    assert bins.tolist() == expected.tolist()


def test_hl_gauss_becomes_one_hot_as_sigma_vanishes():
    values = torch.tensor([0.03, 0.3, 0.77])
    torch.testing.assert_close(
        unit_loss("hl_gauss", sigma_ratio=1e-6).targets(values), unit_loss("one_hot").targets(values)
    )


def c51_loss():
    return make_value_loss("c51", value_min=-10.0, value_max=10.0, num_bins=21)


@pytest.mark.parametrize("discount", [0.0, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("reward", [-1000.0, -10.0, -3.0, -0.3, 0.0, 0.7, 1.0, 10.0, 1e5])
def test_c51_projection_keeps_mass_and_mean(reward, discount):
    loss = c51_loss()
    generator = torch.Generator().manual_seed(0)
    probs = torch.softmax(3 * torch.randn(50, 21, generator=generator), dim=-1)
    probs = torch.cat([probs, torch.eye(21)])
    projected = loss.project(probs, torch.full((71,), reward), discount).double()
    support = torch.linspace(-10, 10, 21, dtype=torch.float64)
    clipped = (reward + discount * support).clamp(-10, 10)
    torch.testing.assert_close(projected.sum(dim=-1), torch.ones(71).double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(projected @ support, probs.double() @ clipped, rtol=0, atol=1e-5)
    assert (projected >= 0).all()


def test_c51_projection_is_the_triangular_kernel():
    loss = c51_loss()
    generator = torch.Generator().manual_seed(1)
    probs = torch.softmax(torch.randn(30, 21, generator=generator), dim=-1)
    reward, discount = torch.randn(30, generator=generator), torch.rand(30, generator=generator)
    support = torch.linspace(-10, 10, 21)
    moved = (reward[:, None] + discount[:, None] * support).clamp(-10, 10)
    kernel = (1 - (moved[:, :, None] - support).abs()).clamp(min=0)  # (batch, from, to), Δ = 1
    torch.testing.assert_close(
        loss.project(probs, reward, discount), torch.einsum("bj,bji->bi", probs, kernel)
    )


def test_c51_on_a_scalar_is_two_hot():
    values = torch.linspace(-12, 12, 97)
    two_hot = make_value_loss("two_hot", value_min=-10.0, value_max=10.0, num_bins=21)
    torch.testing.assert_close(c51_loss().targets(values), two_hot.targets(values))
    at_zero = torch.nn.functional.one_hot(torch.tensor(10), 21).float().expand(97, 21)
    torch.testing.assert_close(c51_loss().project(at_zero, values, 0.0), two_hot.targets(values))


@pytest.mark.parametrize("name", CATEGORICAL)
def test_gradient_is_softmax_minus_target_weighted(name):
    loss = unit_loss(name)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 3, 16, generator=generator).requires_grad_()
    value = torch.rand(5, 3, generator=generator).requires_grad_()
    weight = torch.rand(5, 3, generator=generator)
    weight[2, 1] = 0
    loss.loss(logits, value, weight).backward()
    expected = (logits.detach().softmax(-1) - loss.targets(value)) * (weight / weight.sum())[..., None]
    torch.testing.assert_close(logits.grad, expected, rtol=1e-4, atol=1e-7)
    assert (logits.grad[2, 1] == 0).all()
    assert value.grad is None


@pytest.mark.parametrize("name", VALUE_LOSSES)
def test_masked_items_change_nothing_even_if_they_are_not_finite(name):
    loss = unit_loss(name)
    generator = torch.Generator().manual_seed(0)
    outputs, value = torch.randn(6, loss.num_outputs, generator=generator), torch.rand(6, generator=generator)
    alone = loss.loss(outputs[:4], value[:4])
    outputs[4:], value[4:] = math.nan, math.inf
    outputs.requires_grad_()
    masked = loss.loss(outputs, value, weight=torch.tensor([1, 1, 1, 1, 0, 0]))
    masked.backward()
    torch.testing.assert_close(masked, alone)
    assert (outputs.grad[4:] == 0).all() and outputs.grad.isfinite().all()


def test_masked_items_change_nothing_in_the_cross_entropy_with_given_distributions():
    loss = c51_loss()
    outputs, targets = torch.randn(3, 21), torch.full((3, 21), 1 / 21)
    alone = loss.cross_entropy(outputs[:2], targets[:2])
    outputs[2], targets[2] = math.nan, math.nan
    outputs.requires_grad_()
    masked = loss.cross_entropy(outputs, targets, weight=torch.tensor([1, 1, 0]))
    masked.backward()
    torch.testing.assert_close(masked, alone)
    assert (outputs.grad[2] == 0).all() and outputs.grad.isfinite().all()


@pytest.mark.parametrize("name", VALUE_LOSSES)
def test_shapes_that_do_not_fit_are_refused_instead_of_broadcast(name):
    loss = unit_loss(name)
    outputs = torch.randn(8, loss.num_outputs)
    with pytest.raises(ValueError, match=r"outputs \(8, \d+\), values \(8, 1\)"):
        loss.loss(outputs, torch.rand(8, 1))
    with pytest.raises(ValueError, match="must have the shape of the values"):
        loss.loss(torch.randn(8, 3), torch.rand(8))
    with pytest.raises(ValueError, match="weights"):
        loss.loss(outputs, torch.rand(8), weight=torch.ones(8, 1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", CATEGORICAL)
def test_targets_are_float32_whatever_the_default_dtype(name, dtype):
    values = torch.rand(5)
    expected = unit_loss(name).targets(values)
    torch.set_default_dtype(dtype)
    try:
        targets = unit_loss(name).targets(values)
    finally:
        torch.set_default_dtype(torch.float32)
    assert targets.dtype == torch.float32 and torch.equal(targets, expected)


@pytest.mark.parametrize("name", VALUE_LOSSES)
def test_a_batch_without_any_weight_has_loss_zero(name):
    loss = unit_loss(name)
    outputs = torch.randn(3, loss.num_outputs, requires_grad=True)
    total = loss.loss(outputs, torch.rand(3), weight=torch.zeros(3))
    total.backward()
    assert total == 0 and (outputs.grad == 0).all()


@pytest.mark.parametrize("name", VALUE_LOSSES)
@pytest.mark.parametrize(
    ("dtype", "size"), [(torch.bfloat16, 1e4), (torch.float16, 6e4), (torch.float32, 1e6)]
)
def test_huge_logits_give_finite_losses_and_gradients(name, dtype, size):
    loss = unit_loss(name)
    outputs = (size * torch.tensor([-1.0, 1.0])[torch.arange(16) % 2]).to(dtype)[: loss.num_outputs]
    outputs = outputs.expand(4, -1).clone().requires_grad_()
    total = loss.loss(outputs, torch.tensor([-1.0, 0.1, 0.5, 2.0]))
    total.backward()
    assert total.dtype == torch.float32 and total.isfinite() and outputs.grad.isfinite().all()
    assert loss.value(outputs).dtype == torch.float32


@pytest.mark.parametrize("name", VALUE_LOSSES)
def test_autocast_changes_nothing(name):
    loss = unit_loss(name, num_bins=128)
    generator = torch.Generator().manual_seed(0)
    outputs, value = (
        torch.randn(64, loss.num_outputs, generator=generator),
        torch.rand(64, generator=generator),
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss.loss(outputs, value), loss.value(outputs)
    assert torch.equal(inside[0], loss.loss(outputs, value)) and torch.equal(inside[1], loss.value(outputs))


def test_casting_or_meta_building_a_module_that_holds_a_loss_changes_nothing():
    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.value_loss = unit_loss("hl_gauss")
            self.head = torch.nn.Linear(4, 16)

    with torch.device("meta"):
        network = Network()
    network = network.to_empty(device="cpu").bfloat16()
    values = torch.rand(10)
    assert torch.equal(network.value_loss.targets(values), unit_loss("hl_gauss").targets(values))
    assert network.value_loss.support().dtype == torch.float32


@pytest.mark.parametrize("name", CATEGORICAL)
def test_kl_is_zero_for_a_perfect_prediction_and_positive_else(name):
    loss = unit_loss(name)
    values = torch.rand(20, generator=torch.Generator().manual_seed(0))
    perfect = loss.targets(values).clamp(min=1e-30).log()
    assert loss.kl(perfect, values).item() == pytest.approx(0, abs=1e-5)
    assert loss.kl(torch.zeros(20, 16), values) > 0.5
    assert loss.loss(perfect, values) >= loss.kl(perfect, values)


def test_label_entropy_is_the_known_one():
    loss = unit_loss("hl_gauss", num_bins=128)
    logits, values = torch.zeros(1000, 128), torch.linspace(0.4, 0.6, 1000)
    assert (loss.loss(logits, values) - loss.kl(logits, values)).item() == pytest.approx(1.2003, abs=2e-4)


@pytest.mark.parametrize("name", VALUE_LOSSES)
def test_no_gradient_flows_into_the_value(name):
    loss = unit_loss(name)
    outputs = torch.randn(5, loss.num_outputs, requires_grad=True)
    value = torch.rand(5, dtype=torch.float64, requires_grad=True)
    total = loss.loss(outputs, value)
    total.backward()
    assert value.grad is None and outputs.grad is not None and total.dtype == torch.float32


def test_fraction_out_of_support_counts_weighted_values_beyond_the_range():
    loss = unit_loss("hl_gauss")
    values = torch.tensor([-0.1, 0.0, 0.5, 1.0, 1.1])
    assert loss.fraction_out_of_support(values).item() == pytest.approx(0.4)
    assert loss.fraction_out_of_support(values, torch.tensor([0, 1, 1, 1, 1.0])).item() == pytest.approx(0.25)


def test_mse_sigmoid_predicts_the_values_of_its_range_alone():
    loss = make_value_loss("mse_sigmoid", value_min=-2.0, value_max=4.0, num_bins=16)
    outputs = torch.tensor([[-1e4], [0.0], [math.log(3)], [1e4]])
    torch.testing.assert_close(loss.value(outputs), torch.tensor([-2.0, 1.0, 2.5, 4.0]))
    assert loss.fraction_out_of_support(torch.tensor([-3.0, 0.0, 5.0, 1.0])).item() == 0.5


@pytest.mark.parametrize("name", VALUE_LOSSES)
def test_gradient_descent_finds_the_value(name):
    loss = unit_loss(name)
    outputs = torch.zeros(3, loss.num_outputs, requires_grad=True)
    values = torch.tensor([0.2, 0.5, 0.72])
    optimizer = torch.optim.Adam([outputs], lr=0.1)
    for _ in range(500):
        optimizer.zero_grad()
        loss.loss(outputs, values).backward()
        optimizer.step()
    resolution = 1 / 32 if name == "one_hot" else 2e-3
    torch.testing.assert_close(loss.value(outputs.detach()), values, rtol=0, atol=resolution)


def test_sigma_may_be_absolute():
    values = torch.rand(10)
    absolute = unit_loss("hl_gauss", sigma=0.05).targets(values)
    assert torch.equal(absolute, unit_loss("hl_gauss", sigma_ratio=0.8).targets(values))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "hl_gaus"}, "unknown value loss 'hl_gaus'"),
        ({"value_min": 1.0}, "value_min must be below value_max"),
        ({"value_max": math.inf}, "value_min must be below value_max"),
        ({"num_bins": 1}, "num_bins must be at least 2"),
        ({"sigma": 0.0}, "σ must be positive"),
        ({"sigma_ratio": -1.0}, "σ must be positive"),
        ({"padding": 12.0}, "leaves none of 16 bins"),
        ({"padding": -1.0}, "padding must not be negative"),
        ({"name": "two_hot", "match_mean": True}, "options of hl_gauss, not of two_hot"),
    ],
)
def test_impossible_settings_are_refused(arguments, message):
    settings = {"name": "hl_gauss", "value_min": 0.0, "value_max": 1.0, "num_bins": 16} | arguments
    with pytest.raises(ValueError, match=message):
        make_value_loss(settings.pop("name"), **settings)


@pytest.mark.parametrize(
    ("name", "options"),
    [("one_hot", {}), ("two_hot", {}), ("c51", {}), ("hl_gauss", {}), ("hl_gauss", {"match_mean": True})],
)
def test_a_value_that_is_no_number_shows_in_the_loss_and_in_nothing_else(name, options):
    loss = make_value_loss(name, value_min=0.0, value_max=1.0, num_bins=21, **options)
    values = torch.tensor([0.3, math.nan, 0.9])
    targets = loss.targets(values)
    assert torch.equal(targets[[0, 2]], loss.targets(values[[0, 2]]))
    assert loss.loss(torch.zeros(3, 21), values).isnan()


@pytest.mark.filterwarnings("error:There is a performance drop")  # of vmap without a batching rule
@pytest.mark.parametrize(
    ("name", "options"),
    [*((name, {}) for name in VALUE_LOSSES), ("hl_gauss", {"match_mean": True})],
)
def test_losses_work_under_vmap_and_in_a_full_graph_of_torch_compile(name, options):
    value_loss = unit_loss(name, **options)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, value_loss.num_outputs, generator=generator)  # an ensemble of three critics
    values, weights = torch.randn(3, 5, generator=generator), torch.rand(3, 5, generator=generator)
    one_by_one = [value_loss.loss(*member) for member in zip(logits, values, weights, strict=True)]
    torch.testing.assert_close(torch.vmap(value_loss.loss)(logits, values, weights), torch.stack(one_by_one))
    compiled = torch.compile(value_loss.loss, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(logits, values, weights), value_loss.loss(logits, values, weights))


def test_c51_projects_under_vmap():
    c51, generator = unit_loss("c51"), torch.Generator().manual_seed(0)
    probs = torch.randn(5, c51.num_bins, generator=generator).softmax(dim=-1)
    rewards = torch.randn(3, 5, generator=generator)  # three rewards of each action
    project = torch.vmap(c51.project, in_dims=(None, 0, None))
    one_by_one = [c51.project(probs, reward, 0.9) for reward in rewards]
    torch.testing.assert_close(project(probs, rewards, 0.9), torch.stack(one_by_one))


def test_the_ranking_loss_is_the_cross_entropy_between_softmaxes_of_each_state():
    rng = np.random.default_rng(0)
    predicted, values = rng.random((2, 4, 6)), rng.random((2, 4, 6))
    counts = rng.integers(1, 7, (2, 4))
    weight = np.arange(6) < counts[..., None]
    per_state = [
        -(softmax(v[:n] / 0.05) * log_softmax(p[:n])).sum()
        for p, v, n in zip(predicted.reshape(-1, 6), values.reshape(-1, 6), counts.flatten(), strict=True)
    ]
    values[~weight] = math.nan
    outputs = torch.tensor(predicted, dtype=torch.float32, requires_grad=True)
    labels, mask = torch.tensor(values, dtype=torch.float32), torch.tensor(weight)
    loss = ranking_loss(outputs, labels, 0.05, mask)
    assert loss.item() == pytest.approx(np.average(per_state, weights=counts.flatten()), rel=1e-5)
    loss.backward()
    assert (outputs.grad[~mask] == 0).all() and (outputs.grad[mask & (mask.sum(-1, True) > 1)] != 0).all()
    # It is lowest where the values are right, up to a constant for each state.
    right = torch.tensor(predicted)
    lowest = ranking_loss(right / 0.05, right, 0.05)
    assert ranking_loss(right / 0.05 + 1, right, 0.05) == pytest.approx(lowest.item())
    assert ranking_loss(right / 0.05 + 0.1 * right.square(), right, 0.05) > lowest


def test_a_state_without_actions_does_not_count_in_the_ranking_loss():
    values = torch.tensor([[0.1, 0.4], [0.3, 0.2]])
    weight = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    assert ranking_loss(values, values, 0.1, weight) == ranking_loss(values[:1], values[:1], 0.1)
