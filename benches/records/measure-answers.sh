#!/bin/sh
# Answer rules compared with Math-Verify (PyPI `math-verify`) on the same triples: agreement with the verdicts, and time.
#
#   MMPRM_DATA=… PYTHON=… sh benches/records/measure-answers.sh
#
# $MMPRM_DATA/answers/*.jsonl are the triples; $PYTHON is a Python that has math-verify. One thread each.
set -eu
: "${MMPRM_DATA:?the folder with answers/*.jsonl}"
here=$(dirname "$0")
mmprm=${MMPRM:-$here/../../target/release/mmprm}
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf '| source | triples | agreement %% | undecided | Math-Verify %% | µs a triple | Math-Verify | ratio |\n'
printf '|---|---|---|---|---|---|---|---|\n'
for file in "$MMPRM_DATA"/answers/*.jsonl; do
    # The median of five runs, each over the whole file.
    for run in 1 2 3 4 5; do
        RAYON_NUM_THREADS=1 "$mmprm" verify "$file" -o "$work/out.jsonl" --json
    done > "$work/ours.json"
    "$python" "$here/../peers/answers.py" "$file" > "$work/peer.json" 2> /dev/null
    "$python" - "$work/ours.json" "$work/peer.json" <<'END'
import json, statistics, sys
runs = [json.loads(line) for line in open(sys.argv[1])]
row = runs[0]["sources"][0]
ours = statistics.median(run["seconds"] for run in runs) / row["triples"] * 1e6
peer = json.load(open(sys.argv[2]))[row["source"]]
theirs = peer["seconds"] / peer["triples"] * 1e6
print(f"| {row['source']} | {row['triples']} | {100 * row['agreed'] / row['judged']:.2f} | {row['undecided']} "
      f"| {100 * peer['agreed'] / peer['triples']:.2f} | {ours:.1f} | {theirs:.0f} | {theirs / ours:.0f} |")
END
done
