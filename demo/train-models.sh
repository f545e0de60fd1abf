#!/bin/sh
# Trains the policy and the PRM that the demo runs, from checkpoints/mini-mm-policy: about half an hour on two cores. Problems are
# drawn by generator/minik12.py, which needs Python with Pillow and the DejaVu fonts; everything else is mmprm.
set -eu
cd "$(dirname "$0")"
mmprm=${MMPRM:-mmprm}
case "$mmprm" in /*) ;; */*) mmprm=../$mmprm ;; esac

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
# Converts a checkpoint to GGUF and quantises its language model; the projector stays f16.
convert() {
    "$mmprm" convert "$1" -o run/gguf --type f16
    name=$(basename "$1")
    "$mmprm" quantize "run/gguf/$name-f16.gguf" -o "models/$2-q8_0.gguf" --type q8_0
    cp "run/gguf/mmproj-$name-f16.gguf" "models/mmproj-$2-f16.gguf"
}

rm -rf run
mkdir -p run

say "1. Train the policy to write what a PRM reads as well."
python3 generator/minik12.py gen --n 8000 --seed 101 --out run/extra --prefix extra
python3 generator/solutions.py run/extra > run/extra/solutions.jsonl
"$mmprm" train policy --config recipes/policy.toml
convert run/policy/best policy

say "2. Search the training problems: rollouts become step labels."
"$mmprm" annotate --policy models/policy-q8_0.gguf --mmproj models/mmproj-policy-f16.gguf \
    --problems mini-k12/train/problems.json --rollouts 8 --rollout-budget 48 --repetition-penalty 1 --max-tokens 200 -o run/trees
"$mmprm" samples run/trees --every-rollout -o run/prm.jsonl
head -n 5000 run/prm.jsonl > run/prm-5k.jsonl

say "3. Train the PRM: distil the policy's expected tokens, then its probabilities, then learn the step labels."
"$mmprm" train expand run/policy/best --layers 1 -o run/expanded-1
"$mmprm" train prm --distill --config recipes/prm-1.toml
"$mmprm" train expand run/prm-1/last --layers 3 -o run/expanded-4
"$mmprm" train prm --distill --config recipes/prm-2.toml
"$mmprm" train prm --config recipes/prm.toml
convert run/prm/last prm
ls -l models
