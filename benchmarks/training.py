"""What a training step costs: `prefix` against `full` attention of the same weights on the same moves.

Every step is forward pass and loss, backward pass, clipping and optimiser, as train.py takes it, in bfloat16
autocast unless said otherwise. Whichever the attention, a batch is cut into micro-batches of so many tokens
at most, padding included.
"""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from tqdm import tqdm

from benchmarks.ceiling import STATE_LENGTH, forward_operations, synchronize
from benchmarks.play_speed import with_attention
from configs.schema import OptimizerConfig
from data.batch_order import shard
from data.chess.boards import Boards
from data.chess.examples import PAD_MULTIPLE, BoardExamples
from data.training_set import TrainingSet
from models.modeling_value_transformer import ValueTransformerForActionValue
from models.value_losses import CategoricalLoss, ValueLoss
from training.optimization import make_optimizers


PREFIX = "prefix attention"
COMPILED = "prefix attention, compiled"
PLAIN = "prefix attention, cross-entropy on class indices"
FULL = "full attention"
FULL_COMPILED = "full attention, compiled"
FROM_DISK = "from disk, loaded ahead"
LOAD = "loading alone"
PHASES = ("data", "forward", "backward", "optimizer")

Batch = dict[str, Tensor]


class PlainCrossEntropy(CategoricalLoss):
    """Cross-entropy on the index of the bin that holds the value: what a classifier does, and the least."""

    def loss(self, outputs: Tensor, value: Tensor, weight: Tensor | None = None) -> Tensor:
        bins = ((value - self.value_min) / self.width).long().clamp(0, self.num_bins - 1)
        losses = nn.functional.cross_entropy(outputs.float().flatten(0, -2), bins.flatten(), reduction="none")
        weight = torch.ones_like(losses) if weight is None else weight.flatten().float()
        return (losses * weight).sum() / weight.sum()


@dataclass
class TrainingWay:
    """A way to train: a model with its optimisers, its loss, and where its micro-batches come from."""

    model: ValueTransformerForActionValue
    value_loss: ValueLoss
    load: Callable[[], tuple[list[Batch], int]]  # as TrainingSet.load

    def __post_init__(self) -> None:
        self.optimizers = make_optimizers(self.model, OptimizerConfig())

    def step(self, precision: str, lap: Callable[[str], None] = lambda phase: None) -> None:
        """Take a training step, and call `lap` with the name of each phase at its end."""
        device = self.model.device
        micro_batches, num_values = self.load()
        lap("data")
        for batch in micro_batches:
            batch = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
            weight = batch["action_ids"] >= 0
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                logits = self.model(batch["input_ids"], batch["action_ids"]).logits
            loss = self.value_loss.loss(logits.float(), batch["win_probs"], weight)
            lap("forward")
            (loss * (weight.sum() / num_values)).backward()
            lap("backward")
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        lap("optimizer")


class SomeBoards(BoardExamples):
    """The same boards in every batch, so that all steps are the same work, read from where they lie."""

    def __init__(self, boards: Boards, indices: np.ndarray, pad_multiple: int):
        super().__init__(boards, True, pad_multiple)
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def num_values(self, indices: np.ndarray) -> np.ndarray:
        return super().num_values(self.indices[indices])

    def batch(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        return super().batch(self.indices[indices])


def micro_batches_of_boards(
    boards: Boards, indices: np.ndarray, tokens: int, pad_multiple: int, tokens_per_action: int = 1
) -> list[Batch]:
    """Return micro-batches of whole boards, those of similar numbers of moves together.

    They are as large as divides the batch and has no more than so many tokens, padding included; or single
    boards.
    """
    lengths = boards.lengths(indices)
    for number in range(1, len(indices) + 1):
        if len(indices) % number == 0:
            parts = shard(indices, lengths, 1, 0, number)
            # The first holds the boards with the most moves.
            batch = _as_tensors(boards.batch(parts[0], True, pad_multiple))
            rows, num_actions = batch["action_ids"].shape
            if rows * (STATE_LENGTH + tokens_per_action * num_actions) <= tokens:
                break
    return [batch, *(_as_tensors(boards.batch(part, True, pad_multiple)) for part in parts[1:])]


def micro_batches_of_pairs(
    boards: Boards, indices: np.ndarray, tokens: int, tokens_per_action: int = 1
) -> list[Batch]:
    """Return micro-batches of single moves, all of those boards'."""
    ranges = [np.arange(boards.offsets[i], boards.offsets[i + 1]) for i in indices]
    moves = np.concatenate(ranges)
    number = math.ceil(len(moves) / max(1, tokens // (STATE_LENGTH + tokens_per_action)))
    return [_as_tensors(boards.pairs(part, True)) for part in np.array_split(moves, number)]


def _as_tensors(batch: dict[str, np.ndarray]) -> Batch:
    return {name: torch.from_numpy(array) for name, array in batch.items()}


def padding_share(micro_batches: list[Batch], tokens_per_action: int) -> float:
    """Return the share of tokens that are padding."""
    shapes = [batch["action_ids"].shape for batch in micro_batches]
    total = sum(rows * (STATE_LENGTH + tokens_per_action * moves) for rows, moves in shapes)
    used = sum(
        len(batch["action_ids"]) * STATE_LENGTH + tokens_per_action * int((batch["action_ids"] >= 0).sum())
        for batch in micro_batches
    )
    return 1 - used / total


def measure_training(
    model: ValueTransformerForActionValue,
    boards: Boards,
    *,
    batch_size: int,
    tokens: int,
    precision: str,
    repeats: int,
    compile: bool,
    ceiling: float,
    seed: int,
) -> dict:
    """Measure training steps on one batch of boards with all their moves, all ways taking turns.

    `tokens` is the size of a micro-batch, `ceiling` the matrix products that the machine can do a second.
    """
    device, tokens_per_action = model.device, model.config.tokens_per_action
    indices = np.random.default_rng(seed).choice(boards.num_boards, batch_size, replace=False)
    num_moves = boards.lengths(indices)
    num_values = int(num_moves.sum())
    on_cpu = {
        "boards": micro_batches_of_boards(boards, indices, tokens, 1, tokens_per_action),
        "padded boards": micro_batches_of_boards(boards, indices, tokens, PAD_MULTIPLE, tokens_per_action),
        "pairs": micro_batches_of_pairs(boards, indices, tokens, tokens_per_action),
    }
    resident = {
        name: [{key: tensor.to(device) for key, tensor in batch.items()} for batch in batches]
        for name, batches in on_cpu.items()
    }

    def way(attention: str, batches: str, plain: bool = False) -> TrainingWay:
        own = with_attention(model, attention).train()
        loss = own.value_loss
        if plain:
            loss = PlainCrossEntropy(loss.value_min, loss.value_max, loss.num_bins)
        return TrainingWay(own, loss, lambda: (resident[batches], num_values))

    ways = {PREFIX: way("prefix", "boards"), FULL: way("full", "pairs")}
    if isinstance(model.value_loss, CategoricalLoss):
        ways[PLAIN] = way("prefix", "boards", plain=True)
    if compile:
        ways[COMPILED] = way("prefix", "padded boards")
        ways[FULL_COMPILED] = way("full", "pairs")
        for compiled in (ways[COMPILED], ways[FULL_COMPILED]):
            for block in compiled.model.model.blocks:
                block.compile()
    fastest_name, fastest_batches = (COMPILED, "padded boards") if compile else (PREFIX, "boards")
    fastest = ways[fastest_name]
    training_set = TrainingSet(
        SomeBoards(boards, indices, PAD_MULTIPLE if compile else 1),
        batch_size=batch_size,
        seed=seed,
        num_processes=1,
        process_index=0,
        num_micro_batches=len(on_cpu[fastest_batches]),
    )
    stream = (loaded for _, loaded in training_set.iterate(0, 10**9))
    from_disk = TrainingWay(fastest.model, fastest.value_loss, lambda: next(stream))

    for each in ways.values():
        each.step(precision)  # allocates, chooses kernels, compiles
    phases: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    steps: dict[str, list[float]] = {name: [] for name in (*ways, FROM_DISK, LOAD)}
    for turn in tqdm(range(repeats), desc="training", unit="round", disable=None, leave=False):
        for name, each in ways.items():
            phases[name].append(_phases(each, precision))
            if device.type == "cpu":
                steps[name].append(sum(phases[name][-1].values()))
            else:  # waiting for the device after every phase makes the whole slower
                steps[name].append(_seconds(lambda each=each: each.step(precision), device))
        # What a step finds loaded was loaded during the one before.
        from_disk.step(precision)
        steps[FROM_DISK].append(_seconds(lambda: from_disk.step(precision), device))
        steps[LOAD].append(_seconds(lambda turn=turn: training_set.load(turn + 1), device))

    medians = {name: statistics.median(seconds) for name, seconds in steps.items()}
    operations = {
        name: 3
        * forward_operations(each.model.config, each.value_loss.num_outputs, [int(n) for n in num_moves])
        for name, each in ways.items()
    }
    rows = {
        name: {
            "seconds_per_step": medians[name],
            "action_values_per_second": num_values / medians[name],
            "seconds": {
                phase: statistics.median(taken[phase] for taken in phases[name]) for phase in PHASES[1:]
            },
            "model_flop_utilization": operations[name] / medians[name] / ceiling,
            "times": medians[name] / medians[PREFIX],
        }
        for name in ways
    }
    return {
        "num_boards": batch_size,
        "num_action_values": num_values,
        "num_micro_batches": {name: len(batches) for name, batches in on_cpu.items()},
        "precision": precision,
        "ways": rows,
        "shares_of_step": {
            "data, if it were not loaded ahead": medians[LOAD] / medians[fastest_name],
            "what loading ahead adds": medians[FROM_DISK] / medians[fastest_name] - 1,
            "python and waiting": _idle_share(fastest, precision, medians[fastest_name]),
        },
        "padding_share_of_tokens": padding_share(on_cpu[fastest_batches], tokens_per_action),
        "prefix_to_full": medians[FULL] / medians[PREFIX],
        "prefix_to_full_compiled": medians[FULL_COMPILED] / medians[COMPILED] if compile else None,
        "hl_gauss_to_plain": medians[PREFIX] / medians[PLAIN] if PLAIN in ways else None,
    }


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    synchronize(device)
    started = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - started


def _phases(way: TrainingWay, precision: str) -> dict[str, float]:
    """Return the seconds of each phase of a step."""
    seconds = dict.fromkeys(PHASES, 0.0)
    last = time.perf_counter()

    def lap(phase: str) -> None:
        nonlocal last
        synchronize(way.model.device)
        now = time.perf_counter()
        seconds[phase] += now - last
        last = now

    way.step(precision, lap)
    return seconds


def _idle_share(way: TrainingWay, precision: str, median: float) -> float:
    """Return the share of a step in which no operation runs on the device, as the profiler sees it.

    On a GPU kernels run no slower for the profiler, and their time is compared with the `median` step's; on
    the CPU with that of the step that was profiled.
    """
    on_gpu = way.model.device.type == "cuda"
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if on_gpu else [])
    with profile(activities=activities) as profiled:
        seconds = _seconds(lambda: way.step(precision), way.model.device)
    events = profiled.key_averages()
    if on_gpu:
        kernels = [e for e in events if e.device_type == DeviceType.CUDA and not e.is_user_annotation]
        return 1 - sum(event.self_device_time_total for event in kernels) / 1e6 / median
    return 1 - sum(event.self_cpu_time_total for event in events) / 1e6 / seconds


def format_training(results: dict) -> str:
    """Lay out the results of `measure_training`."""
    ways, width = results["ways"], 1 + max(len(name) for name in results["ways"])
    heading = f"{'training step':<{width}}{'values/s':>10}{'ms':>9}"
    heading += "".join(f"{phase + ' ms':>14}" for phase in PHASES[1:]) + f"{'MFU':>8}{'times':>8}"
    lines = [heading]
    for name, row in ways.items():
        cells = f"{row['action_values_per_second']:>10,.0f}{1000 * row['seconds_per_step']:>9.1f}"
        cells += "".join(f"{1000 * row['seconds'][phase]:>14.1f}" for phase in PHASES[1:])
        lines.append(f"{name:<{width}}{cells}{row['model_flop_utilization']:>8.1%}{row['times']:>8.3g}")
    shares = ", ".join(f"{name} {share:.1%}" for name, share in results["shares_of_step"].items())
    padding = f"padding: {results['padding_share_of_tokens']:.1%} of the tokens"
    return "\n".join([*lines, f"share of the step: {shares}", padding])
