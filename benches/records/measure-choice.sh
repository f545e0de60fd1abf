#!/bin/sh
# How well the demo's PRMs choose: 16 candidates for each of the 500 test problems of demo/mini-k12, by the demo's policy, by it at
# temperature 0.7 and by the earlier policy in demo/checkpoints, scored by the implicit and by the Yes/No PRM.
#   MMPRM=target/release/mmprm sh benches/records/measure-choice.sh [PROBLEMS.json TRUTH.json]
# Prints what `eval bon` and `eval steps` print; needs Python for the truth of steps. Files are kept in measure-choice/ and not made
# again. MODELS names another directory of models.
set -eu
demo=$(cd "$(dirname "$0")/../../demo" && pwd)
problems=${1:-$demo/mini-k12/test/test.json}
truth=${2:-$demo/mini-k12/test/test.truth.json}
models=${MODELS:-$demo/models}
mmprm=${MMPRM:-target/release/mmprm}
out=measure-choice
mkdir -p $out

# generate NAME POLICY MMPROJ FLAGS…
generate() {
    name=$1 policy=$2 mmproj=$3
    shift 3
    [ -f "$out/$name.json" ] && return
    "$mmprm" generate --policy "$policy" --mmproj "$mmproj" --problems "$problems" -n 16 --deterministic --repetition-penalty 1 \
        --max-tokens 300 -o "$out/$name-plain.json" "$@"
    python3 "$demo/generator/step_truth.py" "$out/$name-plain.json" "$truth" "$out/$name.json"
}
# score NAME PRM
score() {
    [ -f "$out/$1-$2.json" ] || "$mmprm" score --prm "$models/$2-q8_0.gguf" --mmproj "$models/mmproj-$2-f16.gguf" -i "$out/$1.json" \
        --data-root "$(dirname "$problems")" -o "$out/$1-$2.json"
    printf '\n%s candidates, %s\n' "$1" "$2"
    "$mmprm" eval bon "$out/$1-$2.json" --curve
    "$mmprm" eval steps "$out/$1-$2.json" --by family
}

generate own "$models/policy-q8_0.gguf" "$models/mmproj-policy-f16.gguf"
generate cooler "$models/policy-q8_0.gguf" "$models/mmproj-policy-f16.gguf" --temperature 0.7
if [ ! -f $out/earlier/mini-mm-policy-f16.gguf ]; then
    "$mmprm" convert "$demo/checkpoints/mini-mm-policy" -o $out/earlier --type f16
fi
generate earlier $out/earlier/mini-mm-policy-f16.gguf $out/earlier/mmproj-mini-mm-policy-f16.gguf
for name in own cooler earlier; do score $name implicit-prm; done
score own prm
