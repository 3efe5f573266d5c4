"""Devices, processes and precision: sets up accelerate, and checks that the processes agree.

`accelerate launch --config_file configs/accelerate/NAME.yaml` chooses the backend. The choice does not change
the result of training.
"""

import os
from pathlib import Path
from types import MethodType

import torch
from accelerate import Accelerator, DistributedType, InitProcessGroupKwargs, PartialState
from accelerate.utils import (
    DeepSpeedPlugin,
    GradientAccumulationPlugin,
    ProjectConfiguration,
    convert_outputs_to_fp32,
    gather_object,
)
from transformers import PreTrainedModel

from cli.errors import InputError
from configs.schema import Config
from training.launcher import is_launched, num_processes
from training.sharding import Weights


SUPPORTED = (
    DistributedType.NO,
    DistributedType.MULTI_GPU,
    DistributedType.MULTI_CPU,
    DistributedType.DEEPSPEED,
    DistributedType.FSDP,
)


def make_accelerator(config: Config) -> Accelerator:
    """Join the processes; raise InputError for unsupported ways of launching."""
    several = num_processes() > 1
    if not torch.cuda.is_available():
        # DeepSpeed would detect this itself, with a warning, even if it is only imported.
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
        if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
            from deepspeed.ops import __compatible_ops__

            # Collectives in shared memory, which would be compiled for minutes first; gloo does the same.
            __compatible_ops__["deepspeed_shm_comm"] = False
    needs_gloo = several and not torch.cuda.is_available()
    if needs_gloo and os.environ.get("ACCELERATE_USE_FSDP") == "true":
        # Without a GPU accelerate would treat these as independent processes.
        PartialState(backend="gloo")._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    accelerator = Accelerator(
        # Autocast is the same under every backend: see `autocast_forward`.
        mixed_precision="no",
        gradient_accumulation_plugin=GradientAccumulationPlugin(
            num_steps=config.training.gradient_accumulation_steps, sync_with_dataloader=False
        ),
        kwargs_handlers=[InitProcessGroupKwargs(backend="gloo")] if needs_gloo else [],
        step_scheduler_with_optimizer=False,
        log_with=config.trackers or None,
        project_config=ProjectConfiguration(logging_dir=str(Path(config.output_dir) / "tensorboard")),
    )
    kind = accelerator.distributed_type
    if several and (kind == DistributedType.NO or accelerator.num_processes == 1):
        raise InputError(
            "several processes were launched, but this accelerate setting does not synchronise them: use "
            "--config_file with one of configs/accelerate/"
        )
    if kind not in SUPPORTED:
        raise InputError(f"training under {kind.value} is not supported: use one of configs/accelerate/")
    if kind == DistributedType.FSDP and not accelerator.is_fsdp2:
        raise InputError(
            "FSDP 1 is not supported: set fsdp_version: 2, as configs/accelerate/fsdp2.yaml does"
        )
    if kind == DistributedType.DEEPSPEED:
        configure_deepspeed(accelerator.deepspeed_plugin, accelerator.num_processes, config)
    if kind in (DistributedType.DEEPSPEED, DistributedType.FSDP) and config.training.compile:
        raise InputError(
            f"training.compile does not work with {kind.value}: leave it out, or launch with DDP"
        )
    if accelerator.device.type == "cpu" and is_launched() and os.environ.get("OMP_NUM_THREADS") == "1":
        # accelerate's launcher sets this by default; all cores but one would be idle.
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))
    return accelerator


def start_trackers(accelerator: Accelerator, first_step: int) -> None:
    """Open the trackers; tensorboard drops its curves after the step that the run continues from."""
    settings = {"tensorboard": {"purge_step": first_step + 1}}
    accelerator.init_trackers("stop-regressing", init_kwargs=settings)


def finish_trackers(accelerator: Accelerator) -> None:
    """Close the trackers; `end_training` would also destroy the process group, which may never return."""
    for tracker in accelerator.trackers:
        tracker.finish()


def zero_stage_of(accelerator: Accelerator) -> int:
    """Return the stage of DeepSpeed's ZeRO, 0 without DeepSpeed."""
    is_deepspeed = accelerator.distributed_type == DistributedType.DEEPSPEED
    return accelerator.deepspeed_plugin.zero_stage if is_deepspeed else 0


def describe_processes(accelerator: Accelerator) -> str:
    """Return the number of processes, their device and their backend: 8 × cuda, ZeRO-2."""
    backend = threads = ""
    if accelerator.device.type == "cpu":
        num_threads = torch.get_num_threads()
        threads = f" ({num_threads} thread{'s' if num_threads > 1 else ''})"
    if zero_stage_of(accelerator):
        backend = f", ZeRO-{zero_stage_of(accelerator)}"
    elif accelerator.distributed_type == DistributedType.FSDP:
        backend = ", FSDP2"
    elif accelerator.num_processes > 1:
        backend = ", DDP"
    return f"{accelerator.num_processes} × {accelerator.device.type}{threads}{backend}"


def configure_deepspeed(plugin: DeepSpeedPlugin, num_processes: int, config: Config) -> None:
    """Give DeepSpeed the settings of the run; raise InputError if its own settings contradict them."""
    training = config.training
    if plugin.zero_stage == 0:
        raise InputError("DeepSpeed without ZeRO is DDP: launch with configs/accelerate/ddp.yaml")
    if config.optimizer.name == "muon":
        raise InputError(
            "optimizer.name=muon needs full matrices, which DeepSpeed flattens: launch with DDP or FSDP2, "
            "or set optimizer.name=adamw"
        )
    num_parts = num_processes * training.gradient_accumulation_steps
    ours = {
        "train_micro_batch_size_per_gpu": training.batch_size // num_parts,
        "gradient_accumulation_steps": training.gradient_accumulation_steps,
        # It ignores the argument of `clip_grad_norm_`; 0 is none.
        "gradient_clipping": config.optimizer.max_grad_norm or 0.0,
    }
    theirs = plugin.deepspeed_config
    for key, value in ours.items():
        given = theirs.get(key, "auto")
        is_default = key == "gradient_accumulation_steps" and given == 1
        if given not in ("auto", value) and not is_default:
            raise InputError(f"DeepSpeed's {key} is {given}, the run's is {value}: remove DeepSpeed's")
    theirs |= ours
    for section in ("bf16", "fp16"):
        if theirs.get(section, {}).get("enabled") is True:
            raise InputError(
                f"DeepSpeed's section {section} would round the weights: remove it, "
                "training.precision=bf16 computes in bfloat16"
            )
    # Small parameters that stay gathered would hide changes of their shards.
    theirs["zero_optimization"]["stage3_param_persistence_threshold"] = 0


def autocast_forward(model: PreTrainedModel, device: torch.device) -> None:
    """Make the forward pass compute in bfloat16 and return float32; the weights stay float32."""
    if device.type == "cpu":
        # Plain products in bfloat16 are faster than the CPU's fused kernel in any precision.
        model.set_attn_implementation("eager")
    forward = torch.autocast(device.type, dtype=torch.bfloat16)(type(model).forward)
    # A method, so that a deep copy of the model has its own.
    method = MethodType(convert_outputs_to_fp32(MethodType(forward, model).__func__), model)
    model.forward = method  # type: ignore[method-assign]


def check_agreement(accelerator: Accelerator, facts: dict[str, object]) -> None:
    """Raise InputError unless all processes have the same facts, given by name."""
    if accelerator.num_processes == 1:
        return
    gathered = gather_object([facts])
    for name in facts:
        others = [facts_of_one[name] for facts_of_one in gathered]
        if any(other != others[0] for other in others):
            raise InputError(
                f"the processes differ in their {name}: start the same command with the same files on all "
                "machines"
            )


def check_weights(accelerator: Accelerator, weights: Weights, step: int) -> None:
    """Raise SystemExit on all processes if a weight is not finite, or if replicas differ."""
    is_finite = torch.stack([shard.isfinite().all() for shard in weights.shards()]).all()
    if not accelerator.gather(is_finite[None]).all():
        raise SystemExit(
            f"the weights are not finite after step {step}: lower optimizer.learning_rate, in another "
            "output_dir"
        )
    if accelerator.num_processes == 1 or not weights.are_replicated:
        return
    sums = torch.stack([shard.double().sum() for shard in weights.shards()])
    gathered = accelerator.gather(sums[None])
    if not torch.equal(gathered, gathered[:1].expand_as(gathered)):
        raise SystemExit(
            "the processes have different weights: they were not synchronised, so the run is invalid"
        )
