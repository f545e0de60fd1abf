#!/bin/sh
# Rollout and scoring speed of the mini models, modes in turn, medians of RUNS (5) runs. Needs a built mmprm (MMPRM=…).
set -eu
mmprm=${MMPRM:-target/release/mmprm}
runs=${RUNS:-5}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for model in mini-mm-policy mini-prm; do
    "$mmprm" --quiet convert "demo/checkpoints/$model" -o "$work" --type f16
done
generate() {
    "$mmprm" --json generate --policy "$work/mini-mm-policy-f16.gguf" --mmproj "$work/mmproj-mini-mm-policy-f16.gguf" \
        --problems demo/mini-k12/test/test.json --limit 40 -n 16 --repetition-penalty 1 --max-tokens 400 \
        -o "$work/candidates.json" "$@" | sed 's/.*"rollouts_per_second":\([0-9.]*\).*/\1/'
}
score() {
    "$mmprm" --json score --prm "$work/mini-prm-f16.gguf" --mmproj "$work/mmproj-mini-prm-f16.gguf" \
        -i "$work/candidates.json" --data-root demo/mini-k12/test -o "$work/scored.json" | sed 's/.*"seconds":\([0-9.]*\).*/\1/'
}
i=0
while [ $i -lt "$runs" ]; do
    generate >>"$work/default"
    generate --deterministic >>"$work/deterministic"
    generate --parallel 64 >>"$work/parallel64"
    generate --threads 2 >>"$work/threads2"
    score >>"$work/score"
    i=$((i + 1))
done
for name in default deterministic parallel64 threads2 score; do
    sort -n "$work/$name" | awk -v name=$name '{ v[NR] = $1 } END { printf "%s: median %.1f, min %.1f, max %.1f\n", name, v[int((NR + 1) / 2)], v[1], v[NR] }'
done
