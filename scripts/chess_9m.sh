#!/usr/bin/env bash
# Make the 9M model on one GPU: measure speed, train with each of three losses for the same number of steps, evaluate,
# and write the folder SHIPPED (checkpoints/chess_9m), a model that plays.
#
#   bash scripts/chess_9m.sh BOARDS.parquet HELD_OUT.parquet PUZZLES.csv OUTPUT [key=value ...]
#
# key=value are settings of all runs, such as training.steps=8000. The same command resumes after an interruption;
# a different command needs another OUTPUT. Speed is measured for SIZES (9m; 137m and 270m need a large GPU). LOSSES
# (hl_gauss one_hot mse) are compared, and the model with hl_gauss ships. Elo is measured in GAMES games (400) if
# Stockfish is installed.
set -euo pipefail

if [ $# -lt 4 ]; then
    sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
if [ ! -e train.py ]; then
    echo "error: train.py is not here: start this in the folder of the repository" >&2
    exit 2
fi
losses=${LOSSES:-hl_gauss one_hot mse} shipped=${SHIPPED:-checkpoints/chess_9m}
if [[ " $losses " != *" hl_gauss "* ]]; then
    echo "error: LOSSES lacks hl_gauss, the loss of the model that ships: add it" >&2
    exit 2
fi
boards=$1 held_out=$2 puzzles=$3 output=$4
mkdir -p "$output"
asked=$(printf '%s\n' "$boards" "$held_out" "$puzzles" "${@:5}" "SHIPPED=$shipped" "GAMES=${GAMES:-400}")
if [ -e "$output/arguments" ] && [ "$asked" != "$(cat "$output/arguments")" ]; then
    echo "error: $output was made with other arguments, listed in $output/arguments: choose another OUTPUT" >&2
    exit 2
fi
echo "$asked" > "$output/arguments"
shift 4

for size in ${SIZES-9m}; do
    if [ ! -e "$output/speed_$size.json" ]; then
        python -m benchmarks training play data losses --config "chess_$size.yaml" data.train="$boards" \
            data.validation="$held_out" data.prepared_dir="$output/prepared" \
            --json "$output/speed_$size.json" |
            tee "$output/speed_$size.txt"
    fi
done

for loss in $losses; do
    run=$output/$loss
    if [ ! -d "$run/model" ]; then
        python train.py --config chess_9m.yaml \
            data.train="$boards" data.validation="$held_out" \
            data.prepared_dir="$output/prepared" value_loss.name="$loss" output_dir="$run" resume=true "$@"
    fi
    if [ ! -e "$run/actions.json" ]; then
        python -m eval.chess.actions --model "$run/model" --data "$held_out" --json "$run/actions.json"
    fi
    if [ ! -e "$run/puzzles.json" ]; then
        python -m eval.chess.puzzles --model "$run/model" --puzzles "$puzzles" --json "$run/puzzles.json"
    fi
done

# The shipped model is measured as it is saved, in bfloat16.
export=(python -m training.publish --run "$output/hl_gauss" --folder "$shipped" --dtype bfloat16 --shard-size 15)
results=("$output/shipped-actions.json" "$output/shipped-puzzles.json")
if [ ! -e "$shipped/settings.yaml" ] || [ ! -e "${results[0]}" ]; then
    "${export[@]}"
    python -m eval.chess.actions --model "$shipped" --data "$held_out" --json "${results[0]}"
fi
[ -e "${results[1]}" ] || python -m eval.chess.puzzles --model "$shipped" --puzzles "$puzzles" --json "${results[1]}"
if PATH=$PATH:/usr/games command -v "${STOCKFISH:-stockfish}" > /dev/null; then
    results+=("$output/shipped-elo.json")
    [ -e "${results[2]}" ] || python -m eval.chess.elo --model "$shipped" --games "${GAMES:-400}" \
        --output "$output/elo" --json "${results[2]}"
else
    echo "Elo is not measured: Stockfish is not installed. Install it and repeat the command."
fi
"${export[@]}" --results "${results[@]}"
