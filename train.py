"""Train a value function by classification: settings, task, loop, checkpoints, evaluation.

    python train.py --config chess_tiny.yaml [key=value ...]
    python train.py --config chess_tiny.yaml resume=true
    python train.py --config chess_9m.yaml data.train=boards.parquet data.validation=held_out.parquet
    accelerate launch --config_file configs/accelerate/ddp.yaml train.py --config chess_270m.yaml ...

Source: Farebrother et al., "Stop Regressing" (arXiv 2403.03950). Everything that differs between domains is
in the tasks of training/tasks/; all settings are in configs/*.py.

The order of the data and the learning rate are functions of the step, so a resumed run continues with the
same losses, bit for bit. The number of processes and the backend (DDP, DeepSpeed ZeRO or FSDP2) do not change
the result beyond rounding, and a run continues under any of them.
"""

import argparse
import math
import sys
import time
from pathlib import Path

from cli.errors import command
from configs.loading import load_config, save_config
from configs.schema import Config
from training.launcher import ended_at_once, overruled_options
from training.run_checks import check_run
from training.run_folder import step_of


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True, help="a name in configs/, or the path of a YAML file")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="settings, such as training.steps=1000"
    )
    arguments = parser.parse_args()
    config = load_config(arguments.config, arguments.overrides)
    check_run(config)
    train(config)


def train(config: Config) -> None:
    # torch takes seconds to import; bad settings have been refused before.
    import torch
    from accelerate.utils import set_seed

    from cli.files import atomic_write
    from eval.loading import without_progress_bars
    from training.checkpoints import (
        CheckpointReader,
        Interruption,
        find_checkpoint,
        read_state,
        save_checkpoint,
    )
    from training.distributed import (
        autocast_forward,
        check_agreement,
        check_weights,
        describe_processes,
        finish_trackers,
        make_accelerator,
        start_trackers,
        zero_stage_of,
    )
    from training.model_card import write_model_card
    from training.optimization import (
        EMA,
        compile_blocks,
        learning_rate_at,
        make_optimizers,
        set_learning_rate,
    )
    from training.optimizer_state import load_states, named_states
    from training.publish import publish_after_training, publishing_warnings
    from training.run_log import RunLog, describe_folder, plot_curves
    from training.sharding import Weights
    from training.tasks import make_task

    output_dir = Path(config.output_dir)
    set_seed(config.seed)
    # Adam's averages of gradients that are always 0 end as denormal numbers, with which a CPU is slow.
    torch.set_flush_denormal(True)
    task = make_task(config)
    # Before the processes join, since preparing data may take longer than they wait for each other.
    task.load_data()
    model = task.model

    accelerator = make_accelerator(config)
    is_main = accelerator.is_main_process
    started = time.perf_counter()
    checkpoint = find_checkpoint(accelerator, output_dir)
    first_step = 0 if checkpoint is None else step_of(checkpoint)
    if checkpoint is not None:
        CheckpointReader(checkpoint, "model").load_into(model)
    if config.training.precision == "bf16":
        autocast_forward(model, accelerator.device)
    extra_tensors = task.start(accelerator)
    if checkpoint is not None:
        task.load_state_dict(read_state(checkpoint)["task"])
    facts = {"settings": config, "training data": task.state_dict(), "first step": first_step}
    check_agreement(accelerator, facts)

    optimizers = make_optimizers(model, config.optimizer)
    num_parameters = sum(p.numel() for p in model.parameters())
    if config.training.compile:
        compile_blocks(model)
    wrapped, *optimizers = accelerator.prepare(model, *optimizers)
    weights = Weights(model, wrapped, zero_stage_of(accelerator))
    average = EMA(weights, config.training.ema_decay)
    if config.training.ema_decay:
        extra_tensors["average"] = average
    if checkpoint is not None:
        load_states(optimizers, weights, CheckpointReader(checkpoint, "optimizer"))
        for name, tensors in extra_tensors.items():
            tensors.load(CheckpointReader(checkpoint, name))
    seconds_to_read = time.perf_counter() - started
    start_trackers(accelerator, first_step)
    if is_main:
        origin = f", continued after step {first_step}" if checkpoint else ""
        if not checkpoint and (output_dir / "metrics.jsonl").exists():
            origin = ", started again: the run there had no checkpoint yet"
        output_dir.mkdir(parents=True, exist_ok=True)
        save_config(config, output_dir / "config.yaml")
        log = RunLog(output_dir, first_step, config.training.steps, task=task, accelerator=accelerator)
        print(f"model   {num_parameters / 1e6:.1f}M parameters, {task.describe_model()}")
        print(f"data    {task.describe_data()}")
        for warning in [*task.warnings(), *publishing_warnings(config), *overruled_options(config)]:
            print(f"warning: {warning}")
        print(f"device  {describe_processes(accelerator)}")
        print(f"output  {output_dir}{origin}")
        if checkpoint:
            print(f"read    {describe_folder(checkpoint)} in {seconds_to_read:.1f} s")
        sys.stdout.flush()

    def evaluate(step: int) -> None:
        """Evaluate the averaged weights, on all processes."""
        with average.applied():
            results = task.evaluate()
        if is_main:
            log.evaluation(step, results)

    scale = accelerator.num_processes * config.training.gradient_accumulation_steps
    max_grad_norm = config.optimizer.max_grad_norm
    interruption = Interruption()
    model.train()
    if task.can_evaluate and first_step == 0:
        evaluate(0)
    for step, (micro_batches, num_values) in task.batches(first_step, config.training.steps):
        learning_rate = learning_rate_at(step, config.training)
        set_learning_rate(optimizers, learning_rate)
        is_last = step == config.training.steps
        is_saved = is_last or step % config.checkpoint.every == 0
        # A step that is saved is logged first: weights that have diverged must not replace good ones.
        is_logged = is_saved or step % config.log_every == 0 or step == first_step + 1
        totals = torch.zeros(1 + len(task.metrics), device=accelerator.device)  # the loss, and metrics
        for batch in micro_batches:
            batch = {name: tensor.to(accelerator.device, non_blocking=True) for name, tensor in batch.items()}
            with accelerator.accumulate(wrapped):
                loss, weight, metrics = task.loss(wrapped, batch, with_metrics=is_logged)
                # The fraction of all values of the step, on all processes, so that each counts the same.
                fraction = weight / num_values
                accelerator.backward(loss * (fraction * scale))  # accelerate averages over both
                if accelerator.sync_gradients and (max_grad_norm is not None or is_logged):
                    norm = accelerator.clip_grad_norm_(wrapped.parameters(), max_grad_norm or math.inf)
                if accelerator.sync_gradients and not weights.zero_stage:  # DeepSpeed has taken its step
                    for optimizer in optimizers:
                        # accelerate's wrapper would search the disk for a package in every step.
                        optimizer.optimizer.step()
                        optimizer.optimizer.zero_grad()
            if is_logged:
                values = [loss.detach(), *(metrics[name] for name in task.metrics)]
                totals += torch.stack(values) * fraction
        average.update(step)
        task.after_step(step, weights)

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
        if is_saved or stop or step == first_step + 1:
            check_weights(accelerator, weights, step)
        if is_saved or stop:
            started = time.perf_counter()
            files = {"model": weights.named_tensors(), "optimizer": named_states(optimizers, weights)}
            files |= {name: tensors.named_tensors() for name, tensors in extra_tensors.items()}
            state = {"step": step, "task": task.state_dict()}
            saved = save_checkpoint(accelerator, output_dir, config.checkpoint, step, files, state)
            if is_main:
                seconds = time.perf_counter() - started
                print(f"wrote   {describe_folder(saved)} in {seconds:.1f} s", flush=True)
                log.restart_clock()
        if stop:
            finish_trackers(accelerator)
            if is_main:
                print(f"interrupted after step {step} and saved; resume=true continues", flush=True)
            sys.exit(128 + stop)  # the exit status that shells expect after a signal

    interruption.restore()
    finish_trackers(accelerator)
    with average.applied():
        final_weights = weights.gather_state(is_main)
    accelerator.wait_for_everyone()  # a process that ends may still be sending gathered weights
    if is_main:
        with atomic_write(output_dir / "model") as folder:
            with without_progress_bars():
                model.save_pretrained(folder, state_dict=final_weights)
            task.save(folder)
        plot_curves(output_dir / "metrics.jsonl", task.panels, output_dir / "curves.png")
        write_model_card(output_dir)
        print(f"model: {output_dir / 'model'}, curves: {output_dir / 'curves.png'}", flush=True)
        # The other processes do not wait: they would time out.
        if config.push_to_hub:
            publish_after_training(config)


if __name__ == "__main__":
    with ended_at_once():
        command(main)
