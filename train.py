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
import pickle
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator, DistributedType, InitProcessGroupKwargs
from accelerate.utils import GradientAccumulationPlugin, set_seed
from safetensors import SafetensorError
from torch import nn

from configs.schema import Config, OptimizerConfig, TrainingConfig, differences, load_config, save_config
from data.chess.boards import Boards
from data.chess.preparation import prepare
from data.chess.training_set import TrainingSet
from data.command_line import InputError, command, first_line
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
    set_seed(config.seed)
    try:
        model = make_model(config)
    except ValueError as error:
        raise InputError(f"the model cannot be built: {error}") from None
    # Before processes join: preparing may take longer than they would wait. Only one of them does the work.
    boards = Boards.load(prepare(config.data.train, config.data.prepared_dir, config.data.check_moves))
    held_out = None
    if config.data.validation:
        held_out = Boards.from_parquet(config.data.validation, config.data.check_moves)

    accelerator = make_accelerator(config)
    is_main = accelerator.is_main_process
    training_set = TrainingSet(
        boards,
        by_action=config.data.example == "action",
        orient=config.data.orient,
        pad_multiple=16 if config.training.compile else 1,  # compiled code likes few shapes
        batch_size=config.training.batch_size,
        seed=config.seed,
        num_processes=accelerator.num_processes,
        process_index=accelerator.process_index,
        num_micro_batches=config.training.gradient_accumulation_steps,
    )

    tokenizer = ChessTokenizer(orient=config.data.orient)
    optimizers = make_optimizers(model, config.optimizer)
    num_parameters = sum(p.numel() for p in model.parameters())
    if config.training.compile:
        for block in model.model.blocks:
            block.compile()
    wrapped, *optimizers = accelerator.prepare(model, *optimizers)
    average = WeightAverage(model, config.training.ema_decay)
    accelerator.register_for_checkpointing(average, training_set)

    first_step = 0
    if checkpoint is not None:
        load_checkpoint(accelerator, checkpoint)
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
        """Evaluate the averaged weights, in the precision of training, on every process alike."""
        limit = min(config.evaluation.boards or held_out.num_boards, held_out.num_boards)
        with average.applied():
            results = evaluate_actions(
                model,
                held_out,
                orient=config.data.orient,
                batch_size=config.evaluation.batch_size,
                device=accelerator.device,
                indices=np.arange(limit),
            )
        if is_main:
            log.evaluation(step, results)

    value_loss = model.value_loss
    scale = accelerator.num_processes * config.training.gradient_accumulation_steps
    interruption = Interruption()
    model.train()
    if held_out is not None and first_step == 0:
        evaluate(0)
    for step, (micro_batches, num_values) in training_set.iterate(first_step, config.training.steps):
        learning_rate = learning_rate_at(step, config.training)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * learning_rate
        is_last = step == config.training.steps
        is_saved = is_last or step % config.checkpoint.every == 0
        # What is saved is looked at first: weights that have diverged must not replace good ones.
        is_logged = is_saved or step % config.log_every == 0
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
        if held_out is not None and (is_last or step % config.evaluation.every == 0):
            evaluate(step)
        stop = 0 if is_last else interruption.anywhere(accelerator)
        if is_saved or stop:
            save_checkpoint(accelerator, output_dir, step, config.checkpoint.keep)
            if is_main:
                log.restart_clock()
        if stop:
            if is_main:
                print(f"interrupted after step {step} and saved; resume=true continues", flush=True)
            accelerator.end_training()
            sys.exit(128 + stop)  # what a shell expects of a program that a signal ended

    interruption.forget()
    if is_main:
        with average.applied(), written_whole(output_dir / "model") as folder:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        plot_curves(output_dir / "metrics.jsonl", output_dir / "curves.png")
        print(f"model: {output_dir / 'model'}, curves: {output_dir / 'curves.png'}")
    accelerator.end_training()


def make_accelerator(config: Config) -> Accelerator:
    """Set up devices, processes, precision and accumulation, the one place that does."""
    several = int(os.environ.get("WORLD_SIZE", 1)) > 1
    needs_gloo = several and not torch.cuda.is_available()
    accelerator = Accelerator(
        mixed_precision="bf16" if config.training.precision == "bf16" else "no",
        gradient_accumulation_plugin=GradientAccumulationPlugin(
            num_steps=config.training.gradient_accumulation_steps, sync_with_dataloader=False
        ),
        kwargs_handlers=[InitProcessGroupKwargs(backend="gloo")] if needs_gloo else [],
        step_scheduler_with_optimizer=False,
    )
    if several and accelerator.distributed_type == DistributedType.NO:
        raise InputError(
            "several processes were launched, but this accelerate setting does not synchronise them"
        )
    known = (DistributedType.NO, DistributedType.MULTI_GPU, DistributedType.MULTI_CPU)
    if accelerator.distributed_type not in known:
        kind = accelerator.distributed_type.value
        raise InputError(f"averaged weights are not made for {kind}: launch with --multi_gpu, or one process")
    if accelerator.device.type == "cpu" and is_launched() and os.environ.get("OMP_NUM_THREADS") == "1":
        # What accelerate's launcher sets unless it is told a number: one core works and the others are idle.
        torch.set_num_threads(max(1, os.cpu_count() // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))
    return accelerator


def is_launched() -> bool:
    """Tell whether this process was started by `accelerate launch`."""
    return "ACCELERATE_MIXED_PRECISION" in os.environ


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
    if output_dir.exists() and not output_dir.is_dir():
        raise InputError(f"output_dir {output_dir} is a file: name a folder")
    checkpoints = list_checkpoints(output_dir)
    if not config.resume:
        if (output_dir / "metrics.jsonl").exists() or checkpoints:
            remedy = "resume=true continues it, output_dir=FOLDER starts another"
            raise InputError(f"{output_dir} already holds a run: {remedy}")
        return None
    if not checkpoints:
        return None
    changed = differences(config, output_dir / "config.yaml")
    if changed:
        raise InputError(f"{output_dir} was started with other settings: {'; '.join(changed)}")
    return checkpoints[-1]


def list_checkpoints(output_dir: Path) -> list[Path]:
    """List the folders checkpoints/step_N, oldest first."""
    folders = output_dir.glob("checkpoints/step_*")
    return sorted((folder for folder in folders if re.fullmatch(r"step_\d+", folder.name)), key=step_of)


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step_"))


def load_checkpoint(accelerator: Accelerator, checkpoint: Path) -> None:
    try:
        accelerator.load_state(str(checkpoint))
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        problem = f"{checkpoint} is not a checkpoint, or damaged ({first_line(error)})"
        raise InputError(f"{problem}: delete it to use an older one") from error


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
        for old in list_checkpoints(output_dir)[:-keep]:
            shutil.rmtree(old)


class Interruption:
    """Remembers Ctrl-C and SIGTERM until the step is done; a second one ends the program at once.

    The end of accelerate's launcher counts as SIGTERM: it does not pass on the signal that ended it.
    """

    def __init__(self):
        self.signal = 0
        self.launcher = os.getppid() if is_launched() else None
        self.earlier = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in self.earlier:
            signal.signal(number, self._remember)

    def _remember(self, number: int, frame: object) -> None:
        self.signal = number
        signal.signal(number, signal.SIG_DFL)

    def forget(self) -> None:
        """Let signals end the program again as they did before."""
        for number, handler in self.earlier.items():
            signal.signal(number, handler)

    def anywhere(self, accelerator: Accelerator) -> int:
        """Return the signal that any process received, 0 for none; all processes get the same answer."""
        if self.launcher is not None and os.getppid() != self.launcher:
            self.signal = self.signal or signal.SIGTERM
        if accelerator.num_processes > 1:
            received = torch.tensor([self.signal], device=accelerator.device)
            self.signal = int(accelerator.gather(received).max())
        return self.signal


if __name__ == "__main__":
    command(main)
