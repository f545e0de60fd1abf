#!/bin/sh
# Accuracy against tokens of Best-of-N, beam search, DVTS and lookahead with the demo's models.
#   MMPRM=target/release/mmprm sh benches/records/measure-search.sh PROBLEMS.json [LIMIT]
# Prints a table; needs Python for it. Files are kept in measure-search/ and not made again.
set -eu
problems=$1
limit=${2:-200}
mmprm=${MMPRM:-target/release/mmprm}
models=$(cd "$(dirname "$0")/../../demo/models" && pwd)
mkdir -p measure-search
for n in 4 16; do
    for method in bon beam dvts lookahead; do
        file=measure-search/$method-$n
        [ -f "$file.summary" ] || "$mmprm" search --method "$method" -n "$n" --width 4 --policy "$models/policy-q8_0.gguf" \
            --mmproj "$models/mmproj-policy-f16.gguf" --prm "$models/implicit-prm-q8_0.gguf" \
            --prm-mmproj "$models/mmproj-implicit-prm-f16.gguf" --problems "$problems" --limit "$limit" --deterministic \
            --repetition-penalty 1 --max-tokens 300 --json -o "$file.json" --force > "$file.summary"
        "$mmprm" eval bon "$file.json" --json > "$file.eval"
    done
done
python3 - <<'END'
import json
print("| N | method | tokens a problem | candidates | random | majority | product | minus majority | any right |")
print("|---|---|---|---|---|---|---|---|---|")
for n in (4, 16):
    for method in ("bon", "beam", "dvts", "lookahead"):
        name = f"measure-search/{method}-{n}"
        run, result, records = (json.load(open(name + end)) for end in (".summary", ".eval", ".json"))
        figures = result["aggregators"]
        count = sum(len(record["solutions_splits"]) for record in records) / len(records)
        best = figures["product"]
        majority = next(it for it in best["against"] if it["baseline"] == "majority")
        show = lambda name: f"{figures[name]['accuracy']:.3f}"
        print(
            f"| {n} | {method} | {run['engine']['generated'] / len(records):.0f} | {count:.1f} | {show('random')} | {show('majority')} "
            f"| {best['accuracy']:.3f} ({best['ci'][0]:.3f} to {best['ci'][1]:.3f}) "
            f"| {majority['difference']:+.3f} ({majority['ci'][0]:+.3f} to {majority['ci'][1]:+.3f}) | {show('oracle')} |"
        )
END
