"""Train a value model by classification: configuration, data, model, loop, checkpoints, evaluation.

    accelerate launch train.py --config chess_tiny.yaml [key=value ...]
    python train.py --config chess_9m.yaml data.train=boards.parquet output_dir=runs/mine
    python train.py --config chess_9m.yaml resume=true
    accelerate launch train.py --config wordle_tiny.yaml

Source: Farebrother et al., "Stop Regressing" (arXiv 2403.03950). What is learnt, chess or Wordle, is a task
of training/; all settings stand in configs/schema.py.

The order of the data and the learning rate are pure functions of the step, so a run resumed from a checkpoint
continues to the same losses, bit for bit, and the number of processes does not change what is learnt.
"""

import argparse
import math
import os
import sys
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedType, InitProcessGroupKwargs
from accelerate.utils import GradientAccumulationPlugin, set_seed

from configs.schema import Config, load_config, save_config
from data.command_line import InputError, command
from data.files import written_whole
from data.training_set import TrainingSet
from eval.run_log import RunLog, plot_curves
from training.checkpoints import (
    Interruption,
    find_checkpoint,
    is_launched,
    load_checkpoint,
    save_checkpoint,
    step_of,
)
from training.chess_task import ChessTask
from training.optimization import WeightAverage, learning_rate_at, make_optimizers
from training.wordle_task import WordleTask


TASKS = {"chess": ChessTask, "wordle": WordleTask}


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
    task = make_task(config)
    # Before processes join: preparing data may take longer than they would wait.
    task.load_data()
    model = task.model

    accelerator = make_accelerator(config)
    is_main = accelerator.is_main_process
    training_set = TrainingSet(
        task.examples,
        batch_size=config.training.batch_size,
        seed=config.seed,
        num_processes=accelerator.num_processes,
        process_index=accelerator.process_index,
        num_micro_batches=config.training.gradient_accumulation_steps,
    )

    optimizers = make_optimizers(model, config.optimizer)
    num_parameters = sum(p.numel() for p in model.parameters())
    if config.training.compile:
        for block in model.model.blocks:
            block.compile()
    wrapped, *optimizers = accelerator.prepare(model, *optimizers)
    average = WeightAverage(model, config.training.ema_decay)
    accelerator.register_for_checkpointing(average, training_set, *task.start(accelerator))

    first_step = 0
    if checkpoint is not None:
        load_checkpoint(accelerator, checkpoint)
        first_step = step_of(checkpoint)
    if is_main:
        output_dir.mkdir(parents=True, exist_ok=True)
        save_config(config, output_dir / "config.yaml")
        log = RunLog(
            output_dir,
            first_step,
            config.training.steps,
            unit=task.unit,
            evaluation_columns=task.evaluation_columns,
            tensorboard=config.tensorboard,
        )
        print(f"model   {num_parameters / 1e6:.1f}M parameters, {config.model.attention} attention")
        print(f"data    {task.describe_data()}")
        for warning in task.warnings():
            print(f"warning: {warning}")
        print(f"device  {accelerator.num_processes} × {accelerator.device.type}")
        print(
            f"output  {output_dir}" + (f", continuing after step {first_step}" if checkpoint else ""),
            flush=True,
        )

    def evaluate(step: int) -> None:
        """Evaluate the averaged weights, on every process alike."""
        with average.applied():
            results = task.evaluate()
        if is_main:
            log.evaluation(step, results)

    scale = accelerator.num_processes * config.training.gradient_accumulation_steps
    interruption = Interruption()
    model.train()
    if task.can_evaluate and first_step == 0:
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
        totals = torch.zeros(1 + len(task.metrics), device=accelerator.device)  # the loss, and metrics
        for batch in micro_batches:
            batch = {name: tensor.to(accelerator.device, non_blocking=True) for name, tensor in batch.items()}
            with accelerator.accumulate(wrapped):
                loss, weight, metrics = task.loss(wrapped, batch, with_metrics=is_logged)
                # Of all values of the step, on all processes, so that each counts the same.
                share = weight / num_values
                accelerator.backward(loss * share * scale)  # accelerate averages over both
                if accelerator.sync_gradients:
                    norm = accelerator.clip_grad_norm_(wrapped.parameters(), config.optimizer.max_grad_norm)
                for optimizer in optimizers:
                    optimizer.step()
                    optimizer.zero_grad()
            totals[0] += loss.detach() * share
            if is_logged:
                totals[1:] += torch.stack([metrics[name] for name in task.metrics]) * share
        average.update(step)
        task.after_step(step)

        if is_main:
            log.count(num_values)
        if is_logged:
            loss, *metrics = accelerator.reduce(totals, reduction="sum").tolist()
            if not math.isfinite(loss):
                raise SystemExit(
                    f"the loss is {loss} at step {step}: lower optimizer.learning_rate, in another output_dir"
                )
            if is_main:
                rate = config.optimizer.learning_rate * learning_rate
                named = dict(zip(task.metrics, metrics, strict=True))
                log.step(step, loss, named, grad_norm=float(norm), learning_rate=rate)
        if task.can_evaluate and (is_last or step % config.evaluation.every == 0):
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
            task.save(folder)
        plot_curves(output_dir / "metrics.jsonl", task.panels, output_dir / "curves.png")
        print(f"model: {output_dir / 'model'}, curves: {output_dir / 'curves.png'}")
    accelerator.end_training()


def make_task(config: Config) -> ChessTask | WordleTask:
    """Make what is learnt, with a new model; raise InputError for settings that do not go together."""
    try:
        task = TASKS[config.task](config)
    except ValueError as error:
        raise InputError(f"these settings do not go together: {error}") from None
    if config.model.activation_checkpointing:
        task.model.activation_checkpointing_enable()
    return task


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


if __name__ == "__main__":
    command(main)
