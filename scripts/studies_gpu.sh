#!/usr/bin/env bash
# The studies chess_losses, sigma and sizes on one GPU, at larger sizes than on a CPU.
#
#   bash scripts/studies_gpu.sh BOARDS.parquet HELD_OUT.parquet PUZZLES.csv OUTPUT [options and key=value of studies ...]
#
# The same command continues where it was interrupted. The environment variable STUDIES selects studies, and PROCESSES is
# the number of runs that share the GPU (4).
set -euo pipefail

if [ $# -lt 4 ]; then
    sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
if [ ! -e train.py ]; then
    echo "error: no train.py here: change to the folder of the repository" >&2
    exit 2
fi
for name in ${STUDIES:=chess_losses sigma sizes}; do
    if [[ " chess_losses sigma sizes " != *" $name "* ]]; then
        echo "error: STUDIES: $name is unknown: choose from chess_losses sigma sizes" >&2
        exit 2
    fi
done
boards=$1 held_out=$2 puzzles=$3 output=$4
shift 4

study() {
    local name=$1
    shift
    python -m studies "$name" --output "$output/$name" --processes "${PROCESSES:-4}" --puzzles "$puzzles" \
        data.train="$boards" data.validation="$held_out" data.prepared_dir="$output/prepared" \
        training.gradient_accumulation_steps=4 evaluation.batch_size=512 "$@"
}

status=0
for name in $STUDIES; do
    case $name in
        chess_losses)
            study chess_losses model.hidden_size=256 model.num_hidden_layers=8 model.num_attention_heads=8 \
                optimizer.learning_rate=1e-3 training.batch_size=1024 training.steps=4000 training.warmup_steps=200 "$@" ||
                status=$?
            ;;
        sigma)
            study sigma model.hidden_size=128 model.num_hidden_layers=4 model.num_attention_heads=4 training.batch_size=512 \
                training.steps=2000 "$@" || status=$?
            ;;
        sizes)
            study sizes --points 32x2 64x3 128x4 9M 137M 270M training.batch_size=512 training.steps=2000 "$@" ||
                status=$?
            ;;
    esac
    # Ctrl-C ends the script; a failed study does not.
    if [ $status -eq 130 ]; then
        exit 130
    fi
done
exit $status
