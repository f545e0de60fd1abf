#!/bin/sh
# A training step compared with PyTorch's: the same shapes, batches, tokens and threads, alternating.
#
#   PYTHON=… sh benches/records/measure-train.sh [rounds]
#
# $PYTHON is a Python that has torch. One step per process after a warm-up step, so that both sides see the same
# disturbances; medians over the rounds. Prints Markdown. Needs an otherwise idle machine.
set -eu
here=$(dirname "$0")
mmprm=${MMPRM:-$here/../../target/release/mmprm}
python=${PYTHON:-python3}
rounds=${1:-5}
threads=${THREADS:-2}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export RAYON_NUM_THREADS="$threads" OMP_NUM_THREADS="$threads"
grep -m1 'model name' /proc/cpuinfo | sed 's/.*: //; s/$/, '"$threads"' threads/'
uptime
printf '\n| shape | M parameters | PyTorch head | tokens/s here | PyTorch | ratio | peak MiB here | PyTorch | share |\n'
printf '|---|---|---|---|---|---|---|---|---|\n'
measure() { # name, then the sizes as both sides take them
    name=$1
    shift
    rm -f "$work"/*
    for round in $(seq "$rounds"); do
        "$mmprm" bench train --shape --repetitions 1 --json "$@" >> "$work/here"
        for head in full rows; do
            "$python" "$here/../peers/train.py" --steps 1 --threads "$threads" --head "$head" "$@" >> "$work/$head"
        done
    done
    "$python" - "$name" "$work" <<'END'
import json, statistics, sys
name, work = sys.argv[1:]
read = lambda file: [json.loads(line) for line in open(f"{work}/{file}")]
median = lambda values: statistics.median(values)
here = read("here")
speed = median(run["packed"]["unique_tokens_per_second"]["mean"] for run in here)
peak = median(run["packed"]["peak_bytes"] for run in here) / 2**20
for head in ("full", "rows"):
    peer = read(head)
    ratios = [a["packed"]["unique_tokens_per_second"]["mean"] / b["tokens_per_second"] for a, b in zip(here, peer)]
    theirs, their_peak = median(run["tokens_per_second"] for run in peer), median(run["peak_mib"] for run in peer)
    print(f"| {name} | {here[0]['parameters'] / 1e6:.0f} | {head} | {speed:.0f} | {theirs:.0f} "
          f"| {median(ratios):.2f} ({min(ratios):.2f}…{max(ratios):.2f}) | {peak:.0f} | {their_peak:.0f} | {peak / their_peak:.2f} |")
END
}
measure '12 × 768, vocabulary 32,000, 4 × 512 tokens' --batch 4 --tokens 512
measure '12 × 768, vocabulary 8,192, 4 × 512 tokens' --batch 4 --tokens 512 --vocabulary 8192 --inner 3072 --keys 12
measure '12 × 768, vocabulary 92,544, 2 × 1,024 tokens' --batch 2 --tokens 1024 --vocabulary 92544
