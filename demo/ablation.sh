#!/bin/sh
# What the demo's PRMs owe to what: trains variants that differ in one thing and compares how they choose on 600 problems that neither
# training nor the test has. After train-models.sh (`make recipe`), whose files in work/ it uses; about an hour on two cores. The same
# command resumes. Needs Python with Pillow and the DejaVu fonts for the problems.
set -eu
cd "$(dirname "$0")"
mmprm=${MMPRM:-mmprm}
case "$mmprm" in /*) ;; */*) mmprm=../$mmprm ;; esac

[ -f work/validation/problems.json ] || python3 generator/minik12.py gen --n 600 --seed 502 --out work/validation --prefix validation
"$mmprm" generate --policy models/policy-q8_0.gguf --mmproj models/mmproj-policy-f16.gguf --problems work/validation/problems.json \
    -n 16 --deterministic --repetition-penalty 1 --max-tokens 300 -o work/validation/plain.json
python3 generator/step_truth.py work/validation/plain.json work/validation/problems.truth.json work/validation/candidates.json

for number in 500 1500 4500; do head -n $number work/ranking.jsonl > work/ranking-$number.jsonl; done
"$mmprm" samples work/trees -o work/paths.jsonl
"$mmprm" samples work/trees --hard -o work/paths-hard.jsonl

for name in implicit yes-no; do
    "$mmprm" ablate recipes/ablation-$name.toml -o work/ablation-$name
    "$mmprm" report work/ablation-$name/ablation.json -o work/ablation-$name.html
done
