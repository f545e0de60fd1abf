#!/bin/sh
# Trains the policy and the PRMs that the demo runs, from random weights: about an hour and a half on two cores. Of
# checkpoints/mini-mm-policy only the configuration and the tokenizer are used. Problems are drawn by generator/, which needs Python with
# Pillow and the DejaVu fonts; everything else is mmprm. Called by `make recipe`. What an interrupted run has finished is kept in work/;
# delete it to start anew.
set -eu
cd "$(dirname "$0")"
mmprm=${MMPRM:-mmprm}
case "$mmprm" in /*) ;; */*) mmprm=../$mmprm ;; esac

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
# Draws problems into work/NAME, unless they are there.
draw() {
    [ -f "work/$1/problems.json" ] || python3 generator/minik12.py gen --n "$2" --seed "$3" --out "work/$1" --prefix "$1"
}
# Converts a checkpoint to GGUF and quantises its language model; the projector stays f16.
convert() {
    "$mmprm" convert "$1" -o work/gguf --type f16
    name=$(basename "$1")
    "$mmprm" quantize "work/gguf/$name-f16.gguf" -o "models/$2-q8_0.gguf" --type q8_0
    cp "work/gguf/mmproj-$name-f16.gguf" "models/mmproj-$2-f16.gguf"
}

mkdir -p work

say "1. From random weights: learn to read, then to solve."
pretrain() {
    [ -f "work/$2/samples.jsonl" ] || python3 generator/pretraining.py "$1" "work/$2" --n "$3" --seed "$4"
}
pretrain read reading 20000 11
"$mmprm" train policy --config recipes/reading.toml
pretrain solve solving 20000 12
"$mmprm" train policy --config recipes/base.toml

say "2. Train the policy to write what a PRM reads as well."
draw extra 8000 101
python3 generator/solutions.py work/extra > work/extra/solutions.jsonl
"$mmprm" train policy --config recipes/policy.toml
convert work/policy/best policy

say "3. Draw 16 rollouts of each of 6563 more problems; their answers say which are right."
draw ranking 6563 501
"$mmprm" generate --policy models/policy-q8_0.gguf --mmproj models/mmproj-policy-f16.gguf --problems work/ranking/problems.json \
    -n 16 --deterministic --repetition-penalty 1 --max-tokens 300 -o work/ranking/candidates.json
"$mmprm" samples --ranking work/ranking/candidates.json -o work/ranking.jsonl

say "4. Train the implicit PRM to rank the rollouts of each problem."
"$mmprm" train implicit-prm --config recipes/implicit-prm.toml
convert work/implicit-prm/last implicit-prm

say "5. Search the training problems: rollouts become step labels."
"$mmprm" annotate --policy models/policy-q8_0.gguf --mmproj models/mmproj-policy-f16.gguf \
    --problems mini-k12/train/problems.json --rollouts 8 --rollout-budget 48 --repetition-penalty 1 --max-tokens 200 -o work/trees
"$mmprm" samples work/trees --every-rollout -o work/prm.jsonl
head -n 5000 work/prm.jsonl > work/prm-5k.jsonl

say "6. Train the Yes/No PRM: distil the policy's expected tokens, then its probabilities, then learn the step labels."
[ -f work/expanded-1/model.safetensors ] || "$mmprm" train expand work/policy/best --layers 1 -o work/expanded-1
"$mmprm" train prm --distill --config recipes/prm-1.toml
[ -f work/expanded-4/model.safetensors ] || "$mmprm" train expand work/prm-1/last --layers 3 -o work/expanded-4
"$mmprm" train prm --distill --config recipes/prm-2.toml
"$mmprm" train prm --config recipes/prm.toml
convert work/prm/last prm
ls -l models
