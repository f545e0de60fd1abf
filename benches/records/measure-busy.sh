#!/bin/sh
# Decoding speed while other programs use the cores, as Markdown: 8 rollouts of 32 tokens after 128, beside zero, one and two busy
# loops, with one thread per core (--threads) and with the default, which then uses fewer. Alternating, RUNS (3) times.
#
#   MODEL=policy.gguf sh benches/records/measure-busy.sh        a model of 64 MiB or more
#
# Also read: MMPRM.
set -eu
: "${MODEL:?a GGUF file}"
mmprm=${MMPRM:-$(dirname "$0")/../../target/release/mmprm}
cores=$(nproc)
rollouts() {
    "$mmprm" --json bench infer --model "$MODEL" -p 128 -n 32 --batch 8 --repetitions 1 "$@" |
        python3 -c 'import json, sys; print("%.1f" % json.load(sys.stdin)["rows"][1]["median"])'
}

loops=""
trap 'kill $loops 2>/dev/null || :' EXIT
echo "| busy loops | tokens/s, --threads $cores | tokens/s, default |"
echo "|---|---|---|"
for busy in 0 1 2; do
    loops=""
    for _ in $(seq "$busy"); do
        while :; do :; done &
        loops="$loops $!"
    done
    fixed="" default=""
    for _ in $(seq "${RUNS:-3}"); do
        fixed="$fixed $(rollouts --threads "$cores")"
        default="$default $(rollouts)"
    done
    [ -z "$loops" ] || kill $loops
    echo "| $busy |$fixed |$default |"
done
