"""Value losses: predict a scalar return by regression, or by classification over bins of its range.

Source: Farebrother et al., "Stop Regressing: Training Value Functions via Classification for Scalable
Deep RL" (arXiv 2403.03950). This file needs torch alone; copy it into your own project.

    value_loss = make_value_loss("hl_gauss", value_min=0.0, value_max=1.0, num_bins=128)
    logits = network(state)                             # (..., value_loss.num_outputs)
    value_loss.loss(logits, returns).backward()         # returns: (...)
    value_loss.value(logits)                            # (...), expected return

The range [v_min, v_max] is covered by K bins of width w = (v_max − v_min) / K. Their edges are
e_k = v_min + k·w for k = 0 … K, their centres z_i = v_min + (i + ½)·w for i = 0 … K − 1. A network puts out
K logits, and its value is Σ softmax(logits)_i z_i. From a scalar return y a target distribution p is made.
The loss is the cross-entropy −Σ p_i log softmax(logits)_i, and its gradient in the logits is simply
softmax(logits) − p. The losses differ in p:

    one_hot    p_i = 1 for the bin that holds y
    two_hot    mass on the two nearest locations, such that the mean is y
    hl_gauss   p_i = the mass in bin i of a Gaussian around y, truncated to the range (Imani & White, 2018,
               arXiv 1806.04613; eq. 3.3 of the paper, with the normaliser that is missing there)
    c51        the distribution over returns of the next state, discounted, shifted by the reward, and
               projected onto the support (Bellemare et al., 2017, arXiv 1707.06887)

two_hot and c51 place K locations z_i = v_min + i·Δ, Δ = (v_max − v_min) / (K − 1), so that the ends of the
range are locations. Three baselines regress: mse (one output); mse_sigmoid (one output x, whose value is
v_min + (v_max − v_min)·sigmoid(x), as in Q-Transformer, arXiv 2309.10150); and mse_softmax (K logits, squared
error of their expected value), which shows that it is the cross-entropy that matters and not the
representation.

Numbers: targets are computed in float64 from bin coordinates, and returned in float32; logits are taken to
float32 before anything is done with them. The losses hold no tensors, so casting, moving, sharding or
building a module on the meta device cannot damage them.
"""

import math

import torch
from torch import Tensor


REACH = 6.5  # how many σ of a Gaussian are looked at, on either side


class ValueLoss:
    """The interface of all value losses: a support, and the decoding of outputs into values.

    `num_outputs` is the size of the network's last dimension. Shapes in all methods: `outputs`
    (..., num_outputs), finite; `value` and `weight` (...). No gradient flows into `value`. A `weight` of zero
    masks an item out: its gradient is exactly zero, whatever its value, NaN included.
    """

    def __init__(self, value_min: float, value_max: float, num_bins: int):
        if not (math.isfinite(value_min) and math.isfinite(value_max) and value_min < value_max):
            raise ValueError(
                f"value_min must be below value_max, and finite; got {value_min} and {value_max}"
            )
        if num_bins < 2:
            raise ValueError(f"num_bins must be at least 2, got {num_bins}")
        self.value_min, self.value_max = float(value_min), float(value_max)
        self.first_edge, self.last_edge = self.value_min, self.value_max
        self.num_bins = self.num_outputs = num_bins

    @property
    def width(self) -> float:
        """Distance between neighbouring entries of the support."""
        return (self.last_edge - self.first_edge) / self.num_bins

    def support(self, device: torch.device | None = None) -> Tensor:
        """Return the value of each output, (num_bins,) float32: the centre of its bin."""
        first, last = self.first_edge + self.width / 2, self.last_edge - self.width / 2
        return torch.linspace(first, last, self.num_bins, device=device, dtype=torch.float32)

    def value(self, outputs: Tensor) -> Tensor:
        """Return the expected value of the predicted distribution, (...) float32."""
        probs = torch.softmax(outputs.float(), dim=-1)
        return (probs * self.support(outputs.device)).sum(dim=-1)

    def loss(self, outputs: Tensor, value: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the mean loss over all items, weighted; a scalar in float32.

        Raises ValueError for shapes that do not fit: broadcasting would silently compare every output with
        every value.
        """
        raise NotImplementedError

    def fraction_out_of_support(self, value: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the fraction of values outside [value_min, value_max], which should be small."""
        is_out = (value < self.value_min) | (value > self.value_max)
        return _weighted_mean(is_out.float(), weight)

    def _check_and_blank(
        self, outputs: Tensor, value: Tensor, weight: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Check shapes, detach values, and blank masked items, so that not even a NaN reaches a gradient."""
        value = value.detach()
        if outputs.shape != (*value.shape, self.num_outputs):
            shapes = f"outputs {tuple(outputs.shape)}, values {tuple(value.shape)}"
            raise ValueError(
                f"outputs must have the shape of the values and {self.num_outputs}; got {shapes}"
            )
        if weight is None:
            return outputs, value
        if weight.shape != value.shape:
            raise ValueError(
                f"weights {tuple(weight.shape)} must have the shape of values {tuple(value.shape)}"
            )
        masked = weight == 0
        return outputs.masked_fill(masked[..., None], 0), value.masked_fill(masked, 0)


class SoftmaxMSE(ValueLoss):
    """Squared error of the expected value of a categorical distribution."""

    def loss(self, outputs: Tensor, value: Tensor, weight: Tensor | None = None) -> Tensor:
        outputs, value = self._check_and_blank(outputs, value, weight)
        return _weighted_mean((self.value(outputs) - value.float()).square(), weight)


class MSE(SoftmaxMSE):
    """Squared error of a single output, the baseline of the paper."""

    def __init__(self, value_min: float, value_max: float, num_bins: int):
        super().__init__(value_min, value_max, num_bins)
        self.num_outputs = 1

    def value(self, outputs: Tensor) -> Tensor:
        return outputs.float().squeeze(-1)

    def fraction_out_of_support(self, value: Tensor, weight: Tensor | None = None) -> Tensor:
        return torch.zeros((), device=value.device)  # any value can be predicted


class SigmoidMSE(SoftmaxMSE):
    """Squared error of v_min + (v_max − v_min)·sigmoid(x), x the single output: values stay in the range."""

    def __init__(self, value_min: float, value_max: float, num_bins: int):
        super().__init__(value_min, value_max, num_bins)
        self.num_outputs = 1

    def value(self, outputs: Tensor) -> Tensor:
        fraction = torch.sigmoid(outputs.float().squeeze(-1))
        return self.value_min + (self.value_max - self.value_min) * fraction


class CategoricalLoss(ValueLoss):
    """Cross-entropy against a target distribution over the support."""

    def targets(self, value: Tensor) -> Tensor:
        """Return the target distribution of each value, (..., num_bins) float32, without gradient."""
        raise NotImplementedError

    def variance(self, outputs: Tensor) -> Tensor:
        """Return the variance of the predicted distribution, (...) float32, in squared units of the value."""
        probs = torch.softmax(outputs.float(), dim=-1)
        distance = self.support(outputs.device) - self.value(outputs)[..., None]
        return (probs * distance.square()).sum(dim=-1)

    def loss(self, outputs: Tensor, value: Tensor, weight: Tensor | None = None) -> Tensor:
        outputs, value = self._check_and_blank(outputs, value, weight)
        return _mean_cross_entropy(outputs, self.targets(value), weight)

    def cross_entropy(self, outputs: Tensor, targets: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the mean cross-entropy against given distributions (..., num_bins), as c51 needs it.

        Raises ValueError unless both have the same shape.
        """
        if outputs.shape != targets.shape:
            shapes = f"{tuple(outputs.shape)} and {tuple(targets.shape)}"
            raise ValueError(f"outputs and targets must have the same shape; got {shapes}")
        if weight is not None:
            masked = (weight == 0)[..., None]
            outputs, targets = outputs.masked_fill(masked, 0), targets.masked_fill(masked, 0)
        return _mean_cross_entropy(outputs, targets, weight)

    def kl(self, outputs: Tensor, value: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the loss less the entropy of the targets: zero for a perfect prediction of any target."""
        outputs, value = self._check_and_blank(outputs, value, weight)
        targets = self.targets(value)
        entropy = torch.special.entr(targets).sum(dim=-1)
        return _mean_cross_entropy(outputs, targets, weight) - _weighted_mean(entropy, weight)


class OneHot(CategoricalLoss):
    """All mass in the bin that holds the value; one on an edge is in the lower bin, as in ChessBench."""

    @torch.no_grad()
    def targets(self, value: Tensor) -> Tensor:
        value, device = _to_float64(value)
        inner = torch.arange(1, self.num_bins, dtype=torch.float64, device=value.device)
        edges = self.value_min + self.width * inner
        bins = torch.bucketize(value.contiguous(), edges)
        targets = torch.zeros(*value.shape, self.num_bins, dtype=torch.float32, device=value.device)
        targets = targets.scatter(-1, bins[..., None], 1.0)
        return targets.masked_fill(value.isnan()[..., None], math.nan).to(device)


class HLGauss(CategoricalLoss):
    """The histogram of a Gaussian around the value: bins get less mass the farther they are from it.

    p_i = [Φ((e_{i+1} − y)/σ) − Φ((e_i − y)/σ)] / [Φ((e_K − y)/σ) − Φ((e_0 − y)/σ)],   Φ the normal cdf,

    e_k the edges of the support. σ is `sigma_ratio` bin widths, or `sigma` in units of the value.
    With σ = 0.75 w some six bins carry mass, and the mean of p is y to 5e-6 w, except near the ends of the
    range, where truncation pulls it inwards: at y = v_max by 0.69 w, and by more than 0.01 w within two bins.
    Two cures:

    - `padding` widens the support by that many σ on each side (the same number of bins, so wider ones): with
      3 the bias at v_max is −0.004 w;
    - `match_mean` moves the Gaussian's centre until the mean of p is y, for every y between the outer
      centres; beyond them all mass goes to the outer bin.
    """

    def __init__(
        self,
        value_min: float,
        value_max: float,
        num_bins: int,
        sigma_ratio: float = 0.75,
        sigma: float | None = None,
        padding: float = 0.0,
        match_mean: bool = False,
    ):
        super().__init__(value_min, value_max, num_bins)
        if padding < 0:
            raise ValueError(f"padding must not be negative, got {padding}")
        if sigma is None:
            # With padding, σ = ratio · w and w depend on each other: K·w = range + 2·padding·σ.
            unpadded_bins = num_bins - 2 * padding * sigma_ratio
            if unpadded_bins <= 0:
                raise ValueError(
                    f"a padding of {padding} σ leaves none of {num_bins} bins for the range itself"
                )
            sigma = sigma_ratio * (self.value_max - self.value_min) / unpadded_bins
        if not sigma > 0:
            raise ValueError(f"σ must be positive, got {sigma}")
        self.sigma = sigma
        self.first_edge = self.value_min - padding * sigma
        self.last_edge = self.value_max + padding * sigma
        self.match_mean = match_mean

    @torch.no_grad()
    def targets(self, value: Tensor) -> Tensor:
        value, device = _to_float64(value)
        centre = (value - self.first_edge) / self.width  # of the Gaussian, in bins from the first edge
        sigma = self.sigma / self.width
        if self.match_mean:
            centre = _match_mean(centre, sigma, self.num_bins)
        probs, first = _truncated_gaussian(centre, sigma, self.num_bins)
        probs = _round_keeping_sum(probs) if self.match_mean else probs.float()
        bins = first[..., None] + torch.arange(probs.shape[-1], device=value.device)
        targets = probs.new_zeros(*value.shape, self.num_bins).scatter(-1, bins, probs)
        return targets.to(device)


class TwoHot(CategoricalLoss):
    """Mass on the two locations around the value, in the proportion that makes the mean the value."""

    @property
    def width(self) -> float:
        return (self.value_max - self.value_min) / (self.num_bins - 1)

    def support(self, device: torch.device | None = None) -> Tensor:
        ends = self.value_min, self.value_max
        return torch.linspace(*ends, self.num_bins, device=device, dtype=torch.float32)

    @torch.no_grad()
    def targets(self, value: Tensor) -> Tensor:
        value, device = _to_float64(value)
        lower, upper_fraction = self._split(value)
        # On a grid of 2^-24 both fractions are exact in float32: they sum to 1, the mean is exact to 3e-8 Δ.
        upper_fraction = (torch.round(upper_fraction * 2**24) / 2**24).float()
        targets = torch.zeros(*value.shape, self.num_bins, dtype=torch.float32, device=value.device)
        targets = targets.scatter(-1, lower[..., None], 1 - upper_fraction[..., None])
        return targets.scatter(-1, lower[..., None] + 1, upper_fraction[..., None]).to(device)

    def _split(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return the index of the location below each value, and the fraction of mass on the one above.

        Values are clipped to the range. The index is never the last: a value on the last location has a
        fraction of 1 above the last but one. Floor and ceiling would lose or double the mass of values
        exactly on a location.
        """
        position = ((value - self.value_min) / self.width).clamp(0, self.num_bins - 1)
        lower = position.floor().clamp(max=self.num_bins - 2)
        return lower.nan_to_num().long(), position - lower


class C51(TwoHot):
    """Cross-entropy against the projected distribution of the next state; on a scalar value it is two_hot.

    p_i = Σ_j p̂_j max(0, 1 − |clip(r + γ z_j) − z_i| / Δ), p̂ the distribution at the next state and action.
    """

    @torch.no_grad()
    def project(self, probs: Tensor, reward: Tensor, discount: Tensor | float) -> Tensor:
        """Return the distribution of reward + discount · return on the support, (..., num_bins) float32.

        `probs` (..., num_bins) is the distribution of the return that follows; `reward` (...) and `discount`
        (...) or a number, which is 0 where the episode ends. Use it with `cross_entropy`.
        """
        reward, device = _to_float64(reward)
        discount = torch.as_tensor(discount, dtype=torch.float64, device=reward.device)
        steps = torch.arange(self.num_bins, dtype=torch.float64, device=reward.device)
        following = self.value_min + self.width * steps
        moved = reward[..., None] + discount[..., None] * following  # (..., num_bins)
        lower, upper_fraction = self._split(moved)
        probs = probs.to(reward.device, torch.float64).expand_as(upper_fraction)
        projected = torch.zeros_like(probs)
        projected = projected.scatter_add(-1, lower, probs * (1 - upper_fraction))
        projected = projected.scatter_add(-1, lower + 1, probs * upper_fraction)
        return projected.to(device, torch.float32)


VALUE_LOSSES = {
    "mse": MSE,
    "mse_sigmoid": SigmoidMSE,
    "mse_softmax": SoftmaxMSE,
    "one_hot": OneHot,
    "two_hot": TwoHot,
    "hl_gauss": HLGauss,
    "c51": C51,
}


def make_value_loss(
    name: str,
    *,
    value_min: float,
    value_max: float,
    num_bins: int,
    sigma_ratio: float = 0.75,
    sigma: float | None = None,
    padding: float = 0.0,
    match_mean: bool = False,
) -> ValueLoss:
    """Make the value loss called `name`, one of VALUE_LOSSES; options from `sigma_ratio` on are hl_gauss's.

    Raises ValueError for an unknown name, an empty range, fewer than two bins, or hl_gauss's options
    elsewhere (`sigma_ratio` alone is ignored there, so that a configuration can change the name and nothing
    else).
    """
    if name not in VALUE_LOSSES:
        raise ValueError(f"unknown value loss {name!r}: choose one of {', '.join(VALUE_LOSSES)}")
    if name == "hl_gauss":
        return HLGauss(value_min, value_max, num_bins, sigma_ratio, sigma, padding, match_mean)
    if sigma is not None or padding or match_mean:
        raise ValueError(f"sigma, padding and match_mean are options of hl_gauss, not of {name}")
    return VALUE_LOSSES[name](value_min, value_max, num_bins)


def ranking_loss(logits: Tensor, value: Tensor, temperature: float, weight: Tensor | None = None) -> Tensor:
    """Return the cross-entropy of choosing among the actions of a state; a scalar in float32.

    It is −Σ_a softmax(value / T)_a log softmax(logits)_a in every state (ListNet, Cao et al., 2007). `logits`
    (..., num_actions) have the order of the actions, `value` (..., num_actions) are their true values, in the
    unit of T. Actions with a `weight` (..., num_actions) of zero are padding; the mean weighs states by the
    weight of their actions.
    """
    weight = torch.ones_like(value) if weight is None else weight.float()
    padding, lowest = weight == 0, torch.finfo(torch.float32).min
    targets = torch.softmax((value.detach().float() / temperature).masked_fill(padding, lowest), dim=-1)
    log_probs = torch.log_softmax(logits.float().masked_fill(padding, lowest), dim=-1)
    losses = -(targets * log_probs.masked_fill(padding, 0)).sum(dim=-1)
    return _weighted_mean(losses, weight.sum(dim=-1))


def _truncated_gaussian(centre: Tensor, sigma: float, num_bins: int) -> tuple[Tensor, Tensor]:
    """Return the mass of Gaussians, truncated to [0, num_bins], in the bins [k, k + 1) that hold any.

    `centre` (...) float64 and `sigma` are in bins. Masses are (..., bins) float64, as many bins for all; the
    first of them is (...) int64. Bins outside the window hold 1e-10 of the mass.
    """
    window = min(num_bins, 2 * math.ceil(REACH * sigma) + 2)
    first = (centre - REACH * sigma).floor().clamp(0, num_bins - window).nan_to_num()  # NaN stays in masses
    # Farther out than this, neighbouring edges would become equal in float64.
    centre = centre.clamp(-1e9, num_bins + 1e9)
    edges = first[..., None] + torch.arange(window + 1, dtype=torch.float64, device=centre.device)
    z = (edges - centre[..., None]) / sigma
    mass = torch.erf(z / math.sqrt(2)).diff(dim=-1)
    # Up to 4σ outside, the total is above 1e-5 and the difference good to 1e-11 of it.
    far_outside = torch.maximum(-centre, centre - num_bins) > 4 * sigma
    mass = torch.where(far_outside[..., None], _tail_mass(z), mass)
    return mass / mass.sum(dim=-1, keepdim=True), first.long()


def _tail_mass(z: Tensor) -> Tensor:
    """Return the mass between edges that all lie far to one side of the Gaussian, up to a factor per row.

    There differences of cdfs vanish, and dividing by their total gives 0 / 0, which public implementations
    turn into a target of zeros, and so into no gradient. The logarithm of the tail is exact, and the largest
    is taken out before the exponential.
    """
    z = z.abs() / math.sqrt(2)
    log_tail = torch.special.erfcx(z).log() - z.square()
    return (log_tail - log_tail.amax(dim=-1, keepdim=True)).exp().diff(dim=-1).abs()


@torch.library.custom_op(f"{__name__.replace('.', '_')}::match_mean", mutates_args=())
def _match_mean(mean: Tensor, sigma: float, num_bins: int) -> Tensor:
    """Return the centres at which truncated Gaussians have the `mean` (...) over bins; all in bins, float64.

    The secant method on the logit of the mean, which is nearly linear in the centre even where the mean
    saturates at the outer centres; bisection guards it where σ is so small that the mean moves in steps.
    It is an operator of its own, since the number of steps depends on the data: torch.compile calls it as it
    is, and vmap calls it once for all.
    """
    tolerance = 1e-9
    first, last = 0.5, num_bins - 0.5
    bins = torch.arange(num_bins, dtype=torch.float64, device=mean.device) + 0.5
    target = mean.clamp(first + tolerance, last - tolerance).flatten()
    solution = target.clone()
    # A centre lies at most this far from its mean. With a wide Gaussian far outside, the mass falls by a
    # factor exp(distance / σ²) per bin, and by 1 / tolerance at the last term; with a narrow one, 40σ are
    # certainty.
    reach = 1 + 40 * sigma + sigma**2 * math.log(1 / tolerance)

    rows = torch.arange(len(target), device=mean.device)  # those not solved yet
    centre, low, high = target, target - reach, target + reach
    last_centre = last_error = None
    for _ in range(200):
        probs, first_bin = _truncated_gaussian(centre, sigma, num_bins)
        current = first_bin + (probs * bins[: probs.shape[-1]]).sum(dim=-1)
        solution[rows] = centre
        error = _logit(current, first, last) - _logit(target, first, last)
        if last_centre is None or last_error is None:
            slope = 1 / (target - first) + 1 / (last - target)  # as if the mean moved with the centre
        else:
            slope = (error - last_error) / (centre - last_centre)
        low, high = torch.where(current < target, centre, low), torch.where(current > target, centre, high)
        step = centre - error / slope
        following = torch.where((step > low) & (step < high), step, (low + high) / 2)

        open_rows = ((current - target).abs() > tolerance / 2).nonzero().squeeze(-1)
        if len(open_rows) == 0:
            break
        last_centre, last_error, centre = centre[open_rows], error[open_rows], following[open_rows]
        rows, target, low, high = rows[open_rows], target[open_rows], low[open_rows], high[open_rows]
    return solution.reshape(mean.shape)


@_match_mean.register_fake
def _(mean: Tensor, sigma: float, num_bins: int) -> Tensor:
    return torch.empty_like(mean)


@_match_mean.register_vmap
def _(info, in_dims, mean: Tensor, sigma: float, num_bins: int) -> tuple[Tensor, int]:
    return _match_mean(mean, sigma, num_bins), in_dims[0]


def _logit(mean: Tensor, first: float, last: float) -> Tensor:
    return torch.log((mean - first) / (last - mean))


def _round_keeping_sum(probs: Tensor) -> Tensor:
    """Round float64 probabilities (..., num_bins) to float32 such that they still sum to 1 to some 1e-10.

    Plain rounding leaves the sum off by some 3e-8, and so the mean, in a thousand bins, by 3e-5 of a bin. The
    difference goes to a small probability, whose float32 neighbours are close: the largest below 2e-3, where
    they are 1e-10 apart, or else the smallest above, and never the largest of all. Probabilities below 1e-6,
    which the difference could turn negative, are the last choice.
    """
    rounded = probs.float()
    lost = 1 - rounded.double().sum(dim=-1, keepdim=True)
    others = rounded.scatter(-1, rounded.argmax(dim=-1, keepdim=True), 0.0)
    fitness = torch.where(others < 2e-3, 1 + others, 1 - others)
    small = torch.where(others < 1e-6, others, fitness).argmax(dim=-1, keepdim=True)
    return rounded.scatter_add(-1, small, lost.float()).clamp(min=0)


def _to_float64(value: Tensor) -> tuple[Tensor, torch.device]:
    """Return the tensor in float64, on the CPU if its device has none (Apple's), and its first device."""
    device = value.device
    return value.detach().to("cpu" if device.type == "mps" else device).double(), device


def _mean_cross_entropy(outputs: Tensor, targets: Tensor, weight: Tensor | None) -> Tensor:
    log_probs = torch.log_softmax(outputs.float(), dim=-1)
    return _weighted_mean(-(targets * log_probs).sum(dim=-1), weight)


def _weighted_mean(losses: Tensor, weight: Tensor | None) -> Tensor:
    """Return Σ weight·loss / Σ weight, or 0 if there are no losses, or no weight at all."""
    if weight is None:
        return losses.sum() / max(losses.numel(), 1)
    weight = weight.float().expand_as(losses)
    total = weight.sum()
    return (losses * weight).sum() / torch.where(total > 0, total, 1.0)
