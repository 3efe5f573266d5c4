#!/bin/bash
# Train on the nodes of a Slurm cluster: one `accelerate launch` on each, one process per GPU.
#
#     sbatch --nodes 2 scripts/slurm.sh --config chess_270m.yaml \
#         training.gradient_accumulation_steps=1 output_dir=runs/big
#
# Submit it in the repository's folder, which all nodes must see, with the Python environment active.
# BACKEND is a file of configs/accelerate/: `BACKEND=zero3 sbatch ...`. Options of sbatch come before the
# script, such as `--gpus-per-node 4 --time 8:00:00`. A requeued job continues from its last checkpoint:
# Slurm requeues it when a node failed or was preempted, and this script five minutes before its time limit
# ends.
#SBATCH --job-name=train
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#SBATCH --exclusive
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --requeue
#SBATCH --signal=B:USR1@300
set -euo pipefail

hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
# Time to write a checkpoint: by default a launcher kills its processes 30 s after SIGTERM.
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=240

save_and_requeue() {
    scancel --signal=TERM "$SLURM_JOB_ID"
    if wait "$step"; then exit; fi # the run was complete
    scontrol requeue "$SLURM_JOB_ID"
}
trap save_and_requeue USR1

# When one launcher fails, the others would wait for it. Each node expands its own SLURM_NODEID.
# shellcheck disable=SC2016
srun --kill-on-bad-exit=1 --cpu-bind=none \
    bash -c 'exec accelerate launch --machine_rank "$SLURM_NODEID" "$@"' launch \
    --config_file "configs/accelerate/${BACKEND:-ddp}.yaml" \
    --num_machines "$SLURM_NNODES" --num_processes $((SLURM_NNODES * SLURM_GPUS_ON_NODE)) \
    --main_process_ip "${hosts%%$'\n'*}" --main_process_port $((20000 + SLURM_JOB_ID % 10000)) \
    train.py "$@" resume=true &
step=$!
wait "$step"
