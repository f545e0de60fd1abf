#!/bin/sh
# An epoch of packed trees compared with the same samples one by one: `mmprm bench train` on annotated trees.
#
#   sh benches/records/measure-packing.sh TREES [IMAGES]
#
# TREES is a directory of trees as `mmprm annotate` writes them; IMAGES the folder that their images are in; without it the
# images are left out (those of tests/golden/mcts do not exist). The model is the mini policy, or $MODEL. With
# EVERY_ROLLOUT=1 samples are made of every rollout.
set -eu
here=$(dirname "$0")
mmprm=${MMPRM:-$here/../../target/release/mmprm}
model=${MODEL:-$here/../../demo/checkpoints/mini-mm-policy}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$mmprm" samples "$1" -o "$work/all.jsonl" ${EVERY_ROLLOUT:+--every-rollout}
if [ -n "${2:-}" ]; then
    cp "$work/all.jsonl" "$work/samples.jsonl"
else
    sed 's/"image": "[^"]*", //' "$work/all.jsonl" > "$work/samples.jsonl"
fi
cat > "$work/recipe.toml" <<END
model = "$model"
samples = "$work/samples.jsonl"
data_root = "${2:-$work}"
output = "$work/run"
batch_samples = 64
END
"$mmprm" bench train --config "$work/recipe.toml" --repetitions "${REPETITIONS:-5}"
