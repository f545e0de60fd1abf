"""Math-Verify (PyPI `math-verify`) on the triples of `mmprm verify`, with the same counts.

    python benches/peers/answers.py TRIPLES.jsonl... > peer.json

Each triple is parsed and verified with the defaults of Math-Verify, or with the options of its own
tests (`opts`). Parse errors and timeouts count as not equal, as in normal use.
"""

import json
import logging
import sys
import time

from math_verify import ExprExtractionConfig, LatexExtractionConfig, StringExtractionConfig, parse, verify

logging.disable(logging.CRITICAL)

CONFIGS = {
    "latex": LatexExtractionConfig(),
    "expr": ExprExtractionConfig(),
    "NativeLetters": StringExtractionConfig(strings=tuple("ABCDEFGH"), lowercase=False),
}


def equal(triple):
    options = triple.get("opts") or {}
    kinds = options.get("match_types") or options.get("match_type") or ["latex", "expr"]
    if options.get("choices"):
        kinds = ["latex", "expr", "NativeLetters"]
    configs = [CONFIGS[kind] for kind in kinds if kind in CONFIGS]
    precision = options.get("precision")
    precision = int(precision) if isinstance(precision, int) else 6
    gold, prediction = triple["gold"], triple["pred"]
    if not options.get("match_types"):
        # Math-Verify reads LaTeX only inside mathematics.
        gold = gold if "$" in gold or "\\boxed" in gold or "NativeLetters" in kinds else f"${gold}$"
        plain = "$" not in prediction and "\\boxed" not in prediction and len(prediction) <= 80
        prediction = f"${prediction}$" if plain else prediction
    return verify(
        parse(gold, configs, parsing_timeout=3),
        parse(prediction, configs, parsing_timeout=3),
        float_rounding=precision,
        allow_set_relation_comp=bool(options.get("allow_set_relation_comp", False)),
        timeout_seconds=3,
    )


def main():
    rows = {}
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as file:
            for line in file:
                triple = json.loads(line)
                row = rows.setdefault(triple["source"], {"triples": 0, "agreed": 0, "seconds": 0.0})
                started = time.perf_counter()
                try:
                    found = equal(triple)
                except Exception:  # noqa: BLE001 - any error counts as not equal
                    found = False
                row["seconds"] += time.perf_counter() - started
                row["triples"] += 1
                row["agreed"] += found == triple["verdict"]
    json.dump(rows, sys.stdout, indent=1)
    print()


main()
