"""Speed of the value losses, forward and backward from given logits."""

from collections.abc import Callable, Iterator

import torch

from benchmarks.settings import Settings
from benchmarks.timing import Alternative, Table, compare
from models.value_losses import VALUE_LOSSES, make_value_loss


NUM_VALUES, NUM_VALUES_ON_GPU = 8192, 65536


def measure(settings: Settings) -> Iterator[Table]:
    """Measure action values per second."""
    device, num_bins = settings.device, settings.config.value_loss.num_bins
    num_values = 64 if settings.quick else NUM_VALUES_ON_GPU if settings.on_gpu else NUM_VALUES
    generator = torch.Generator().manual_seed(settings.seed)
    values = torch.rand(num_values, generator=generator).to(device)
    logits = torch.randn(num_values, num_bins, generator=generator).to(device).requires_grad_()
    single = logits[:, :1].detach().clone().requires_grad_()  # the output of mse

    def backward(outputs: torch.Tensor, loss: torch.Tensor) -> None:
        loss.backward()
        outputs.grad = None

    def classify(_: int) -> None:
        bins = (values * num_bins).long().clamp(max=num_bins - 1)
        backward(logits, torch.nn.functional.cross_entropy(logits, bins))

    def value_loss(name: str) -> Callable[[int], None]:
        loss = make_value_loss(name, value_min=0.0, value_max=1.0, num_bins=num_bins)
        outputs = logits if loss.num_outputs > 1 else single
        return lambda _: backward(outputs, loss.loss(outputs, values))

    alternatives = {"cross-entropy on class indices": Alternative(classify, num_values)}
    alternatives |= {name: Alternative(value_loss(name), num_values) for name in VALUE_LOSSES}
    title = f"{num_values} values, {num_bins} bins"
    yield compare(title, "value", alternatives, range(settings.repeats), warm_up=0)
