"""Speed of training steps: one pass for all moves of a board compared with one sequence per move."""

from collections.abc import Callable, Iterator

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.benchmark import timer
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.settings import Settings
from benchmarks.timing import Alternative, Table, compare, matrix_product_rate, seconds_of
from cli.errors import InputError
from configs.chess import ChessConfig
from configs.schema import Config
from training.distributed import autocast_forward
from training.optimization import compile_blocks, make_optimizers
from training.task import StepBatches
from training.tasks import make_task


# A board has about as many legal moves. Micro-batches keep their number of rows.
MOVES_PER_BOARD = 32
PHASES = ("forward", "backward", "optimizer")


class TrainingStep:
    """The first training step of a run, repeated: forward and backward passes, clipping and optimisers.

    This class is the only part of the benchmarks that knows the task protocol and the optimisers. Unlike
    train.py it has no EMA, and does not move a target network.
    """

    def __init__(self, config: Config, device: torch.device):
        torch.manual_seed(config.seed)
        self.device, self.max_grad_norm = device, config.optimizer.max_grad_norm
        self.task = make_task(config)
        self.task.load_data()
        self.model = self.task.model.to(device).train()
        if config.training.precision == "bf16":
            autocast_forward(self.model, device)
        self.task.start(Accelerator(cpu=device.type == "cpu"))
        self.optimizers = make_optimizers(self.model, config.optimizer)
        if config.training.compile:
            compile_blocks(self.model)
        self.micro_batches, self.num_values = self.load()

    def load(self) -> StepBatches:
        """Gather the step's micro-batches, which training does ahead in a thread."""
        ((_, batches),) = self.task.batches(0, 1)
        return batches

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the part of the step's loss that a micro-batch contributes."""
        batch = {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}
        loss, weight, _ = self.task.loss(self.model, batch, with_metrics=False)
        return loss * (weight / self.num_values)

    def run(self, lap: Callable[[str], None] = lambda phase: None) -> None:
        """Take the step; call `lap` with the name of each phase at its end."""
        for batch in self.micro_batches:
            loss = self.loss(batch)
            lap("forward")
            loss.backward()
            lap("backward")
        if self.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        lap("optimizer")

    def count_operations(self) -> int:
        """Count the floating-point operations of forward and backward passes, padding included."""
        counts: dict[tuple, int] = {}  # by the shapes of a micro-batch
        total = 0
        for batch in self.micro_batches:
            shapes = tuple(tensor.shape for tensor in batch.values())
            if shapes not in counts:
                # The counter knows neither compiled code nor the CPU's fused attention.
                with (
                    torch.compiler.set_stance("force_eager"),
                    sdpa_kernel(SDPBackend.MATH),
                    FlopCounterMode(display=False) as counter,
                ):
                    self.loss(batch).backward()
                counts[shapes] = counter.get_total_flops()
            total += counts[shapes]
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        return total


def alternatives_of(config: Config) -> dict[str, list[str]]:
    """Return alternatives to a configuration, which is the first: names and the settings that differ."""
    training = config.training
    alternatives: dict[str, list[str]] = {"as configured": []}
    if isinstance(config, ChessConfig) and config.data.example == "board":
        alternatives["one sequence per move (full attention)"] = [
            "model.attention=full",
            "data.example=action",
            "data.mirror=false",
            f"training.batch_size={MOVES_PER_BOARD * training.batch_size}",
            f"training.gradient_accumulation_steps={MOVES_PER_BOARD * training.gradient_accumulation_steps}",
        ]
    if config.value_loss.name != "one_hot":
        alternatives["one_hot, cross-entropy on one bin"] = ["value_loss.name=one_hot"]
    if training.compile:
        alternatives["not compiled"] = ["training.compile=false"]
    return alternatives


def measure(settings: Settings) -> Iterator[Table]:
    """Measure values per second, the time of each phase, and the fraction of the device's peak rate."""
    config, device = settings.config, settings.device
    peak = matrix_product_rate(
        device, torch.bfloat16 if config.training.precision == "bf16" else torch.float32
    )
    try:
        steps = {
            name: TrainingStep(settings.load_config(*overrides), device)
            for name, overrides in alternatives_of(config).items()
        }
        operations = {name: step.count_operations() for name, step in steps.items()}
        table = compare(
            "training step",
            "value",
            {
                name: Alternative(lambda _, run=step.run: run(), step.num_values)
                for name, step in steps.items()
            },
            range(settings.repeats),
            warm_up=0,
        )
        for name, step in steps.items():
            row = table.rows[name]
            row |= {f"{phase} ms": 1000 * seconds for phase, seconds in phases_of(step).items()}
            row["loading ms"] = 1000 * seconds_of(step.load)
            row["MFU %"] = 100 * operations[name] / step.num_values * row["values/s"] / peak
    except torch.OutOfMemoryError:
        raise InputError(
            f"the training steps do not fit in the memory of {device}: give a larger "
            "training.gradient_accumulation_steps=N or a smaller configuration"
        ) from None
    first = steps["as configured"]
    table.notes += [
        f"{first.model.num_parameters() / 1e6:.1f}M parameters, {config.training.precision}, "
        f"{config.training.batch_size} examples with {first.num_values} values per step, "
        f"gradient_accumulation_steps={config.training.gradient_accumulation_steps}",
        f"MFU: operations of forward and backward passes, padding included, relative to the rate of matrix "
        f"products, {peak / 1e12:.3g} TFLOP/s. During training, a thread loads the next step's data.",
    ]
    yield table


def phases_of(step: TrainingStep) -> dict[str, float]:
    """Return the seconds of each phase of a step; waiting for the GPU after each slows the step itself."""
    seconds = dict.fromkeys(PHASES, 0.0)
    last = timer()

    def lap(phase: str) -> None:
        nonlocal last
        now = timer()
        seconds[phase] += now - last
        last = now

    step.run(lap)
    return seconds
