#!/bin/sh
# Makes the policy and the PRM that the demo ships, from checkpoints/mini-mm-policy: about half an hour on two cores. The
# problems are drawn by generator/minik12.py, which needs Python with Pillow and the DejaVu fonts; all else is mmprm.
set -eu
cd "$(dirname "$0")"
mmprm=${MMPRM:-mmprm}
case "$mmprm" in /*) ;; */*) mmprm=../$mmprm ;; esac

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
# Converts a checkpoint and quantises its language model.
ship() {
    "$mmprm" convert "$1" --out run/gguf --type f16 --prm-template internvl2_5-training
    name=$(basename "$1")
    "$mmprm" quantize "run/gguf/$name-f16.gguf" --out "models/$2-q8_0.gguf" --type q8_0
    cp "run/gguf/mmproj-$name-f16.gguf" "models/mmproj-$2-f16.gguf"
}

rm -rf run
mkdir -p run

say "1. The policy learns to read what a PRM reads."
python3 generator/minik12.py gen --n 8000 --seed 101 --out run/extra --prefix extra
python3 generator/solutions.py run/extra > run/extra/solutions.jsonl
"$mmprm" train policy --config recipes/policy.toml
ship run/policy/best policy

say "2. It searches the training problems: rollouts become labels."
"$mmprm" annotate --policy models/policy-q8_0.gguf --mmproj models/mmproj-policy-f16.gguf \
    --problems mini-k12/train/problems.json --rollouts 8 --rollout-budget 48 --repetition-penalty 1 --max-tokens 200 -o run/trees
"$mmprm" samples run/trees --every-rollout -o run/prm.jsonl
head -n 5000 run/prm.jsonl > run/prm-5k.jsonl

say "3. The PRM learns what the policy would have written, how likely what is written is, and what it is worth."
"$mmprm" grow run/policy/best --layers 1 -o run/grown
"$mmprm" train prm --config recipes/prm-1.toml
"$mmprm" grow run/prm-1/last --layers 3 -o run/grown-more
"$mmprm" train prm --config recipes/prm-2.toml
"$mmprm" train prm --config recipes/prm.toml
ship run/prm/last prm
ls -l models
