#!/bin/sh
# What step metrics give without a reward model: PRMBench's single-error solutions with constant scores, random ones, and the step's
# length, and with the mini PRMs of the demo, which never saw such text.
#   MMPRM=target/release/mmprm sh benches/records/measure-prmbench.sh FILES_OF_PRMBENCH...
# Needs Python. Files are kept in measure-prmbench/.
set -eu
mmprm=${MMPRM:-target/release/mmprm}
models=$(cd "$(dirname "$0")/../../demo/models" && pwd)
out=measure-prmbench
mkdir -p "$out"
"$mmprm" data import prmbench "$@" -o "$out/data"
python3 - "$out" <<'END'
import json
import random
import sys

out = sys.argv[1]
records = json.load(open(f"{out}/data/solutions.json"))
random.seed(0)
longest = max(len(step) for record in records for steps in record["solutions_splits"] for step in steps)
scorers = {
    "constant": lambda step: 0.9,
    "random": lambda step: random.random(),
    "short": lambda step: 1 - len(step) / longest,
}
for name, score in scorers.items():
    for record in records:
        record["prm_scores"] = [[score(step) for step in steps] for steps in record["solutions_splits"]]
    json.dump(records, open(f"{out}/{name}.json", "w"))
END
"$mmprm" score --prm "$models/prm-q8_0.gguf" -i "$out/data/solutions.json" -o "$out/yes-no.json"
"$mmprm" score --prm "$models/implicit-prm-q8_0.gguf" -i "$out/data/solutions.json" -o "$out/implicit.json"
for name in constant random short yes-no implicit; do
    "$mmprm" eval steps "$out/$name.json" --by classification --tune macro-f1 --json > "$out/$name.eval"
done
python3 - "$out" <<'END'
import json
import sys

print("| scores | step AUC | within a problem | F1 at 0.5 | macro F1 at 0.5 | macro F1, tuned on half | mean over classes at 0.5 |")
print("|---|---|---|---|---|---|---|")
show = lambda value: "-" if value is None else f"{value:.3f}"
for name in ("constant", "random", "short", "yes-no", "implicit"):
    report = json.load(open(f"{sys.argv[1]}/{name}.eval"))["report"]
    one, tuned = report["detection"], report["tuned"] or {}
    classes = [group["macro_f1"] for group in report["detection_groups"].values() if group["macro_f1"] is not None]
    figures = [report["all"]["auc"], report["within_problem"], one["f1"], one["macro_f1"], tuned.get("macro_f1")]
    print(f"| {name} | " + " | ".join(map(show, figures)) + f" | {show(sum(classes) / len(classes))} |")
END
