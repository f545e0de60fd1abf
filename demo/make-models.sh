#!/bin/sh
# Remakes the models that the demo ships from their checkpoints: convert to f16, then quantise the language model to Q8_0.
# The vision projector stays at f16.
set -eu
cd "$(dirname "$0")"
mmprm=${MMPRM:-mmprm}
case "$mmprm" in /*) ;; */*) mmprm=../$mmprm ;; esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$mmprm" convert checkpoints/mini-mm-policy --out "$work" --type f16
"$mmprm" convert checkpoints/mini-prm --out "$work" --type f16 --prm-template internvl2_5-training
for model in mini-mm-policy mini-prm; do
    "$mmprm" quantize "$work/$model-f16.gguf" --out "models/$model-q8_0.gguf" --type q8_0
    cp "$work/mmproj-$model-f16.gguf" models/
done
ls -l models
