"""Train a value model by classification: configuration, data, model, loop, checkpoints, evaluation.

    accelerate launch train.py --config chess_tiny.yaml [key=value ...]
    python train.py --config chess_9m.yaml data.train=boards.parquet output_dir=runs/mine
    python train.py --config chess_9m.yaml resume=true

Source: Farebrother et al., "Stop Regressing" (arXiv 2403.03950); the chess task is that of Ruoss et al.,
"Amortized Planning with Large-Scale Transformers" (arXiv 2402.04494): predict Stockfish's win probability of
every legal move. All settings stand in configs/schema.py.

The order of the data and the learning rate are pure functions of the step, so a run resumed from a checkpoint
continues to the same losses, bit for bit, and the number of processes does not change what is learnt.
"""

import argparse
import math
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedType, InitProcessGroupKwargs
from accelerate.utils import GradientAccumulationPlugin, set_seed
from torch import Tensor, nn

from configs.schema import Config, OptimizerConfig, TrainingConfig, differences, load_config, save_config
from data.batch_order import BatchOrder, shard
from data.chess.boards import Boards
from data.chess.preparation import prepare
from data.command_line import InputError, command
from data.files import remove, written_whole
from eval.actions import evaluate_actions
from eval.run_log import RunLog, plot_curves
from models.configuration_value_transformer import ValueTransformerConfig
from models.modeling_value_transformer import ValueTransformerForActionValue
from models.tokenization_chess import ChessTokenizer
from models.value_losses import CategoricalLoss


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True, help="a name in configs/, or the path of a YAML file")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="settings, such as training.steps=1000"
    )
    arguments = parser.parse_args()
    train(load_config(arguments.config, arguments.overrides))


def train(config: Config) -> None:
    output_dir = Path(config.output_dir)
    checkpoint = find_checkpoint(config, output_dir)
    accelerator = make_accelerator(config)
    is_main = accelerator.is_main_process

    set_seed(config.seed)
    try:
        model = make_model(config)
    except ValueError as error:
        raise InputError(f"the model cannot be built: {error}") from None
    with accelerator.main_process_first():
        boards = Boards.load(prepare(config.data.train, config.data.prepared_dir, config.data.check_moves))
        held_out = Boards.from_parquet(config.data.validation) if config.data.validation else None
    batches = TrainingBatches(config, boards, accelerator.num_processes, accelerator.process_index)

    tokenizer = ChessTokenizer(orient=config.data.orient)
    optimizers = make_optimizers(model, config.optimizer)
    num_parameters = sum(p.numel() for p in model.parameters())
    if config.training.compile:
        for block in model.model.blocks:
            block.compile()
    wrapped, *optimizers = accelerator.prepare(model, *optimizers)
    average = WeightAverage(model, config.training.ema_decay)
    accelerator.register_for_checkpointing(average)

    first_step = 0
    if checkpoint is not None:
        accelerator.load_state(str(checkpoint))
        first_step = step_of(checkpoint)
    if is_main:
        log = RunLog(output_dir, first_step, config.training.steps, config.tensorboard)
        save_config(config, output_dir / "config.yaml")
        print(f"model   {num_parameters / 1e6:.1f}M parameters, {config.model.attention} attention")
        print(f"data    {boards.num_boards:,} boards with {boards.num_action_values:,} action values")
        print(f"device  {accelerator.num_processes} × {accelerator.device.type}")
        print(
            f"output  {output_dir}" + (f", continuing after step {first_step}" if checkpoint else ""),
            flush=True,
        )

    def evaluate(step: int) -> None:
        """Evaluate on every process alike, so that none of them waits for weights that another holds."""
        limit = min(config.evaluation.boards or held_out.num_boards, held_out.num_boards)
        with average.applied():
            results = evaluate_actions(
                model,
                held_out,
                orient=config.data.orient,
                batch_size=config.evaluation.batch_size,
                device=accelerator.device,
                indices=torch.arange(limit).numpy(),
            )
        if is_main:
            log.evaluation(step, results)

    value_loss = model.value_loss
    scale = accelerator.num_processes * config.training.gradient_accumulation_steps
    interruption = Interruption()
    model.train()
    step = first_step
    for step, (micro_batches, num_values) in batches.iterate(first_step, config.training.steps):
        learning_rate = learning_rate_at(step, config.training)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * learning_rate
        is_logged = step % config.log_every == 0 or step == config.training.steps
        totals = torch.zeros(3, device=accelerator.device)  # loss, kl, values outside the support
        for batch in micro_batches:
            batch = {name: tensor.to(accelerator.device, non_blocking=True) for name, tensor in batch.items()}
            weight = batch["action_ids"] >= 0
            # Of all action values of the step, on all processes, so that each counts the same.
            share = weight.sum() / num_values
            with accelerator.accumulate(wrapped):
                logits = wrapped(input_ids=batch["input_ids"], action_ids=batch["action_ids"]).logits
                loss = value_loss.loss(logits, batch["win_probs"], weight)
                accelerator.backward(loss * share * scale)  # accelerate averages over both
                if accelerator.sync_gradients:
                    norm = accelerator.clip_grad_norm_(wrapped.parameters(), config.optimizer.max_grad_norm)
                for optimizer in optimizers:
                    optimizer.step()
                    optimizer.zero_grad()
            totals[0] += loss.detach() * share
            if is_logged:
                with torch.no_grad():
                    if isinstance(value_loss, CategoricalLoss):
                        totals[1] += value_loss.kl(logits.detach(), batch["win_probs"], weight) * share
                    totals[2] += value_loss.share_outside(batch["win_probs"], weight) * share
        average.update(step)

        if is_main:
            log.count(num_values)
        if is_logged:
            loss, kl, outside = accelerator.reduce(totals, reduction="sum").tolist()
            if not math.isfinite(loss):
                raise SystemExit(
                    f"the loss is {loss} at step {step}: lower optimizer.learning_rate and start anew"
                )
            if is_main:
                kl = kl if isinstance(value_loss, CategoricalLoss) else None
                rate = config.optimizer.learning_rate * learning_rate
                log.step(step, loss=loss, kl=kl, outside=outside, grad_norm=float(norm), learning_rate=rate)
        is_last = step == config.training.steps
        if held_out is not None and (is_last or step % config.evaluation.every == 0):
            evaluate(step)
        stop = interruption.anywhere(accelerator)
        if is_last or stop or step % config.checkpoint.every == 0:
            save_checkpoint(accelerator, output_dir, step, config.checkpoint.keep)
            if is_main:
                log.restart_clock()
        if stop:
            if is_main:
                print(f"interrupted after step {step} and saved; resume=true continues", flush=True)
            accelerator.end_training()
            sys.exit(128 + stop)  # what a shell expects of a program that a signal ended

    if is_main:
        with average.applied(), written_whole(output_dir / "model") as folder:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        plot_curves(output_dir / "metrics.jsonl", output_dir / "curves.png")
        print(f"model: {output_dir / 'model'}, curves: {output_dir / 'curves.png'}")
    accelerator.end_training()


def make_accelerator(config: Config) -> Accelerator:
    """Set up devices, processes, precision and accumulation, the one place that does."""
    handlers = []
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and not torch.cuda.is_available():
        handlers.append(InitProcessGroupKwargs(backend="gloo"))
    accelerator = Accelerator(
        mixed_precision="bf16" if config.training.precision == "bf16" else "no",
        gradient_accumulation_plugin=GradientAccumulationPlugin(
            num_steps=config.training.gradient_accumulation_steps, sync_with_dataloader=False
        ),
        kwargs_handlers=handlers,
        step_scheduler_with_optimizer=False,
    )
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and accelerator.distributed_type == DistributedType.NO:
        raise InputError(
            "several processes were launched, but this accelerate setting does not synchronise them"
        )
    return accelerator


def make_model(config: Config) -> ValueTransformerForActionValue:
    loss = config.value_loss
    settings = ValueTransformerConfig(
        hidden_size=config.model.hidden_size,
        intermediate_size=config.model.intermediate_size,
        num_hidden_layers=config.model.num_hidden_layers,
        num_attention_heads=config.model.num_attention_heads,
        attention=config.model.attention,
        action_embedding=config.model.action_embedding,
        position_initializer_range=config.model.position_initializer_range,
        value_loss=loss.name,
        value_min=loss.value_min,
        value_max=loss.value_max,
        num_bins=loss.num_bins,
        sigma_ratio=loss.sigma_ratio,
        sigma=loss.sigma,
        support_padding=loss.padding,
        match_mean=loss.match_mean,
    )
    model = ValueTransformerForActionValue(settings)
    if config.model.activation_checkpointing:
        model.activation_checkpointing_enable()
    return model


def make_optimizers(model: nn.Module, config: OptimizerConfig) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks and AdamW for the rest, or AdamW for all."""
    matrices = [p for p in model.model.blocks.parameters() if p.ndim == 2]
    in_blocks = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in in_blocks]
    adamw_groups = [{"params": rest, "weight_decay": 0.0}]
    optimizers = []
    if config.name == "muon":
        muon = torch.optim.Muon(
            matrices,
            lr=config.muon_learning_rate,
            weight_decay=config.weight_decay,
            adjust_lr_fn="original",
        )
        optimizers.append(muon)
    else:
        adamw_groups.append({"params": matrices, "weight_decay": config.weight_decay})
    adamw = torch.optim.AdamW(
        adamw_groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), eps=config.eps, fused=True
    )
    optimizers.append(adamw)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def learning_rate_at(step: int, config: TrainingConfig) -> float:
    """Return the learning rate of step 1, 2, … as a share of its peak."""
    if step <= config.warmup_steps:
        return step / config.warmup_steps
    progress = (step - config.warmup_steps) / (config.steps - config.warmup_steps)
    remaining = {
        "constant": 1.0,
        "linear": 1 - progress,
        "cosine": (1 + math.cos(math.pi * progress)) / 2,
    }[config.decay]
    return config.final_learning_rate + (1 - config.final_learning_rate) * remaining


class TrainingBatches:
    """The batches of one process: which boards, a pure function of seed and step, and their arrays."""

    def __init__(self, config: Config, boards: Boards, num_processes: int, process_index: int):
        self.boards, self.config = boards, config
        self.by_action = config.data.example == "action"
        num_items = boards.num_action_values if self.by_action else boards.num_boards
        self.order = BatchOrder(num_items, config.training.batch_size, config.seed)
        self.shard_of = (num_processes, process_index, config.training.gradient_accumulation_steps)
        try:
            self.load(1)
        except ValueError as error:
            raise InputError(f"training.batch_size: {error}") from None

    def load(self, step: int) -> tuple[list[dict[str, Tensor]], int]:
        """Return this process's micro-batches of step 1, 2, …, and the number of all their action values."""
        indices = self.order.batch_indices(step - 1)
        if self.by_action:
            lengths = torch.ones(len(indices), dtype=torch.int64).numpy()
        else:
            lengths = self.boards.lengths(indices)
        collate = self.boards.pairs if self.by_action else self.boards.batch
        micro_batches = [
            collate(part, self.config.data.orient) for part in shard(indices, lengths, *self.shard_of)
        ]
        tensors = [
            {name: torch.from_numpy(array) for name, array in batch.items()} for batch in micro_batches
        ]
        return tensors, int(lengths.sum())

    def iterate(self, first_step: int, last_step: int) -> Iterator[tuple[int, tuple]]:
        """Yield the steps after `first_step` up to `last_step` with their batches, loading one ahead."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            ahead = pool.submit(self.load, first_step + 1)
            for step in range(first_step + 1, last_step + 1):
                batch = ahead.result()
                if step < last_step:
                    ahead = pool.submit(self.load, step + 1)
                yield step, batch


class WeightAverage:
    """Exponential moving average of the weights, which is what is evaluated and saved."""

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.weights = list(model.parameters())
        self.averages = [p.detach().clone() for p in self.weights] if decay else []

    @torch.no_grad()
    def update(self, step: int) -> None:
        if self.averages:
            # Early on, average over fewer steps: the initial weights are not worth remembering.
            decay = min(self.decay, step / (step + 10))
            torch._foreach_lerp_(self.averages, [p.detach() for p in self.weights], 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the averages into the model for a while."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for index, average in enumerate(self.averages):
            self.averages[index], self.weights[index].data = self.weights[index].data, average

    def state_dict(self) -> dict:
        return {"averages": self.averages}

    def load_state_dict(self, state: dict) -> None:
        for average, saved in zip(self.averages, state["averages"], strict=True):
            average.copy_(saved)


def find_checkpoint(config: Config, output_dir: Path) -> Path | None:
    """Return the checkpoint to continue from, or None for a new run.

    Raises InputError if a new run would overwrite an old one, or an old one was started with other settings.
    """
    checkpoints = sorted(output_dir.glob("checkpoints/step_*"), key=step_of)
    if not config.resume:
        if (output_dir / "metrics.jsonl").exists() or checkpoints:
            remedy = "resume=true continues it, output_dir=FOLDER starts another"
            raise InputError(f"{output_dir} already holds a run: {remedy}")
        return None
    if not checkpoints:
        return None
    newest = checkpoints[-1]
    if not (newest / "model.safetensors").is_file():
        raise InputError(
            f"{newest} is not a checkpoint (it has no model.safetensors): delete it to use an older one"
        )
    if not (output_dir / "config.yaml").is_file():
        raise InputError(f"{output_dir} has checkpoints, but not the config.yaml that they were made with")
    changed = differences(config, output_dir / "config.yaml")
    if changed:
        raise InputError(f"{output_dir} was started with other settings: {'; '.join(changed)}")
    return newest


def step_of(checkpoint: Path) -> int:
    number = re.fullmatch(r"step_(\d+)", checkpoint.name)
    if number is None:
        raise InputError(f"{checkpoint} is not a checkpoint: expected step_ and a number")
    return int(number[1])


def save_checkpoint(accelerator: Accelerator, output_dir: Path, step: int, keep: int) -> None:
    """Write checkpoints/step_N beside its place, rename it when it is whole, and remove the oldest."""
    folder = output_dir / "checkpoints" / f"step_{step:07d}"
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    if accelerator.is_main_process:
        remove(unfinished)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(unfinished))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        remove(folder)
        unfinished.rename(folder)
        for old in sorted(folder.parent.glob("step_*"), key=step_of)[:-keep]:
            shutil.rmtree(old)


class Interruption:
    """Remembers Ctrl-C and SIGTERM until the step is done; a second one ends the program at once."""

    def __init__(self):
        self.signal = 0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._remember)

    def _remember(self, number: int, frame: object) -> None:
        self.signal = number
        signal.signal(number, signal.SIG_DFL)

    def anywhere(self, accelerator: Accelerator) -> int:
        """Return the signal that any process received, 0 for none; all processes get the same answer."""
        if accelerator.num_processes > 1:
            received = torch.tensor([self.signal], device=accelerator.device)
            self.signal = int(accelerator.gather(received).max())
        return self.signal


if __name__ == "__main__":
    command(main)
