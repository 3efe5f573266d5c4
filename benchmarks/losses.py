"""What a value loss costs beside plain cross-entropy on class indices: targets, loss and gradient."""

import torch

from benchmarks.ceiling import synchronize
from benchmarks.timing import Way, compare
from models.value_losses import VALUE_LOSSES, make_value_loss


PLAIN = "cross-entropy on class indices"


def measure_losses(
    device: torch.device, num_values: int, num_bins: int, repeats: int, seed: int
) -> dict[str, dict[str, float]]:
    """Measure action values per second of every value loss, forwards and backwards from given logits."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(num_values, generator=generator).to(device)
    logits = torch.randn(num_values, num_bins, generator=generator).to(device).requires_grad_()
    one_output = logits[:, :1].detach().clone().requires_grad_()  # of mse

    def backward(outputs: torch.Tensor, loss: torch.Tensor) -> None:
        loss.backward()
        outputs.grad = None
        synchronize(device)

    def plain(_: int) -> None:
        bins = (values * num_bins).long().clamp(max=num_bins - 1)
        backward(logits, torch.nn.functional.cross_entropy(logits, bins))

    def value_loss(name: str):
        loss = make_value_loss(name, value_min=0.0, value_max=1.0, num_bins=num_bins)
        outputs = logits if loss.num_outputs > 1 else one_output
        return lambda _: backward(outputs, loss.loss(outputs, values))

    ways = {PLAIN: Way(plain, num_values)}
    ways |= {name: Way(value_loss(name), num_values) for name in VALUE_LOSSES}
    return compare(ways, range(repeats), "value losses", warm_up=0)
