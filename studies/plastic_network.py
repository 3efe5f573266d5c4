"""One run of the plasticity study: a network learns targets that jump from stage to stage.

Source: Farebrother et al., "Stop Regressing" (arXiv 2403.03950), section 5, after Lyle et al., "Disentangling
the causes of plasticity loss" (arXiv 2402.18762): y = sin(10⁵ f(x)) + b for b = 0, 8, 16, 24, 32, with a new
random network f at each b. One network learns all stages in turn, with one loss. Because 10⁵ f(x) is a random
angle, the targets of a stage are noise in [b − 1, b + 1], which the network has to memorise.

The state is saved after every stage, and a run continues there. studies.plasticity starts the runs.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cli.errors import InputError, command, first_line
from cli.files import atomic_write
from cli.options import write_json
from data.hub import pin
from models.value_losses import ValueLoss, make_value_loss
from studies.plasticity_config import BIASES, RESULT, PlasticityConfig, check_settings
from training.run_log import keep_metrics


FREQUENCY = 1e5
VALUE_MIN, VALUE_MAX, NUM_BINS = -40.0, 40.0, 101
STAGES = "stages.pt"
IMAGE_SIZE = 32
IMAGES_AT_ONCE = 1000
LINES_PER_STAGE = 20
# Parts of the seeds of a run's networks.
LEARNER, TARGET = 0, 1


class ConvNet(nn.Module):
    """Three convolutions of stride 2 and a hidden layer: images (n, 3, 32, 32) to (n, outputs)."""

    def __init__(self, width: int, num_outputs: int):
        super().__init__()
        channels = (3, width, 2 * width, 2 * width)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=1) for before, after in pairwise(channels)
        )
        self.hidden = nn.Linear(channels[-1] * (IMAGE_SIZE // 8) ** 2, 16 * width)
        self.output = nn.Linear(16 * width, num_outputs)

    def forward(self, images: Tensor) -> Tensor:
        for convolution in self.convolutions:
            images = F.relu(convolution(images))
        return self.output(F.relu(self.hidden(images.flatten(1))))


def synthetic_images(number: int) -> np.ndarray:
    """Return random images with the spectrum of photographs, amplitudes ~ 1 / frequency.

    Uint8 (number, 3, 32, 32), the same at every call; fewer images are a prefix of more. Colour channels are
    correlated, as in photographs.
    """
    rng = np.random.default_rng(0)
    frequencies = np.hypot(np.fft.fftfreq(IMAGE_SIZE)[:, None], np.fft.rfftfreq(IMAGE_SIZE))
    amplitudes = 1 / np.maximum(frequencies, 1 / IMAGE_SIZE)
    parts: list[np.ndarray] = []
    deviation = None
    for _ in range(-(-number // IMAGES_AT_ONCE)):
        noise = np.fft.rfft2(rng.normal(size=(IMAGES_AT_ONCE, 3, IMAGE_SIZE, IMAGE_SIZE)))
        images = np.fft.irfft2(noise * amplitudes, s=(IMAGE_SIZE, IMAGE_SIZE))
        images = images + 2 * images.mean(axis=1, keepdims=True)
        if deviation is None:
            deviation = images.std()
        parts.append(np.clip(127.5 + 50 * images / deviation, 0, 255).astype(np.uint8))
    return np.concatenate(parts)[:number]


def read_images(name: str, number: int) -> np.ndarray:
    """Return the first images of the training split of a dataset: uint8 (number, 3, 32, 32).

    `name` is a hub id such as uoft-cs/cifar10, or a folder. Raises InputError if it cannot be read, has too
    few images, or images that are not 32 × 32.
    """
    import datasets  # slow to import

    try:
        pin(name)  # without a network this fails at once; load_dataset would try again for half a minute
        rows = datasets.load_dataset(name, split="train")
    except Exception as error:  # loaders raise many kinds
        raise InputError(f"--images {name}: cannot be loaded: {first_line(error)}") from None
    column = next((key for key, kind in rows.features.items() if isinstance(kind, datasets.Image)), None)
    if column is None:
        raise InputError(
            f"--images {name}: no column of images: use another dataset, such as uoft-cs/cifar10"
        )
    if len(rows) < number:
        raise InputError(f"--images {name}: only {len(rows)} images: reduce --num-images")
    images = np.empty((number, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
    for index, row in enumerate(rows.select(range(number))):
        image = np.asarray(row[column].convert("RGB"))
        if image.shape != images.shape[1:]:
            height, width, _ = image.shape
            raise InputError(f"--images {name}: image {index} is {width} × {height}: use images of 32 × 32")
        images[index] = image
    return images.transpose(0, 3, 1, 2)


def random_network(width: int, num_outputs: int, *seeds: int) -> ConvNet:
    """Return a network with weights drawn from `seeds`, without changing the global random state."""
    (seed,) = np.random.SeedSequence(seeds).generate_state(1, np.uint64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seed))
        return ConvNet(width, num_outputs)


def random_targets(images: Tensor, network: ConvNet) -> Tensor:
    """Return sin(10⁵ f(x)) of all images, for a network f with one output: (n,) float32."""
    with torch.no_grad():
        outputs = torch.cat([network(scaled(part)) for part in images.split(IMAGES_AT_ONCE)])
    return torch.sin(FREQUENCY * outputs.squeeze(-1).double()).float()


def scaled(images: Tensor) -> Tensor:
    """Return uint8 images as numbers in [−1, 1]."""
    return images.float() / 127.5 - 1


def train(config: PlasticityConfig, output: Path, device: torch.device) -> dict:
    """Train on all stages that are not in `output` yet; return the error after each stage, and its costs.

    `error` is the mean squared error on all images over the variance of the targets, so the best constant has
    1. `seconds` is the time of the training steps. Raises InputError if the network diverges, or if `output`
    has stages of other settings.
    """
    if config.images is None:
        images = synthetic_images(config.num_images)
    else:
        images = read_images(config.images, config.num_images)
    images = torch.as_tensor(images, device=device)
    loss = make_value_loss(config.loss, value_min=VALUE_MIN, value_max=VALUE_MAX, num_bins=NUM_BINS)
    # A generator of its own, so that all losses see the same batches.
    order = torch.Generator().manual_seed(config.seed)

    def new_learner(number: int) -> tuple[ConvNet, torch.optim.Optimizer]:
        network = random_network(config.width, loss.num_outputs, config.seed, LEARNER, number).to(device)
        return network, torch.optim.Adam(network.parameters(), lr=config.learning_rate)

    network, optimizer = new_learner(0)
    stages: list[dict] = []
    if (output / STAGES).exists():
        kept = torch.load(output / STAGES, map_location=device, weights_only=True)
        check_settings(output, kept["settings"], config)
        network.load_state_dict(kept["network"])
        optimizer.load_state_dict(kept["optimizer"])
        order.set_state(kept["order"].cpu())
        stages = kept["stages"]
        print(f"continuing after stage {len(stages)}", flush=True)
    keep_metrics(output / "metrics.jsonl", len(stages) * config.steps)
    for number, bias in list(enumerate(BIASES))[len(stages) :]:
        if config.fresh and number:
            network, optimizer = new_learner(number)
        target = random_network(config.width, 1, config.seed, TARGET, number).to(device)
        targets = random_targets(images, target) + bias
        started = time.perf_counter()
        with (output / "metrics.jsonl").open("a") as log:
            for step, batch in enumerate(
                batches(len(images), config.batch_size, config.steps, order), start=1
            ):
                batch = batch.to(device)
                found = loss.loss(network(scaled(images[batch])), targets[batch])
                optimizer.zero_grad()
                found.backward()
                optimizer.step()
                if step % max(1, config.steps // LINES_PER_STAGE) == 0:
                    row = {"step": number * config.steps + step, "bias": bias, "loss": float(found.detach())}
                    log.write(json.dumps(row) + "\n")
                    log.flush()
        seconds = time.perf_counter() - started
        error = mean_squared_error(network, loss, images, targets) / float(targets.double().var(correction=0))
        if not math.isfinite(error):
            raise InputError(f"the error is {error} after the stage of bias {bias}: lower --learning-rate")
        stages.append({"bias": bias, "error": error, "seconds": seconds})
        print(f"bias {bias}: error {error:.3f} of the variance, {seconds:.1f} s", flush=True)
        state = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
        state |= {"order": order.get_state(), "stages": stages, "settings": asdict(config)}
        with atomic_write(output / STAGES) as unfinished:
            torch.save(state, unfinished)
    num_parameters = sum(parameter.numel() for parameter in network.parameters())
    return {"settings": asdict(config), "parameters": num_parameters, "stages": stages}


def batches(num_images: int, batch_size: int, num_batches: int, order: torch.Generator) -> Iterator[Tensor]:
    """Yield indices of images, (batch_size,) int64, every image once in an epoch."""
    waiting = torch.empty(0, dtype=torch.int64)
    for _ in range(num_batches):
        while len(waiting) < batch_size:
            waiting = torch.cat([waiting, torch.randperm(num_images, generator=order)])
        yield waiting[:batch_size]
        waiting = waiting[batch_size:]


@torch.no_grad()
def mean_squared_error(network: ConvNet, loss: ValueLoss, images: Tensor, targets: Tensor) -> float:
    """Return the mean squared error of the network's predictions for all images, with targets (n,)."""
    values = torch.cat([loss.value(network(scaled(part))) for part in images.split(IMAGES_AT_ONCE)])
    return float((values - targets).double().square().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description="One run of studies.plasticity.")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR")
    parser.add_argument("--settings", required=True, type=json.loads, metavar="JSON")
    parser.add_argument("--device", required=True)
    arguments = parser.parse_args()
    output = arguments.output
    result = train(PlasticityConfig(**arguments.settings), output, torch.device(arguments.device))
    write_json(output / RESULT, result)
    (output / STAGES).unlink()


if __name__ == "__main__":
    command(main)
